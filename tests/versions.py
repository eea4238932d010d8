"""The version before this one, as it was: to be run beside it."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

from tests.live_server import Demo, new_master_secret

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


def prepared_by(root: Path, url: str) -> Demo:
    """The demo in an empty database, made by the version in `root`."""
    program = (
        "import dataclasses, json, sys; from tests.live_server import prepare;"
        " print(json.dumps(dataclasses.asdict(prepare(*json.load(sys.stdin)))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps([url, new_master_secret()]),
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(root / "src"), str(root)])},
        cwd=root,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    made = json.loads(done.stdout)
    return Demo(**{**made, "tenants": tuple(made["tenants"])})


def _git(*words: str) -> bytes:
    return subprocess.run(
        ["git", "-C", ROOT, *words], check=True, capture_output=True, timeout=60
    ).stdout
