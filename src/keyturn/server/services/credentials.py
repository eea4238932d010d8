"""Who is calling, told by an API key: one read, two comparisons in constant time.

A rotated key has two secrets for a while, so every secret is compared with two hashes, also
where there is one or none: how long it takes tells nothing. (It is hashed once for each pepper
that they are under, which is one but for the time after a change of the master secret.)
"""

import hmac
from collections.abc import Sequence
from datetime import datetime

from ..domain.addresses import folded_address
from ..domain.errors import bad_client
from ..domain.model import KeyHash, KeyRecord
from ..domain.networks import admits
from ..domain.records import transient
from .counts import Counts
from .ports import ApiKeyFormat, Clock, KeyLookup, PresentedKey
from .recent_keys import Reading
from .usage import Note, Usage

_NO_KEY, _WRONG, _ROTATED = "no such key", "wrong secret", "rotated secret"

# Compared with where there is no hash, so that the answer takes as long.
_NO_HASH = KeyHash(bytes(32), 0)


@transient
class ClientCredentials:
    """How a client named itself (RFC 6749, 2.3): HTTP Basic, body parameters, or not at all.

    `client_id` is an API key's id or its user's name; `secret` an API key, or empty.
    """

    method: str
    client_id: str | None = None
    secret: str = ""

    def __repr__(self) -> str:
        return f"ClientCredentials(method={self.method!r}, client_id={self.client_id!r})"


@transient
class Evidence:
    """What is known of a presented API key after one read.

    `record` is the stored key, whatever its state. `genuine`: the secret is right, and key and
    user may be used now, from where the call came. `why` says, for the log only, what is wrong
    otherwise. `by_old`: it is the secret from before the latest rotation.
    """

    presented: PresentedKey | None
    record: KeyRecord | None
    genuine: bool
    why: str
    by_old: bool = False

    @property
    def proven(self) -> bool:
        """Whether the secret is right, though key or user may have ended, or the place be wrong."""
        return self.record is not None and self.why not in (_WRONG, _ROTATED)

    @property
    def guessed(self) -> bool:
        """Whether it looks like a key, and never was one."""
        return self.presented is not None and self.why in (_NO_KEY, _WRONG)

    @property
    def ends_old(self) -> bool:
        """Whether the old secret ends now, since the new one was used."""
        old = self.record.old_secret if self.record is not None else None
        return self.genuine and not self.by_old and old is not None and old.ends_on_use

    @property
    def key(self) -> KeyRecord:
        """The stored key of genuine evidence."""
        assert self.record is not None  # noqa: S101 - it could not be genuine
        return self.record

    def named(self, name: str) -> bool:
        """Whether `name` is the key's id or its user's name."""
        return self.record is not None and names(self.record, name)


NOTHING = Evidence(None, None, False, "not an API key")


def names(record: KeyRecord, name: str) -> bool:
    """Whether `name` is the key's id or its user's name (in any case)."""
    username = folded_address(record.username).encode()
    return hmac.compare_digest(folded_address(name).encode(), username) or hmac.compare_digest(
        name.encode(), record.key_id.encode()
    )


class Credentials:
    """Reads and checks API keys."""

    def __init__(
        self,
        lookup: KeyLookup,
        key_format: ApiKeyFormat,
        clock: Clock,
        usage: Usage,
        counts: Counts | None = None,
    ) -> None:
        self._counts = counts or Counts()
        self._lookup = lookup
        self._format = key_format
        self._clock = clock
        self._usage = usage

    async def examine(
        self,
        text: str,
        address: str | None,
        tenants: Sequence[str] | None = None,
        lookup: KeyLookup | None = None,
    ) -> Evidence:
        """What is known of the key in `text`, presented from `address`.

        Only well-formed keys reach the database. `tenants` restricts the roles that are read;
        `lookup` reads them (None: anew). Raises Unavailable.
        """
        presented = self._format.parse(text)
        if presented is None:
            self._counts.dead_keys[NOTHING.why] += 1
            return NOTHING
        record = await (lookup or self._lookup).find(presented.key_id, tenants=tenants)
        evidence = self.judge(presented, record, address)
        # By a record that may be outdated nothing is refused: it is asked once more.
        outdated = isinstance(lookup, Reading) and lookup.recent
        if not evidence.genuine and not outdated:
            self._counts.dead_keys[evidence.why] += 1
        return evidence

    def judge(
        self, presented: PresentedKey, record: KeyRecord | None, address: str | None
    ) -> Evidence:
        """What a presented key is worth, by its record of this moment. Reads nothing."""
        old = record.old_secret if record is not None else None
        is_new = self._format.matches(presented, record.hash if record else _NO_HASH)
        is_old = self._format.matches(presented, old.hash if old else _NO_HASH) and not is_new
        if record is None:
            return Evidence(presented, None, False, _NO_KEY)
        now = self._clock()
        if not is_new and not is_old:
            why = _WRONG
        elif old is not None and is_old and now >= old.until:
            why = _ROTATED
        else:
            why = why_not(record, address, now)
        return Evidence(presented, record, not why, why, by_old=is_old)

    def rehash(self, evidence: Evidence) -> KeyHash | None:
        """A proven key's hash under the newest pepper; None when it has that already.

        An old secret is not rehashed: it would take the new one's place.
        """
        if evidence.presented is None or evidence.record is None or not evidence.genuine:
            return None
        if evidence.by_old:
            return None
        return self._format.rehash(evidence.presented, evidence.record.hash)

    async def client(
        self,
        client: ClientCredentials,
        address: str | None,
        tenants: Sequence[str] | None = None,
    ) -> KeyRecord:
        """The key of a client that must authenticate with its secret. It counts as a use.

        Raises Refusal `invalid_client`, the same for an unknown client and a wrong secret.
        """
        proof = await self.prove(client, address, tenants, self._lookup)
        self.used(proof, address)
        return proof.key

    async def prove(
        self,
        client: ClientCredentials,
        address: str | None,
        tenants: Sequence[str] | None,
        lookup: KeyLookup,
    ) -> Evidence:
        """The same as genuine evidence, read by `lookup`, and not counted yet."""
        if client.client_id is None or not client.secret:
            raise bad_client("no client credentials")
        evidence = await self.examine(client.secret, address, tenants, lookup)
        if not evidence.genuine or not evidence.named(client.client_id):
            raise bad_client(evidence.why or "client_id is not of this key")
        return evidence

    def used(self, proof: Evidence, address: str | None) -> None:
        """Counts what `prove` gave as a use of the key."""
        key = proof.key
        used = Note(None, "granted", "", key.user_id, key.key_id, address=address)
        self._usage.note(used, self.rehash(proof), ends_old=proof.ends_old)


def why_not(record: KeyRecord, address: str | None, now: datetime) -> str:
    """Why a key may not be used now from `address`, in fixed words; empty when it may."""
    if record.user_disabled_at is not None:
        return "the user is disabled"
    if record.revoked_at is not None:
        return "revoked"
    if record.idle(now):
        return "unused for too long"
    if not record.live(now):
        return "expired"
    return "" if admits(record.networks, address) else "address not allowed"
