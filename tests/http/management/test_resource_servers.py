"""`/resource-servers`: registered, and asked for with `resource` (RFC 8707)."""

from __future__ import annotations

import asyncio
from typing import Any

import jwt
import pytest

from keyturn.server.domain.ids import new_id
from keyturn.server.domain.permissions import TENANT_ADMIN
from keyturn.server.services.management import resource_servers as resource_servers_module
from tests.http.conftest import Running
from tests.http.management.conftest import Person, person

ASSETS = "https://assets.example"
PATH = "/resource-servers"

#: Nothing's.
SOME_ID = "01a20259-2241-7725-b8d9-387fb9a38059"


async def registered(admin: Person, identifier: str = ASSETS, **more: Any) -> dict[str, Any]:
    answer = await admin.post(PATH, {"identifier": identifier, "name": "Assets", **more})
    assert answer.status_code == 201, answer.text
    server: dict[str, Any] = answer.json()
    return server


async def events(admin: Person, target: str) -> list[tuple[str, Any]]:
    """What the trail says of it, the oldest first."""
    answer = await admin.get("/audit-events", params={"target": target})
    return [(item["action"], item["data"]) for item in reversed(answer.json()["items"])]


async def asked(service: Running, *resources: str, tenant: str | None = None) -> Any:
    """The demo user's exchange for resource servers."""
    return await service.token(
        headers={"x-tenant-id": tenant} if tenant else None,
        grant_type="password",
        username=service.username,
        password=service.api_key,
        resource=list(resources),
    )


async def verified(service: Running, token: str, audience: str) -> tuple[str, dict[str, Any]]:
    """How a token is signed and what it says, by a library that is not the server's."""
    keys = jwt.PyJWKSet.from_dict((await service.get("/.well-known/jwks.json")).json())
    header = jwt.get_unverified_header(token)
    claims: dict[str, Any] = jwt.decode(
        token, keys[header["kid"]].key, algorithms=[header["alg"]], audience=audience
    )
    return header["alg"], claims


