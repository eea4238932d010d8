"""At most one valid access token at a time, where user or policy ask for it.

Each token given out raises the user's epoch, in a transaction that holds the user's row: of two
exchanges at once, on whichever nodes, one comes after the other, and its token is the one that
lives.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from ..domain.errors import bad_credentials
from ..domain.model import KeyRecord, Revocation, RevocationKind
from ..domain.sessions import Lifetimes
from .ports import KeyLookup, RevocationList, Store

T = TypeVar("T")


class SingleToken:
    """Ends what a user held before."""

    def __init__(
        self, store: Store, lookup: KeyLookup, revocations: RevocationList, lifetimes: Lifetimes
    ) -> None:
        self._store = store
        self._lookup = lookup
        self._revocations = revocations
        self._lifetimes = lifetimes

    async def take_over(
        self,
        record: KeyRecord,
        decide: Callable[[KeyRecord], T],
        *,
        tenants: list[str] | None,
        end_sessions: bool,
    ) -> tuple[KeyRecord, T]:
        """The key as it is now, in a new epoch of its user, and what `decide` says of it.

        All access tokens of the user end, with `end_sessions` all sessions, too. What was read
        before may have changed while the call waited for its turn, and the new epoch outlives
        every change that it waited for: so the key is read again while its user's row is held,
        and `decide` must look at all of it once more, the credential included. `tenants`
        restricts the roles that are read.

        Raises what `decide` raises, Refusal `invalid_grant` for a key that is gone, Unavailable.
        """
        async with self._store.transaction() as tx:
            # Holds the user's row from here on. What changes the user meanwhile waits.
            epochs = await tx.users.raise_epochs([record.user_id], end_sessions=end_sessions)
            now = await tx.now()
            fresh = await self._lookup.find(record.key_id, tenants=tenants)
            epoch = epochs.get(record.user_id)
            if fresh is None or epoch is None:
                raise bad_credentials("the key is gone")
            decided = decide(fresh)
            end = now + self._lifetimes.longest_access
            entry = Revocation(RevocationKind.USER, fresh.user_id, end, epoch)
            await tx.revocations.add([entry])
        await self._revocations.publish([entry])
        return replace(fresh, epoch=epoch), decided
