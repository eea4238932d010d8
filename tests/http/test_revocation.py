"""`POST /iam/auth/revoke` and `/introspect` (RFC 7009, RFC 7662), and what revocation does."""

from datetime import timedelta

import pytest

from keyturn.server.domain.ids import new_id
from keyturn.server.domain.permissions import TOKENS_INTROSPECT
from tests.http.conftest import Running

INACTIVE = {"active": False}


async def revoke(service: Running, token: str, **params: str) -> int:
    answer = await service.client.post("/iam/auth/revoke", data={"token": token, **params})
    if answer.status_code == 200:
        assert answer.content == b""
    return answer.status_code


class TestRevoke:
    async def test_200_an_access_token_is_dead_at_once(self, service: Running) -> None:
        body = await service.exchange()
        other = await service.exchange()
        assert await revoke(service, body["access_token"]) == 200
        assert (await service.get("/iam/users/me", body["access_token"])).status_code == 401
        assert (await service.introspect(body["access_token"])).json() == INACTIVE
        # The session goes on, and so do other tokens.
        assert (await service.refresh(body["refresh_token"])).status_code == 200
        assert (await service.get("/iam/users/me", other["access_token"])).status_code == 200

    @pytest.mark.parametrize("refreshed", [False, True])
    async def test_200_a_refresh_token_takes_its_session(
        self, service: Running, refreshed: bool
    ) -> None:
        body = await service.exchange()
        if refreshed:
            body = (await service.refresh(body["refresh_token"])).json()
        assert await revoke(service, body["refresh_token"]) == 200
        assert (await service.refresh(body["refresh_token"])).status_code == 400
        assert (await service.get("/iam/users/me", body["access_token"])).status_code == 401
        assert (await service.introspect(body["refresh_token"])).json() == INACTIVE

    async def test_200_whatever_is_not_a_live_token(self, service: Running) -> None:
        body = await service.exchange()
        await revoke(service, body["access_token"])
        for text in ("x", "eyJ.a.b", "ktr_AAAA", "kt_AAAA", body["access_token"]):
            assert await revoke(service, text) == 200
            assert await revoke(service, text, token_type_hint="nonsense") == 200

    async def test_200_hint_is_only_a_hint(self, service: Running) -> None:
        body = await service.exchange()
        assert await revoke(service, body["refresh_token"], token_type_hint="access_token") == 200
        assert (await service.refresh(body["refresh_token"])).status_code == 400

    async def test_401_another_client(self, service: Running) -> None:
        other = await service.add_key()
        body = await service.exchange()
        for token in (body["access_token"], body["refresh_token"]):
            assert await revoke(service, token, client_id=other.key_id) == 401
            assert (
                await revoke(service, token, client_id=other.key_id, client_secret=other.text)
                == 401
            )
        assert (await service.get("/iam/users/me", body["access_token"])).status_code == 200

    async def test_401_wrong_secret(self, service: Running) -> None:
        assert await revoke(service, "x", client_id=service.username, client_secret="no") == 401

    async def test_200_own_client(self, service: Running) -> None:
        body = await service.exchange()
        own = {"client_id": service.username, "client_secret": service.api_key}
        assert await revoke(service, body["access_token"], **own) == 200
        assert (await service.get("/iam/users/me", body["access_token"])).status_code == 401

    async def test_400_without_token(self, service: Running) -> None:
        assert await revoke(service, "") == 400


class TestKinds:
    async def test_key(self, service: Running) -> None:
        key = await service.add_key()
        body, other = await service.exchange(key=key), await service.exchange()
        await service.revoke_key(key.key_id)
        assert (await service.get("/iam/users/me", body["access_token"])).status_code == 401
        assert (await service.introspect(body["access_token"])).json() == INACTIVE
        assert (await service.get("/iam/users/me", other["access_token"])).status_code == 200

    async def test_user_epoch(self, service: Running) -> None:
        body = await service.exchange()
        await service.reauthorise()
        assert (await service.get("/iam/users/me", body["access_token"])).status_code == 401
        assert (await service.introspect(body["access_token"])).json() == INACTIVE
        fresh = await service.exchange()
        told = (await service.introspect(fresh["access_token"])).json()
        assert (told["active"], told["epoch"]) == (True, service.demo.user.epoch + 1)

    async def test_tenant(self, service: Running) -> None:
        whole = await service.exchange()
        bound = await service.exchange(tenant=service.acme)
        await service.suspend(service.acme)
        assert (await service.get("/iam/users/me", bound["access_token"])).status_code == 401
        assert (await service.introspect(bound["access_token"])).json() == INACTIVE
        # A token of several tenants lives on in the others.
        told = (await service.introspect(whole["access_token"])).json()
        assert told["tenants"].keys() == {service.globex}
        for tenant, status in ((service.acme, 403), (service.globex, 200)):
            answer = await service.get("/iam/tenants/current", whole["access_token"], tenant)
            assert answer.status_code == status