class TestCreateResourceServer:
    async def test_201(self, admin: Person) -> None:
        body = {"identifier": ASSETS, "name": "Assets of Acmé", "algorithm": "RS256"}
        answer = await admin.post(PATH, body)
        assert answer.status_code == 201
        made = answer.json()
        assert made == {
            **body,
            "id": made["id"],
            "href": f"/iam/resource-servers/{made['id']}",
            "tenant_id": admin.tenant,
            "created_at": made["created_at"],
        }
        assert answer.headers["location"] == made["href"]
        read = await admin.get(f"{PATH}/{made['id']}")
        assert (read.json(), read.headers["etag"]) == (made, answer.headers["etag"])
        assert await events(admin, made["id"]) == [("resource_server.created", {"after": body})]

    async def test_201_the_settings_algorithm(self, service: Running, admin: Person) -> None:
        assert (await registered(admin))["algorithm"] == service.settings.signing_algorithm

    @pytest.mark.parametrize(
        ("algorithm", "signed"), [("ES256", "ES256"), ("RS256", "RS256"), ("Ed25519", "EdDSA")]
    )
    async def test_201_tokens_for_it_at_once(
        self, service: Running, admin: Person, algorithm: str, signed: str
    ) -> None:
        await registered(admin, algorithm=algorithm)
        answer = await asked(service, ASSETS, tenant=service.acme)
        assert answer.status_code == 200, answer.text
        alg, claims = await verified(service, answer.json()["access_token"], ASSETS)
        assert (alg, claims["aud"], claims["tenant_id"]) == (signed, ASSETS, service.acme)
        own = (await service.exchange())["access_token"]
        assert (await verified(service, own, service.settings.audience))[0] == "ES256"

    async def test_201_any_absolute_uri(self, service: Running, admin: Person) -> None:
        for identifier in (
            "urn:acme:assets",
            "https://assets.example:8443/v1/?a=b",
            "HTTPS://[2001:db8::1]/%7Eassets",
            "x:" + "y" * 254,
        ):
            await registered(admin, identifier)
            answer = await asked(service, identifier, tenant=service.acme)
            alg, claims = await verified(service, answer.json()["access_token"], identifier)
            assert (alg, claims["aud"]) == ("ES256", identifier)

    async def test_201_once_with_an_idempotency_key(self, admin: Person) -> None:
        body = {"identifier": ASSETS, "name": "Assets"}
        first, second = [
            await admin.post(PATH, body, headers={"Idempotency-Key": "k-1"}) for _ in range(2)
        ]
        assert (second.status_code, second.json()) == (201, first.json())
        assert second.headers["etag"] == first.headers["etag"]
        other = await admin.post(PATH, {**body, "name": "x"}, headers={"Idempotency-Key": "k-1"})
        assert other.status_code == 422

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"identifier": "assets"}, "identifier"),
            ({"name": ""}, "name"),
            ({"name": None}, "name"),
            ({"name": " x"}, "name"),
            ({"name": "x" * 129}, "name"),
            ({"algorithm": None}, "algorithm"),
            ({"algorithm": "none"}, "algorithm"),
            ({"algorithm": "HS256"}, "algorithm"),
            ({"algorithm": "es256"}, "algorithm"),
            ({"algorithm": "EdDSA"}, "algorithm"),
            ({"tenant_id": SOME_ID}, "tenant_id"),
        ],
        ids=lambda value: ascii(value)[:40],
    )
    async def test_400_names_the_field(
        self, admin: Person, change: dict[str, Any], field: str
    ) -> None:
        answer = await admin.post(PATH, {"identifier": ASSETS, "name": "x"} | change)
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["field"] == field
        assert (await admin.get(PATH)).json()["items"] == []

    async def test_400_no_absolute_uri(self, admin: Person) -> None:
        for identifier in (
            *(None, 7, "", "assets", "//assets.example", "/assets", "https:", "1https://assets"),
            *(f"{ASSETS}#", f"{ASSETS}/#top", f"{ASSETS} ", f"{ASSETS} {ASSETS}", f" {ASSETS}"),
            *(f"{ASSETS}\n", f"{ASSETS}\u0000", f"{ASSETS}/%zz", f"{ASSETS}/\\", f'{ASSETS}/"'),
            *("https://ässets.example", "urn:\u017fets", "x:" + "y" * 255),
        ):
            answer = await admin.post(PATH, {"identifier": identifier, "name": "x"})
            assert answer.status_code == 400, identifier
            assert "errors" not in answer.json() or (
                answer.json()["errors"][0]["field"] == "identifier"
            )
        assert (await admin.get(PATH)).json()["items"] == []

    @pytest.mark.parametrize("missing", ["identifier", "name"])
    async def test_400_missing(self, admin: Person, missing: str) -> None:
        body = {"identifier": ASSETS, "name": "x"}
        del body[missing]
        answer = await admin.post(PATH, body)
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["field"] == missing

    async def test_409_taken_in_whatever_tenant(
        self, service: Running, admin: Person, root_admin: Person
    ) -> None:
        await registered(admin)
        beside = await person(service, TENANT_ADMIN, service.globex)
        for who in (admin, beside, root_admin):
            answer = await who.post(PATH, {"identifier": ASSETS, "name": "Mine"})
            assert answer.status_code == 409
            assert answer.json()["errors"][0]["field"] == "identifier"
            assert ASSETS not in answer.text

    async def test_409_at_once_one_wins(self, service: Running, admin: Person) -> None:
        beside = await person(service, TENANT_ADMIN, service.globex)
        body = {"identifier": ASSETS, "name": "Mine", "algorithm": "Ed25519"}
        answers = await asyncio.gather(*(who.post(PATH, body) for who in (admin, beside) * 3))
        assert sorted(answer.status_code for answer in answers) == [201, *[409] * 5]

    async def test_409_the_installations_own(self, service: Running, admin: Person) -> None:
        answer = await admin.post(PATH, {"identifier": service.settings.audience, "name": "Mine"})
        assert answer.status_code == 409
        assert answer.json()["errors"][0]["field"] == "identifier"

    async def test_409_too_many(
        self, service: Running, admin: Person, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(resource_servers_module, "MAX_RESOURCE_SERVERS", 2)
        beside = await person(service, TENANT_ADMIN, service.globex)
        await registered(beside, "urn:globex")
        for identifier in ("urn:a", "urn:b"):
            await registered(admin, identifier)
        body = {"identifier": "urn:c", "name": "One more"}
        assert (await admin.post(PATH, body)).status_code == 409
        first = (await admin.get(PATH)).json()["items"][0]["id"]
        assert (await admin.delete(f"{PATH}/{first}")).status_code == 204
        assert (await admin.post(PATH, body)).status_code == 201


class TestListResourceServers:
    async def test_200_the_tenants_own(
        self, service: Running, admin: Person, root_admin: Person
    ) -> None:
        own = [await registered(admin, f"urn:acme:{name}") for name in "cab"]
        above = await registered(root_admin, "urn:platform")
        beside = await person(service, TENANT_ADMIN, service.globex)
        assert (await admin.get(PATH)).json() == {"items": own, "next_cursor": None}
        assert (await root_admin.get(PATH)).json()["items"] == [above]
        assert (await beside.get(PATH)).json()["items"] == []

    async def test_200_page_by_page(self, admin: Person) -> None:
        own = [await registered(admin, f"urn:acme:{number}") for number in range(5)]
        seen, cursor = [], None
        while True:
            params = {"limit": 2, **({"cursor": cursor} if cursor else {})}
            page = (await admin.get(PATH, params=params)).json()
            assert len(page["items"]) <= 2
            seen += page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert seen == own

    @pytest.mark.parametrize(
        "params",
        [{"limit": 0}, {"limit": 201}, {"cursor": "x"}, {"cursor": "WyJhIiwiYiJd"}, {"all": "1"}],
        ids=str,
    )
    async def test_400_parameters(self, admin: Person, params: dict[str, str]) -> None:
        assert (await admin.get(PATH, params=params)).status_code == 400


class TestGetResourceServer:
    async def test_404_of_others(self, service: Running, admin: Person, root_admin: Person) -> None:
        own = await registered(admin)
        above = await registered(root_admin, "urn:platform")
        beside = await person(service, TENANT_ADMIN, service.globex)
        missing = await admin.get(f"{PATH}/{new_id()}")
        for who, server_id in [
            (root_admin, own["id"]),
            (beside, own["id"]),
            (admin, above["id"]),
            (admin, "x"),
            (admin, "%00"),
        ]:
            answer = await who.get(f"{PATH}/{server_id}")
            assert answer.status_code == 404
            assert answer.json()["detail"] == missing.json()["detail"]


class TestChangeResourceServer:
    async def test_200(self, admin: Person) -> None:
        made = await registered(admin)
        path = f"{PATH}/{made['id']}"
        answer = await admin.patch(path, {"name": "All assets"})
        assert (answer.status_code, answer.json()) == (200, {**made, "name": "All assets"})
        assert (await admin.get(path)).headers["etag"] == answer.headers["etag"] == '"2"'
        shown = {name: made[name] for name in ("identifier", "name", "algorithm")}
        told = {"before": shown, "after": {**shown, "name": "All assets"}}
        assert (await events(admin, made["id"]))[1:] == [("resource_server.changed", told)]

    async def test_200_a_new_algorithm_signs_new_tokens(
        self, service: Running, admin: Person
    ) -> None:
        made = await registered(admin)
        before = (await asked(service, ASSETS, tenant=service.acme)).json()
        answer = await admin.patch(f"{PATH}/{made['id']}", {"algorithm": "RS256"})
        assert answer.json() == {**made, "algorithm": "RS256"}
        new = (await asked(service, ASSETS, tenant=service.acme)).json()["access_token"]
        assert (await verified(service, new, ASSETS))[0] == "RS256"
        assert (await verified(service, before["access_token"], ASSETS))[0] == "ES256"

    async def test_200_nothing_new_is_no_change(self, admin: Person) -> None:
        made = await registered(admin)
        for body in ({}, {"name": made["name"], "algorithm": made["algorithm"]}):
            answer = await admin.patch(f"{PATH}/{made['id']}", body)
            assert (answer.json(), answer.headers["etag"]) == (made, '"1"')
        assert len(await events(admin, made["id"])) == 1

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"identifier": "urn:other"}, "identifier"),
            ({"name": ""}, "name"),
            ({"name": None}, "name"),
            ({"algorithm": None}, "algorithm"),
            ({"algorithm": "none"}, "algorithm"),
        ],
        ids=str,
    )
    async def test_400_names_the_field(
        self, admin: Person, body: dict[str, Any], field: str
    ) -> None:
        path = f"{PATH}/{(await registered(admin))['id']}"
        answer = await admin.patch(path, body)
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["field"] == field

    async def test_404_of_others(self, service: Running, admin: Person, root_admin: Person) -> None:
        path = f"{PATH}/{(await registered(admin))['id']}"
        beside = await person(service, TENANT_ADMIN, service.globex)
        tenant = await service.add_tenant("below", service.acme)
        below = await person(service, TENANT_ADMIN, tenant.id)
        for who in (beside, below, root_admin):
            assert (await who.patch(path, {"name": "x"})).status_code == 404

    async def test_412_stale(self, admin: Person) -> None:
        path = f"{PATH}/{(await registered(admin))['id']}"
        for tag, status in (('"1"', 200), ('"1"', 412), ('"2"', 200)):
            body = {"name": f"{tag} {status}"}
            answer = await admin.patch(path, body, headers={"If-Match": tag})
            assert answer.status_code == status


