"""A server process of the bench: `python -m tests.bench.serve bare|service FD CORE`.

It listens on the socket it inherits, with the options of `keyturn serve`, pinned to one core
(`-` for none). It ends when its stdin does, so that it never outlives the bench.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading

from tests.bench.machine import pin

APPS = {
    "bare": "tests.bench.bare:create_app",
    "service": "keyturn.server.app:from_environment",
}


def main(which: str, fd: str, core: str) -> None:
    """Serves until SIGTERM, or the end of stdin."""
    pin(None if core == "-" else int(core))

    import uvicorn

    from keyturn.cli.serve import uvicorn_options
    from keyturn.server.settings import load_settings

    threading.Thread(target=_end_with_the_bench, daemon=True).start()
    options = uvicorn_options(load_settings(require=()))
    options |= {"loop": "uvloop", "timeout_graceful_shutdown": 3}
    config = uvicorn.Config(APPS[which], factory=True, **options)
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=int(fd))])


def _end_with_the_bench() -> None:
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main(*sys.argv[1:])
