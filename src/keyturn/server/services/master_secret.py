"""The master secret replaced: what was sealed under earlier ones is moved, or counted.

Signing keys, the secrets of webhooks and those of second factors are sealed anew here. An API key
moves when it is used next, since nobody else has its secret; refresh tokens, kept answers and
sign-ins die out. Nodes go on meanwhile: they read under all secrets that they know.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ..domain.trail import AuditEvent
from ..domain.webhooks import Webhook
from .ports import FactorSecrets, Store, Transaction, UnmovedKey, WebhookSecrets
from .signing_keys import SigningKeyMaker

#: API keys that are told by their ids.
NAMED_KEYS = 10
#: Webhooks that are read at once.
_BATCH = 500


@dataclass(frozen=True, slots=True)
class Dependence:
    """How much depends on other master secrets than the newest one of this process's settings.

    `newest` and `previous` are fingerprints of the secrets in the settings. `resealed` signing
    keys were moved just now, `signing_keys` were not. `api_keys` could be used and have a hash
    under another secret; `unmoved` are the oldest of them, `NAMED_KEYS` at most. `kept_answers`
    are kept for repeated requests; the secrets of `webhooks` and `second_factors` were not moved.
    `lost_keys` and
    `lost_answers` are those of keys and answers that no secret in the settings reads.
    """

    newest: str
    previous: tuple[str, ...]
    resealed: int
    signing_keys: int
    api_keys: int
    kept_answers: int
    webhooks: int
    second_factors: int
    lost_keys: int
    lost_answers: int
    unmoved: tuple[UnmovedKey, ...]

    @property
    def none(self) -> bool:
        """Whether nothing in the database does."""
        sealed = self.signing_keys or self.webhooks or self.second_factors
        return not (sealed or self.api_keys or self.kept_answers)


def fingerprint(version: int) -> str:
    """A master secret's version for people, who compare nodes by it. It tells nothing of it."""
    return f"{version:08x}"


class MasterSecretRotation:
    """Moves what can be moved under the newest master secret."""

    def __init__(
        self,
        store: Store,
        maker: SigningKeyMaker,
        secrets: WebhookSecrets,
        factors: FactorSecrets,
        versions: Sequence[int],
    ) -> None:
        """`versions` of the secrets in the settings, the newest first."""
        self._store = store
        self._maker = maker
        self._secrets = secrets
        self._factors = factors
        self._versions = versions

    async def status(self) -> Dependence:
        """What depends on other secrets. Changes nothing. Raises StorageNotReady."""
        async with self._store.transaction() as tx:
            return await self._counted(tx, 0)

    async def rotate(self) -> Dependence:
        """Seals signing keys and webhooks' secrets anew; what depends on others then. Repeatable.

        Raises StorageNotReady for what no master secret in force opens.
        """
        async with self._store.transaction() as tx:
            await tx.signing_keys.hold()
            resealed = 0
            for key in await tx.signing_keys.all():
                anew = self._maker.resealed(key)
                if anew is not None:
                    await tx.signing_keys.reseal(key.kid, anew.sealed_private)
                    resealed += 1
            webhooks = await self._unmoved_webhooks(tx)
            for webhook in webhooks:
                await tx.webhooks.reseal(webhook)
            factors = await self._unmoved_factors(tx)
            for user_id, sealed in factors:
                await tx.second_factors.reseal(user_id, sealed)
            if resealed or webhooks or factors:
                root = await tx.tenants.root()
                event = AuditEvent(
                    "master_secret.rotated",
                    "done",
                    tenant_id=root.id if root else None,
                    data={
                        "signing_keys": resealed,
                        "webhooks": len(webhooks),
                        "second_factors": len(factors),
                    },
                )
                await tx.audit.add([event])
            return await self._counted(tx, resealed)

    async def _counted(self, tx: Transaction, resealed: int) -> Dependence:
        now, seals = await tx.now(), tx.seals
        newest, *previous = self._versions
        return Dependence(
            newest=fingerprint(newest),
            previous=tuple(fingerprint(version) for version in previous),
            resealed=resealed,
            signing_keys=sum(
                self._maker.resealed(key) is not None for key in await tx.signing_keys.all()
            ),
            api_keys=await seals.keys_outside([newest], now),
            kept_answers=await seals.answers_outside([newest], now),
            webhooks=len(await self._unmoved_webhooks(tx)),
            second_factors=len(await self._unmoved_factors(tx)),
            lost_keys=await seals.keys_outside(self._versions, now),
            lost_answers=await seals.answers_outside(self._versions, now),
            unmoved=tuple(await seals.some_keys_outside([newest], now, NAMED_KEYS)),
        )

    async def _unmoved_webhooks(self, tx: Transaction) -> list[Webhook]:
        """Those whose secrets are under other master secrets, with the same sealed anew."""
        found: list[Webhook] = []
        last: str | None = None
        while batch := await tx.webhooks.all_after(last, _BATCH):
            last = batch[-1].id
            found += filter(None, map(self._secrets.resealed, batch))
        return found

    async def _unmoved_factors(self, tx: Transaction) -> list[tuple[str, bytes]]:
        """The same: users' ids, and their secrets sealed anew."""
        found: list[tuple[str, bytes]] = []
        last: str | None = None
        while batch := await tx.second_factors.all_after(last, _BATCH):
            last = batch[-1].user_id
            anew = ((one.user_id, self._factors.resealed(one)) for one in batch)
            found += [(user_id, sealed) for user_id, sealed in anew if sealed is not None]
        return found
