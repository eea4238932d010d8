"""The two databases of the growth bench, the services on them, and the rounds that they take."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from keyturn.server.app import migrate
from keyturn.server.parts import open_parts
from keyturn.server.settings import Settings
from tests.bench.growth_fill import Tell, fill
from tests.bench.growth_load import Turn, Turns, resident
from tests.bench.growth_shape import Filled, Login, Size
from tests.bench.machine import Cores
from tests.bench.processes import Running, serving
from tests.bench.wire import CONNECTIONS, BenchError, Request, form
from tests.databases import database
from tests.servers import POSTGRES_URL, PostgresServer, running_postgres
from tests.unlimited import UNLIMITED_ENVIRONMENT

SMALL_KEYS = 10_000
#: What a server in production does, and memory for what is read often.
SETTINGS = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "autovacuum": "on",
    "shared_buffers": "2GB",
    "max_wal_size": "16GB",
}
#: At most so long until all has been read once, in seconds.
_WARM_UP = 30.0
#: The lone connection's rounds are shorter: it only tells what one waits for.
_LONE = 0.5
_TOKEN = "/iam/auth/token"  # a path

SMALL, SMALL_ONE, LARGE, LARGE_ONE = "small", "small, one key", "large", "large, one key"
WIDE, CHOSEN, LISTED = "500 tenants", "500 tenants, one chosen", "2,000 endpoints"


@dataclass(frozen=True)
class Database:
    """A filled database, and what its service has to be told. Holds secrets."""

    environment: dict[str, str] = field(repr=False)
    url: str
    filled: Filled


@dataclass(frozen=True)
class Ratio:
    """The median over the rounds, and their spread."""

    median: float
    min: float
    max: float


@dataclass
class Measured:
    """The rounds of each case, with many connections and with one; memory in bytes."""

    busy: dict[str, list[Turn]] = field(default_factory=dict)
    lone: dict[str, list[Turn]] = field(default_factory=dict)
    memory: dict[str, float | None] = field(default_factory=dict)

    def turns(self) -> Iterator[Turn]:
        """All rounds."""
        for cases in (self.busy, self.lone):
            for turns in cases.values():
                yield from turns

    def ratio(self, what: str, case: str, other: str, *, lone: bool = False) -> Ratio:
        """Each round is held against its neighbour."""
        rounds = self.lone if lone else self.busy
        pairs = zip(rounds[case], rounds[other], strict=True)
        quotients = [getattr(a, what) / (getattr(b, what) or 1e-9) for a, b in pairs]
        return Ratio(float(median(quotients)), min(quotients), max(quotients))


@contextlib.contextmanager
def filled_database(server: PostgresServer, size: Size, tell: Tell) -> Iterator[Database]:
    """A migrated and filled database, which is dropped at the end."""
    with database(server.url, f"keyturn_growth_{secrets.token_hex(6)}") as url:
        settings = Settings(database_url=url, master_secret=secrets.token_urlsafe(40))
        filled = asyncio.run(_filled(settings, url, size, tell))
        environment = {
            **UNLIMITED_ENVIRONMENT,
            "KEYTURN_DATABASE_URL": url,
            "KEYTURN_MASTER_SECRET": settings.master_secret.get_secret_value(),
        }
        yield Database(environment, url, filled)


async def _filled(settings: Settings, url: str, size: Size, tell: Tell) -> Filled:
    await migrate(settings)
    async with open_parts(settings) as parts:
        return await fill(url, size, parts.key_format, tell)


@contextlib.contextmanager
def databases(
    size: Size, tells: Callable[[str], Tell]
) -> Iterator[tuple[PostgresServer, Database, Database]]:
    """A PostgreSQL with the small and the large database. Raises BenchError without room."""
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if not os.environ.get(POSTGRES_URL) and free < size.bytes:
        raise BenchError(
            f"{free / 1e9:.1f} GB are free below {tempfile.gettempdir()}, and it may take "
            f"{size.bytes / 1e9:.1f} GB"
        )
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(running_postgres(settings=SETTINGS))
        small, large = (
            stack.enter_context(filled_database(server, each, tells(name)))
            for name, each in ((SMALL, size.scaled(min(SMALL_KEYS, size.keys))), (LARGE, size))
        )
        yield server, small, large


def leave_the_service_alone(server: PostgresServer) -> Cores:
    """Gives the services a core of their own. Until now both filled the databases."""
    cores = Cores.of_this_process()
    cores.leave_the_service_alone()
    if sys.platform == "linux" and cores.service is not None and server.pid is not None:
        os.sched_setaffinity(server.pid, cores.others)  # its next children's, too
    return cores


def requests(logins: list[Login], tenant: str = "") -> list[Request]:
    """An exchange of each key, for one tenant if there is one."""
    headers = {"x-tenant-id": tenant} if tenant else {}
    return [
        form(_TOKEN, headers, grant_type="password", username=login.username, password=login.key)
        for login in logins
    ]


def measure(
    server: PostgresServer,
    small: Database,
    large: Database,
    directory: Path,
    *,
    cores: Cores,
    rounds: int,
    seconds: float,
    say: Callable[[str], None],
) -> Measured:
    """Starts three services (the special cases have their own), and lets cases take turns.

    Raises BenchError when a round has no good answer at all: it would have no latency.
    """
    measured = Measured()
    with contextlib.ExitStack() as stack:

        def service(of: Database) -> Running:
            return stack.enter_context(serving("service", cores, directory, of.environment))

        of_small, of_large, special = service(small), service(large), service(large)
        plain, wide = requests(large.filled.plain), large.filled.wide
        cases = {
            SMALL: (of_small, requests(small.filled.plain)),
            LARGE: (of_large, plain),
            SMALL_ONE: (of_small, requests(small.filled.plain[:1])),
            LARGE_ONE: (of_large, plain[:1]),
            WIDE: (special, requests(wide)),
            CHOSEN: (special, requests(wide, large.filled.chosen)),
            LISTED: (special, requests(large.filled.listed)),
        }
        turns = {name: Turns(*case, server.pid) for name, case in cases.items()}
        for name, each in turns.items():
            warm = each.run(CONNECTIONS, _WARM_UP, answers=each.count)
            say(f"{name}: warm, {warm.rate:,.0f}/s, {warm.errors} errors")
        for _ in range(rounds):
            for name, each in turns.items():
                busy, lone = each.run(CONNECTIONS, seconds), each.run(1, min(seconds, _LONE))
                measured.busy.setdefault(name, []).append(busy)
                measured.lone.setdefault(name, []).append(lone)
                say(f"{name}: {busy.rate:,.0f}/s, {busy.errors} errors")
        measured.memory = {SMALL: resident(of_small), LARGE: resident(of_large)}
    return measured


def ratios(measured: Measured) -> dict[str, Ratio]:
    """What growth costs. Rates of large to small: 0.85 or more is aimed at; of p50 at most 3."""
    found = {
        "rate.many": measured.ratio("rate", LARGE, SMALL),
        "rate.one": measured.ratio("rate", LARGE_ONE, SMALL_ONE),
    }
    used, before = measured.memory[LARGE], measured.memory[SMALL]
    if used is not None and before is not None:
        found["memory"] = Ratio(*[used / before] * 3)
    for name, case in (("wide", WIDE), ("chosen", CHOSEN), ("listed", LISTED)):
        found[f"p50.{name}"] = measured.ratio("p50", case, LARGE)
        found[f"p50.{name}.lone"] = measured.ratio("p50", case, LARGE, lone=True)
    return found
