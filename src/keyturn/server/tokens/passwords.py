"""Passwords of humans: argon2id (RFC 9106), a few at once.

One hash takes 64 MiB and a tenth of a second on purpose. So that many at once take neither the
memory nor the processor from all else, a few threads do the work, and few may wait for them.
"""

import asyncio
import base64
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import HashingError, VerificationError, VerifyMismatchError
from argon2.low_level import ARGON2_VERSION, error_to_str

from ..domain.errors import Unavailable
from ..domain.passwords import MAX_LENGTH, normalized

_T = TypeVar("_T")

# What is not the stored hash's fault (argon2.h): no memory, no threads.
_FAULTS = {error_to_str(code) for code in (-22, -33)}


class Argon2Passwords:
    """Hashes and checks passwords (port `Passwords`).

    `memory` in KiB, `passes` over it and `lanes` are by default RFC 9106's second recommended
    option. At most `workers` hashes are made at once; `queue` more callers may wait, each `wait`
    seconds at most.
    """

    def __init__(
        self,
        *,
        memory: int = 65_536,
        passes: int = 3,
        lanes: int = 4,
        workers: int = 2,
        queue: int = 16,
        wait: float = 2.0,
    ) -> None:
        self._hasher = PasswordHasher(passes, memory, lanes)
        # As costly to check as any other, and nobody's.
        self._nobodys = (
            f"$argon2id$v={ARGON2_VERSION}$m={memory},t={passes},p={lanes}"
            f"${_random(self._hasher.salt_len)}${_random(self._hasher.hash_len)}"
        )
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="passwords")
        self._free = asyncio.Semaphore(workers)
        self._waiting = 0
        self._queue = queue
        self._wait = wait

    async def hash(self, password: str) -> str:
        """A PHC string with a salt of its own. Raises Unavailable.

        The password must be one that `check_password` let pass.
        """
        if len(password) > MAX_LENGTH:
            raise ValueError("check_password was not asked")
        return await self._in_thread(lambda: self._hash(password))

    async def verify(self, password: str, stored: str | None) -> bool:
        """Whether `password` is the one hashed in `stored`. Raises Unavailable.

        False for a malformed hash. For None as well, after the same work, so that the time
        does not tell who exists.
        """
        if len(password) > MAX_LENGTH:  # nobody's, and normalizing it might take long
            password, stored = "", None
        right = await self._in_thread(lambda: self._matches(password, stored or self._nobodys))
        return right and stored is not None

    def needs_rehash(self, stored: str) -> bool:
        """Whether `stored` was made with other parameters than the present ones."""
        try:
            return self._hasher.check_needs_rehash(stored)
        except ValueError:
            return True

    def close(self) -> None:
        """Ends the threads. Who comes later, or still waits, gets Unavailable."""
        self._pool.shutdown(wait=False)

    def _hash(self, password: str) -> str:
        try:
            return self._hasher.hash(_encoded(password))
        except HashingError as error:
            raise Unavailable(f"argon2: {error}") from None

    def _matches(self, password: str, stored: str) -> bool:
        try:
            return self._hasher.verify(stored, _encoded(password))
        except VerifyMismatchError:
            return False
        except VerificationError as error:
            if str(error) in _FAULTS:
                raise Unavailable(f"argon2: {error}") from None
            return False
        except ValueError:  # not even a hash's beginning, or not ASCII
            return False

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        if self._free.locked() and self._waiting >= self._queue:
            raise Unavailable("too many passwords are being checked")
        self._waiting += 1
        try:
            async with asyncio.timeout(self._wait):
                await self._free.acquire()
        except TimeoutError:
            raise Unavailable("no thread for a password in time") from None
        finally:
            self._waiting -= 1
        try:
            job = asyncio.get_running_loop().run_in_executor(self._pool, work)
        except RuntimeError:
            self._free.release()
            raise Unavailable("no thread for a password") from None
        # A thread cannot be stopped: its place is free when it is done, whoever still waits.
        job.add_done_callback(lambda _: self._free.release())
        return await asyncio.shield(job)


def _encoded(password: str) -> bytes:
    # A lone surrogate is in no password that was accepted, and must not stop a comparison.
    return normalized(password).encode("utf-8", "surrogatepass")


def _random(length: int) -> str:
    return base64.b64encode(secrets.token_bytes(length)).decode().rstrip("=")
