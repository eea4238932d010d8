"""The batch writer: last use, counts and the audit of issuance (promise P9).

The exchange notes what it did in memory; once a second all notes are written in one
transaction. Equal notes of a batch become one audit event with a count, so that what is
written stays small however often one key is used. A crash loses at most the last second.
"""

import asyncio
import logging
from dataclasses import dataclass, replace
from datetime import datetime

from ..domain.errors import Unavailable
from ..domain.model import KeyHash
from ..domain.records import transient
from ..domain.trail import Actor, AuditEvent
from .ports import Clock, KeyUse, Store

log = logging.getLogger(__name__)

#: How often notes are written, in seconds.
INTERVAL = 1.0
#: Distinct notes kept while they cannot be written; later ones are counted and dropped.
MAX_NOTES = 10_000
#: Events written in one transaction.
_BATCH = 1_000
#: How often a note is part of a batch that fails for no fault of the store's, and is given up then.
MAX_TRIES = 3


@transient
class Note:
    """What happened, without its time. Equal notes are counted together.

    `why` is one of the fixed reasons in this code, never text of the request. Without an
    `action` it is the use of a key alone: it counts, and leaves no event. `counts`: the key
    itself was shown, and not a token of it. `acting_…`: who acts for the user.
    """

    action: str | None
    outcome: str
    grant_type: str
    user_id: str | None = None
    key_id: str | None = None
    tenant_id: str | None = None
    address: str | None = None
    why: str = ""
    acting_user_id: str | None = None
    acting_key_id: str | None = None
    counts: bool = True


@dataclass(slots=True)
class _Tally:
    first: datetime
    last: datetime
    count: int = 1
    rehash: KeyHash | None = None
    ends_old: bool = False
    tries: int = 0