class TestDeleteResourceServer:
    async def test_204(self, service: Running, admin: Person) -> None:
        made = await registered(admin)
        path = f"{PATH}/{made['id']}"
        token = (await asked(service, ASSETS, tenant=service.acme)).json()["access_token"]
        assert (await admin.delete(path)).status_code == 204
        assert (await admin.get(path)).status_code == 404
        assert (await admin.delete(path)).status_code == 404
        shown = {name: made[name] for name in ("identifier", "name", "algorithm")}
        told = ("resource_server.removed", {"before": shown})
        assert (await events(admin, made["id"]))[1:] == [told]
        answer = await asked(service, ASSETS, tenant=service.acme)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_target")
        await verified(service, token, ASSETS)

    async def test_204_its_identifier_is_free_again(self, service: Running, admin: Person) -> None:
        made = await registered(admin)
        await admin.delete(f"{PATH}/{made['id']}")
        beside = await person(service, TENANT_ADMIN, service.globex)
        assert (await registered(beside))["tenant_id"] == service.globex
        answer = await asked(service, ASSETS, tenant=service.acme)
        assert answer.json()["error"] == "invalid_target"

    async def test_404_of_others(self, service: Running, admin: Person, root_admin: Person) -> None:
        path = f"{PATH}/{(await registered(admin))['id']}"
        beside = await person(service, TENANT_ADMIN, service.globex)
        for who in (beside, root_admin):
            assert (await who.delete(path)).status_code == 404
        assert (await admin.get(path)).status_code == 200

    async def test_412_stale(self, admin: Person) -> None:
        path = f"{PATH}/{(await registered(admin))['id']}"
        for tag, status in (('"7"', 412), ('"1"', 204)):
            answer = await admin.delete(path, headers={"If-Match": tag})
            assert answer.status_code == status


