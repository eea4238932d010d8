"""Files with secrets that everybody on the machine can read."""

import os
import re
import tomllib
from pathlib import Path

from .model import CONFIG, FROM_FILE, env_name

#: Settings that name a file whose content is secret.
_NAMING = ("tls_key_file", *(f"{name}_file" for name in FROM_FILE))
_BY_OTHERS = 0o004
_WITH_PASSWORD = re.compile(r"://[^/@]*:[^@]+@|password=")


def open_to_all(config: Path | None = None) -> list[str]:
    """The variables that name such files, `KEYTURN_CONFIG` among them if it holds a secret.

    It is no reason not to start: mounted secrets (Kubernetes', by default) are readable by all of
    a container, in which there is nobody else.
    """
    named = config or (Path(os.environ[CONFIG]) if os.environ.get(CONFIG) else None)
    given: dict[str, object] = {}
    if named is not None:
        try:
            given = tomllib.loads(named.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            pass  # whoever loads the settings says so
    files: dict[str, Path] = {}
    if named is not None and any(_secret(name, given.get(name)) for name in FROM_FILE):
        files[CONFIG] = named
    for name in _NAMING:
        path = os.environ.get(env_name(name)) or given.get(name)
        if path:
            files[env_name(name)] = Path(str(path))
    return sorted(variable for variable, path in files.items() if _read_by_others(path))


def _secret(name: str, value: object) -> bool:
    """Whether a setting's value is one to keep; of URLs those with a password."""
    if not value:
        return False
    return not name.endswith("_url") or _WITH_PASSWORD.search(str(value)) is not None


def _read_by_others(path: Path) -> bool:
    try:
        return os.name == "posix" and bool(path.stat().st_mode & _BY_OTHERS)
    except OSError:
        return False
