"""What the service is opened from: the database, the keys derived from the master secret, and
what works beside the requests. `app.py` puts them together.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass

from . import storage
from .services.keyring import CURRENT, signing_keys
from .services.ports import ApiKeyFormat, Clock, KeyLookup, Store
from .services.usage import Usage
from .settings import Settings
from .tokens.access import AccessTokenSigner
from .tokens.access import Issuing as TokenIssuing
from .tokens.api_keys import ApiKeys
from .tokens.secrets import DerivedKeys
from .tokens.signing import Keyring, KeySealer, SigningKey

log = logging.getLogger(__name__)

#: How often a node looks for signing keys that another node made, in seconds.
_KEYRING_INTERVAL = 10.0


@dataclass(frozen=True, slots=True)
class Parts:
    """What works on the data, without answering requests."""

    store: Store
    lookup: KeyLookup
    key_format: ApiKeyFormat
    secrets: tuple[str, ...]


@contextlib.asynccontextmanager
async def open_parts(settings: Settings) -> AsyncIterator[Parts]:
    """Opens the database. Raises StorageNotReady for one that is not migrated, Unavailable."""
    secrets = (
        settings.master_secret.get_secret_value(),
        *(s.get_secret_value() for s in settings.previous_master_secrets),
    )
    async with storage.open_storage(
        settings.database_url.get_secret_value(),
        pool_size=settings.database_pool_size,
        wait=settings.database_wait,
    ) as opened:
        # With another master secret every good key would look wrong: that is no client's fault.
        sealer = KeySealer(DerivedKeys(secrets, "signing keys", 64))
        await signing_keys(opened.store, sealer, settings.signing_algorithm)
        key_format = ApiKeys(DerivedKeys(secrets, "api keys", 32))
        yield Parts(opened.store, opened.lookup, key_format, secrets)


@contextlib.asynccontextmanager
async def open_signer(
    settings: Settings, parts: Parts, clock: Clock
) -> AsyncIterator[AccessTokenSigner]:
    """What signs and verifies; it follows the signing keys that other nodes make."""
    sealer = KeySealer(DerivedKeys(parts.secrets, "signing keys", 64))
    issuing = TokenIssuing(
        settings.issuer,
        settings.audience,
        f"{settings.base_url}/users/me",
        int(settings.lifetimes.longest_access.total_seconds()),
    )

    opened: dict[str, SigningKey] = {}

    async def keyring() -> Keyring:
        stored = await signing_keys(parts.store, sealer, settings.signing_algorithm)
        for key in stored:
            # To open an RSA key takes tens of milliseconds, and a key never changes.
            if key.kid not in opened:
                opened[key.kid] = sealer.open(key, settings.eddsa_header)
        [current] = [
            key.kid
            for key in stored
            if key.slot == CURRENT and key.algorithm == settings.signing_algorithm
        ]
        return Keyring([opened[key.kid] for key in stored], opened[current])

    signer = AccessTokenSigner(await keyring(), issuing, clock)

    async def follow() -> None:
        while True:
            await asyncio.sleep(_KEYRING_INTERVAL)
            try:
                signer.keyring = await keyring()
            except Exception as error:  # noqa: BLE001
                # The keys at hand stay good; what failed is only hearing of new ones.
                log.warning("signing keys not read anew: %s", type(error).__name__)

    async with _background(follow()):
        yield signer


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


@contextlib.asynccontextmanager
async def _background(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
