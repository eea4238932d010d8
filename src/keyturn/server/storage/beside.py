"""What stands beside an SQLite file: who serves it, and what it had when it was served."""

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from ..domain.errors import StorageNotReady, Unavailable
from ..domain.model import Revocation
from .urls import SqliteFile, parse_url


@contextmanager
def held(url: str) -> Iterator[None]:
    """Keeps others from serving the same SQLite file, until the block or this process ends.

    The kernel lets go of the lock, however the process dies. On PostgreSQL there is nothing to
    hold. Raises StorageNotReady when somebody else holds it.
    """
    target = parse_url(url)
    if not isinstance(target, SqliteFile) or sys.platform == "win32":
        with nullcontext():
            yield
        return
    import fcntl

    try:
        flags = os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
        lock = os.open(f"{target.path}-lock", flags, 0o600)
    except OSError as error:
        raise Unavailable(f"the lock beside the database: {error.strerror}") from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            who = os.pread(lock, 32, 0).decode(errors="replace").strip()
            raise StorageNotReady(
                f"Another process{f' ({who})' if who.isdigit() else ''} uses {target.path}: stop it"
                " first. One process serves an SQLite file; for more, use PostgreSQL."
            ) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(lock)


class FileMemory:
    """Implements `ports.Memory` by a small file beside the database."""

    def __init__(self, database: Path) -> None:
        self._path = Path(f"{database}-recorded")

    async def recall(self, installation: str) -> str | None:
        """None, too, for a file that is damaged."""
        return (await asyncio.to_thread(self._read)).get(installation)

    async def keep(self, installation: str, event_id: str) -> None:
        """See `ports.Memory`."""
        await asyncio.to_thread(self._write, {installation: event_id})

    async def forget(self, installation: str) -> None:
        """Removes the file."""
        await asyncio.to_thread(self._write, {})

    async def entries(self) -> tuple[Revocation, ...]:
        """None: it has no list."""
        return ()

    def _read(self) -> dict[str, str]:
        try:
            known = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}

    def _write(self, known: dict[str, str]) -> None:
        try:
            # mkstemp: nobody else's file, and no link to one, whoever may write there.
            number, name = tempfile.mkstemp(prefix=f"{self._path.name}.", dir=self._path.parent)
            try:
                with open(number, "w", encoding="utf-8") as file:
                    json.dump(known, file)
                Path(name).replace(self._path)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
        except OSError as error:
            raise Unavailable(f"the file beside the database: {error.strerror}") from error
