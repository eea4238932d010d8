"""A TCP proxy that stands between one node and one store, and breaks what goes through it.

It runs in a thread of its own. A store that is broken through it is away for that node only.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Coroutine
from typing import Any

from tests.servers import free_port


class CommitCut:
    """Breaks one connection at the COMMIT of the one transaction that names `needle`.

    `arrives`: whether PostgreSQL gets the COMMIT; its answer never comes through either way.
    `silent`: the connection stays open and nothing comes any more, instead of a reset.
    `done` is set when it happened.
    """

    def __init__(self, needle: bytes, *, arrives: bool, silent: bool) -> None:
        self.needle = needle
        self.arrives = arrives
        self.silent = silent
        self.done = threading.Event()
        self.target: _Connection | None = None


class Proxy:
    """One port that leads to `target`, as long as nothing else is asked of it."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = free_port()
        #: Connections it was asked for since its start.
        self.accepted = 0
        self._cut: CommitCut | None = None
        self._connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._flowing = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.mend()

    def mend(self) -> None:
        """Everything goes through again; what was held back goes through now."""
        self._do(self._mend())

    def freeze(self) -> None:
        """Nothing goes through, nothing is closed: like a cable that was pulled."""
        self._do(self._freeze())

    def refuse(self) -> None:
        """Resets what is there and refuses what comes."""
        self._do(self._refuse())

    def reset(self) -> None:
        """Resets what is there; what comes goes through."""
        self._do(self._reset())

    def cut_at_commit(self, needle: bytes, *, arrives: bool, silent: bool = False) -> CommitCut:
        """Waits for the COMMIT of the next transaction that sends `needle`; see `CommitCut`.

        A statement that sends it outside of a transaction is one of its own.
        """
        cut = self._cut = CommitCut(needle, arrives=arrives, silent=silent)
        return cut

    def close(self) -> None:
        """Ends it."""
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # --- in the thread -----------------------------------------------------------------------

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _mend(self) -> None:
        self._cut = None
        self._flowing.set()
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    async def _freeze(self) -> None:
        self._flowing.clear()

    async def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        await self._reset()

    async def _reset(self) -> None:
        for connection in list(self._connections):
            connection.reset()

    async def _end(self) -> None:
        await self._refuse()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        connection = _Connection(reader, writer)
        self._connections.add(connection)
        try:
            await self._flowing.wait()
            await connection.dial(self.target)
            await asyncio.gather(self._forth(connection), self._back(connection))
        except OSError:
            pass
        finally:
            connection.reset()
            self._connections.discard(connection)

    async def _forth(self, connection: _Connection) -> None:
        """From the node to the store."""
        named = begun = False
        while data := await connection.from_node():
            cut = self._cut
            begun = b"BEGIN" in data or (begun and not _ENDS.search(data))
            if cut is not None and cut.target in {None, connection}:
                # A new transaction names it anew.
                named = cut.needle in data or (named and b"BEGIN" not in data)
                # A statement outside of any commits by itself.
                if named and (b"COMMIT" in data or not begun):
                    cut.target = connection
                    if not cut.arrives:
                        self._strike(cut, connection)
                        continue
            await self._flowing.wait()
            await connection.to_store(data)
        connection.reset()

    async def _back(self, connection: _Connection) -> None:
        """From the store to the node."""
        while data := await connection.from_store():
            cut = self._cut
            if cut is not None and cut.target is connection:
                # The answer to the COMMIT: it has happened.
                self._strike(cut, connection)
                continue
            await self._flowing.wait()
            await connection.to_node(data)
        connection.reset()

    @staticmethod
    def _strike(cut: CommitCut, connection: _Connection) -> None:
        if not cut.silent:
            connection.reset()
        cut.done.set()


#: What ends a transaction.
_ENDS = re.compile(b"COMMIT|ROLLBACK")


class _Connection:
    """One connection of a node, and the one to the store that it leads to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._node = (reader, writer)
        self._store: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def dial(self, port: int) -> None:
        self._store = await asyncio.open_connection("127.0.0.1", port)

    async def from_node(self) -> bytes:
        return await self._node[0].read(65_536)

    async def from_store(self) -> bytes:
        assert self._store is not None
        return await self._store[0].read(65_536)

    async def to_node(self, data: bytes) -> None:
        self._node[1].write(data)
        await self._node[1].drain()

    async def to_store(self, data: bytes) -> None:
        assert self._store is not None
        self._store[1].write(data)
        await self._store[1].drain()

    def reset(self) -> None:
        """Ends both sides at once, with what is on its way."""
        for pair in (self._node, self._store):
            if pair is not None:
                pair[1].transport.abort()
