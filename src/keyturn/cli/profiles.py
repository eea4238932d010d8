"""Profiles: which service, as whom. In a file of the user's own, or in the environment.

The file holds API keys, so it and its directory are for their owner alone. Beside it, each
profile's access token is kept until shortly before it expires; refresh tokens are kept nowhere.
"""

import hashlib
import json
import os
import re
import stat
import sys
import time
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from .files import write_private
from .problems import ExitCode, Problem, say

DEFAULT = "default"
URL, USERNAME, API_KEY = "KEYTURN_URL", "KEYTURN_USERNAME", "KEYTURN_API_KEY"
TENANT, PROFILE = "KEYTURN_TENANT", "KEYTURN_PROFILE"
#: All that these commands read of the environment.
VARIABLES = (URL, USERNAME, API_KEY, TENANT, PROFILE)

#: An access token that lives less than this is not used any more, in seconds.
MARGIN = 60
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_HEAD = "# Written by keyturn login. It holds API keys: keep it to yourself.\n"


@dataclass(frozen=True, slots=True)
class Profile:
    """Which service, as whom, and in which tenant unless a command says otherwise.

    `name` is None for what the environment says; `url` is as `base_url` gives it.
    """

    name: str | None
    url: str
    username: str
    api_key: str = field(repr=False)
    tenant: str | None = None

    def __str__(self) -> str:
        return f"profile {self.name}" if self.name else "the environment"

    @property
    def api_key_id(self) -> str:
        """The public part of the API key; empty for what is none."""
        _, _, rest = self.api_key.partition("_")
        return rest.partition("_")[0]

    @property
    def fingerprint(self) -> str:
        """Tells apart whose token it is, without telling the API key."""
        told = json.dumps([self.url, self.username, self.api_key])
        return hashlib.sha256(told.encode()).hexdigest()


def base_url(text: str) -> str:
    """The service's URL with its base path: `/iam` when there is none, `/.` for the root.

    Raises Problem for what is no URL of a service.
    """
    try:
        parts = urlsplit(text.strip())
        odd = parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0
    except ValueError:
        odd = True
    if odd or "@" in parts.netloc or parts.query or parts.fragment or not text.isascii():
        raise Problem(
            "the URL must be as in https://iam.example or https://iam.example/base",
            ExitCode.USAGE,
        )
    path = parts.path.rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{path or '/iam'}"


def chosen(name: str | None = None) -> Profile:
    """The profile `name`, else what KEYTURN_PROFILE names or the environment says, else `default`.

    Raises Problem when there is none.
    """
    name = name or os.environ.get(PROFILE)
    if name is None and (found := _of_environment()):
        return found
    known = _read()
    wanted = name or DEFAULT
    if wanted in known:
        return known[wanted]
    if name is None and not known:
        raise Problem(f"nobody is logged in: keyturn login, or set {URL}, {USERNAME}, {API_KEY}")
    there = f"there are: {', '.join(known)}" if known else "there is none"
    raise Problem(f"there is no profile {wanted!r} ({there}): keyturn login --profile {wanted}")


def known(name: str) -> Profile | None:
    """The profile of that name in the file, if any. Raises Problem for what cannot be a name."""
    if not _NAME.fullmatch(name):
        raise Problem("a profile's name has letters, digits, - and _ only", ExitCode.USAGE)
    return _read().get(name)


def keep(profile: Profile) -> None:
    """Writes a profile that has a name into the file. Raises Problem."""
    assert profile.name is not None  # noqa: S101 - the environment is not written
    _write({**_read(), profile.name: profile}.values())


def forget(profile: Profile) -> None:
    """Removes a profile and its access token. Raises Problem."""
    forget_token(profile)
    _write(other for other in _read().values() if other.name != profile.name)


def _of_environment() -> Profile | None:
    given = {name: os.environ.get(name, "") for name in (URL, USERNAME, API_KEY)}
    if not any(given.values()):
        return None
    if missing := [name for name, value in given.items() if not value]:
        raise Problem(
            f"{' and '.join(missing)} must be set, too: all of {URL}, {USERNAME} and {API_KEY},"
            " or none of them",
            ExitCode.USAGE,
        )
    return Profile(None, base_url(given[URL]), given[USERNAME], given[API_KEY].strip())


# --- the file -----------------------------------------------------------------------------


def _directory() -> Path:
    home = os.environ.get("XDG_CONFIG_HOME")
    base = Path(home) if home and Path(home).is_absolute() else Path.home() / ".config"
    return base / "keyturn"


def _file() -> Path:
    return _directory() / "profiles.toml"


def _read() -> dict[str, Profile]:
    path = _file()
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            tables = tomllib.load(file)
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):  # its text may quote the file
        raise Problem(f"{path} is not valid TOML: mend it, or remove it") from None
    except OSError as error:
        raise Problem(f"cannot read {path}: {error.strerror}") from None
    if sys.platform != "win32" and stat.S_IMODE(mode) & 0o077:
        say(f"keyturn: others may read {path}, which holds API keys: chmod 600 {path}")
    return {name: _profile(path, name, table) for name, table in tables.items()}


def _profile(path: Path, name: str, table: object) -> Profile:
    needed, possible = {"url", "username", "api_key"}, {"url", "username", "api_key", "tenant"}
    if (
        not isinstance(table, Mapping)
        or not _NAME.fullmatch(name)
        or not needed <= table.keys() <= possible
        or not all(isinstance(value, str) for value in table.values())
    ):
        raise Problem(f"{path}: profile {name!r} must have {', '.join(sorted(needed))} as texts")
    return replace(Profile(name, **table), url=base_url(table["url"]))


def _write(profiles: Iterable[Profile]) -> None:
    text = _HEAD
    for profile in profiles:
        values = {
            "url": profile.url,
            "username": profile.username,
            "api_key": profile.api_key,
            "tenant": profile.tenant,
        }
        # JSON's strings are TOML's, but for DEL and lone surrogates: neither gets past a login.
        lines = [f"{key} = {json.dumps(value)}" for key, value in values.items() if value]
        text += f"\n[{profile.name}]\n" + "\n".join(lines) + "\n"
    path = _file()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(path, text)
    except OSError as error:
        raise Problem(f"cannot write {path}: {error.strerror}") from None


# --- access tokens ------------------------------------------------------------------------


def kept_token(profile: Profile) -> str | None:
    """The access token kept for a profile, while it is good for another minute."""
    if profile.name is None:
        return None
    try:
        kept = json.loads(_token_file(profile.name).read_text(encoding="utf-8"))
        good = kept["of"] == profile.fingerprint and kept["expires_at"] - time.time() >= MARGIN
        return str(kept["access_token"]) if good else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def keep_token(profile: Profile, access_token: str, expires_at: float) -> None:
    """Keeps an access token of a profile in the file; `expires_at` is in seconds since 1970.

    A directory that cannot be written costs an exchange each time, and nothing else.
    """
    if profile.name is None:
        return
    kept = {
        "of": profile.fingerprint,
        "access_token": access_token,
        "expires_at": expires_at,
    }
    try:
        write_private(_token_file(profile.name), json.dumps(kept) + "\n")
    except OSError:
        return


def forget_token(profile: Profile) -> None:
    """Removes the access token kept for a profile, if any."""
    if profile.name is not None:
        _token_file(profile.name).unlink(missing_ok=True)


def _token_file(name: str) -> Path:
    return _directory() / f"token-{name}.json"
