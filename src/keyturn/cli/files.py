"""Files that hold secrets: for their owner alone, and written whole or not at all."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def write_private(path: Path, text: str) -> None:
    """Writes a file that its owner alone may read (0600), or leaves the old one.

    Several processes may do so at once: one of them wins. Raises OSError.
    """
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    fresh = Path(name)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


@contextmanager
def new_private(path: Path) -> Iterator[BinaryIO]:
    """A new file that its owner alone may read (0600); at the end it is there whole, or not at all.

    Raises FileExistsError when there is one already, OSError.
    """
    if path.exists():
        raise FileExistsError(errno.EEXIST, "there is a file already", str(path))
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    fresh = Path(name)
    try:
        with open(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        path.hardlink_to(fresh)  # unlike a replacement, it never takes another one's place
    finally:
        fresh.unlink(missing_ok=True)
