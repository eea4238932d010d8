"""Settings in, an ASGI application out.

`open_parts` opens what the command line needs (store and key format), `open_service` all that
answering requests needs; `wiring` puts it together.
"""

import contextlib
import gc
import os
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from starlette.applications import Starlette

from . import logs, storage
from .console.console import fault_page
from .http.addresses import Addresses
from .http.cors import Calls, Preflights
from .http.errors import ErrorAnswers
from .http.middleware import RequestFrame
from .http.routes import Surface, Table, oauth_paths
from .http.stopping import Stopping
from .parts import (
    Parts,
    open_memory,
    open_parts,
    open_signer,
    open_throttling,
    open_usage,
    open_webhooks,
)
from .revocation import open_revocation_list
from .running import Running
from .services.continuity import continuity
from .services.counts import Counts
from .services.entrance import Entrance
from .services.housekeeping import housekeeping
from .services.usage import Usage
from .settings import Settings, load_settings
from .telemetry.reading import READINGS, Reading, Sources, read
from .tokens.passwords import Argon2Passwords
from .wiring import wire


@dataclass(frozen=True, slots=True)
class Service:
    """A service at work: its routes' surface, and the parts that tests look into."""

    surface: Surface
    parts: Parts
    usage: Usage
    sources: Sources
    entrance: Entrance


#: Looks at a service while it works.
Observer = Callable[[Sources], contextlib.AbstractAsyncContextManager[None]]


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
    settings: Settings, stopping: Stopping | None = None, counts: Counts | None = None
) -> AsyncIterator[Service]:
    """Opens everything, and runs what runs beside the requests."""
    counts = counts or Counts()
    redis_url = settings.redis_url.get_secret_value() if settings.redis_url else None
    async with contextlib.AsyncExitStack() as stack:
        parts = await stack.enter_async_context(open_parts(settings))
        audit_kept = timedelta(days=settings.audit_kept)
        history = await stack.enter_async_context(
            continuity(parts.store, open_memory(settings), audit_kept)
        )
        revocations = await stack.enter_async_context(
            open_revocation_list(
                parts.store,
                redis_url=redis_url,
                redis_timeout=settings.redis_timeout,
                allow_eviction=settings.redis_allow_eviction,
                counts=counts,
            )
        )
        signer, keyring = await stack.enter_async_context(open_signer(settings, parts, utc_now))
        revocations.listen(keyring.heard)
        usage = await stack.enter_async_context(open_usage(parts, utc_now))
        await stack.enter_async_context(housekeeping(parts.store, audit_kept))
        webhooks = await stack.enter_async_context(open_webhooks(settings, parts, utc_now))
        throttling = await stack.enter_async_context(open_throttling(settings, usage))
        passwords = Argon2Passwords()
        stack.callback(passwords.close)
        running = Running(
            settings,
            parts,
            revocations,
            signer,
            keyring,
            usage,
            throttling,
            passwords,
            stopping or Stopping(),
            utc_now,
            counts,
            webhooks,
            history,
        )
        wired = wire(running)
        sources = Sources(
            counts,
            wired.keys,
            usage,
            revocations,
            keyring,
            wired.followers,
            parts.pools,
            settings.signing_key_max_age,
        )
        yield Service(wired.surface, parts, usage, sources, wired.entrance)


def create_app(
    settings: Settings, stopping: Stopping | None = None, observer: Observer | None = None
) -> Starlette:
    """The ASGI application. Its lifespan opens the stores and closes them.

    `stopping` is in its lifespan state, for the server that runs it. `observer` is at work as long
    as the service is.
    """
    counts = Counts()
    ending = stopping or Stopping(settings.shutdown_drain)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[dict[str, object]]:
        async with contextlib.AsyncExitStack() as stack:
            service = await stack.enter_async_context(open_service(settings, ending, counts))
            if settings.otlp_endpoint:
                from .telemetry.tracing import tracing

                opened = tracing(settings.otlp_endpoint, settings.trace_ratio)
                frame.tracer = await stack.enter_async_context(opened)
            if observer is not None:
                sources = replace(service.sources, in_flight=lambda: frame.in_flight)
                await stack.enter_async_context(observer(sources))
            app.state.service = service
            table.serve(service.surface)
            yield {"stopping": ending}

    app = Starlette(lifespan=lifespan)
    app.router.redirect_slashes = False
    table = Table(app.router)
    origins, base_path = settings.cors_origins, settings.base_path
    app.middleware_stack = frame = RequestFrame(
        Preflights(table, origins, base_path) if origins else table,
        access_log=settings.access_log,
        max_in_flight=settings.max_in_flight,
        answers=ErrorAnswers(oauth_paths(settings.base_path), fault_page),
        stopping=ending,
        counts=counts,
        https=settings.public_url.startswith("https:"),
        from_proxy=Addresses(settings.trusted_proxies).from_proxy,
    )
    if origins:
        app.middleware_stack = Calls(frame, origins, base_path)
    return app


def metrics_on(listener: socket.socket) -> Observer:
    """Serves the metrics of one process on a socket that listens."""

    def observer(sources: Sources) -> contextlib.AbstractAsyncContextManager[None]:
        from .telemetry.door import served

        async def now() -> Reading:
            return read(sources)

        return served(listener, now)

    return observer


def _left_in(directory: Path) -> Observer:
    """Leaves the metrics of one worker for who adds them up."""

    def observer(sources: Sources) -> contextlib.AbstractAsyncContextManager[None]:
        from .telemetry.workers import told

        return told(directory, partial(read, sources))

    return observer


def from_environment(observer: Observer | None = None) -> Starlette:
    """The application of a worker process: settings and logging from the environment."""
    settings = load_settings()
    logs.configure(level=settings.log_level, form=settings.log_format)
    if readings := os.environ.get(READINGS):
        observer = _left_in(Path(readings))
    app = create_app(settings, observer=observer)
    gc.freeze()  # the modules stay: no collection need look through them
    # Nearly all that a request makes ends with it, without the collector.
    gc.set_threshold(10_000, 20, 50)
    return app
