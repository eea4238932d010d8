"""Files with secrets that everybody on the machine can read."""

import os
import tomllib
from pathlib import Path

from .model import CONFIG, FROM_FILE, env_name

#: Settings that name a file whose content is secret.
_NAMING = ("tls_key_file", *(f"{name}_file" for name in FROM_FILE))
_BY_OTHERS = 0o004


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
    files = {CONFIG: named} if named is not None and not given.keys().isdisjoint(FROM_FILE) else {}
    for name in _NAMING:
        path = os.environ.get(env_name(name)) or given.get(name)
        if path:
            files[env_name(name)] = Path(str(path))
    return sorted(variable for variable, path in files.items() if _read_by_others(path))


def _read_by_others(path: Path) -> bool:
    try:
        return os.name == "posix" and bool(path.stat().st_mode & _BY_OTHERS)
    except OSError:
        return False
