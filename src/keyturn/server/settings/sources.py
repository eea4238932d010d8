"""Where settings come from: arguments, the environment, a TOML file, files of secrets.

Strongest first: arguments of `load_settings`, the environment (`KEYTURN_…`), the TOML file that
`KEYTURN_CONFIG` or `--config` names, the defaults. Whatever is wrong becomes a `SettingsError`
whose text is one line: the environment variable and what to do. Values stand in no message, for
they may be secrets (pydantic's own dump shows them).
"""

import difflib
import os
import re
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from .limiting import RATES
from .model import CONFIG, FROM_FILE, PREFIX, Settings, SettingsError, env_name

# Elsewhere an empty variable is none. Here it says that there is no limit.
_OFF_WHEN_EMPTY = frozenset(map(env_name, RATES))
_OF_KUBERNETES = re.compile(rf"{PREFIX}(SERVICE|PORT)_\w+")


def load_settings(
    config: Path | None = None,
    *,
    require: Collection[str] = ("database_url", "master_secret"),
    defaults: Mapping[str, object] | None = None,
    **overrides: object,
) -> Settings:
    """The settings of this process: `overrides`, environment, file, `defaults`, in that order.

    `require` names settings that must not be empty. Raises SettingsError.
    """
    named = os.environ.get(CONFIG)
    path = config or (Path(named) if named else None)
    given: dict[str, object] = {
        **(defaults or {}),
        **(_read_config(path) if path else {}),
        **_read_environment(),
        **overrides,
    }
    try:
        settings = Settings(**given)
    except ValidationError as error:
        raise SettingsError(_one_line(error)) from None  # its cause would show the values
    for name in require:
        if not getattr(settings, name):
            or_file = f" (or {env_name(name)}_FILE)" if name in FROM_FILE else ""
            hint = Settings.model_fields[name].description
            raise SettingsError(f"{env_name(name)}{or_file} is not set: {hint}")
    return settings


def describe() -> list[tuple[str, str, str, str]]:
    """(environment variable, type, default, description) of every setting, for the README."""
    rows = [(CONFIG, "path", "", "TOML file of settings: lower-case names, no prefix.")]
    for name, field in Settings.model_fields.items():
        rows.append(
            (env_name(name), _extra(field, "kind"), _default(field), field.description or "")
        )
        if name in FROM_FILE:
            text = f"File that holds `{env_name(name)}`; set one of the two."
            rows.append((f"{env_name(name)}_FILE", "path", "", text))
    return rows


def unknown_variables(others: Collection[str] = ()) -> dict[str, str | None]:
    """`KEYTURN_…` in the environment that is no setting and none of `others`; what was meant.

    Their values are not looked at. What Kubernetes sets for a Service named keyturn is left out.
    """
    known = {CONFIG, *map(env_name, Settings.model_fields), *others}
    known |= {f"{env_name(name)}_FILE" for name in FROM_FILE}
    # What all begin with makes no two of them alike.
    short = sorted(name.removeprefix(PREFIX) for name in known)
    found: dict[str, str | None] = {}
    for name in sorted(os.environ):
        upper = name.upper()
        if not upper.startswith(PREFIX) or upper in known or _OF_KUBERNETES.fullmatch(name):
            continue
        near = difflib.get_close_matches(upper.removeprefix(PREFIX), short, 1)
        found[name] = PREFIX + near[0] if near else None
    return found


def secret_files(config: Path | None = None) -> tuple[Path, ...]:
    """The files that secrets come from: those named by `…_FILE`, and the TOML file itself."""
    named = os.environ.get(CONFIG)
    path = config or (Path(named) if named else None)
    files = [os.environ.get(f"{env_name(name)}_FILE") for name in FROM_FILE]
    if path is not None:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
        files += [str(values.get(f"{name}_file") or "") for name in FROM_FILE]
        if any(values.get(name) for name in FROM_FILE):
            files.append(str(path))
    return tuple(Path(file) for file in files if file)


def _extra(field: FieldInfo, key: str) -> str:
    extra = field.json_schema_extra
    return str(extra.get(key, "")) if isinstance(extra, dict) else ""


def _default(field: FieldInfo) -> str:
    value = field.default
    if shown := _extra(field, "shown"):
        return shown
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is PydanticUndefined or value is None or value == () else str(value)


def _read_config(path: Path) -> dict[str, object]:
    try:
        values: dict[str, object] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{CONFIG}: cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{CONFIG}: {path} is not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        where = re.search(r"\(at .*\)$", str(error))  # the rest may quote the file
        place = where.group() if where else ""
        raise SettingsError(f"{CONFIG}: {path} is not valid TOML {place}".rstrip()) from None
    known = {*Settings.model_fields, *(f"{name}_file" for name in FROM_FILE)}
    for key in values.keys() - known:
        near = difflib.get_close_matches(key, known, 1)
        meant = f"; did you mean {near[0]!r}?" if near else ""
        raise SettingsError(f"{CONFIG}: {path} has an unknown key {key!r}{meant}")
    return _with_secret_files(values)


def _read_environment() -> dict[str, object]:
    given = {
        name.upper(): text
        for name, text in os.environ.items()
        if text or name.upper() in _OFF_WHEN_EMPTY
    }
    values: dict[str, object] = {
        name: given[env_name(name)] for name in Settings.model_fields if env_name(name) in given
    }
    # Kubernetes injects this for a Service named "keyturn"; a plain parse error would puzzle.
    if str(values.get("port", "")).startswith("tcp://"):
        raise SettingsError(
            "KEYTURN_PORT was set by Kubernetes for a Service named keyturn: set"
            " enableServiceLinks: false in the pod's spec, or set KEYTURN_PORT to a number"
        )
    for name in FROM_FILE:
        if file := os.environ.get(f"{env_name(name)}_FILE"):
            values[f"{name}_file"] = file
    return _with_secret_files(values)


def _with_secret_files(values: dict[str, object]) -> dict[str, object]:
    """`values` of one source, each `…_file` replaced by what the file holds."""
    for name in FROM_FILE:
        path = values.pop(f"{name}_file", None)
        if path is None:
            continue
        variable = f"{env_name(name)}_FILE"
        if name in values:
            raise SettingsError(f"{variable} and {env_name(name)} are both set: remove one")
        try:
            text = Path(str(path)).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise SettingsError(f"{variable}: cannot read {path}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise SettingsError(f"{variable}: {path} is not UTF-8 text") from None
        if not text:
            raise SettingsError(f"{variable}: {path} is empty")
        values[name] = text
    return values


def _one_line(error: ValidationError) -> str:
    """The first thing wrong, without any value."""
    first = error.errors(include_input=False, include_url=False)[0]
    message = str(first.get("ctx", {}).get("error") or first["msg"])
    if not first["loc"]:
        return message
    name = str(first["loc"][0])
    field = Settings.model_fields.get(name)
    if field is None:
        return f"{env_name(name)} is not a setting"
    if first["type"] == "value_error":
        return f"{env_name(name)}: {message}"
    if first["type"].startswith("ip_"):
        message = "Input should be networks such as 10.0.0.0/8, separated by commas"
    return f"{env_name(name)}: {message[:1].lower()}{message[1:]} ({field.description})"
