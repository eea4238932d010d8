"""`keyturn dev`: a running token service with a demo, from nothing."""

import json
import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import curl
from .datadir import Credentials, DataDir, opened
from .problems import reported
from .serve import (
    exit_cleanly_on_sigterm,
    listen,
    load_service,
    metrics_listener,
    need_tracing,
    uvicorn_options,
)
from .store import settings_of

if TYPE_CHECKING:
    from ..server.settings import Settings

#: Below the current directory, so that each project has its own, and nothing needs root.
DEFAULT_DATA_DIR = Path(".keyturn-dev")


def dev(
    port: Annotated[
        int, typer.Option(help="TCP port; 0 picks a free one.", min=0, max=65535)
    ] = 8080,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    data_dir: Annotated[
        Path, typer.Option(help="Where database, master secret and demo.json are kept.")
    ] = DEFAULT_DATA_DIR,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON line on stdout when ready.")
    ] = False,
) -> None:
    """Start a token service with a demo tenant and a real API key, and print how to try it.

    Needs nothing: SQLite and everything else is in the data directory, and a second start shows
    the same keys. They stand in demo.json there, readable by you alone; only dev does that.
    KEYTURN_ settings apply, except for where it listens and what it stores.

    \b
    Examples:
      keyturn dev
      keyturn dev --port 9000 --data-dir /tmp/try-keyturn
      keyturn dev --port 0 --json | head -1
    """  # noqa: D301 - \b keeps the examples' lines
    with reported():
        exit_cleanly_on_sigterm()
        try:
            # First of all: nothing is made for a service that cannot start.
            listener = listen(host, port, hint="another keyturn dev? choose another --port")
            with listener, opened(data_dir) as data:
                _run(host, listener, data, as_json=as_json)
        except KeyboardInterrupt:  # Ctrl-C is how it is meant to end
            return


def _run(host: str, listener: socket.socket, data: DataDir, *, as_json: bool) -> None:
    import asyncio

    load_service()
    from ..server import logs

    settings = _settings(host, listener.getsockname()[1], data)
    logs.configure(
        level=settings.log_level,
        form=settings.log_format,
        # What is told below says it better.
        pins={"uvicorn.error": logging.WARNING},
    )
    credentials, new = asyncio.run(_prepare(settings, data))
    tell = _tell_json if as_json else _tell_people
    need_tracing(settings)
    from ..server.storage import held

    with held(data.database_url), metrics_listener(settings) as metrics:
        _serve(settings, listener, metrics, lambda: tell(settings, credentials, data, new))


async def _prepare(settings: "Settings", data: DataDir) -> tuple[Credentials, bool]:
    from ..server.app import migrate
    from .demo import made_or_found

    await migrate(settings)
    return await made_or_found(settings, data)


def _settings(host: str, port: int, data: DataDir) -> "Settings":
    reached = "127.0.0.1" if host in ("0.0.0.0", "::", "") else host  # noqa: S104 - compared
    url = f"http://[{reached}]:{port}" if ":" in reached else f"http://{reached}:{port}"
    return settings_of(
        None,
        defaults={
            "log_format": "console",
            # Two of them are to start on one machine.
            "metrics_port": 0,
            # For `keyturn bench` to show what it can.
            "limit_exchanges_per_key": "",
            "limit_exchanges_per_tenant": "",
        },
        host=host,
        port=port,
        public_url=url,
        issuer=url,
        allow_http=True,
        workers=1,
        shutdown_drain=0,  # there is no balancer to notice
        tls_cert_file=None,
        tls_key_file=None,
        database_url=data.database_url,
        redis_url=None,
        master_secret=data.master_secret(),
        previous_master_secrets=(),
    )


def _serve(
    settings: "Settings",
    listener: socket.socket,
    metrics: socket.socket | None,
    announce: Callable[[], None],
) -> None:
    """Serves until SIGINT or SIGTERM. `announce` is called once connections are accepted."""
    import uvicorn

    from ..server.app import create_app, metrics_on
    from ..server.http.serving import StoppingServer

    class Server(StoppingServer):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started and not self.should_exit:
                announce()

    observer = metrics_on(metrics) if metrics else None
    app = create_app(settings, observer=observer)
    config = uvicorn.Config(app, **uvicorn_options(settings))
    Server(config).run(sockets=[listener])


def _tell_json(settings: "Settings", made: Credentials, data: DataDir, _new: bool) -> None:
    line = {
        "issuer": settings.issuer,
        "token_endpoint": f"{settings.base_url}/auth/token",
        "tenants": [{"id": tenant.id, "name": tenant.name} for tenant in made.tenants],
        "username": made.username,
        "api_key": made.api_key,
        "admin_username": made.admin_username,
        "admin_api_key": made.admin_api_key,
        "console": _console(settings),
        "admin_password": made.admin_password,
        "member_username": made.member_username,
        "member_password": made.member_password,
        "data_dir": str(data.path),
    }
    print(json.dumps(line), flush=True)


def _tell_people(settings: "Settings", made: Credentials, data: DataDir, new: bool) -> None:
    _say(f"\nKeyturn is running at {settings.base_url}", bold=True, fg="green")
    state = "made just now" if new else "as before"
    _say(f"Data in {data.path} ({state}; remove it to start afresh)\n")
    for tenant in made.tenants:
        _say(f"  {_dim('tenant')}         {tenant.name}  {tenant.id}")
    for title, username, key in (
        ("service user", made.username, made.api_key),
        ("administrator", made.admin_username, made.admin_api_key),
    ):
        _say(f"  {_dim(f'{title:<14}')} {username}")
        _say(f"  {_dim('  its API key')}  {key}")
    if made.admin_password:
        _say(f"\n  {_dim('Console')}        {_console(settings)}")
        for title, username, password in (
            ("administrator", made.admin_username, made.admin_password),
            ("member", made.member_username, made.member_password),
        ):
            _say(f"  {_dim(f'  {title:<13}')} {username}  {password}")
    _say(f"\n{typer.style('Try it', bold=True)} (paste into bash):\n")
    commands = curl.lines(settings.base_url, settings.issuer, made)
    for what, command in [*commands, *curl.management(settings.base_url, made)]:
        if what:
            _say(_dim(f"# {what}"))
        _say(command)
    _say(_dim("\nCtrl-C stops it."))


def _console(settings: "Settings") -> str:
    """Where people sign in."""
    return f"{settings.public_url}/console"


def _dim(text: str) -> str:
    return typer.style(text, dim=True)


def _say(text: str, **style: Any) -> None:
    """One line to stdout, to the letter. In colours on a terminal, unless NO_COLOR is set."""
    # Rich would cost a tenth of a second, which is a tenth of the start.
    typer.echo(typer.style(text, **style), color=False if os.environ.get("NO_COLOR") else None)
