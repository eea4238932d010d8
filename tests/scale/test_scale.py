"""20,000 tenants and 200,000 keys: every list, search and exchange stays on an index, and stops
early.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import asyncpg
import pytest

from keyturn.server.services.ports import Page, Slice
from keyturn.server.storage import Storage, open_storage
from keyturn.server.storage.driver import _SETTINGS
from keyturn.server.storage.engine import connect_postgres
from keyturn.server.storage.lookup_postgres import _NIL, LOOKUP
from keyturn.server.storage.urls import PostgresServer, parse_url
from tests.databases import database, run
from tests.scale.lists import EXCHANGES, PAGE, READS, Landmarks
from tests.scale.plans import Plan, Statement, captured, plans
from tests.scale.seed import seed
from tests.scale.shape import LARGE
from tests.servers import PostgresServer as Server

#: Blocks that a page of 50 may read: each of its rows through an index of four levels, and from a
#: second table as much. The keys' table alone has more than 5,000.
BOUND = 600

#: How far inside a list its middle page begins.
MIDDLE = 1_000


@dataclass(frozen=True)
class Asked:
    """What is asked of the database at `url`: by transactions, and by the lookup."""

    url: str
    of_store: list[Statement]
    of_lookup: list[Statement]


@pytest.fixture(scope="module")
def asked(postgres_server: Server, postgres_template: str) -> Iterator[Asked]:
    """A large installation, analysed and not vacuumed, and all statements that read it."""
    with database(postgres_server.url, "keyturn_scale", template=postgres_template) as url:
        run(seed(url, LARGE, vacuum=False))
        yield run(_asked(url))


@pytest.fixture(scope="module", params=["analysed", "vacuumed"])
def found(request: pytest.FixtureRequest, asked: Asked) -> list[Plan]:
    """The plans of all statements: as PostgreSQL makes them soon after a table grew, and later."""
    return run(_plans(asked, vacuum=request.param == "vacuumed"))


class TestSeed:
    def test_is_as_large_as_promised(self, asked: Asked) -> None:
        assert run(_count(asked.url)) == (20_000, 200_000)


class TestEveryList:
    @pytest.mark.parametrize("name", READS)
    def test_stays_on_an_index_and_stops_early(self, name: str, found: list[Plan]) -> None:
        _hold([plan for plan in found if plan.statement.name == name])


class TestExchange:
    @pytest.mark.parametrize("name", EXCHANGES)
    def test_stays_on_an_index_and_stops_early(self, name: str, found: list[Plan]) -> None:
        _hold([plan for plan in found if plan.statement.name == name])


def _hold(found: list[Plan]) -> None:
    assert found
    for plan in found:
        assert not plan.read_whole, f"{plan.read_whole} read from end to end by {plan}"
        assert plan.blocks < BOUND, f"{plan.blocks} blocks read by {plan}"


async def _asked(url: str) -> Asked:
    landmarks = await Landmarks.find(url)
    async with open_storage(url) as storage:
        of_store = [s for name in READS for s in await _statements(storage, landmarks, name)]
    middle = landmarks.views[-1].tenant
    of_lookup = [
        Statement(name, how, LOOKUP, (landmarks.keys[name], tenants, after, 20))
        for name in EXCHANGES
        for how, tenants, after in (
            ("all tenants", None, _NIL),
            ("tenants behind one", None, middle),
            ("one tenant", [middle], _NIL),
        )
    ]
    return Asked(url, of_store, of_lookup)


async def _statements(storage: Storage, landmarks: Landmarks, name: str) -> list[Statement]:
    """Those that a repository makes for each viewpoint; of pages, the first and a middle one."""
    read, found = READS[name], []
    async with storage.store.transaction() as work:
        for view in landmarks.views:
            parts = {"from its beginning": Slice(PAGE)}
            first = await read(work, view, Slice(MIDDLE))
            if isinstance(first, Page) and first.next is not None:
                parts["from its middle"] = Slice(PAGE, first.next)
            for how, part in parts.items():
                with captured(storage) as seen:
                    await read(work, view, part)
                assert seen
                found += [Statement(name, f"of the {view.name}, {how}", *each) for each in seen]
    return found


async def _plans(asked: Asked, *, vacuum: bool) -> list[Plan]:
    server = parse_url(asked.url)
    assert isinstance(server, PostgresServer)
    if vacuum:
        connection = await asyncpg.connect(asked.url)
        await connection.execute("VACUUM")
        await connection.close()
    async with open_storage(asked.url) as storage, storage.store._engine.connect() as pooled:
        # As the engine opened it, with the settings it gave it.
        raw = (await pooled.get_raw_connection()).driver_connection
        assert raw is not None
        found = await plans(raw, asked.of_store)
    connection = await connect_postgres(server, settings=_SETTINGS)
    try:
        return found + await plans(connection, asked.of_lookup)
    finally:
        await connection.close()


async def _count(url: str) -> tuple[int, int]:
    connection = await asyncpg.connect(url)
    try:
        tenants = await connection.fetchval("SELECT count(*) FROM tenants")
        return tenants, await connection.fetchval("SELECT count(*) FROM api_keys")
    finally:
        await connection.close()
