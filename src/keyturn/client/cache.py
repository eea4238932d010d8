"""Access tokens in a file, so that one command after the other needs no exchange of its own.

Refresh tokens and API keys are never in it.
"""

import contextlib
import json
import os
import stat
import sys
import tempfile
import weakref
from collections.abc import Mapping
from io import FileIO
from pathlib import Path

from .credentials import sendable
from .errors import UnexpectedAnswer
from .steps import Moment
from .tokens import Tokens, object_of

_MOST_BYTES, _MOST_ENTRIES = 1024 * 1024, 32


class TokenCache:
    """A file of access tokens, for its owner alone (0600, its directory 0700).

    Several processes can share it, and wait for each other's exchange. A file that is broken, or
    that others may read, is ignored and replaced. No call fails by it: when it cannot be used, an
    exchange is made.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)

    def __repr__(self) -> str:
        return f"TokenCache({str(self._path)!r})"

    def get(self, fingerprint: str, now: Moment) -> Tokens | None:
        """The tokens kept under a fingerprint, if they have not expired."""
        return self._entries(now).get(fingerprint)

    def put(self, fingerprint: str, tokens: Tokens, now: Moment) -> None:
        """Keeps an access token, and the others that have not expired."""
        entries = {**self._entries(now), fingerprint: tokens}
        newest = sorted(entries.items(), key=lambda entry: entry[1].expires_at)[-_MOST_ENTRIES:]
        table = {
            name: {
                "access_token": kept.access_token,
                "obtained_at": kept.obtained_at,
                "expires_at": kept.expires_at,
                "scope": kept.scope,
            }
            for name, kept in newest
        }
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(self._path, json.dumps(table) + "\n")

    def try_lock(self) -> contextlib.AbstractContextManager[object] | None:
        """The right to exchange, until it is left; None while another process has it.

        It ends with its process, and no forked child keeps it. Where nothing can be locked
        everybody has it.
        """
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            name = self._path.with_name(self._path.name + ".lock")
            flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
            # Without a buffer: that has a lock, which a fork may find taken for ever.
            file = FileIO(os.open(name, flags, 0o600))
        except OSError:
            return contextlib.nullcontext()
        _lock_files.add(file)
        try:
            _lock(file.fileno())
        except BlockingIOError:
            file.close()
            return None
        except OSError:
            pass  # a file system without locks
        return file

    def _entries(self, now: Moment) -> dict[str, Tokens]:
        try:
            table = object_of(self._read())
        except (OSError, UnexpectedAnswer):
            return {}
        found = {name: _tokens(entry) for name, entry in table.items()}
        return {
            name: tokens
            for name, tokens in found.items()
            # From the future it is when the clock was set back: nobody knows how old it is.
            if tokens is not None and tokens.obtained_at <= now.wall < tokens.expires_at
        }

    def _read(self) -> bytes:
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        with os.fdopen(os.open(self._path, flags), "rb") as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode) or not _is_private(about):
                return b""
            return file.read(_MOST_BYTES)


def _tokens(entry: object) -> Tokens | None:
    try:
        if not isinstance(entry, Mapping):
            return None
        return Tokens(
            access_token=sendable(entry["access_token"], "a token"),
            obtained_at=float(entry["obtained_at"]),
            expires_at=float(entry["expires_at"]),
            scope=str(entry["scope"]),
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def _write(path: Path, text: str) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    fresh = Path(name)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError:
            raise BlockingIOError from None

    def _is_private(about: os.stat_result) -> bool:
        return True  # what the directory's list allows is the directory's

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _is_private(about: os.stat_result) -> bool:
        return about.st_uid == os.geteuid() and not stat.S_IMODE(about.st_mode) & 0o077


_lock_files: "weakref.WeakSet[FileIO]" = weakref.WeakSet()


def _forked() -> None:
    # The lock is its parent's. It would last as long as the child, for both have the file open.
    for file in list(_lock_files):
        file.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
