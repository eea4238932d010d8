"""The version before this one, as it was: to be run beside it."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
_MIGRATIONS = "src/keyturn/server/storage/migrations/versions"


def earlier_version(directory: Path) -> Path | None:
    """A checkout of the last release, unpacked there; None without a history to take it from.

    As long as there is no release: of the last commit before the newest schema.
    """
    try:
        tags = _git("tag", "--list", "v*", "--merged=HEAD", "--sort=-v:refname").decode().split()
        newest = _git("log", "-1", "--format=%H", "--diff-filter=A", "--", _MIGRATIONS)
        commit = tags[0] if tags else f"{newest.decode().strip()}^"
        packed = _git("archive", commit, "src", "tests", "pyproject.toml")
    except (OSError, subprocess.CalledProcessError):
        return None
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(directory, filter="data")
    return directory


def _git(*words: str) -> bytes:
    return subprocess.run(
        ["git", "-C", ROOT, *words], check=True, capture_output=True, timeout=60
    ).stdout
