"""What the service is opened from: the database, the keys derived from the master secret, and
what works beside the requests. `app.py` puts them together.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass

from .. import __version__
from . import storage
from .domain.signing_keys import KeyAges
from .limiting import open_counters
from .services.deliveries import Deliverer, delivering
from .services.key_events import KeyWatch, watching_keys
from .services.ports import (
    ApiKeyFormat,
    Clock,
    KeyLookup,
    Memory,
    SessionSteps,
    Store,
    WebhookSecrets,
    WebhookSender,
)
from .services.ports.observing import PoolUse
from .services.signing_keys import SigningKeyUpkeep
from .services.throttling import Throttling
from .services.usage import Usage
from .settings import Settings
from .tokens.access import AccessTokenSigner
from .tokens.access import Issuing as TokenIssuing
from .tokens.api_keys import ApiKeys
from .tokens.following import UNREAD_FOR, KeyringFollower
from .tokens.secrets import DerivedKeys
from .tokens.signing import Keyring, KeySealer
from .tokens.webhook_secrets import SealedWebhookSecrets
from .webhooks import HttpWebhooks

#: How long verifiers may cache the published keys, in seconds.
JWKS_MAX_AGE = 300
#: Which part of the places in flight the requests of one tenant may take that wait for one kind of
#: connection. There are three kinds: so one tenant never has all places.
WAITING_OF_ONE = 4


@dataclass(frozen=True, slots=True)
class Parts:
    """What works on the data, without answering requests."""

    store: Store
    lookup: KeyLookup
    steps: SessionSteps
    key_format: ApiKeyFormat
    secrets: tuple[str, ...]
    sealer: KeySealer
    signing_keys: SigningKeyUpkeep
    pools: tuple[PoolUse, ...]


@contextlib.asynccontextmanager
async def open_parts(settings: Settings, *, patience: float | None = None) -> AsyncIterator[Parts]:
    """Opens the database. Raises StorageNotReady for one that is not migrated, Unavailable.

    `patience` as `open_storage` takes it.
    """
    secrets = (
        settings.master_secret.get_secret_value(),
        *(s.get_secret_value() for s in settings.previous_master_secrets),
    )
    async with storage.open_storage(
        settings.database_url.get_secret_value(),
        pool_size=settings.database_pool_size,
        wait=settings.database_wait,
        patience=patience,
        # Whatever one tenant does, others find a place.
        waiting=max(1, settings.max_in_flight // WAITING_OF_ONE),
    ) as opened:
        # With another master secret every good key would look wrong: that is no client's fault.
        sealer = KeySealer(DerivedKeys(secrets, "signing keys", 64))
        upkeep = SigningKeyUpkeep(
            opened.store, sealer, settings.signing_algorithm, key_ages(settings)
        )
        await upkeep.begin()
        key_format = ApiKeys(DerivedKeys(secrets, "api keys", 32))
        yield Parts(
            opened.store,
            opened.lookup,
            opened.steps,
            key_format,
            secrets,
            sealer,
            upkeep,
            opened.pools,
        )


def open_memory(settings: Settings) -> Memory | None:
    """Who remembers, outside of the database, how far it was; None when there is nobody."""
    if settings.redis_url is not None:
        from .revocation.outside import RedisMemory  # not for who has no Redis

        return RedisMemory(settings.redis_url.get_secret_value(), settings.redis_timeout)
    file = storage.database_file(settings.database_url.get_secret_value())
    return None if file is None else storage.FileMemory(file)


def key_ages(settings: Settings) -> KeyAges:
    """How long signing keys stay in their slots.

    A node publishes a new key, and signs with it, up to `UNREAD_FOR` later than it could: one that
    reads the keys no more is not ready either, so nobody asks it for them. Clocks differ by the
    leeway.
    """
    lifetimes = settings.lifetimes
    return KeyAges(
        rotate_after=settings.signing_key_max_age,
        publish_for=int(JWKS_MAX_AGE + UNREAD_FOR + lifetimes.leeway.total_seconds()),
        keep_retired=int(lifetimes.longest_access.total_seconds() + UNREAD_FOR),
    )


@contextlib.asynccontextmanager
async def open_signer(
    settings: Settings, parts: Parts, clock: Clock
) -> AsyncIterator[tuple[AccessTokenSigner, KeyringFollower]]:
    """What signs and verifies, and what has it follow the signing keys that there are."""
    issuing = TokenIssuing(
        settings.issuer,
        settings.audience,
        f"{settings.base_url}/users/me",
        f"{settings.base_url}/auth/verify",
        int(settings.lifetimes.longest_access.total_seconds()),
        int(settings.lifetimes.leeway.total_seconds()),
    )
    follower = KeyringFollower(parts.signing_keys, parts.sealer, settings.eddsa_header)
    signer = AccessTokenSigner(await follower.read(), issuing, clock)

    def take(keyring: Keyring) -> None:
        signer.keyring = keyring

    follower.on_change = take
    async with _background(follower.follow()):
        yield signer, follower


@contextlib.asynccontextmanager
async def open_usage(parts: Parts, clock: Clock) -> AsyncIterator[Usage]:
    """The batch writer, at work until the end."""
    usage = Usage(parts.store, clock)
    task = asyncio.create_task(usage.run())
    try:
        yield usage
    finally:
        usage.stop()
        await task


@dataclass(frozen=True, slots=True)
class WebhookParts:
    """What tells tenants' webhooks of events."""

    sender: WebhookSender
    secrets: WebhookSecrets
    deliverer: Deliverer


@contextlib.asynccontextmanager
async def open_webhooks(
    settings: Settings, parts: Parts, clock: Clock
) -> AsyncIterator[WebhookParts]:
    """Deliveries, and what looks for keys that expire, at work until the end."""
    sender = HttpWebhooks(settings.webhook_networks)
    sealed = SealedWebhookSecrets(DerivedKeys(parts.secrets, "webhooks", 64))
    agent = f"keyturn/{__version__}"
    deliverer = Deliverer(parts.store, sender, sealed, clock, agent=agent)
    try:
        async with delivering(deliverer), watching_keys(KeyWatch(parts.store, deliverer.wake)):
            yield WebhookParts(sender, sealed, deliverer)
    finally:
        await sender.close()


@contextlib.asynccontextmanager
async def open_throttling(settings: Settings, usage: Usage) -> AsyncIterator[Throttling]:
    """What limits how often; its counters are shared where the settings say so."""
    shared = settings.redis_url if settings.limits_in == "redis" else None
    url = shared.get_secret_value() if shared else None
    async with open_counters(
        settings.rates, redis_url=url, timeout=settings.redis_timeout
    ) as counters:
        yield Throttling(counters, usage)


@contextlib.asynccontextmanager
async def _background(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
