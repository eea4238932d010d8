"""uvicorn, made to stop behind a load balancer without anybody noticing.

By itself it closes idle connections unannounced, closes those on which the first request is still
to come, and resets those that wait to be accepted.
"""

import asyncio
import contextlib
import math
import signal
import socket
import sys
import time
from collections.abc import Sequence
from types import FrameType

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess, multiprocess

from .stopping import Stopping
from .tls import RENEWED_WITHIN, Certificates

#: Seconds for what was accepted last: to be connections (with TLS), and to be read from.
_ACCEPT_WAIT = 1.0
_READ_WAIT = 0.02
#: Ticks between two looks at the files of a certificate.
_TICKS = 10 * RENEWED_WITHIN


class StoppingServer(uvicorn.Server):
    """Goes on accepting connections for a while after SIGTERM, then ends them one by one.

    How long, and who is to know of it, is the `Stopping` in the application's lifespan state. A
    second signal, and SIGINT, end the wait.
    """

    _drained = math.inf

    @property
    def _stopping(self) -> Stopping:
        stopping: Stopping = self.lifespan.state["stopping"]
        return stopping

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called by the signal, between any two instructions: it only leaves word."""
        waits = sig == signal.SIGTERM and self.started and not self._stopping.begun
        if waits and self._stopping.drain:
            self._drained = time.monotonic() + self._stopping.drain
            self._stopping.begun = True
        else:
            super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second: whether to stop."""
        if time.monotonic() >= self._drained:
            self.should_exit = True
        if counter % _TICKS == 0 and isinstance(self.config.ssl, Certificates):
            self.config.ssl.renew()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Closes the listeners and all that is idle, and waits for what is not."""
        self._stopping.begun = True
        await self._serve_accepted(self._close_listeners())
        # Requests that are here are read before their connections look idle.
        await asyncio.sleep(_READ_WAIT)
        await super().shutdown(sockets)

    def _close_listeners(self) -> list[socket.socket]:
        """Gives the connections that were waiting there: the kernel would reset them."""
        accepted = []
        listeners = [sock.dup() for server in self.servers for sock in server.sockets]
        for server in self.servers:
            server.close()
        for listener in listeners:
            with listener:
                listener.setblocking(False)
                while True:
                    try:
                        accepted.append(listener.accept()[0])
                    except ConnectionAbortedError:
                        continue
                    except OSError:
                        break
        return accepted

    async def _serve_accepted(self, accepted: Sequence[socket.socket]) -> None:
        loop, config = asyncio.get_running_loop(), self.config

        def protocol() -> asyncio.Protocol:
            return config.http_protocol_class(  # type: ignore[call-arg]
                config=config, server_state=self.server_state, app_state=self.lifespan.state
            )

        made = [loop.connect_accepted_socket(protocol, sock, ssl=config.ssl) for sock in accepted]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_ACCEPT_WAIT):
                await asyncio.gather(*made, return_exceptions=True)


class _Worker(multiprocess.Process):
    @property
    def server(self) -> uvicorn.Server:
        if self._server is None:
            self._server = StoppingServer(self.config)
        return self._server

    def always_pong(self) -> None:
        # The supervisor hangs up when it has told the workers to stop.
        with contextlib.suppress(EOFError, OSError):
            super().always_pong()


class _Workers(Multiprocess):
    """Passes on that nobody wants to wait, and leaves the listener to the workers."""

    _at_once = False

    def handle_int(self) -> None:
        self._at_once = True
        super().handle_int()

    def handle_term(self) -> None:
        self._at_once |= self.should_exit.is_set()
        super().handle_term()

    def terminate_all(self) -> None:
        # Else the last one that holds it would be this process, which accepts nothing.
        for sock in self.sockets:
            sock.close()
        super().terminate_all()

    def join_all(self) -> None:
        while running := [worker for worker in self.processes if worker.process.is_alive()]:
            self._at_once |= not {signal.SIGINT, signal.SIGTERM}.isdisjoint(self.signal_queue)
            if self._at_once:
                for worker in running:
                    # More than once: two that come together are one.
                    worker.process.terminate()
            time.sleep(0.1)
        super().join_all()


def run(config: uvicorn.Config) -> None:
    """Serves until a signal, in this process or in `config.workers`, as uvicorn.run does."""
    if config.workers > 1:
        # It has no other way to choose what runs in a worker.
        multiprocess.Process = _Worker  # type: ignore[misc]
        _Workers(config, [config.bind_socket()]).run()
        return
    server = StoppingServer(config)
    with contextlib.suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        sys.exit(STARTUP_FAILURE)
