"""Many small questions at once, asked as few large ones.

One hundred requests that look for revocations while a query is under way cost one more query,
not one hundred: the load on the database or on Redis is bounded by the length of a query, and no
pool is drained. A question never joins a query that is already under way, so that an answer is
always younger than its question.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from .. import spans
from ..domain.errors import Unavailable

Item = TypeVar("Item")
Answer = TypeVar("Answer")

#: Most items in one large question.
ASKED_AT_ONCE = 1000
#: Most items that wait; further questions are refused at once.
MOST_WAITING = 50_000


class Gathering(Generic[Item, Answer]):
    """Asks `ask`, at most `at_once` times at once, and waits at most `patience` seconds.

    Whoever asks gets the answer to the large question its items were part of. Who stops waiting
    does not stop the question: the others still wait for it.
    """

    def __init__(
        self,
        ask: Callable[[Sequence[Item]], Awaitable[Answer]],
        *,
        at_once: int,
        patience: float,
        name: str,
    ) -> None:
        self._ask = ask
        self._at_once = at_once
        self._patience = patience
        self._name = name
        self._waiting: list[tuple[Sequence[Item], asyncio.Future[Answer]]] = []
        self._size = 0
        self._workers: set[asyncio.Task[None]] = set()

    async def __call__(self, items: Sequence[Item]) -> Answer:
        """The answer. Raises `Unavailable` when it does not come in time, and what `ask` raises."""
        if self._size + len(items) > MOST_WAITING:
            raise Unavailable(f"{self._name}: too many questions are waiting")
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((items, future))
        self._size += len(items)
        if len(self._workers) < self._at_once:
            self._workers.add(asyncio.create_task(self._work(), name=f"keyturn {self._name}"))
        try:
            async with asyncio.timeout(self._patience):
                return await future
        except TimeoutError as error:
            raise Unavailable(f"{self._name}: no answer in {self._patience} s") from error

    async def close(self) -> None:
        """Stops asking. Whoever still waits gets `Unavailable`."""
        await end(*self._workers)
        for _, future in self._waiting:
            if not future.done():
                future.set_exception(Unavailable(f"{self._name}: closing"))
        self._waiting.clear()

    async def _work(self) -> None:
        # It works for all who ask, not for the one who was first.
        spans.current.set(None)
        try:
            while self._waiting:
                items, futures = self._take()
                if futures:
                    await self._answer(items, futures)
        finally:
            # In the same step as the last look at `_waiting`, or a question could come between.
            self._workers.discard(asyncio.current_task())

    async def _answer(
        self, items: Sequence[Item], futures: Sequence[asyncio.Future[Answer]]
    ) -> None:
        try:
            answer = await self._ask(items)
        except asyncio.CancelledError:
            _fail(futures, Unavailable(f"{self._name}: closing"))
            raise
        except Exception as error:  # noqa: BLE001 - whoever asked gets it
            _fail(futures, error)
        else:
            for future in futures:
                if not future.done():
                    future.set_result(answer)

    def _take(self) -> tuple[Sequence[Item], list[asyncio.Future[Answer]]]:
        """The next large question. Who has stopped waiting is not asked for any more."""
        taken: dict[Item, None] = {}
        futures: list[asyncio.Future[Answer]] = []
        count = 0
        for items, future in self._waiting:
            if futures and len(taken) + len(items) > ASKED_AT_ONCE:
                break
            count += 1
            self._size -= len(items)
            if not future.done():
                taken.update(dict.fromkeys(items))
                futures.append(future)
        del self._waiting[:count]
        return tuple(taken), futures


async def end(*tasks: asyncio.Task[None]) -> None:
    """Cancels tasks until they have ended.

    Once is not enough: `asyncio.wait_for` of Python 3.11, which redis-py calls, swallows a
    cancellation that comes in the moment when what it waits for is done.
    """
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=0.1)


def _fail(futures: Sequence[asyncio.Future[Answer]], error: Exception) -> None:
    for future in futures:
        if not future.done():
            future.set_exception(error)
            # It may be that nobody waits any more; asyncio must not complain about that.
            future.exception()
