"""Holds files that others wrote against the hashes in the VENDORED.md beside them."""

import hashlib
import re
from pathlib import Path

_ROW = re.compile(r"^\| `([^`]+)` \| (.+) \| (.*) \| `([0-9a-f]{64})` \|$", re.MULTILINE)


def vendored(directory: Path) -> dict[str, str]:
    """sha256 by name, as VENDORED.md has it."""
    text = (directory / "VENDORED.md").read_text(encoding="utf-8")
    return {row[1]: row[4] for row in _ROW.finditer(text)}


def hashes(directory: Path, names: set[str]) -> dict[str, str]:
    """sha256 by name, as the files are."""
    return {name: hashlib.sha256((directory / name).read_bytes()).hexdigest() for name in names}
