"""Where the parts meet: settings in, an ASGI application out.

`open_parts` opens what the command line needs (store and key format), `open_service` all that
answering requests needs. Nothing here decides anything; it only wires.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Coroutine, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.middleware import Middleware

from . import logs, storage
from .http.caller import Addresses
from .http.errors import ErrorAnswers
from .http.middleware import RequestFrame
from .http.routes import Check, Surface, oauth_paths, routes
from .oauth.bridge import TokenEndpoint
from .oauth.endpoints import IntrospectionEndpoint, RevocationEndpoint
from .oauth.metadata import metadata
from .revocation import KeptList, open_revocation_list
from .services.callers import Callers
from .services.credentials import Credentials
from .services.introspection import Introspection
from .services.issuing import Issuing
from .services.keyring import CURRENT, signing_keys
from .services.ports import ApiKeyFormat, KeyLookup, Store
from .services.revoking import Revoking
from .services.usage import Usage
from .settings import Settings, load_settings
from .tokens.access import AccessTokenSigner
from .tokens.access import Issuing as TokenIssuing
from .tokens.api_keys import ApiKeys
from .tokens.refresh import RefreshSealer
from .tokens.secrets import DerivedKeys
from .tokens.signing import Keyring, KeySealer, SigningKey

log = logging.getLogger(__name__)

#: How long verifiers may cache the published keys, in seconds.
JWKS_MAX_AGE = 300
#: How often a node looks for signing keys that another node made, in seconds.
_KEYRING_INTERVAL = 10.0


@dataclass(frozen=True, slots=True)
class Parts:
    """What works on the data, without answering requests."""

    store: Store
    lookup: KeyLookup
    key_format: ApiKeyFormat
    secrets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Service:
    """A service at work: its routes' surface, and the parts that tests look into."""

    surface: Surface
    parts: Parts
    revoking: Revoking
    usage: Usage


def utc_now() -> datetime:
    """This process's time."""
    return datetime.now(UTC)


async def migrate(settings: Settings) -> None:
    """Brings the database's schema to this release. Safe to run twice, and at once."""
    await storage.migrate(settings.database_url.get_secret_value())


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
async def open_service(settings: Settings) -> AsyncIterator[Service]:
    """Opens everything, and runs what runs beside the requests."""
    redis_url = settings.redis_url.get_secret_value() if settings.redis_url else None
    async with contextlib.AsyncExitStack() as stack:
        parts = await stack.enter_async_context(open_parts(settings))
        revocations = await stack.enter_async_context(
            open_revocation_list(
                parts.store, redis_url=redis_url, redis_timeout=settings.redis_timeout
            )
        )
        signer = await stack.enter_async_context(_signer(settings, parts))
        usage = await stack.enter_async_context(_usage(parts))
        yield _wire(settings, parts, revocations, signer, usage)


def _wire(
    settings: Settings,
    parts: Parts,
    revocations: KeptList,
    signer: AccessTokenSigner,
    usage: Usage,
) -> Service:
    store, lookup = parts.store, parts.lookup
    refresh = RefreshSealer(DerivedKeys(parts.secrets, "refresh tokens", 64))
    credentials = Credentials(lookup, parts.key_format, utc_now)
    revoking = Revoking(
        store=store,
        lookup=lookup,
        credentials=credentials,
        access=signer,
        refresh=refresh,
        revocations=revocations,
        lifetimes=settings.lifetimes,
    )
    introspection = Introspection(
        store=store,
        lookup=lookup,
        credentials=credentials,
        access=signer,
        refresh=refresh,
        revocations=revocations,
        clock=utc_now,
    )
    issuing = Issuing(
        store=store,
        lookup=lookup,
        access=signer,
        refresh=refresh,
        revocations=revocations,
        lifetimes=settings.lifetimes,
        clock=utc_now,
    )
    surface = Surface(
        tokens=TokenEndpoint(credentials, issuing, usage, settings.grants, settings.audience),
        revocations=RevocationEndpoint(revoking),
        introspection=IntrospectionEndpoint(introspection, settings.issuer, settings.audience),
        callers=Callers(signer, revocations, lookup, utc_now),
        metadata=metadata(
            issuer=settings.issuer,
            public_url=settings.public_url,
            base_path=settings.base_path,
            grants=settings.grants,
            signing_algorithms=signer.keyring.algorithms,
        ),
        jwks=signer.jwks,
        checks=_checks(store, revocations),
        addresses=Addresses(settings.trusted_proxies),
        base_path=settings.base_path,
        issuer_path=urlsplit(settings.issuer).path,
        max_body=settings.max_body,
        jwks_max_age=JWKS_MAX_AGE,
    )
    return Service(surface, parts, revoking, usage)


def _checks(store: Store, revocations: KeptList) -> Mapping[str, Check]:
    async def database() -> str:
        await store.ping()
        return "ok"

    async def revocation_list() -> str:
        return revocations.state().status

    return {"database": database, "revocation_list": revocation_list}


@contextlib.asynccontextmanager
async def _signer(settings: Settings, parts: Parts) -> AsyncIterator[AccessTokenSigner]:
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

    signer = AccessTokenSigner(await keyring(), issuing, utc_now)

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
async def _usage(parts: Parts) -> AsyncIterator[Usage]:
    usage = Usage(parts.store, utc_now)
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


def create_app(settings: Settings) -> Starlette:
    """The ASGI application. Its lifespan opens the stores and closes them."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with open_service(settings) as service:
            app.state.service = service
            app.router.routes[:] = routes(service.surface)
            yield

    answers = ErrorAnswers(oauth_paths(settings.base_path))
    app = Starlette(
        lifespan=lifespan,
        exception_handlers=dict(answers.handlers),
        middleware=[
            Middleware(
                RequestFrame,
                access_log=settings.access_log,
                max_in_flight=settings.max_in_flight,
                unavailable=answers.unavailable,
            )
        ],
    )
    app.router.redirect_slashes = False
    return app


def from_environment() -> Starlette:
    """The application of a worker process: settings and logging from the environment."""
    settings = load_settings()
    logs.configure(level=settings.log_level, form=settings.log_format)
    return create_app(settings)
