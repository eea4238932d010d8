"""A server process of the bench: `python -m tests.bench.serve bare|service FD CORE`.

It listens on the socket it inherits, with the options of `keyturn serve` and as many workers as
KEYTURN_WORKERS says, pinned to one core (`-` for none). It ends when its stdin does, so that it
never outlives the bench.
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
    from uvicorn.supervisors import Multiprocess

    from keyturn.cli.serve import uvicorn_options
    from keyturn.server.settings import load_settings

    threading.Thread(target=_end_with_the_bench, daemon=True).start()
    settings = load_settings(require=())
    options = uvicorn_options(settings)
    options |= {"loop": "uvloop", "timeout_graceful_shutdown": 3}
    config = uvicorn.Config(APPS[which], factory=True, workers=settings.workers, **options)
    sockets = [socket.socket(fileno=int(fd))]
    if settings.workers > 1:
        Multiprocess(config, sockets).run()
    else:
        uvicorn.Server(config).run(sockets=sockets)


def _end_with_the_bench() -> None:
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main(*sys.argv[1:])
