"""Settings in, an ASGI application out.

`open_parts` opens what the command line needs (store and key format), `open_service` all that
answering requests needs; `wiring` puts it together.
"""

import contextlib
import gc
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime

from starlette.applications import Starlette

from . import logs, storage
from .http.errors import ErrorAnswers
from .http.middleware import RequestFrame
from .http.routes import Surface, Table, oauth_paths
from .http.stopping import Stopping
from .parts import Parts, open_parts, open_signer, open_usage
from .revocation import open_revocation_list
from .services.housekeeping import housekeeping
from .services.usage import Usage
from .settings import Settings, load_settings
from .tokens.passwords import Argon2Passwords
from .wiring import Running, wire


@dataclass(frozen=True, slots=True)
class Service:
    """A service at work: its routes' surface, and the parts that tests look into."""

    surface: Surface
    parts: Parts
    usage: Usage


def utc_now() -> datetime:
    """This process's time."""
    return datetime.now(UTC)


async def migrate(settings: Settings) -> str | None:
    """Brings the database's schema to this release. Safe to run twice, and at once.

    Gives the revision that it had; None when it had none.
    """
    return await storage.migrate(settings.database_url.get_secret_value())


@contextlib.asynccontextmanager
async def open_service(
    settings: Settings, stopping: Stopping | None = None
) -> AsyncIterator[Service]:
    """Opens everything, and runs what runs beside the requests."""
    redis_url = settings.redis_url.get_secret_value() if settings.redis_url else None
    async with contextlib.AsyncExitStack() as stack:
        parts = await stack.enter_async_context(open_parts(settings))
        revocations = await stack.enter_async_context(
            open_revocation_list(
                parts.store,
                redis_url=redis_url,
                redis_timeout=settings.redis_timeout,
                allow_eviction=settings.redis_allow_eviction,
            )
        )
        signer, keyring = await stack.enter_async_context(open_signer(settings, parts, utc_now))
        revocations.listen(keyring.heard)
        usage = await stack.enter_async_context(open_usage(parts, utc_now))
        await stack.enter_async_context(housekeeping(parts.store))
        passwords = Argon2Passwords()
        stack.callback(passwords.close)
        running = Running(
            settings,
            parts,
            revocations,
            signer,
            keyring,
            usage,
            passwords,
            stopping or Stopping(),
            utc_now,
        )
        yield Service(wire(running), parts, usage)


def create_app(settings: Settings, stopping: Stopping | None = None) -> Starlette:
    """The ASGI application. Its lifespan opens the stores and closes them.

    `stopping` is in its lifespan state, for the server that runs it.
    """
    ending = stopping or Stopping(settings.shutdown_drain)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[dict[str, object]]:
        async with open_service(settings, ending) as service:
            app.state.service = service
            table.serve(service.surface)
            yield {"stopping": ending}

    app = Starlette(lifespan=lifespan)
    app.router.redirect_slashes = False
    table = Table(app.router)
    app.middleware_stack = RequestFrame(
        table,
        access_log=settings.access_log,
        max_in_flight=settings.max_in_flight,
        answers=ErrorAnswers(oauth_paths(settings.base_path)),
        stopping=ending,
    )
    return app


def from_environment() -> Starlette:
    """The application of a worker process: settings and logging from the environment."""
    settings = load_settings()
    logs.configure(level=settings.log_level, form=settings.log_format)
    app = create_app(settings)
    gc.freeze()  # the modules stay: no collection need look through them
    # Nearly all that a request makes ends with it, without the collector.
    gc.set_threshold(10_000, 20, 50)
    return app
