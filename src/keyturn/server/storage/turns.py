"""Places that few have at once, and lines of those who wait: one line a tenant, served in turn.

With one line for all, a tenant that sends two hundred requests at once would have everybody else
wait for all of them. Here who sends one waits for the others' next one each.
"""

import asyncio
from collections import OrderedDict, deque

from ..domain.errors import Unavailable
from ..services.ports.observing import PoolUse
from ..services.ports.turns import group

_Line = deque["asyncio.Future[None]"]


class Turns:
    """At most `use.size` places. Who waits does so for `wait` seconds, with at most `most` others
    of its group; more of them are Unavailable, and nobody else is.
    """

    def __init__(self, use: PoolUse, *, wait: float, most: int) -> None:
        """`use` says how many places there are and of what, and is told how they are used."""
        #: How they are used.
        self.use = use
        self._free = use.size
        self._wait = wait
        self._most = most
        # The first group is the next one to be served.
        self._lines: OrderedDict[str, _Line] = OrderedDict()

    async def take(self) -> None:
        """A place, to be given back. Raises Unavailable."""
        if self._free:  # then nobody waits
            self._free -= 1
        else:
            with self.use.wait():
                await self._turn()
        self.use.in_use += 1

    async def _turn(self) -> None:
        name = group.get()
        line = self._lines.get(name)
        if line is None:
            line = self._lines[name] = deque()
        elif len(line) >= self._most:
            raise Unavailable(f"too many of one tenant wait for a connection for {self.use.kind}")
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line.append(turn)
        try:
            async with asyncio.timeout(self._wait):
                await turn
        except BaseException as error:
            self._leave(name, turn)
            if isinstance(error, TimeoutError):
                raise Unavailable(
                    f"no connection for {self.use.kind} became free in time"
                ) from None
            raise

    def give_back(self) -> None:
        """A place that was taken."""
        self.use.in_use -= 1
        self._pass_on()

    def _pass_on(self) -> None:
        """To who is next: the first one of the group whose turn it is."""
        while self._lines:
            name, line = self._lines.popitem(last=False)
            turn = line.popleft()
            if line:
                self._lines[name] = line  # behind all others
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def _leave(self, name: str, turn: "asyncio.Future[None]") -> None:
        """Of who waits no more. One whose turn came in the same moment passes it on."""
        if turn.done() and not turn.cancelled():
            self._pass_on()
            return
        line = self._lines.get(name)
        if line is not None and turn in line:
            line.remove(turn)
            if not line:
                del self._lines[name]
