"""What administrators end at once: a token, a session, all that a key or a user has, everything."""

from datetime import datetime

from ...domain.administration import administers
from ...domain.errors import Code, Refusal, gives_more
from ...domain.model import Revocation, RevocationKind, UserKind
from ...domain.revocations import EVERYTHING
from ..callers import TenantCaller
from ..ports import Slice, Store, Transaction
from .changes import Change, Changes
from .ending import end_session, end_sessions_of_key, end_sessions_of_users
from .sessions import key_here, need_standing_on, session_here, user_here

#: Users that one transaction ends: it is bounded in time.
_CHUNK = 500


class RevocationManagement:
    """Ends what users at home in the caller's tenant or below hold; their keys stay good.

    To do it again ends what was given out since.
    """

    def __init__(self, store: Store, changes: Changes) -> None:
        self._store = store
        self._changes = changes

    async def revoke(self, caller: TenantCaller, kind: RevocationKind, subject: str) -> None:
        """Ends what `kind` and `subject` name: a session, or all that a key or a user has by now.

        For kind `token` the subject is its `jti`; whose it is, nobody can tell: the root tenant
        alone revokes it. For kind `everything` the subject says nothing.

        Raises Refusal `not_found`, and `insufficient_scope` for what is of somebody with more
        than the caller could give, or is the root tenant's.
        """
        if kind is RevocationKind.EVERYTHING:
            await self._everything(caller)
            return
        async with self._changes.begin(caller.actor, caller.tenant_id) as change:
            tx, last = change.tx, self._changes.last_token_ends(change.now)
            if kind is RevocationKind.TOKEN:
                await _need_root(tx, caller)
                change.revoke(Revocation(kind, subject, last))
                _note(change, kind, subject, caller.tenant_id)
                return
            home = await _end(change, caller, kind, subject, last)
            _note(change, kind, subject, home)

    async def _everything(self, caller: TenantCaller) -> None:
        """All tokens and sessions that there are, or in another tenant than the root those of the
        users at home there and below.

        Takes an administrator: nobody else could end them one by one.
        """
        if not administers(caller.permissions):
            raise gives_more("to end everything takes an administrator")
        async with self._store.transaction() as tx:
            is_root = await _is_root(tx, caller)
        if is_root:
            await self._all_there_is(caller)
            return
        # Whoever calls comes last: its own token ends, too.
        for kind in UserKind:
            after: tuple[str, ...] | None = None
            while True:
                after = await self._some_users(caller, kind, after)
                if after is None:
                    break
        async with self._changes.begin(caller.actor, caller.tenant_id) as change:
            user = await change.tx.users.get(caller.user_id)
            here = user is not None and await change.tx.tenants.reaches(
                caller.tenant_id, user.home_tenant_id
            )
            await self._end_users(change, {caller.user_id} if here else set())

    async def _all_there_is(self, caller: TenantCaller) -> None:
        async with self._changes.begin(caller.actor, caller.tenant_id) as change:
            last = self._changes.last_token_ends(change.now)
            kind, subject = EVERYTHING
            change.revoke(
                Revocation(kind, subject, last, epoch=await change.tx.users.raise_floor())
            )
            _note(change, kind, subject, caller.tenant_id)

    async def _some_users(
        self, caller: TenantCaller, kind: UserKind, after: tuple[str, ...] | None
    ) -> tuple[str, ...] | None:
        async with self._changes.begin(caller.actor, caller.tenant_id) as change:
            part = Slice(_CHUNK, after)
            page = await change.tx.users.at_home(caller.tenant_id, kind, part, below=True)
            await self._end_users(change, {user.id for user in page.items} - {caller.user_id})
            return page.next

    async def _end_users(self, change: Change, user_ids: set[str]) -> None:
        if user_ids:
            last = self._changes.last_token_ends(change.now)
            await end_sessions_of_users(change, user_ids, last)
            what = RevocationKind.EVERYTHING.value
            change.note("tokens.revoked", change.tenant_id, what=what, users=len(user_ids))


async def _end(
    change: Change, caller: TenantCaller, kind: RevocationKind, subject: str, last: datetime
) -> str:
    """Ends it; gives the home of the user whose it is."""
    tx = change.tx
    if kind is RevocationKind.SESSION:
        session, user = await session_here(tx, caller, subject)
        await need_standing_on(tx, caller, user)
        await end_session(change, session, last)
    elif kind is RevocationKind.KEY:
        key = await key_here(tx, caller, subject)
        user = await user_here(tx, caller, key.user_id)
        await need_standing_on(tx, caller, user)
        await end_sessions_of_key(change, key, last)
    else:
        user = await user_here(tx, caller, subject)
        await need_standing_on(tx, caller, user)
        await end_sessions_of_users(change, [user.id], last)
    return user.home_tenant_id


def _note(change: Change, kind: RevocationKind, subject: str, home: str) -> None:
    """In the trail of the tenant where it was done, and of the one whose user it concerns."""
    for trail in {change.tenant_id, home}:
        change.note("tokens.revoked", subject, tenant_id=trail, what=kind.value)


async def _is_root(tx: Transaction, caller: TenantCaller) -> bool:
    root = await tx.tenants.root()
    return root is not None and root.id == caller.tenant_id


async def _need_root(tx: Transaction, caller: TenantCaller) -> None:
    if not await _is_root(tx, caller):
        raise Refusal(
            Code.INSUFFICIENT_SCOPE, "Tokens are revoked by their ids in the root tenant alone."
        )
