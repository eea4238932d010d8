"""The signing keys kept as the domain wants them: made, promoted, retired, deleted (promise P6).

Every node looks, one acts: the steps are found again under a lock that only one transaction
holds, so whoever comes second finds nothing left to do.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from ..domain import signing_keys as rules
from ..domain.model import StoredSigningKey
from ..domain.signing_keys import KeyAges, Ring, Slot, Step
from ..domain.trail import AuditEvent, Json
from .ports import Store, Transaction


class SigningKeyMaker(Protocol):
    """Makes keys and seals their private parts."""

    def new(self, algorithm: str, slot: str, now: datetime) -> StoredSigningKey: ...

    def imported(self, material: str | dict[str, object], now: datetime) -> StoredSigningKey:
        """A key made elsewhere, as PEM or JWK, for the slot `next`.

        Raises Refusal `invalid_request` for what is not a private key that could sign here.
        """
        ...

    def check(self, stored: StoredSigningKey) -> None:
        """Raises StorageNotReady for a key that no master secret in force opens."""
        ...

    def resealed(self, stored: StoredSigningKey) -> StoredSigningKey | None:
        """It, sealed under the newest master secret; None when it is already. As `check`."""
        ...


@dataclass(frozen=True, slots=True)
class Taken:
    """A step that was taken, for the audit trail. It names the key and says nothing of it."""

    action: str
    kid: str
    algorithm: str

    @property
    def told(self) -> dict[str, Json]:
        """What stands in the trail beside action and kid."""
        return {"algorithm": self.algorithm}


_ACTIONS = {
    Slot.CURRENT: "signing_key.promoted",
    Slot.RETIRED: "signing_key.retired",
    None: "signing_key.removed",
}


class SigningKeyUpkeep:
    """Looks after the signing keys."""

    def __init__(self, store: Store, maker: SigningKeyMaker, algorithm: str, ages: KeyAges) -> None:
        """`algorithm` signs for whoever does not ask for another one."""
        self._store = store
        self._maker = maker
        self._algorithm = algorithm
        self.ages = ages

    async def begin(self) -> None:
        """Sees to it that there is a key to sign with, and that all of them can be used.

        Raises Unavailable, and StorageNotReady when the master secret is not this database's:
        that is found out before a key is added, or the right secret would be the wrong one from
        then on.
        """
        async with self._store.transaction() as tx:
            ring = await self.ring(tx)
        for key in ring.keys:
            self._maker.check(key)
        if not ring.current:
            await self.keep()

    async def keep(self) -> Ring:
        """The keys as they are to be now: looks, and does what is due. Raises as `begin`."""
        async with self._store.transaction() as tx:
            ring = await self.ring(tx)
        if not rules.due(ring, self.ages):
            return ring
        async with self._store.transaction() as tx:
            ring = await self.held(tx)
            for key in ring.keys:
                self._maker.check(key)
            taken = await self.take(tx, rules.due(ring, self.ages), ring.now)
            await self._write_down(tx, taken)
            return await self.ring(tx)

    async def ensure(self, tx: Transaction, algorithm: str) -> None:
        """Makes the keys of an algorithm that a new resource server asks for, if there are none.

        In the transaction that registers it, or gives it another algorithm. No tokens by that
        algorithm were given out before, so its first key signs at once (`rules.first`); nodes
        have it within the seconds that they take to read the keys anew.
        """
        ring = await self.held(tx)
        taken = await self.take(tx, rules.first(ring, algorithm), ring.now)
        await self._write_down(tx, taken)

    async def held(self, tx: Transaction) -> Ring:
        """The keys, which nobody else changes until `tx` ends."""
        await tx.signing_keys.hold()
        return await self.ring(tx)

    async def take(self, tx: Transaction, steps: Sequence[Step], now: datetime) -> list[Taken]:
        """Takes steps, found by `held` in the same transaction. The caller writes them down."""
        taken = []
        for step in steps:
            if step.kid is None:
                assert step.slot is not None  # noqa: S101 - nothing new is deleted
                # To make an RSA key takes a tenth of a second, and all others wait.
                new = await asyncio.to_thread(self._maker.new, step.algorithm, step.slot, now)
                if await tx.signing_keys.add(new):
                    taken.append(Taken("signing_key.created", new.kid, step.algorithm))
                continue
            if step.slot is None:
                await tx.signing_keys.remove(step.kid)
            else:
                await tx.signing_keys.move(step.kid, step.slot, now)
            taken.append(Taken(_ACTIONS[step.slot], step.kid, step.algorithm))
        return taken

    async def ring(self, tx: Transaction) -> Ring:
        """The keys as `tx` sees them."""
        keys = await tx.signing_keys.all()
        asked_for = await tx.resource_servers.algorithms()
        return Ring(tuple(keys), await tx.now(), self._algorithm, asked_for)

    async def _write_down(self, tx: Transaction, taken: Sequence[Taken]) -> None:
        """In the root tenant's trail; before there is one, in nobody's."""
        if not taken:
            return
        root = await tx.tenants.root()
        await tx.audit.add(
            [
                AuditEvent(
                    step.action,
                    "done",
                    tenant_id=root.id if root else None,
                    target=step.kid,
                    data=step.told,
                )
                for step in taken
            ]
        )
