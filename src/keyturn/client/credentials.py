"""Who is asking, and whom: from arguments, the environment, or a login of the command line."""

import ipaddress
import os
import re
import stat
import sys
import tomllib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from .errors import NoCredentials

_URL, _USERNAME, _API_KEY = "KEYTURN_URL", "KEYTURN_USERNAME", "KEYTURN_API_KEY"
_TENANT, _PROFILE = "KEYTURN_TENANT", "KEYTURN_PROFILE"
_TENANT_ID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_HEADER_VALUE = re.compile(r"[\x21-\x7e]{1,16384}")
_TOKEN_PATH = "/auth/token"  # noqa: S105 - a path


@dataclass(frozen=True, slots=True)
class Credentials:
    """Where the service answers, and as whom it is asked.

    `url` is the service's (`https://iam.example`: its `/iam`; `https://iam.example/base`; `/.` for
    the root) or its token endpoint's (`…/auth/token`). `tenant` is the id of the tenant that tokens
    are for; None: all that the user reaches. ValueError for what cannot be any of these.
    """

    url: str
    username: str
    api_key: str = field(repr=False)
    tenant: str | None = None

    def __post_init__(self) -> None:
        service_url(self.url, allow_http=True)
        if not self.username or not self.username.isprintable():
            raise ValueError("the username must be a printable text")
        sendable(self.api_key, "the API key")
        if self.tenant is not None:
            sendable(self.tenant, "the tenant")

    @classmethod
    def from_environment(cls) -> Self:
        """From KEYTURN_URL, KEYTURN_USERNAME, KEYTURN_API_KEY and, if set, KEYTURN_TENANT (an id).

        Raises NoCredentials, and ValueError for values that cannot be.
        """
        given = {name: os.environ.get(name, "").strip() for name in (_URL, _USERNAME, _API_KEY)}
        if missing := [name for name, value in given.items() if not value]:
            raise NoCredentials(f"not in the environment: {', '.join(missing)}")
        return cls(given[_URL], given[_USERNAME], given[_API_KEY], _tenant())

    @classmethod
    def from_profile(cls, name: str | None = None) -> Self:
        """From a `keyturn login`: that of `--profile name`, of KEYTURN_PROFILE, or the default one.

        Warns, as the command line does, when others may read the file. Raises NoCredentials.
        """
        wanted = name or os.environ.get(_PROFILE) or "default"
        path = _profiles()
        table = _tables(path).get(wanted)
        if table is None:
            raise NoCredentials(
                f"there is no profile {wanted!r} in {path}: keyturn login --profile {wanted},"
                f" or set {_URL}, {_USERNAME} and {_API_KEY}"
            )
        fields = table if isinstance(table, dict) else {}
        if not {"url", "username", "api_key"} <= fields.keys() <= {*cls.__slots__} or not all(
            isinstance(value, str) for value in fields.values()
        ):
            raise NoCredentials(f"{path}: profile {wanted!r} must have url, username and api_key")
        return cls(**fields)

    @classmethod
    def find(cls) -> Self:
        """What the command line would use: KEYTURN_PROFILE, else the environment, else the default.

        KEYTURN_TENANT comes before a profile's tenant. An environment with some of the variables
        only is an error. Raises NoCredentials.
        """
        named = os.environ.get(_PROFILE)
        if not named and any(os.environ.get(name) for name in (_URL, _USERNAME, _API_KEY)):
            return cls.from_environment()
        found = cls.from_profile()
        return replace(found, tenant=_tenant() or found.tenant)


def service_url(text: str, *, allow_http: bool) -> str:
    """The service's URL with its base path, from that or from its token endpoint's.

    Raises ValueError for what is no URL of a service, and for plain http to another machine
    unless `allow_http`: the API key would be there for everybody on the way to read.
    """
    try:
        parts = urlsplit(text.strip())
        host, port = parts.hostname, parts.port
    except ValueError:  # its text may quote the URL, which may hold a password
        host = port = None
    if (
        host is None
        or port == 0
        or parts.scheme not in ("http", "https")
        or "@" in parts.netloc
        or parts.query
        or parts.fragment
        or not _HEADER_VALUE.fullmatch(text.strip())
    ):
        raise ValueError("the URL must be as in https://iam.example or https://iam.example/base")
    if parts.scheme == "http" and not allow_http and not _is_here(host):
        raise ValueError("plain http would show the API key to others: https, or allow_http=True")
    path = parts.path.rstrip("/")
    if path.endswith(_TOKEN_PATH):
        path = path.removesuffix(_TOKEN_PATH)
    else:
        path = (path or "/iam").removesuffix("/.")
    return f"{parts.scheme}://{parts.netloc}{path}"


def sendable(text: str, what: str) -> str:
    """A text that may stand in a header. Raises ValueError, which does not tell the text."""
    if not _HEADER_VALUE.fullmatch(text):
        raise ValueError(f"{what} must be printable ASCII without spaces")
    return text


def _is_here(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _tenant() -> str | None:
    tenant = os.environ.get(_TENANT) or None
    if tenant is not None and not _TENANT_ID.fullmatch(tenant):
        raise NoCredentials(f"{_TENANT} must be a tenant's id here: keyturn whoami lists them")
    return tenant


def _profiles() -> Path:
    home = os.environ.get("XDG_CONFIG_HOME")
    base = Path(home) if home and Path(home).is_absolute() else Path.home() / ".config"
    return base / "keyturn" / "profiles.toml"


def _tables(path: Path) -> Mapping[str, object]:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            tables: Mapping[str, object] = tomllib.load(file)
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        why = "it is not valid TOML"
    except OSError as error:
        why = error.strerror or "it cannot be opened"
    else:
        if sys.platform != "win32" and stat.S_IMODE(mode) & 0o077:
            text = f"others may read {path}, which holds API keys: chmod 600 {path}"
            warnings.warn(text, stacklevel=4)
        return tables
    # Not raised above: the error there may keep the file's text, and would come along.
    raise NoCredentials(f"cannot read {path}: {why}")
