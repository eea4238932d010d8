"""Whom tokens are for (RFC 8707): `resource` selects `aud`, and how it is signed."""

from typing import Any

import httpx
import pytest

from keyturn.server.domain.ids import new_id
from keyturn.server.domain.resource_servers import ResourceServer
from tests.http import test_exchange
from tests.http.conftest import Running

METERS, BILLS = "https://meters.example.com/api", "https://bills.example.com/api"


def claims(service: Running, token: str) -> dict[str, Any]:
    """A token's claims, whichever of these it is for."""
    return test_exchange.claims(service, token, METERS, BILLS, service.settings.audience)


async def register(
    service: Running, identifier: str, tenant_id: str, algorithm: str = "ES256"
) -> ResourceServer:
    """As its tenant's administrator would."""
    server = ResourceServer(new_id(), tenant_id, identifier, "a", algorithm, service.clock())
    async with service.service.parts.store.transaction() as tx:
        await tx.resource_servers.add(server)
    return server


async def asked(service: Running, *resources: str, **more: Any) -> httpx.Response:
    data = {
        "grant_type": "password",
        "username": service.username,
        "password": service.api_key,
        **more,
    }
    return await service.client.post("/iam/auth/token", data=data | {"resource": list(resources)})


async def granted(service: Running, *resources: str, **more: Any) -> dict[str, Any]:
    answer = await asked(service, *resources, **more)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


class TestResource:
    async def test_200_it_is_the_audience(self, service: Running) -> None:
        await register(service, METERS, service.acme)
        body = await granted(service, METERS)
        assert claims(service, body["access_token"])["aud"] == METERS

    async def test_200_several_of_them(self, service: Running) -> None:
        for identifier in (METERS, BILLS):
            await register(service, identifier, service.acme)
        body = await granted(service, METERS, BILLS)
        assert claims(service, body["access_token"])["aud"] == [METERS, BILLS]

    async def test_200_in_json(self, service: Running) -> None:
        await register(service, METERS, service.acme)
        body = {"username": service.username, "password": service.api_key, "resource": [METERS]}
        answer = await service.client.post("/iam/auth/token", json=body)
        assert claims(service, answer.json()["access_token"])["aud"] == METERS

    async def test_only_tenants_that_it_is_known_in_are_told(self, service: Running) -> None:
        await register(service, METERS, service.acme)
        everywhere = claims(service, (await granted(service))["access_token"])
        assert set(everywhere["tenants"]) == {service.acme, service.globex}
        told = claims(service, (await granted(service, METERS))["access_token"])
        assert set(told["tenants"]) == {service.acme}

    async def test_200_one_registered_above_is_known_below(self, service: Running) -> None:
        await register(service, METERS, service.demo.platform.tenant.id)
        told = claims(service, (await granted(service, METERS))["access_token"])
        assert set(told["tenants"]) == {service.acme, service.globex}

    async def test_400_unknown(self, service: Running) -> None:
        answer = await asked(service, METERS)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_target")

    async def test_400_registered_where_the_key_has_no_role(self, service: Running) -> None:
        other = await service.add_tenant("elsewhere")
        await register(service, METERS, other.id)
        unknown, elsewhere = await asked(service, BILLS), await asked(service, METERS)
        assert elsewhere.status_code == 400
        assert elsewhere.json() == unknown.json()

    async def test_400_with_one_unknown_among_them(self, service: Running) -> None:
        await register(service, METERS, service.acme)
        answer = await asked(service, METERS, BILLS)
        assert answer.json()["error"] == "invalid_target"

    async def test_400_blank(self, service: Running) -> None:
        assert (await asked(service, " ")).json()["error"] == "invalid_target"

    async def test_a_wrong_key_learns_nothing(self, service: Running) -> None:
        await register(service, METERS, service.acme)
        wrong = service.service.parts.key_format.new().text
        answers = [await asked(service, name, password=wrong) for name in (METERS, BILLS)]
        assert [a.json()["error"] for a in answers] == ["invalid_grant"] * 2


