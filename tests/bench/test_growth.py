"""What the growth bench fills in is what the service would have made itself, and can be exchanged.

A small installation: the same rows as a large one's, fewer.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import asyncpg
import httpx
import jwt
import pytest

from keyturn.server.app import create_app
from keyturn.server.domain.model import Tenant
from keyturn.server.parts import open_parts
from keyturn.server.settings import Settings
from keyturn.server.storage import migrate, open_storage
from tests.bench.growth_fill import fill
from tests.bench.growth_load import Turns
from tests.bench.growth_shape import LISTED, Filled, Login, Shape, Size
from tests.bench.processes import Running
from tests.bench.wire import Request
from tests.databases import database, run
from tests.live_server import new_master_secret
from tests.servers import PostgresServer
from tests.unlimited import UNLIMITED

SIZE = Size(300, 30, 20, genuine=30, special=2, wide=5, listed=40)

#: Every user's roles in every tenant, without the lookup's care for speed.
_REACHED = """
    SELECT u.username, tree.descendant_id::text AS tenant, array_agg(DISTINCT r.name) AS roles
    FROM users u JOIN memberships m ON m.user_id = u.id JOIN roles r ON r.id = m.role_id
    JOIN tenant_tree tree ON tree.ancestor_id = m.tenant_id
    GROUP BY 1, 2
"""
_INDEXES = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY indexdef"


class Quiet:
    """Hears nothing (implements Tell)."""

    def begin(self, step: str, total: int | None) -> None:
        pass

    def advance(self, rows: int) -> None:
        pass

    def end(self) -> None:
        pass


@dataclass(frozen=True)
class Grown:
    """A filled database."""

    settings: Settings
    url: str
    filled: Filled

    def rows(self, query: str) -> list[asyncpg.Record]:
        return run(rows(self.url, query))


async def rows(url: str, query: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(url)
    try:
        return list(await connection.fetch(query))
    finally:
        await connection.close()


@pytest.fixture(scope="module")
def grown(postgres_server: PostgresServer, postgres_template: str) -> Iterator[Grown]:
    with database(postgres_server.url, "keyturn_growth", template=postgres_template) as url:
        settings = Settings(database_url=url, master_secret=new_master_secret(), **UNLIMITED)

        async def filled() -> Filled:
            async with open_parts(settings) as parts:
                return await fill(url, SIZE, parts.key_format, Quiet())

        yield Grown(settings, url, run(filled()))


async def exchanged(grown: Grown, logins: list[Login], tenant: str = "") -> list[dict[str, Any]]:
    """The access tokens' claims, from a whole service."""
    app = create_app(grown.settings)
    transport = httpx.ASGITransport(app)
    found = []
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://testserver") as client,
    ):
        for login in logins:
            answer = await client.post(
                "/iam/auth/token",
                data={"grant_type": "password", "username": login.username, "password": login.key},
                headers={"x-tenant-id": tenant} if tenant else None,
            )
            assert answer.status_code == 200, answer.text
            token = answer.json()["access_token"]
            found.append(jwt.decode(token, options={"verify_signature": False}))
    return found


