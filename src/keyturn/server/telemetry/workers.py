"""The readings of several workers as one.

Each worker writes its reading into a file of a private directory, once a second and at its end;
the supervisor adds the files up when it is asked. What a worker had counted that is no more is kept
(a sum that went back would look like a new start, and its rates would jump); its file is not.
"""

import asyncio
import contextlib
import logging
import os
import secrets
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from pathlib import Path
from socket import socket

import orjson

from .catalogue import METRICS, Kind, Merge
from .door import served
from .reading import Buckets, Number, Reading

log = logging.getLogger(__name__)

#: How often a worker writes, in seconds.
INTERVAL = 1.0


# --- a worker -----------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def told(directory: Path, read: Callable[[], Reading]) -> AsyncGenerator[None]:
    """Writes the reading of this process into `directory` until the block ends."""
    # The supervisor goes by the number; the rest is for a number that comes again.
    path = directory / f"{os.getpid()}-{secrets.token_hex(4)}.json"

    async def tell() -> None:
        failing = False
        while True:
            try:
                await asyncio.to_thread(_write, path, _packed(read()))
                failing = False
            except OSError as error:
                if not failing:
                    log.warning("the metrics cannot be written: %s", error.strerror)
                failing = True
            await asyncio.sleep(INTERVAL)

    task = asyncio.create_task(tell(), name="metrics")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        with contextlib.suppress(OSError):
            _write(path, _packed(read()))


def _write(path: Path, data: bytes) -> None:
    new = path.with_suffix(".new")
    new.write_bytes(data)
    new.replace(path)


def _packed(reading: Reading) -> bytes:
    return orjson.dumps(
        {
            name: [
                [labels, [number.counts, number.total] if isinstance(number, Buckets) else number]
                for labels, number in numbers.items()
            ]
            for name, numbers in reading.items()
        }
    )


def _unpacked(data: bytes) -> Reading:
    reading: Reading = {}
    for name, numbers in orjson.loads(data).items():
        reading[name] = {
            tuple(labels): Buckets(tuple(number[0]), number[1])
            if isinstance(number, list)
            else (float("inf") if number is None else number)
            for labels, number in numbers
        }
    return reading


# --- the supervisor -----------------------------------------------------------------------


class Workers:
    """All workers' readings as one."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._gone: Reading = {}

    def read(self) -> Reading:
        """The sum of what the workers wrote last, and of what those had counted that are gone."""
        living: list[Reading] = []
        for path in sorted(self._directory.glob("*.json")):
            # In this order: what is read of a worker that is gone is the last that it wrote.
            alive = _alive(int(path.name.partition("-")[0]))
            try:
                reading = _unpacked(path.read_bytes())
            except (OSError, ValueError):
                continue
            if alive:
                living.append(reading)
            else:
                self._gone = merged([self._gone, _lasting(reading)])
                path.unlink(missing_ok=True)
                path.with_suffix(".new").unlink(missing_ok=True)
        return merged([self._gone, *living])


def merged(readings: Iterable[Reading]) -> Reading:
    """Several readings as one, each metric as the catalogue says."""
    result: Reading = {}
    for reading in readings:
        for name, numbers in reading.items():
            merge = METRICS[name].merge
            into = result.setdefault(name, {})
            for labels, number in numbers.items():
                into[labels] = _both(into[labels], number, merge) if labels in into else number
    return result


def _both(one: Number, other: Number, merge: Merge) -> Number:
    if isinstance(one, Buckets) or isinstance(other, Buckets):
        assert isinstance(one, Buckets)  # noqa: S101 - for mypy: of one metric all are
        assert isinstance(other, Buckets)  # noqa: S101
        counts = tuple(map(sum, zip(one.counts, other.counts, strict=True)))
        return Buckets(counts, one.total + other.total)
    if merge is Merge.SUM:
        return one + other
    return max(one, other, key=abs) if merge is Merge.WIDEST else max(one, other)


def _lasting(reading: Reading) -> Reading:
    """What has happened, without what was the case."""
    return {n: numbers for n, numbers in reading.items() if METRICS[n].kind is not Kind.GAUGE}


def _alive(pid: int) -> bool:
    if sys.platform == "win32":  # there the question would end it
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # somebody else's: the number was given again. It ends some time
    return True


@contextlib.contextmanager
def served_aside(listener: socket, directory: Path) -> Iterator[None]:
    """Serves the sum of all workers in a thread, for a process that only watches over them."""
    workers, loop = Workers(directory), asyncio.new_event_loop()
    end = asyncio.Event()

    async def reading() -> Reading:
        return workers.read()

    async def serve() -> None:
        async with served(listener, reading):
            await end.wait()

    thread = threading.Thread(
        target=lambda: loop.run_until_complete(serve()), name="metrics", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join(1.0)