class TestIntrospect:
    async def test_200_live_access_token(self, service: Running) -> None:
        body = await service.exchange(tenant=service.acme)
        told = (await service.introspect(body["access_token"])).json()
        assert told["active"] is True
        assert told["client_id"] == service.demo.key.key_id
        assert told["sub"] == service.demo.user.id
        assert told["tenant_id"] == service.acme
        assert told["scope"] == body["scope"]

    async def test_200_live_refresh_token_and_only_the_live_one(self, service: Running) -> None:
        first = await service.exchange()
        assert (await service.introspect(first["refresh_token"])).json()["active"] is True
        second = (await service.refresh(first["refresh_token"])).json()
        assert (await service.introspect(first["refresh_token"])).json() == INACTIVE
        told = (await service.introspect(second["refresh_token"])).json()
        assert told["token_type"] == "refresh_token"

    async def test_200_inactive_for_all_that_is_not_valid_now(self, service: Running) -> None:
        body = await service.exchange()
        service.clock.shift = timedelta(seconds=301)
        garbage = ("x", "eyJhbGciOiJub25lIn0.e30.", service.api_key, body["access_token"])
        for text in garbage:
            assert (await service.introspect(text)).json() == INACTIVE

    async def test_401_without_or_with_wrong_credentials(self, service: Running) -> None:
        body = await service.exchange()
        answers = set()
        for auth in (("nobody", "x"), (service.username, "x"), (service.admin[0], "")):
            answer = await service.introspect(body["access_token"], auth=auth)
            answers.add((answer.status_code, answer.text))
        assert {status for status, _ in answers} == {401}
        assert len(answers) == 1
        bare = await service.client.post("/iam/auth/introspect", data={"token": "x"})
        assert bare.status_code == 401

    async def test_403_without_the_permission(self, service: Running) -> None:
        body = await service.exchange()
        own = (service.username, service.api_key)
        for text in (body["access_token"], "garbage"):
            answer = await service.introspect(text, auth=own)
            assert (answer.status_code, answer.json()["error"]) == (403, "insufficient_scope")

    async def test_the_asker_learns_of_its_own_tenants_only(self, service: Running) -> None:
        user = await service.add_user()
        role = await service.add_role(service.globex, "resource-server", TOKENS_INTROSPECT)
        await service.give(user.id, service.globex, role.id)
        key = await service.add_key(user_id=user.id)
        asker = (user.username, key.text)
        whole = await service.exchange()
        bound = await service.exchange(tenant=service.acme)
        told = (await service.introspect(whole["access_token"], auth=asker)).json()
        assert told["tenants"] == {service.globex: ["viewer"]}
        assert (await service.introspect(bound["access_token"], auth=asker)).json() == INACTIVE

    async def test_nor_of_another_tenants_refresh_token(self, service: Running) -> None:
        user = await service.add_user()
        role = await service.add_role(service.globex, "resource-server", TOKENS_INTROSPECT)
        await service.give(user.id, service.globex, role.id)
        key = await service.add_key(user_id=user.id)
        asker = (user.username, key.text)
        token = (await service.exchange(tenant=service.acme))["refresh_token"]
        for tenant in (None, service.globex):
            told = await service.introspect(token, auth=asker, tenant=tenant)
            assert told.json() == INACTIVE

    async def test_200_inactive_once_the_user_is_disabled(self, service: Running) -> None:
        body = await service.exchange()
        async with service.service.parts.store.transaction() as tx:
            await tx.users.set_disabled(service.demo.user.id, service.clock())
        assert (await service.introspect(body["access_token"])).json() == INACTIVE
        assert (await service.introspect(body["refresh_token"])).json() == INACTIVE

    async def test_a_token_above_twenty_tenants_answers_for_the_askers_tenant(
        self, service: Running
    ) -> None:
        for number in range(21):
            await service.add_tenant(f"product {number}", parent_id=service.acme)
        body = await service.exchange()
        told = (await service.introspect(body["access_token"], tenant=service.acme)).json()
        assert told["tenants"] == {service.acme: ["operator"]}
        stranger = await service.add_tenant("stranger")
        asked = await service.introspect(body["access_token"], tenant=stranger.id)
        assert asked.json() == INACTIVE
        absent = await service.introspect(body["access_token"], tenant=new_id())
        assert absent.json() == INACTIVE
