"""A whole service in this process, on each backend, spoken to over HTTP."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from jinja2 import Environment

from keyturn.server import app as wiring
from keyturn.server import storage
from keyturn.server.domain.ids import new_id
from keyturn.server.domain.model import (
    ApiKey,
    Membership,
    Role,
    Tenant,
    User,
    UserKind,
)
from keyturn.server.parts import open_parts
from keyturn.server.revocation import open_revocation_list
from keyturn.server.services.bootstrap import Demo, make_demo
from keyturn.server.services.ports import NewKey
from keyturn.server.settings import Settings
from keyturn.server.storage import engine, lookup_postgres
from tests.databases import database, run
from tests.http.contract import check
from tests.servers import PostgresServer
from tests.unlimited import UNLIMITED

#: What a call may wait for a store (seconds).
PATIENCE = 60.0

#: Tests of what is refused before a store could matter.
REFUSED = ("test_400", "test_401", "test_403", "test_413", "test_415", "test_every_attack")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What is malformed, or not the caller's to do, is refused alike whatever the store: one
    backend shows it. The stores themselves are held to one contract in tests/contracts/.
    """
    here = Path(__file__).parent
    twice = {
        item
        for item in items
        if here in item.path.parents and item.name.startswith(REFUSED) and "postgres" in item.name
    }
    if twice:
        config.hook.pytest_deselected(items=list(twice))
        items[:] = [item for item in items if item not in twice]


class Clock:
    """The service's time, which a test may move."""

    def __init__(self) -> None:
        self.shift = timedelta(0)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.shift


@dataclass
class Running:
    """A service, its demo data, and a client that talks to it."""

    settings: Settings
    service: wiring.Service
    demo: Demo
    client: httpx.AsyncClient
    clock: Clock

    @property
    def username(self) -> str:
        return self.demo.user.username

    @property
    def api_key(self) -> str:
        return self.demo.key.text

    @property
    def acme(self) -> str:
        return self.demo.tenants[0].id

    @property
    def globex(self) -> str:
        return self.demo.tenants[1].id

    @property
    def admin(self) -> tuple[str, str]:
        """Username and API key of the platform's administrator."""
        return self.demo.platform.user.username, self.demo.platform.key.text

    async def token(
        self, *, headers: dict[str, str] | None = None, **params: Any
    ) -> httpx.Response:
        """Posts a form to the token endpoint."""
        return await self.client.post("/iam/auth/token", data=params, headers=headers)

    async def exchange(
        self, *, tenant: str | None = None, key: NewKey | None = None, user: str = "", **params: Any
    ) -> dict[str, Any]:
        """Exchanges the demo's key, or another, and gives the tokens."""
        answer = await self.token(
            headers={"x-tenant-id": tenant} if tenant else None,
            grant_type="password",
            username=user or self.username,
            password=key.text if key else self.api_key,
            **params,
        )
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    async def exchange_for(self, user: User, **more: Any) -> dict[str, Any]:
        """The tokens of a new key of `user`."""
        key = await self.add_key(user_id=user.id, home_tenant_id=user.home_tenant_id)
        return await self.exchange(key=key, user=user.username, **more)

    async def refresh(self, token: str, **params: Any) -> httpx.Response:
        return await self.token(grant_type="refresh_token", refresh_token=token, **params)

    async def get(
        self, path: str, token: str | None = None, tenant: str | None = None
    ) -> httpx.Response:
        headers = {}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        if tenant is not None:
            headers["x-tenant-id"] = tenant
        return await self.client.get(path, headers=headers)

    async def introspect(
        self, token: str, auth: tuple[str, str] | None = None, tenant: str | None = None
    ) -> httpx.Response:
        return await self.client.post(
            "/iam/auth/introspect",
            data={"token": token},
            auth=auth or self.admin,
            headers={"x-tenant-id": tenant} if tenant else None,
        )

    # --- what the platform's administrator does by REST -------------------------------------

    async def administer(
        self, method: str, path: str, tenant: str, json: Any = None
    ) -> httpx.Response:
        """Calls `/iam` + path in a tenant; must succeed."""
        username, _ = self.admin
        body = await self.exchange(key=self.demo.platform.key, user=username, tenant=tenant)
        headers = {"Authorization": f"Bearer {body['access_token']}", "x-tenant-id": tenant}
        answer = await self.client.request(method, f"/iam{path}", headers=headers, json=json)
        assert answer.is_success, answer.text
        return answer

    async def revoke_key(self, key_id: str) -> None:
        """A key at home in acme."""
        await self.administer("POST", f"/api-keys/{key_id}/revoke", self.acme)

    async def reauthorise(self) -> None:
        """Changes what the demo's user may do with its key: the epoch rises."""
        path = f"/api-keys/{self.demo.key.key_id}"
        await self.administer("PATCH", path, self.acme, {"networks": ["0.0.0.0/0", "::/0"]})

    async def suspend(self, tenant_id: str) -> None:
        root = self.demo.platform.tenant.id
        await self.administer("POST", f"/tenants/{tenant_id}/suspend", root)

    # --- what is put into the store as it is ------------------------------------------------

    async def add_key(self, **changes: Any) -> NewKey:
        """A further key of the demo's service user, or of `user_id`."""
        new = self.service.parts.key_format.new()
        key = ApiKey(new.key_id, self.demo.user.id, self.acme, new.key_id, self.clock())
        async with self.service.parts.store.transaction() as tx:
            await tx.api_keys.add(replace(key, **changes), new.hash)
        return new

    async def add_user(self, kind: UserKind = UserKind.SERVICE, home: str = "") -> User:
        name = f"user-{new_id()}"
        user = User(new_id(), kind, name, name, home or self.acme, 1, self.clock())
        async with self.service.parts.store.transaction() as tx:
            await tx.users.add(user)
        return user

    async def add_tenant(self, name: str, parent_id: str | None = None) -> Tenant:
        parent = parent_id or self.demo.platform.tenant.id
        tenant = Tenant(new_id(), parent, name, self.clock())
        async with self.service.parts.store.transaction() as tx:
            await tx.tenants.add(tenant)
        return tenant

    async def add_role(self, tenant_id: str, name: str, *permissions: str) -> Role:
        role = Role(new_id(), name, frozenset(permissions), tenant_id)
        async with self.service.parts.store.transaction() as tx:
            await tx.roles.add(role)
        return role

    async def give(self, user_id: str, tenant_id: str, role_id: str) -> None:
        async with self.service.parts.store.transaction() as tx:
            await tx.memberships.add(Membership(user_id, tenant_id, role_id, self.clock()))