class TestFill:
    def test_there_is_as_much_as_was_asked_for(self, grown: Grown) -> None:
        tables = ("api_keys", "users", "tenants", "endpoints")
        counts = {t: grown.rows(f"SELECT count(*) FROM {t}")[0]["count"] for t in tables}
        assert counts == {"api_keys": 304, "users": 32, "tenants": 20, "endpoints": 40}
        assert len({login.username for login in grown.filled.plain}) == SIZE.genuine
        each = grown.rows("SELECT count(*) FROM api_keys GROUP BY user_id")
        assert sorted(row["count"] for row in each) == [2, 2, *[10] * 30]

    def test_everybody_holds_one_to_three_roles(self, grown: Grown) -> None:
        held = grown.rows(
            "SELECT count(*), count(DISTINCT tenant_id) AS tenants"
            " FROM memberships GROUP BY user_id"
        )
        *plain, wide = sorted((row["count"], row["tenants"]) for row in held)
        assert {count for count, _ in plain} == {1, 2, 3}
        assert wide == (15, 5)

    async def test_the_tree_is_as_the_service_makes_it(
        self, grown: Grown, empty_postgres_url: str
    ) -> None:
        query = "SELECT id::text, parent_id::text, name, created_at FROM tenants"
        placed: set[str | None] = {None}
        left = {row["id"]: row for row in grown.rows(query)}
        await migrate(empty_postgres_url)
        async with open_storage(empty_postgres_url) as storage, storage.store.transaction() as tx:
            while left:
                fit = [row for row in left.values() if row["parent_id"] in placed]
                assert fit
                for row in fit:
                    await tx.tenants.add(Tenant(**left.pop(row["id"])))
                    placed.add(row["id"])
        for table in ("tenants", "tenant_tree"):
            made = await rows(empty_postgres_url, f"SELECT * FROM {table}")
            assert set(map(tuple, made)) == set(map(tuple, grown.rows(f"SELECT * FROM {table}")))
        assert {row["depth"] for row in grown.rows("SELECT depth FROM tenant_tree")} == {0, 1, 2, 3}

    def test_all_indexes_are_there_again(
        self, grown: Grown, postgres_server: PostgresServer, postgres_template: str
    ) -> None:
        name = "keyturn_growth_indexes"
        with database(postgres_server.url, name, template=postgres_template) as url:
            before = run(rows(url, _INDEXES))
        assert before == grown.rows(_INDEXES)
        assert not grown.rows("SELECT 1 FROM pg_index WHERE NOT indisvalid")

    def test_references_are_whole(self, grown: Grown) -> None:
        """They were not checked when the rows came."""
        foreign = grown.rows(
            """
            SELECT c.conrelid::regclass::text AS table, a.attname AS column,
                   c.confrelid::regclass::text AS other, o.attname AS key
            FROM pg_constraint c
            JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
            JOIN pg_attribute o ON o.attrelid = c.confrelid AND o.attnum = c.confkey[1]
            WHERE c.contype = 'f'
            """
        )
        assert len(foreign) > 10
        for f in foreign:
            lost = f"SELECT 1 FROM {f['table']} t WHERE {f['column']} IS NOT NULL AND NOT EXISTS"
            lost += f" (SELECT 1 FROM {f['other']} o WHERE o.{f['key']} = t.{f['column']})"
            assert not grown.rows(lost), f

    def test_a_smaller_one_is_proportional(self) -> None:
        small = Size(10_000_000, 1_000_000, 100_000).scaled(10_000)
        assert (small.keys, small.users, small.tenants, small.special) == (10_000, 1_000, 100, 0)
        reached = Shape(small)
        assert len(reached.users) == 1_000
        assert {len(reached.line(n)) for n in range(100)} == {1, 2, 3, 4}


class TestExchange:
    async def test_a_genuine_key_names_its_users_tenants_and_roles(self, grown: Grown) -> None:
        expected: dict[str, dict[str, list[str]]] = {}
        for row in grown.rows(_REACHED):
            expected.setdefault(row["username"], {})[row["tenant"]] = sorted(row["roles"])
        logins = grown.filled.plain
        found = await exchanged(grown, logins)
        assert len(found) == SIZE.genuine
        for login, claims in zip(logins, found, strict=True):
            tenants = {tenant: sorted(names) for tenant, names in claims["tenants"].items()}
            assert tenants == expected[login.username]

    async def test_of_many_tenants_one_may_be_chosen(self, grown: Grown) -> None:
        for claims in await exchanged(grown, grown.filled.wide, grown.filled.chosen):
            assert claims["tenant_id"] == grown.filled.chosen
            assert sorted(claims["roles"]) == ["editor", "operator", "viewer"]

    async def test_a_list_of_endpoints_leaves_what_opens_them(self, grown: Grown) -> None:
        listed = grown.rows(
            "SELECT jsonb_array_length(endpoint_ids) AS many, home_tenant_id::text AS home"
            " FROM api_keys WHERE endpoint_ids IS NOT NULL"
        )
        assert [row["many"] for row in listed] == [SIZE.listed] * SIZE.special
        for claims in await exchanged(grown, grown.filled.listed, listed[0]["home"]):
            assert claims["scope"] == LISTED


class _Counting(BaseHTTPRequestHandler):
    """Refuses the body `no`, and counts them all."""

    protocol_version = "HTTP/1.1"
    seen: ClassVar[list[str]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.seen.append(body)
        self.send_response(400 if body == "no" else 200)
        answer = json.dumps({"was": body})
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer.encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


class TestTurns:
    def test_requests_are_sent_in_turn_and_refusals_counted(self) -> None:
        class Handler(_Counting):
            seen: ClassVar[list[str]] = []

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            asked = [Request("POST", "/", {}, body) for body in ("one", "two", "no")]
            turns = Turns(Running(0, server.server_address[1]), asked, None)
            first = turns.run(1, 5.0, answers=4)
            turns.run(1, 5.0, answers=2)
        finally:
            server.shutdown()
            thread.join()
            server.server_close()
        assert Handler.seen == ["one", "two", "no", "one", "two", "no"]
        assert first.errors == 1
        assert "no" in first.first_error
