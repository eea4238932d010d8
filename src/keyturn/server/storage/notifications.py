"""Word of other nodes' revocations, by PostgreSQL's NOTIFY: a hint that it is time to read.

The tail (`revocations.py`) is what delivers them, twice a second whatever happens here. So this may
fail silently: behind a pooler that hands connections around nothing is ever heard, and an engine
that knows no LISTEN is not told anything either.
"""

import asyncio
import logging
from collections.abc import Callable

from ..domain.errors import Unavailable
from .engine import connect_postgres
from .faults import translated
from .urls import PostgresServer

logger = logging.getLogger(__name__)

CHANNEL = "keyturn_revocations"
#: Pauses between attempts to listen (seconds).
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
#: How often a connection on which nothing is heard is tried (seconds): nobody else would notice.
TRIED_EVERY = 15.0


class Notifications:
    """Listens on a connection of its own, as long as `listen` runs."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        #: Whether this database can do it, as far as is known: who writes tells others then.
        self.works = False
        self._heard: Callable[[], None] = _nobody

    async def listen(self, heard: Callable[[], None]) -> None:
        """Calls `heard` whenever a node has revoked something. Ends by cancellation only."""
        self._heard = heard
        pause = FIRST_PAUSE
        while True:
            try:
                await self._listen()
                pause = FIRST_PAUSE
            except Exception as error:  # noqa: BLE001 - a listener that ends hears nothing again
                why = error.detail if isinstance(error, Unavailable) else type(error).__name__
                logger.info("revocations of other nodes are heard of by the tail only: %s", why)
            self.works = False
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _listen(self) -> None:
        connection = await connect_postgres(self._server)
        try:
            lost = asyncio.Event()
            connection.add_termination_listener(lambda _: lost.set())
            with translated():
                await connection.add_listener(CHANNEL, self._told)
            self.works = True
            # What was committed while nobody listened.
            self._heard()
            while not lost.is_set():
                try:
                    async with asyncio.timeout(TRIED_EVERY):
                        await lost.wait()
                except TimeoutError:
                    with translated():
                        await connection.execute("SELECT 1")
        finally:
            connection.terminate()

    def _told(self, *_: object) -> None:
        self._heard()


def _nobody() -> None:
    """Nobody listens yet."""