@dataclass(frozen=True)
class World:
    """A database with the demo's data, to be copied, and what opens it."""

    demo: Demo
    master_secret: str

    @classmethod
    def make(cls, url: str) -> World:
        """Makes the demo, and the signing key that every service on a copy will find."""
        secret = secrets.token_urlsafe(40)
        settings = Settings(database_url=url, master_secret=secret)

        async def made() -> Demo:
            async with open_parts(settings) as parts:
                demo = await make_demo(parts.store, parts.key_format)
            async with wiring.open_service(settings):
                return demo

        return cls(run(made()), secret)


@pytest.fixture(scope="session", autouse=True)
def _patience() -> Iterator[None]:
    """A busy machine is no fault. What the limits do has tests in tests/contracts/storage/."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage, "STATEMENT_SECONDS", PATIENCE)
        patch.setattr(storage, "TRANSACTION_SECONDS", PATIENCE)
        patch.setattr(engine, "CONNECT_SECONDS", PATIENCE)
        patch.setattr(engine, "IDLE_SECONDS", PATIENCE)
        patch.setattr(lookup_postgres, "LOOKUP_SECONDS", PATIENCE)
        patient = partial(open_revocation_list, database_timeout=PATIENCE)
        patch.setattr(wiring, "open_revocation_list", patient)
        yield


@pytest.fixture(scope="session", autouse=True)
def _templates_compiled_once() -> Iterator[None]:
    """The console's templates are compiled once a process, as in a service, not for each test's."""
    once: dict[tuple[str, str | None], Any] = {}

    def compile_(
        self: Environment, source: str, name: str | None = None, *args: Any, **more: Any
    ) -> Any:
        if (source, name) not in once:
            once[source, name] = original(self, source, name, *args, **more)
        return once[source, name]

    original = Environment.compile
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Environment, "compile", compile_)
        yield


@pytest.fixture(scope="session")
def worlds() -> dict[str, World]:
    """The demo of each backend's template."""
    return {}


@pytest.fixture(scope="session")
def sqlite_template(
    sqlite_template: Path, worlds: dict[str, World], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The migrated file, with the demo in it: what is made once need not be made 300 times."""
    path = tmp_path_factory.mktemp("demo") / "template.db"
    shutil.copy(sqlite_template, path)
    worlds["sqlite"] = World.make(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def postgres_template(
    postgres_server: PostgresServer, postgres_template: str, worlds: dict[str, World]
) -> Iterator[str]:
    """The migrated database, with the demo in it."""
    name = f"keyturn_demo_{secrets.token_hex(4)}"
    with database(postgres_server.url, name, template=postgres_template) as url:
        worlds["postgresql"] = World.make(url)
        yield name


@pytest.fixture
async def start(
    database_url: str, worlds: dict[str, World], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Callable[..., Any]]:
    """Starts a service with changed settings; stopped at the test's end."""
    clock = Clock()
    monkeypatch.setattr(wiring, "utc_now", clock)
    async with AsyncExitStack() as stack:

        async def started(**changes: Any) -> Running:
            return await stack.enter_async_context(running(database_url, worlds, clock, **changes))

        yield started


@pytest.fixture
async def service(start: Callable[..., Any]) -> Running:
    """A service with its defaults and the demo's data."""
    running: Running = await start()
    return running


@asynccontextmanager
async def running(
    url: str, worlds: dict[str, World], clock: Clock, **changes: Any
) -> AsyncIterator[Running]:
    """A service on a copy of a template."""
    world = worlds[url.partition(":")[0]]
    settings = Settings(
        **{
            "database_url": url,
            "master_secret": world.master_secret,
            "database_pool_size": 4,
            "database_wait": PATIENCE,
            **UNLIMITED,
            **changes,
        }
    )
    app = wiring.create_app(settings)
    # Exceptions become a 500, as under a real server, instead of ending the test's request.
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=transport, base_url="http://testserver", event_hooks={"response": [check]}
        ) as client,
    ):
        yield Running(settings, app.state.service, world.demo, client, clock)
