"""The signing keys, by hand: to look at, to rotate, to revoke, to bring along."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ...domain import signing_keys as rules
from ...domain.errors import Code, Refusal, conflict, invalid_request, not_found
from ...domain.model import Revocation, RevocationKind, StoredSigningKey
from ...domain.signing_keys import Ring, Slot, Step
from ..callers import TenantCaller
from ..ports import Store, Transaction
from ..signing_keys import SigningKeyMaker, SigningKeyUpkeep
from .changes import Change, Changes


@dataclass(frozen=True, slots=True)
class ShownKey:
    """A key and what happens to it: when it signs (by itself), when it is deleted.

    `ready_at` is when a next key may be made to sign by hand.
    """

    key: StoredSigningKey
    ready_at: datetime | None
    signs_from: datetime | None
    removed_at: datetime | None


class SigningKeyManagement:
    """For those who administer the platform, in its root tenant.

    Every verb raises Refusal `insufficient_scope` in another tenant.
    """

    def __init__(
        self,
        store: Store,
        changes: Changes,
        upkeep: SigningKeyUpkeep,
        maker: SigningKeyMaker,
        read_now: Callable[[], Awaitable[None]],
    ) -> None:
        """`read_now` has this node take in what was changed; the others do within seconds."""
        self._store = store
        self._changes = changes
        self._upkeep = upkeep
        self._maker = maker
        self._read_now = read_now

    async def list(self, caller: TenantCaller) -> tuple[ShownKey, ...]:
        """All of them, the oldest first."""
        async with self._store.transaction() as tx:
            await _need_root(tx, caller)
            ring = await self._upkeep.ring(tx)
        return tuple(self._shown(ring, key) for key in ring.keys)

    async def rotate(self, caller: TenantCaller, algorithm: str | None = None) -> ShownKey:
        """The next key of that algorithm (None: the setting's) signs from now on; gives it.

        Raises Refusal `conflict` when verifiers may not have it yet, or there is none.
        """
        async with self._changes.begin(caller.actor, caller.tenant_id) as change:
            await _need_root(change.tx, caller)
            ring = await self._upkeep.held(change.tx)
            wanted = algorithm or ring.algorithm
            ring = await self._take(change, ring, rules.rotation(ring, wanted, self._upkeep.ages))
        await self._read_now()
        return self._shown(ring, _current(ring, wanted))

    async def revoke(self, caller: TenantCaller, kid: str) -> None:
        """Takes a key away at once, as when somebody else has it; all that it signed is dead.

        The next key signs from now on. Clients get new tokens for their refresh tokens. The
        caller's own token may be among the dead. Raises Refusal `not_found`.
        """
        async with self._changes.begin(caller.actor, caller.tenant_id) as change:
            await _need_root(change.tx, caller)
            ring = await self._upkeep.held(change.tx)
            key = next((key for key in ring.keys if key.kid == kid), None)
            if key is None:
                raise not_found("no such signing key")
            # As long as a node that hears of nothing might sign with it, and such a token live.
            end = change.now + timedelta(seconds=self._upkeep.ages.keep_retired)
            change.revoke(Revocation(RevocationKind.SIGNING_KEY, kid, end))
            change.note("signing_key.revoked", kid, algorithm=key.algorithm, slot=key.slot)
            await self._take(change, ring, rules.emergency(ring, key), told={kid})
        await self._read_now()

    async def take_in(
        self, caller: TenantCaller, *, pem: str | None, jwk: dict[str, object] | None
    ) -> ShownKey:
        """A private key made elsewhere, into the slot `next`; what stood there is deleted.

        Raises Refusal `invalid_request` for what cannot sign here, `conflict` for a key that is
        or was here, or an algorithm that nobody asks for.
        """
        async with self._store.transaction() as tx:
            await _need_root(tx, caller)
            now = await tx.now()
        material = pem if pem is not None else jwk
        if material is None or (pem is not None and jwk is not None):
            raise invalid_request("Exactly one of pem and jwk is needed.")
        # Large keys take a while to be checked, and all others wait.
        new = await asyncio.to_thread(self._maker.imported, material, now)
        async with self._changes.begin(caller.actor, caller.tenant_id) as change:
            await _need_root(change.tx, caller)
            ring = await self._upkeep.held(change.tx)
            await _need_place(change.tx, ring, new)
            await self._take(change, ring, rules.displaced(ring, new.algorithm))
            # From now on, not from before the wait: so long nobody had it.
            new = replace(new, created_at=ring.now, slot_since=ring.now)
            await change.tx.signing_keys.add(new)
            change.note("signing_key.imported", new.kid, algorithm=new.algorithm)
            ring = await self._upkeep.ring(change.tx)
        await self._read_now()
        return self._shown(ring, next(key for key in ring.keys if key.kid == new.kid))

    async def _take(
        self,
        change: Change,
        ring: Ring,
        steps: Sequence[Step],
        told: frozenset[str] | set[str] = frozenset(),
    ) -> Ring:
        """Takes the steps and writes them down, but for keys that were told of. What is then."""
        for taken in await self._upkeep.take(change.tx, steps, ring.now):
            if taken.kid not in told:
                change.note(taken.action, taken.kid, algorithm=taken.algorithm)
        return await self._upkeep.ring(change.tx)

    def _shown(self, ring: Ring, key: StoredSigningKey) -> ShownKey:
        ages = self._upkeep.ages
        return ShownKey(
            key,
            rules.ready_at(key, ages) if key.slot == Slot.NEXT else None,
            rules.signs_from(ring, key, ages),
            rules.removed_at(key, ages),
        )


def _current(ring: Ring, algorithm: str) -> StoredSigningKey:
    key = ring.find(algorithm, Slot.CURRENT)
    assert key is not None  # noqa: S101 - it was just promoted
    return key


async def _need_root(tx: Transaction, caller: TenantCaller) -> None:
    root = await tx.tenants.root()
    if root is None or root.id != caller.tenant_id:
        raise Refusal(
            Code.INSUFFICIENT_SCOPE, "Signing keys are the platform's: choose the root tenant."
        )


async def _need_place(tx: Transaction, ring: Ring, new: StoredSigningKey) -> None:
    if new.algorithm not in ring.wanted:
        # One of three names, not what was sent.
        raise conflict(
            f"Nobody asks for {new.algorithm} keys: neither KEYTURN_SIGNING_ALGORITHM nor a"
            " resource server."
        )
    if any(key.kid == new.kid for key in ring.keys):
        raise conflict("This key is here already.")
    if await tx.revocations.find([(RevocationKind.SIGNING_KEY, new.kid)]):
        raise conflict("This key was revoked.")
