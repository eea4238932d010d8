"""`keyturn serve`: the service, as it runs in production."""

import contextlib
import gc
import importlib
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .problems import Problem, reported
from .store import ConfigOption, settings_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from ssl import SSLContext

    from ..server.settings import Settings

_APP = "keyturn.server.app"


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="TCP port to listen on.")] = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes (PostgreSQL).")] = None,
    config: ConfigOption = None,
) -> None:
    """Serve tokens until SIGTERM; then tell balancers, and let requests in flight finish.

    Everything is set by environment variables or a TOML file; `keyturn settings` shows what is
    in force. Options beat both.

    \b
    Examples:
      keyturn serve
      keyturn serve --config /etc/keyturn.toml --workers 4
    """  # noqa: D301 - \b keeps the examples' lines
    with reported():
        # The workers are new processes: they learn of the options through the environment.
        given = {
            "host": host,
            "port": port,
            "workers": workers,
            "config": config.absolute() if config else None,
        }
        for name, value in given.items():
            if value is not None:
                os.environ[f"KEYTURN_{name.upper()}"] = str(value)

        import asyncio

        from ..server import logs
        from ..server.storage import held

        settings = settings_of(None)
        need_tracing(settings)
        if settings.workers == 1:  # else it is for the workers alone
            load_service()
        logs.configure(level=settings.log_level, form=settings.log_format)
        exit_cleanly_on_sigterm()
        listen(settings.host, settings.port, hint="set KEYTURN_PORT").close()
        database = settings.database_url.get_secret_value()
        with held(database), metrics_listener(settings) as metrics:
            asyncio.run(_check_stores(settings))
            allow_files(settings.max_connections)
            _run(settings, metrics)


def _run(settings: "Settings", metrics: socket.socket | None) -> None:
    import uvicorn

    from ..server.http import serving

    options = uvicorn_options(settings)
    if settings.workers > 1:
        config = uvicorn.Config(
            f"{_APP}:from_environment", factory=True, workers=settings.workers, **options
        )
        with _observed(metrics):
            serving.run(config)
        return
    from ..server.app import from_environment, metrics_on

    observer = metrics_on(metrics) if metrics else None
    serving.run(uvicorn.Config(partial(from_environment, observer), factory=True, **options))


@contextlib.contextmanager
def _observed(metrics: socket.socket | None) -> Iterator[None]:
    """Serves the metrics of the workers that are started inside."""
    if metrics is None:
        yield
        return
    from ..server.telemetry.reading import READINGS
    from ..server.telemetry.workers import served_aside

    with tempfile.TemporaryDirectory(prefix="keyturn-") as directory:  # for nobody else
        os.environ[READINGS] = directory
        with served_aside(metrics, Path(directory)):
            yield


async def _check_stores(settings: "Settings") -> None:
    """One line for a database that is away or not migrated, or a Redis that drops entries.

    uvicorn would show a traceback, and with several workers start them again for ever.
    """
    from ..server.domain.errors import Unavailable
    from ..server.parts import open_memory, open_parts
    from ..server.revocation import require_no_eviction
    from ..server.services.continuity import Continuity

    audit_kept = timedelta(days=settings.audit_kept)
    async with open_parts(settings) as parts:
        await parts.store.ping()
        if (memory := open_memory(settings)) is not None:
            with suppress(Unavailable):  # it is away: the nodes look again, later
                await Continuity(parts.store, memory, audit_kept).check()
    if settings.redis_url and not settings.redis_allow_eviction:
        url = settings.redis_url.get_secret_value()
        await require_no_eviction(url, timeout=settings.redis_timeout)


def load_service() -> None:
    """Imports all that serves.

    What a module makes stays: it is not looked through for garbage while it is made, which takes
    a tenth of the time, nor ever after, which would hold up requests.
    """
    gc.disable()
    try:
        for module in (_APP, "keyturn.server.http.protocol", "keyturn.server.http.serving"):
            importlib.import_module(module)
    finally:
        gc.freeze()
        gc.enable()


def uvicorn_options(settings: "Settings") -> dict[str, Any]:
    """How uvicorn is to serve: what it could do as well as we, we do (and log, and limit)."""
    from ..server.http.protocol import BoundedHttp

    return {
        "host": settings.host,
        "port": settings.port,
        "loop": "auto",  # uvloop where there is one
        "http": partial(BoundedHttp, max_connections=settings.max_connections),
        "ws": "none",
        "lifespan": "on",
        "ssl_context_factory": _tls(settings),
        "log_config": None,  # the root logger has our handler
        "access_log": False,
        "proxy_headers": False,  # `trusted_proxies` decides about X-Forwarded-For
        "server_header": False,
        "date_header": True,
        # No limit_concurrency: it counts idle connections, and answers 503 without Retry-After.
        "backlog": 2048,
        # Above the idle time of the usual load balancers (60 s), so that they close first.
        "timeout_keep_alive": 75,
        "timeout_graceful_shutdown": settings.shutdown_grace,
    }


def _tls(settings: "Settings") -> "Callable[..., SSLContext] | None":
    """How each process makes its TLS context; None without TLS. Raises Problem."""
    from ..server.http.tls import serving_context

    certificate, key = settings.tls_cert_file, settings.tls_key_file
    if certificate is None or key is None:
        return None
    make = partial(
        serving_context, certificate=certificate, key=key, minimum=settings.tls_min_version
    )
    try:
        make(None, None)
    except OSError as error:
        why = getattr(error, "reason", None) or error.strerror
        raise Problem(
            f"KEYTURN_TLS_CERT_FILE and KEYTURN_TLS_KEY_FILE are no certificate and its key: {why}"
        ) from None
    return make


def listen(host: str, port: int, *, hint: str) -> socket.socket:
    """A socket that listens there. Raises Problem when it cannot; `hint` says what to do."""
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family)
        try:
            if sys.platform != "win32":  # there it would let two processes share the port
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            # Only listening shows that nobody else does.
            listener.listen(2048)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise Problem(f"cannot listen on {host} port {port}: {error.strerror}; {hint}") from None
    return listener


def need_tracing(settings: "Settings") -> None:
    """Raises Problem when traces are asked for and what sends them is not installed."""
    from ..server.spans import can_trace

    if settings.otlp_endpoint and not can_trace():
        raise Problem(
            "KEYTURN_OTLP_ENDPOINT needs more: pip install 'keyturn[tracing]' (in a clone"
            " '.[tracing]')"
        )


def metrics_listener(
    settings: "Settings",
) -> contextlib.AbstractContextManager[socket.socket | None]:
    """What listens for who reads the metrics; None without a port. Raises Problem."""
    if not settings.metrics_port:
        return contextlib.nullcontext()
    hint = "set KEYTURN_METRICS_PORT (0: no metrics)"
    return listen(settings.metrics_host, settings.metrics_port, hint=hint)


def allow_files(connections: int) -> None:
    """Raises this process's limit on open files, as far as it may, to what so many need."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Beside connections of clients: those to the stores, files, and some to spare.
    wanted = connections + 1_536
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def exit_cleanly_on_sigterm() -> None:
    """Makes SIGTERM end this process with exit code 0.

    uvicorn stops gracefully and then raises the signal again, for whoever had it before.
    """

    def leave(_number: int, _frame: FrameType | None) -> None:
        sys.exit(0)

    signal.signal(signal.SIGTERM, leave)
