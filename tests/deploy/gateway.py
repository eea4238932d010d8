"""nginx with the configuration that deploy/nginx/ ships: only ports and files are other ones."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.live_server import eventually
from tests.servers import die_with_parent, end_process

SHIPPED = Path(__file__).parents[2] / "deploy" / "nginx"
#: In the order in which they are included.
FILES = ("upstreams.conf", "proxy.conf", "keyturn.conf")
START_SECONDS = 20.0

# What a distribution's nginx.conf would say, with everything it writes in one directory.
_MAIN = """\
worker_processes 2;
daemon off;
pid {prefix}/nginx.pid;
error_log {prefix}/error.log info;
{user}
events {{ worker_connections 256; }}
http {{
    access_log {prefix}/access.log;
    client_body_temp_path {prefix}/body;
    proxy_temp_path {prefix}/proxy;
    fastcgi_temp_path {prefix}/fastcgi;
    uwsgi_temp_path {prefix}/uwsgi;
    scgi_temp_path {prefix}/scgi;
    {includes}
}}
"""


def nginx() -> str | None:
    """The program, if this machine has one; it may stand where users do not look."""
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def certificate(directory: Path, name: str) -> tuple[Path, Path]:
    """A certificate for `name` that signed itself, and its key."""
    made = directory / "keyturn.crt", directory / "keyturn.key"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", f"/CN={name}"),
            *("-addext", f"subjectAltName=DNS:{name},IP:127.0.0.1"),
            *("-out", made[0], "-keyout", made[1]),
        ],
        check=True,
        capture_output=True,
        timeout=60,
    )
    return made


def arrange(prefix: Path, changes: Mapping[str, str]) -> Path:
    """The shipped files with `changes` in `prefix`, and a main file around them.

    Each change must be of something that stands in them: else they have moved on.
    """
    left = set(changes)
    for name in FILES:
        text = (SHIPPED / name).read_text()
        for old, new in changes.items():
            if old in text:
                left.discard(old)
                text = text.replace(old, new)
        (prefix / name).write_text(text)
    assert not left
    main = prefix / "nginx.conf"
    includes = "\n    ".join(f"include {prefix / name};" for name in FILES)
    user = "user root;" if os.geteuid() == 0 else ""
    main.write_text(_MAIN.format(prefix=prefix, includes=includes, user=user))
    return main


@contextmanager
def running_nginx(main: Path) -> Iterator[None]:
    """nginx, once it has been found whole and has begun to listen."""
    program = nginx()
    assert program is not None
    prefix = main.parent
    command = [program, "-p", str(prefix), "-e", str(prefix / "error.log"), "-c", str(main)]
    tried = subprocess.run(
        [*command, "-t"], check=False, capture_output=True, text=True, timeout=60
    )
    assert tried.returncode == 0, tried.stderr
    assert "warn" not in tried.stderr, tried.stderr
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=die_with_parent(signal.SIGTERM),  # noqa: PLW1509
    )
    try:
        # It is written once nginx listens; the trial has left it empty.
        eventually(lambda: (prefix / "nginx.pid").stat().st_size > 0, START_SECONDS)
        yield
    finally:
        end_process(process, signal.SIGTERM)
