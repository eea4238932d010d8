"""The first start, on a real SQLite database."""

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from keyturn.server import app
from keyturn.server.domain.errors import Code, Refusal
from keyturn.server.domain.model import KeyRecord, UserKind
from keyturn.server.domain.permissions import TENANT_ADMIN, VIEWER
from keyturn.server.domain.trail import AuditEvent
from keyturn.server.parts import Parts, open_parts
from keyturn.server.services.bootstrap import (
    DEMO_ROLES,
    Demo,
    bootstrap,
    make_demo,
    service_username,
)
from keyturn.server.services.ports import NewKey
from keyturn.server.settings import Settings

CISCO = {f"{area}:manage" for area in ("assets", "data", "logics", "system", "operations")}


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[Parts]:
    settings = Settings.model_validate(
        {
            "database_url": f"sqlite:///{tmp_path}/x.db",
            "master_secret": secrets.token_urlsafe(32),
        }
    )
    await app.migrate(settings)
    async with open_parts(settings) as parts:
        yield parts


async def record(parts: Parts, key: NewKey) -> KeyRecord:
    found = await parts.lookup.find(key.key_id)
    assert found is not None
    return found


def held(found: KeyRecord) -> set[tuple[str, str]]:
    return {(item.tenant_name, item.role.name) for item in found.roles}


class TestBootstrap:
    async def test_an_administrator_of_everything_with_a_key(self, parts: Parts) -> None:
        made = await bootstrap(parts.store, parts.key_format, username="ada@example.com")
        assert made.tenant.parent_id is None
        assert made.tenant.name == "platform"
        assert made.user.kind is UserKind.HUMAN
        found = await record(parts, made.key)
        assert found.username == "ada@example.com"
        assert held(found) == {("platform", TENANT_ADMIN.name)}
        parsed = parts.key_format.parse(made.key.text)
        assert parsed is not None
        assert parts.key_format.matches(parsed, found.hash)

    async def test_refused_a_second_time(self, parts: Parts) -> None:
        await bootstrap(parts.store, parts.key_format, username="ada")
        with pytest.raises(Refusal) as caught:
            await bootstrap(parts.store, parts.key_format, username="eve", organisation="elsewhere")
        assert caught.value.code is Code.CONFLICT
        async with parts.store.transaction() as tx:
            assert await tx.users.by_username("eve") is None

    @pytest.mark.parametrize("username", ["", "a b", "a:b", "a\nb", "a\x00b", "x" * 129])
    async def test_refused_bad_username(self, parts: Parts, username: str) -> None:
        with pytest.raises(Refusal) as caught:
            await bootstrap(parts.store, parts.key_format, username=username)
        assert caught.value.code is Code.INVALID_REQUEST

    @pytest.mark.parametrize("organisation", ["", " ", "a\nb", "x" * 129])
    async def test_refused_bad_organisation(self, parts: Parts, organisation: str) -> None:
        with pytest.raises(Refusal):
            await bootstrap(
                parts.store, parts.key_format, username="ada", organisation=organisation
            )

    async def test_audited_without_the_key(
        self, parts: Parts, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        events: list[AuditEvent] = []
        async with parts.store.transaction() as tx:
            audit = type(tx.audit)
        add = audit.add

        async def noted(self: object, added: list[AuditEvent]) -> None:
            events.extend(added)
            await add(self, added)  # type: ignore[arg-type]

        monkeypatch.setattr(audit, "add", noted)
        made = await bootstrap(parts.store, parts.key_format, username="ada")
        assert [event.action for event in events] == [
            "tenant.created",
            "user.created",
            "membership.created",
            "api_key.created",
        ]
        assert {event.tenant_id for event in events} == {made.tenant.id}
        assert made.key.text not in str(events)
        assert made.key.text not in str(made)


class TestDemo:
    async def test_two_tenants_and_who_may_do_what(self, parts: Parts) -> None:
        demo = await make_demo(parts.store, parts.key_format)
        assert [tenant.name for tenant in demo.tenants] == ["acme", "globex"]
        assert {tenant.parent_id for tenant in demo.tenants} == {demo.platform.tenant.id}
        service = await record(parts, demo.key)
        assert service.user_kind is UserKind.SERVICE
        assert held(service) == {("acme", "operator"), ("globex", VIEWER.name)}
        admin = await record(parts, demo.platform.key)
        assert held(admin) == {(name, TENANT_ADMIN.name) for name in ("platform", "acme", "globex")}

    async def test_each_tenant_has_its_own_roles(self, parts: Parts) -> None:
        demo = await make_demo(parts.store, parts.key_format)
        async with parts.store.transaction() as tx:
            for tenant in demo.tenants:
                own = [r for r in await tx.roles.in_tenant(tenant.id) if r.tenant_id]
                assert {role.name: role.permissions for role in own} == DEMO_ROLES

    async def test_people_to_sign_in_if_told(self, parts: Parts) -> None:
        demo = await make_demo(parts.store, parts.key_format, password_hashes=("one", "two"))
        assert demo.member is not None
        async with parts.store.transaction() as tx:
            people = (demo.platform.user, demo.member)
            assert [await tx.users.password(person.id) for person in people] == ["one", "two"]
            [(membership, role)] = await tx.memberships.of_user(demo.member.id)
        assert (membership.tenant_id, role.name) == (demo.tenants[0].id, VIEWER.name)
        assert demo.member.kind is UserKind.HUMAN

    def test_the_roles_use_all_five_permissions(self) -> None:
        assert frozenset().union(*DEMO_ROLES.values()) >= CISCO

    async def test_refused_where_a_root_is(self, parts: Parts) -> None:
        await bootstrap(parts.store, parts.key_format, username="ada")
        with pytest.raises(Refusal):
            await make_demo(parts.store, parts.key_format)

    async def test_nothing_is_made_when_the_keys_cannot_be_kept(self, parts: Parts) -> None:
        def full(_demo: Demo) -> None:
            raise OSError("disk full")

        with pytest.raises(OSError, match="disk full"):
            await make_demo(parts.store, parts.key_format, before_commit=full)
        async with parts.store.transaction() as tx:
            assert await tx.tenants.root() is None


@pytest.mark.parametrize(
    ("name", "tenant", "username"),
    [
        ("demo-service", "acme", "demo-service@acme.service.keyturn.internal"),
        ("Nightly Export!", "Ümlaut & Co", "nightly-export@mlaut-co.service.keyturn.internal"),
        ("夜", "acme", "x@acme.service.keyturn.internal"),
    ],
)
def test_service_username(name: str, tenant: str, username: str) -> None:
    assert service_username(name, tenant) == username
