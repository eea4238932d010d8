"""The data directory of `keyturn dev`: a database, the master secret, the demo's credentials.

Only `dev` keeps API keys in a file, so that a second start can show the same ones: it is for a
developer's machine. The directory and all in it are for its owner alone.
"""

import contextlib
import json
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote

from .files import write_private
from .problems import Problem


@dataclass(frozen=True, slots=True)
class DemoTenant:
    """A tenant of the demo."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the demo made. The keys' texts and the passwords stay out of its repr.

    A demo that an earlier version made has no passwords.
    """

    tenants: tuple[DemoTenant, ...]
    username: str
    api_key: str
    admin_username: str
    admin_api_key: str
    admin_password: str = ""
    member_username: str = ""
    member_password: str = ""

    def __repr__(self) -> str:
        return f"Credentials(username={self.username!r}, admin_username={self.admin_username!r})"


@dataclass(frozen=True, slots=True)
class DataDir:
    """Where things are below the directory `path` (absolute)."""

    path: Path

    @property
    def database(self) -> Path:
        """The SQLite database."""
        return self.path / "keyturn.db"

    @property
    def database_url(self) -> str:
        """The database as a setting; special characters are escaped."""
        return f"sqlite:///{quote(str(self.database))}"

    @property
    def secret_file(self) -> Path:
        """Holds the master secret."""
        return self.path / "master-secret"

    @property
    def credentials_file(self) -> Path:
        """Holds the demo's credentials (`Credentials` as JSON)."""
        return self.path / "demo.json"

    def start_afresh(self) -> str:
        """The advice that ends a message about something missing."""
        return f"remove {self.path} to start afresh, or choose another --data-dir"

    def master_secret(self) -> str:
        """The master secret, made at the first start. Raises Problem."""
        if self.secret_file.exists():
            return self.secret_file.read_text(encoding="utf-8").strip()
        if self.database.exists():
            raise Problem(
                f"{self.secret_file} is missing, and without it the keys in the database are"
                f" worthless: put it back, or {self.start_afresh()}"
            )
        secret = secrets.token_urlsafe(32)
        write_private(self.secret_file, secret + "\n")
        return secret

    def credentials(self) -> Credentials | None:
        """What an earlier start kept; None when there is nothing. Raises Problem."""
        try:
            kept = json.loads(self.credentials_file.read_text(encoding="utf-8"))
            tenants = tuple(DemoTenant(**tenant) for tenant in kept.pop("tenants"))
            return Credentials(tenants=tenants, **kept)
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError, AttributeError):
            raise Problem(f"{self.credentials_file} is damaged: {self.start_afresh()}") from None

    def keep(self, credentials: Credentials) -> None:
        """Writes the credentials, whole or not at all."""
        write_private(self.credentials_file, json.dumps(asdict(credentials), indent=2) + "\n")


@contextmanager
def opened(path: Path) -> Iterator[DataDir]:
    """Makes the directory if need be and keeps others out of it while it is in use.

    Raises Problem when it cannot be made, or another `keyturn dev` uses it.
    """
    data = DataDir(path.absolute())
    if "?" in str(data.path):  # in an SQLite URL it begins the options, also when escaped
        raise Problem(f"cannot use {data.path} as data directory: choose one without '?'")
    os.umask(0o077)  # SQLite's files as well
    try:
        data.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(PermissionError):  # somebody else's, but we may write there
            data.path.chmod(0o700)
        ignore = data.path / ".gitignore"
        if not ignore.exists():  # nobody wants these keys in a repository
            ignore.write_text("*\n", encoding="utf-8")
        lock = (data.path / "lock").open("a+", encoding="utf-8")
    except OSError as error:
        raise Problem(
            f"cannot use {data.path} as data directory: {error.strerror}; choose another --data-dir"
        ) from None
    with lock:
        if sys.platform != "win32":
            import fcntl

            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise Problem(
                    f"another keyturn dev uses {data.path}: stop it, or choose another --data-dir"
                ) from None
        yield data