class TestAnotherAudiencesToken:
    async def test_401_for_the_service_itself(self, service: Running) -> None:
        await register(service, METERS, service.acme)
        body = await granted(service, METERS)
        answer = await service.get("/iam/api-keys", body["access_token"], service.acme)
        assert answer.status_code == 401

    async def test_200_who_am_i(self, service: Running) -> None:
        """An unlisted token points a resource server there (OIDC Core, 5.6.2)."""
        await register(service, METERS, service.acme)
        body = await granted(service, METERS)
        assert (await service.get("/iam/users/me", body["access_token"])).status_code == 200

    async def test_introspection_tells_its_audience(self, service: Running) -> None:
        await register(service, METERS, service.acme)
        body = await granted(service, METERS)
        told = (await service.introspect(body["access_token"])).json()
        assert (told["active"], told["aud"]) == (True, METERS)

    async def test_it_can_be_revoked(self, service: Running) -> None:
        await register(service, METERS, service.acme)
        token = (await granted(service, METERS))["access_token"]
        await service.client.post("/iam/auth/revoke", data={"token": token})
        assert (await service.introspect(token)).json() == {"active": False}


class TestRefresh:
    async def test_the_audience_is_kept(self, service: Running) -> None:
        await register(service, METERS, service.acme)
        body = await granted(service, METERS)
        for _ in range(2):
            body = (await service.refresh(body["refresh_token"])).json()
            assert claims(service, body["access_token"])["aud"] == METERS

    async def test_one_of_several_for_this_token(self, service: Running) -> None:
        for identifier in (METERS, BILLS):
            await register(service, identifier, service.acme)
        body = await granted(service, METERS, BILLS)
        body = (await service.refresh(body["refresh_token"], resource=BILLS)).json()
        assert claims(service, body["access_token"])["aud"] == BILLS
        body = (await service.refresh(body["refresh_token"])).json()
        assert claims(service, body["access_token"])["aud"] == [METERS, BILLS]

    @pytest.mark.parametrize("wanted", [BILLS, "issuer"])
    async def test_400_for_one_that_was_not_granted(self, service: Running, wanted: str) -> None:
        for identifier in (METERS, BILLS):
            await register(service, identifier, service.acme)
        wanted = service.settings.audience if wanted == "issuer" else wanted
        body = await granted(service, METERS)
        answer = await service.refresh(body["refresh_token"], resource=wanted)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_target")
        assert (await service.refresh(body["refresh_token"])).status_code == 200

    async def test_an_unlisted_sessions_is_kept(self, service: Running) -> None:
        for n in range(21):
            await service.add_tenant(f"many {n}")
        await register(service, METERS, service.demo.platform.tenant.id)
        username, _ = service.admin
        key = service.demo.platform.key.text
        body = await granted(service, METERS, username=username, password=key)
        assert "_claim_names" in claims(service, body["access_token"])
        body = (await service.refresh(body["refresh_token"])).json()
        assert claims(service, body["access_token"])["aud"] == METERS

    async def test_reuse_is_noticed_whatever_is_asked_for(self, service: Running) -> None:
        first = await service.exchange()
        second = (await service.refresh(first["refresh_token"])).json()
        third = (await service.refresh(second["refresh_token"])).json()
        answer = await service.refresh(first["refresh_token"], resource=METERS)
        assert answer.json()["error"] == "invalid_grant"
        assert (await service.refresh(third["refresh_token"])).status_code == 400

    async def test_reuse_is_noticed_with_too_much_scope(self, service: Running) -> None:
        first = await service.exchange(tenant=service.acme)
        second = (await service.refresh(first["refresh_token"])).json()
        third = (await service.refresh(second["refresh_token"])).json()
        answer = await service.refresh(first["refresh_token"], scope="never:granted")
        assert answer.json()["error"] == "invalid_grant"
        assert (await service.refresh(third["refresh_token"])).status_code == 400

    async def test_a_live_one_with_too_much_scope_stays_live(self, service: Running) -> None:
        first = await service.exchange(tenant=service.acme)
        answer = await service.refresh(first["refresh_token"], scope="never:granted")
        assert answer.json()["error"] == "invalid_scope"
        assert (await service.refresh(first["refresh_token"])).status_code == 200


async def test_503_while_no_key_signs_as_they_want(service: Running) -> None:
    await register(service, METERS, service.acme, "Ed25519")
    answer = await asked(service, METERS)
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
