"""One change: its transaction, its audit rows, and what it ends, written and told together.

    async with changes.begin(caller.actor, caller.tenant_id, once) as change:
        role = await change.tx.roles.save(…)
        change.note("role.changed", role.id, before=…, after=…)
        change.reauthorise(await change.tx.memberships.holders(role.id))

When the block ends, the epochs of all reauthorised users rise, revocations and audit rows are
written, and all of it commits at once; only then is the fast copy told (promises P4 and P9).
"""

from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

from ...domain.errors import Code, Refusal, bad_token, not_found
from ...domain.model import Revocation, RevocationKind
from ...domain.revocations import Subject, kills, subjects
from ...domain.sessions import Lifetimes
from ...domain.trail import Actor, AuditEvent, Json
from ..ports import AnswerSealer, KeptAnswer, RevocationList, Store, Transaction

T = TypeVar("T")

#: How long an Idempotency-Key is honoured.
KEPT = timedelta(hours=24)

#: How long resource servers are told that a tenant's policy has changed: longer than any of them
#: can have followed the feed and missed it (`revocation.feed.REMEMBERED`).
POLICY_TOLD = timedelta(minutes=20)

#: The versions that an update was made for (If-Match, RFC 9110, 13.1.1); None: any.
Versions = frozenset[int] | None


def need_version(seen: Versions, version: int) -> None:
    """Raises Refusal `stale` when somebody else changed it since the caller looked."""
    if seen is not None and version not in seen:
        raise Refusal(Code.STALE, "It was changed since you read it. Read it again.")


@dataclass(frozen=True, slots=True)
class Once(Generic[T]):
    """A creation that is done once, however often it is asked for (Idempotency-Key).

    `answer_id` is a digest of who asks, where, and the key; `request` one of what is asked;
    `render` makes the answer, in bytes, of what was created.
    """

    answer_id: bytes
    request: bytes
    render: Callable[[T], bytes]


class Replayed(Exception):
    """It was done before. `answer` is what was answered then."""

    def __init__(self, answer: bytes) -> None:
        super().__init__("answered before")
        self.answer = answer


class Change:
    """What one change does, collected until it is written."""

    def __init__(self, tx: Transaction, now: datetime, actor: Actor, tenant_id: str) -> None:
        self.tx = tx
        self.now = now
        self._actor = actor
        self.tenant_id = tenant_id
        self.events: list[AuditEvent] = []
        self.revocations: list[Revocation] = []
        self.lifted: list[Subject] = []
        self.users: set[str] = set()
        self.result: object = None

    def note(
        self,
        action: str,
        target: str,
        *,
        before: Mapping[str, Json] | None = None,
        after: Mapping[str, Json] | None = None,
        tenant_id: str | None = None,
        **data: Json,
    ) -> None:
        """An audit row: of what may be shown, what it was and what it is. Never a secret."""
        told: dict[str, Json] = dict(data)
        if before is not None:
            told["before"] = before
        if after is not None:
            told["after"] = after
        self.events.append(
            AuditEvent(
                action,
                "done",
                actor=self._actor,
                tenant_id=tenant_id or self.tenant_id,
                target=target,
                data=told,
            )
        )

    def reauthorise(self, user_ids: Collection[str]) -> None:
        """These users may do other things now: what they hold was issued before ends."""
        self.users.update(user_ids)

    def revoke(self, *entries: Revocation) -> None:
        """Ends tokens in another way than by an epoch."""
        self.revocations.extend(entries)

    def lift(self, subjects: Collection[Subject]) -> None:
        """Ends suspensions."""
        self.lifted.extend(subjects)

    def outdate_policy(self) -> None:
        """What resource servers keep of this tenant's roles and endpoints is no longer right."""
        end = self.now + POLICY_TOLD
        self.revoke(Revocation(RevocationKind.POLICY, self.tenant_id, end))

    def made(self, result: T) -> T:
        """Says what was made, so that a repeated request gets the same answer."""
        self.result = result
        return result


class Changes:
    """Begins changes."""

    def __init__(
        self,
        *,
        store: Store,
        revocations: RevocationList,
        lifetimes: Lifetimes,
        sealer: AnswerSealer,
    ) -> None:
        self._store = store
        self._revocations = revocations
        self._lifetimes = lifetimes
        self._sealer = sealer

    def last_token_ends(self, now: datetime) -> datetime:
        """When no access token is left that was issued up to `now`."""
        return now + self._lifetimes.longest_access

    @asynccontextmanager
    async def begin(
        self, actor: Actor, tenant_id: str, once: Once[Any] | None = None
    ) -> AsyncIterator[Change]:
        """One change in a tenant; all changes of one tenant happen one after the other.

        Who waited for others may have lost, by what those did, what it was admitted for: so
        token and key are looked at again, and hold until the end.

        Raises Replayed when `once` was done before, Refusal `idempotency_key_reused` when that
        was another request, `invalid_token`, `not_found` when the tenant is gone.
        """
        async with self._store.transaction() as tx:
            if not await tx.tenants.lock(tenant_id):
                raise not_found("the tenant is gone")
            change = Change(tx, await tx.now(), actor, tenant_id)
            await _need_standing_token(tx, actor, change.now)
            if once is not None:
                await self._replay(tx, once, change.now)
            yield change
            await self._write(change)
            if once is not None and change.result is not None:
                await self._keep(tx, once, once.render(change.result), change.now)
        ends = [Revocation(kind, name, change.now) for kind, name in change.lifted]
        await self._revocations.publish([*change.revocations, *ends])

    async def _write(self, change: Change) -> None:
        epochs = await change.tx.users.raise_epochs(change.users)
        end = self.last_token_ends(change.now)
        change.revoke(
            *(Revocation(RevocationKind.USER, user, end, epoch) for user, epoch in epochs.items())
        )
        if change.revocations:
            await change.tx.revocations.add(change.revocations)
        else:
            await change.tx.revocations.tell()
        if change.lifted:
            await change.tx.revocations.lift(change.lifted)
        await change.tx.audit.add(change.events)

    async def _replay(self, tx: Transaction, once: Once[Any], now: datetime) -> None:
        kept = await tx.kept_answers.find(once.answer_id, now)
        if kept is None:
            return
        body = self._sealer.open(kept.sealed, once.answer_id)
        if kept.request != once.request or body is None:
            raise Refusal(Code.KEY_REUSED, "This Idempotency-Key was sent with another request.")
        raise Replayed(body)

    async def _keep(self, tx: Transaction, once: Once[Any], body: bytes, now: datetime) -> None:
        kept = KeptAnswer(once.request, self._sealer.seal(body, once.answer_id))
        await tx.kept_answers.add(once.answer_id, kept, now + KEPT)


async def _need_standing_token(tx: Transaction, actor: Actor, now: datetime) -> None:
    """Raises Refusal `invalid_token` when the actor came with a token that has ended since."""
    token = actor.token
    if token is None:
        return
    held = await tx.api_keys.hold(token.key_id)
    if (
        held is None
        or kills(await tx.revocations.find(subjects(token)), token)
        or held.epoch > token.epoch
        or held.disabled_at is not None
        or held.revoked_at is not None
        or (held.expires_at is not None and held.expires_at <= now)
    ):
        raise bad_token("ended while the call waited for its turn")
