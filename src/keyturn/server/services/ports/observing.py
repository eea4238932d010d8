"""What is looked at from outside while it works."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ...domain.errors import Unavailable


@dataclass(slots=True)
class PoolUse:
    """One pool of connections to the database: what it is for, and how it is used now.

    `waited` and `wait_seconds` are of all that ever asked for one while all were in use; `timeouts`
    are those of them that got none.
    """

    kind: str
    size: int
    in_use: int = 0
    waiting: int = 0
    waited: int = 0
    wait_seconds: float = 0.0
    timeouts: int = 0

    @contextmanager
    def wait(self) -> Iterator[None]:
        """Around waiting for a connection."""
        started = time.perf_counter()
        self.waiting += 1
        try:
            yield
        except Unavailable:
            self.timeouts += 1
            raise
        finally:
            self.waiting -= 1
            self.waited += 1
            self.wait_seconds += time.perf_counter() - started
