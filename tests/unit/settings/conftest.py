"""Settings read the environment: each test gets one without any of ours."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.upper().startswith("KEYTURN_"):
            monkeypatch.delenv(name)


@pytest.fixture
def config(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a TOML file."""

    def write(text: str) -> Path:
        path = tmp_path / "keyturn.toml"
        path.write_text(text)
        return path

    return write
