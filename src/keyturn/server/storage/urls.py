"""Which database a URL names. A URL may hold a password: no error text repeats any of it."""

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

# Options of libpq that asyncpg does not know and would send to the server as settings, which
# refuses the connection. They are common in URLs that hosting services hand out.
_LIBPQ_ONLY = frozenset(
    {
        "channel_binding",
        "connect_timeout",
        "gssencmode",
        "keepalives",
        "keepalives_count",
        "keepalives_idle",
        "keepalives_interval",
        "sslcompression",
        "tcp_user_timeout",
    }
)


@dataclass(frozen=True, slots=True)
class SqliteFile:
    """An SQLite database in a file."""

    path: Path

    def uri(self, mode: str) -> str:
        """The file for `sqlite3.connect(…, uri=True)`; `mode` is `ro`, `rw` or `rwc`."""
        return f"file:{quote(str(self.path))}?mode={mode}"

    @property
    def url(self) -> str:
        """The file as a setting names it."""
        return f"sqlite:///{quote(str(self.path))}"


@dataclass(slots=True)
class _Latest:
    """Which of several addresses took writes last, as far as this process knows."""

    dsn: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """A PostgreSQL database, as asyncpg wants to be told. `dsn` may hold a password.

    A URL may name several addresses of it, of which one takes writes: a primary and its replicas.
    """

    dsn: str
    _latest: _Latest = field(default_factory=_Latest, compare=False)

    def in_turn(self) -> tuple["PostgresServer", ...]:
        """Each address by itself, in the order in which they are to be tried.

        First the one that took writes last: after a failover nobody waits for the old primary,
        which may be a machine that says nothing any more. Then as in the URL.
        """
        parts = urlsplit(self.dsn)
        credentials, at, addresses = parts.netloc.rpartition("@")
        if "," not in addresses:
            return (self,)
        each = [
            PostgresServer(urlunsplit(parts._replace(netloc=f"{credentials}{at}{address}")))
            for address in addresses.split(",")
        ]
        return tuple(sorted(each, key=lambda one: one.dsn != self._latest.dsn))

    def took_writes(self, one: "PostgresServer") -> None:
        """Remembers which of `in_turn` it was."""
        self._latest.dsn = one.dsn

    @property
    def anywhere(self) -> "PostgresServer":
        """The same, and a standby will do: to look at it."""
        if "target_session_attrs=" in self.dsn:
            return self
        sign = "&" if "?" in self.dsn else "?"
        return PostgresServer(f"{self.dsn}{sign}target_session_attrs=any")

    @property
    def where(self) -> str:
        """Host and port, as far as the URL tells them: never user or password."""
        parts = urlsplit(self.dsn)
        options = dict(parse_qsl(parts.query))
        host = parts.netloc.rpartition("@")[2] or options.get("host", "")
        return host + (f":{options['port']}" if host and "port" in options else "")

    @property
    def database(self) -> str:
        """The database's name; empty when the URL has none."""
        parts = urlsplit(self.dsn)
        return unquote(parts.path[1:]) or dict(parse_qsl(parts.query)).get("database", "")

    def __repr__(self) -> str:
        return "PostgresServer()"


def parse_url(url: str) -> SqliteFile | PostgresServer:
    """The database that `url` names: `sqlite:///path` or `postgresql://…` (or `postgres://…`).

    A PostgreSQL URL may name several addresses, `postgresql://user@a:5432,b:5432/name`, and libpq's
    options may follow (`sslmode`, `sslrootcert`, `target_session_attrs` and so on). Raises
    ValueError for anything else, without repeating it.
    """
    scheme = url.partition(":")[0].partition("+")[0]
    if scheme == "sqlite":
        head, _, path = url.partition(":///")
        path = unquote(path)
        if not path or path == ":memory:" or "?" in path or not head.startswith("sqlite"):
            raise ValueError("an SQLite URL is sqlite:///path, of a file, without options")
        return SqliteFile(Path(path).absolute())
    if scheme in ("postgresql", "postgres"):
        parts = urlsplit(url)
        kept = [(name, value) for name, value in parse_qsl(parts.query) if name not in _LIBPQ_ONLY]
        return PostgresServer(
            urlunsplit(parts._replace(scheme="postgresql", query=urlencode(kept)))
        )
    raise ValueError("the database URL must begin with sqlite:/// or postgresql://")


def is_sqlite(url: str) -> bool:
    """Whether `url` names the embedded database: one process, one machine."""
    return isinstance(parse_url(url), SqliteFile)