class TestRefresh:
    async def test_by_what_is_registered_now(self, service: Running, admin: Person) -> None:
        path = f"{PATH}/{(await registered(admin))['id']}"
        tokens = (await asked(service, ASSETS, tenant=service.acme)).json()
        await admin.patch(path, {"algorithm": "Ed25519"})
        tokens = (await service.refresh(tokens["refresh_token"])).json()
        assert (await verified(service, tokens["access_token"], ASSETS))[0] == "EdDSA"
        await admin.delete(path)
        answer = await service.refresh(tokens["refresh_token"])
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_target")


class TestWhere:
    async def test_known_in_its_tenant_and_below_alone(
        self, service: Running, admin: Person, root_admin: Person
    ) -> None:
        await registered(admin)
        await registered(root_admin, "urn:platform")
        for tenant, resource, status in (
            (service.acme, ASSETS, 200),
            (service.globex, ASSETS, 400),
            (service.globex, "urn:platform", 200),
            (service.acme, "urn:unknown", 400),
        ):
            answer = await asked(service, resource, tenant=tenant)
            assert answer.status_code == status, (tenant, resource)

    async def test_gone_with_its_tenant(self, service: Running, admin: Person) -> None:
        tenant = await service.add_tenant("below", service.acme)
        below = await person(service, TENANT_ADMIN, tenant.id, home=service.acme)
        await registered(below)
        answer = await admin.delete(f"/tenants/{tenant.id}")
        assert answer.status_code == 204, answer.text
        assert (await registered(admin))["tenant_id"] == service.acme
