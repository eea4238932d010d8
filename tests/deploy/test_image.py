"""deploy/docker/: what of the image can be tried without building it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.live_server import Live, live_service
from tests.servers import free_port

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "deploy" / "docker" / "Dockerfile").read_text()


@pytest.fixture(scope="module")
def live(log_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    url = f"sqlite:///{tmp_path_factory.mktemp('image')}/keyturn.db"
    with live_service(log_dir, url) as service:
        yield service


def checked(port: int) -> int:
    """The exit status of the image's health check, of a service on that port."""
    found = re.search(r"^HEALTHCHECK .*?CMD (\[.*?\])$", DOCKERFILE, re.DOTALL | re.MULTILINE)
    assert found
    python, *words = json.loads(found[1])
    assert python == "python"
    env = {**os.environ, "KEYTURN_PORT": str(port)}
    done = subprocess.run(
        [sys.executable, *words], env=env, check=False, capture_output=True, timeout=30
    )
    return done.returncode


def test_a_service_that_answers_is_healthy(live: Live) -> None:
    assert checked(live.server.port) == 0


def test_one_that_is_not_there_is_not(live: Live) -> None:
    assert checked(free_port()) != 0


def test_the_builder_is_given_what_is_copied() -> None:
    ignored = (ROOT / "deploy" / "docker" / "Dockerfile.dockerignore").read_text().splitlines()
    given = [line[1:] for line in ignored if line.startswith("!")]
    copied = [
        source
        for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE)
        for source in line.split()[:-1]
    ]
    assert copied
    for source in copied:
        assert (ROOT / source).exists()
        assert any(fnmatch(source, pattern) for pattern in given)


def test_the_image_has_all_that_the_service_needs() -> None:
    locks = ROOT / "deploy" / "lock"
    server, image = (
        set(re.findall(r"^\S+==\S+", (locks / f"{name}.txt").read_text(), re.MULTILINE))
        for name in ("server", "image")
    )
    assert server <= image
