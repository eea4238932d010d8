"""The master secret replaced: what was sealed under earlier ones is moved, or counted.

Signing keys are sealed anew here. An API key moves when it is used next, since nobody else has
its secret; refresh tokens and kept answers die out. Nodes go on meanwhile: they read under all
secrets that they know.
"""

from dataclasses import dataclass

from ..domain.trail import AuditEvent
from .ports import Store, Transaction
from .signing_keys import SigningKeyMaker


@dataclass(frozen=True, slots=True)
class Dependence:
    """How much still depends on earlier master secrets.

    `resealed` signing keys were moved just now, `signing_keys` were not. `api_keys` could be used
    and have a hash under an earlier secret, `kept_answers` are kept for repeated requests.
    """

    resealed: int
    signing_keys: int
    api_keys: int
    kept_answers: int

    @property
    def none(self) -> bool:
        """Whether nothing in the database does."""
        return not (self.signing_keys or self.api_keys or self.kept_answers)


class MasterSecretRotation:
    """Moves what can be moved under the newest master secret."""

    def __init__(self, store: Store, maker: SigningKeyMaker, version: int) -> None:
        """`version` is the newest secret's."""
        self._store = store
        self._maker = maker
        self._version = version

    async def status(self) -> Dependence:
        """What depends on earlier secrets. Changes nothing. Raises StorageNotReady."""
        async with self._store.transaction() as tx:
            return await self._counted(tx, 0)

    async def rotate(self) -> Dependence:
        """Seals the signing keys anew; what depends on earlier secrets then. May be repeated.

        Raises StorageNotReady for a key that no master secret in force opens.
        """
        async with self._store.transaction() as tx:
            await tx.signing_keys.hold()
            resealed = 0
            for key in await tx.signing_keys.all():
                anew = self._maker.resealed(key)
                if anew is not None:
                    await tx.signing_keys.reseal(key.kid, anew.sealed_private)
                    resealed += 1
            if resealed:
                root = await tx.tenants.root()
                event = AuditEvent(
                    "master_secret.rotated",
                    "done",
                    tenant_id=root.id if root else None,
                    data={"signing_keys": resealed},
                )
                await tx.audit.add([event])
            return await self._counted(tx, resealed)

    async def _counted(self, tx: Transaction, resealed: int) -> Dependence:
        now = await tx.now()
        keys = await tx.signing_keys.all()
        return Dependence(
            resealed,
            sum(self._maker.resealed(key) is not None for key in keys),
            await tx.seals.earlier_keys(self._version, now),
            await tx.seals.earlier_answers(self._version, now),
        )