class Usage:
    """Notes uses and refusals; `run` writes them."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._notes: dict[Note, _Tally] = {}
        # Of those, what is noted very often, by a key that takes less time to make.
        self._quick: dict[object, _Tally] = {}
        self._dropped = 0
        #: Uses that were never written, since the start.
        self.lost = 0
        self._stopping = asyncio.Event()
        self._writing = asyncio.Lock()

    @property
    def waiting(self) -> int:
        """Distinct notes that are yet to be written."""
        return len(self._notes)

    def again(self, key: object) -> bool:
        """Whether what was noted under this key a moment ago is noted once more."""
        tally = self._quick.get(key)
        if tally is None:
            return False
        tally.count += 1
        tally.last = self._clock()
        return True

    def note(
        self,
        note: Note,
        rehash: KeyHash | None = None,
        *,
        ends_old: bool = False,
        key: object = None,
    ) -> None:
        """Remembers one event. Never waits, never fails.

        `rehash` and `ends_old` are what it does to the key (ports.KeyUse). Until it is
        written, a second at most, an old secret that ends by it may still work. `key` is for
        `again`: an equal one stands for an equal note that does nothing to the key.
        """
        now = self._clock()
        tally = self._notes.get(note)
        if tally is not None:
            tally.count += 1
            tally.last = now
            tally.rehash = rehash or tally.rehash
            tally.ends_old = ends_old or tally.ends_old
        elif len(self._notes) < MAX_NOTES:
            tally = self._notes[note] = _Tally(now, now, rehash=rehash, ends_old=ends_old)
        else:
            self._drop(1)
        if key is not None and tally is not None:
            self._quick[key] = tally

    async def run(self) -> None:
        """Writes once a second until `stop`. A store that is away is tried again."""
        while not self._stopping.is_set():
            try:
                await asyncio.wait_for(self._stopping.wait(), INTERVAL)
            except TimeoutError:
                pass
            await self._flush_quietly()
        await self._flush_quietly()

    def stop(self) -> None:
        """Lets `run` write what is left and end."""
        self._stopping.set()

    async def _flush_quietly(self) -> None:
        try:
            await self.flush()
        except Unavailable as error:
            log.warning("usage not written, kept for the next try: %s", error.detail)
        except Exception:
            # A note that cannot be written must not end all note-taking.
            log.exception("usage not written")

    async def flush(self) -> None:
        """Writes what was noted. Raises Unavailable and keeps the notes when it can't.

        Any other error is raised, too. Notes that meet one `MAX_TRIES` times are dropped: one
        of them cannot be written, and would keep all others from being written for ever.
        """
        async with self._writing:  # whoever asks for it finds all written that was noted
            await self._flush()

    async def _flush(self) -> None:
        busy: list[KeyUse] = []
        # What is noted meanwhile is for the next time, or under load this would never end.
        notes, self._notes, self._quick = list(self._notes.items()), {}, {}
        try:
            while notes:
                batch, notes = dict(notes[:_BATCH]), notes[_BATCH:]
                try:
                    busy += await self._write(batch)
                except Unavailable:
                    self._put_back(batch)
                    raise
                except Exception:
                    self._put_back(self._tried(batch))
                    raise
        finally:
            self._put_back(dict(notes))
            for use in busy:
                self._put_back(_use_alone(use))
        if self._dropped:
            log.warning("%d usage notes were dropped: too many distinct ones", self._dropped)
            self._dropped = 0

    def _tried(self, batch: dict[Note, _Tally]) -> dict[Note, _Tally]:
        """The notes of a batch that are tried again."""
        again = {}
        for note, tally in batch.items():
            tally.tries += 1
            if tally.tries < MAX_TRIES:
                again[note] = tally
        if dropped := sum(batch[note].count for note in batch.keys() - again.keys()):
            self.lost += dropped
            log.error("%d uses were dropped: they cannot be written", dropped)
        return again

    def _put_back(self, batch: dict[Note, _Tally]) -> None:
        for note, tally in batch.items():
            newer = self._notes.get(note)
            if newer is None and len(self._notes) < MAX_NOTES:
                self._notes[note] = tally
            elif newer is None:
                self._drop(tally.count)
            else:
                newer.count += tally.count
                newer.first = tally.first
                newer.tries = tally.tries
                newer.rehash = newer.rehash or tally.rehash
                newer.ends_old = newer.ends_old or tally.ends_old

    def _drop(self, count: int) -> None:
        self._dropped += count
        self.lost += count

    async def _write(self, batch: dict[Note, _Tally]) -> list[KeyUse]:
        """The uses that are yet to be written, of keys that a change held."""
        uses: dict[str, KeyUse] = {}
        events = []
        for note, tally in batch.items():
            if note.action is not None:
                events.append(_event(note.action, note, tally))
            if note.key_id is not None and note.counts and note.outcome == "granted":
                before = uses.get(note.key_id)
                uses[note.key_id] = _merged(before, note, tally)
        async with self._store.transaction() as tx:
            # In one order on every node, so that two nodes never wait for each other.
            busy = await tx.api_keys.note_uses([uses[key_id] for key_id in sorted(uses)])
            await tx.audit.add(events)
        return [uses[key_id] for key_id in sorted(busy)]


def _use_alone(use: KeyUse) -> dict[Note, _Tally]:
    """The note of a use that is yet to be written; its event was."""
    note = Note(None, "granted", "", key_id=use.key_id, address=use.address)
    return {note: _Tally(use.at, use.at, use.count, use.rehash, use.ends_old)}


def _merged(before: KeyUse | None, note: Note, tally: _Tally) -> KeyUse:
    assert note.key_id is not None  # noqa: S101 - for mypy; the caller has looked
    use = KeyUse(note.key_id, tally.count, tally.last, note.address, tally.rehash, tally.ends_old)
    if before is None:
        return use
    earlier, later = sorted((before, use), key=lambda one: one.at)
    return replace(
        later,
        count=earlier.count + later.count,
        rehash=later.rehash or earlier.rehash,
        ends_old=earlier.ends_old or later.ends_old,
    )


def _event(action: str, note: Note, tally: _Tally) -> AuditEvent:
    data: dict[str, str | int | None] = {"grant_type": note.grant_type, "count": tally.count}
    if note.why:
        data["why"] = note.why
    if note.acting_user_id is not None:
        data["acting_user_id"] = note.acting_user_id
        data["acting_key_id"] = note.acting_key_id
    if tally.count > 1:
        data["first_at"] = tally.first.isoformat()
    return AuditEvent(
        action=action,
        outcome=note.outcome,
        actor=Actor(user_id=note.user_id, key_id=note.key_id, address=note.address),
        tenant_id=note.tenant_id,
        target=note.key_id,
        data=data,
        at=tally.last,
    )
