"""`/tokens/inspect`: what a pasted token or key is, and what it is worth."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from typing import Any

import pytest

from keyturn.server.domain.permissions import TENANT_ADMIN, VIEWER
from tests.http.conftest import Running
from tests.http.management.conftest import Person, person


async def inspected(who: Person, token: str) -> dict[str, Any]:
    answer = await who.post("/tokens/inspect", {"token": token})
    assert answer.status_code == 200, answer.text
    assert token not in answer.text
    body: dict[str, Any] = answer.json()
    return body


async def reasons(who: Person, service: Running, token: str) -> list[str]:
    """Why it is no good; whatever it is, introspection must say the same."""
    found = await inspected(who, token)
    state = found["state"]
    assert state["active"] is (not state["reasons"])
    live = (await service.introspect(token)).json()["active"]
    if found["kind"] != "api_key":
        assert live is state["active"]
    return list(state["reasons"])


class TestInspectToken:
    async def test_200_an_access_token(self, service: Running, admin: Person) -> None:
        token = (await service.exchange())["access_token"]
        found = await inspected(admin, token)
        assert (found["kind"], found["signature"]) == ("jwt", "good")
        assert found["header"]["typ"] == "at+jwt"
        assert found["claims"]["sub"] == service.demo.user.id
        state = found["state"]
        assert (state["active"], state["reasons"]) == (True, [])
        assert (state["email"], state["api_key_id"]) == (service.username, service.demo.key.key_id)
        me = (await service.get("/iam/users/me", token)).json()
        here = [role["role_name"] for role in me["roles"] if role["tenant_id"] == service.acme]
        [may] = [each for each in state["may"] if each["tenant_id"] == service.acme]
        assert (may["tenant_name"], may["roles"]) == ("acme", here)
        # Of the user's other tenants the administrator of one is told nothing.
        assert {each["tenant_id"] for each in state["may"]} == {service.acme}
        assert await reasons(admin, service, token) == []

    async def test_200_why_it_is_good_no_more(self, service: Running, admin: Person) -> None:
        async def fresh() -> tuple[str, str, str]:
            key = await service.add_key()
            tokens = await service.exchange(key=key)
            return key.key_id, tokens["access_token"], tokens["refresh_token"]

        key = await service.add_key()
        access = (await service.exchange(key=key))["access_token"]
        auth = (key.key_id, key.text)
        await service.client.post("/iam/auth/revoke", data={"token": access}, auth=auth)
        assert await reasons(admin, service, access) == ["token_revoked"]
        key_id, access, refresh = await fresh()
        assert await reasons(admin, service, refresh) == []
        await admin.post(f"/api-keys/{key_id}/revoke")
        assert "key_revoked" in await reasons(admin, service, access)
        assert "key_revoked" in await reasons(admin, service, refresh)
        _, access, refresh = await fresh()
        successor = (await service.refresh(refresh)).json()["refresh_token"]
        assert await reasons(admin, service, refresh) == ["spent"]
        assert await reasons(admin, service, successor) == []
        await service.reauthorise()
        assert await reasons(admin, service, access) == ["user_changed"]
        service.clock.shift += timedelta(hours=1)
        # The administrator's own token is over by then, too.
        admin.token = (await service.exchange_for(admin.user))["access_token"]
        assert "expired" in await reasons(admin, service, successor)

    async def test_200_a_refresh_token_is_not_spent(self, service: Running, admin: Person) -> None:
        refresh = (await service.exchange())["refresh_token"]
        found = await inspected(admin, refresh)
        assert found["kind"] == "refresh_token"
        assert found["claims"] is None
        assert found["state"]["active"]
        assert service.acme in {each["tenant_id"] for each in found["state"]["may"]}
        assert (await service.refresh(refresh)).status_code == 200

    async def test_200_an_api_key_is_not_used(self, service: Running, admin: Person) -> None:
        key = await service.add_key()
        found = await inspected(admin, key.text)
        assert (found["kind"], found["state"]["reasons"]) == ("api_key", [])
        assert found["state"]["api_key_id"] == key.key_id
        await service.service.usage.flush()
        listed = (await admin.get(f"/api-keys/{key.key_id}")).json()
        assert (listed["use_count"], listed["last_used_at"]) == (0, None)
        await admin.post(f"/api-keys/{key.key_id}/revoke")
        assert await reasons(admin, service, key.text) == ["key_revoked"]
        other = service.service.parts.key_format.new(key.key_id)
        assert "wrong_secret" in await reasons(admin, service, other.text)

    async def test_200_state_is_withheld_from_others(self, service: Running, admin: Person) -> None:
        other = await person(service, TENANT_ADMIN, service.globex)
        key = await service.add_key()
        tokens = await service.exchange(key=key)
        for token in (key.text, tokens["access_token"], tokens["refresh_token"]):
            assert (await inspected(other, token))["state"] is None
        found = await inspected(other, tokens["access_token"])
        assert (found["claims"]["client_id"], found["signature"]) == (key.key_id, "good")
        # One's own, wherever one is at home.
        role = await service.add_role(service.globex, "looking", "sessions:read")
        guest = await person(service, role, service.globex, home=service.acme)
        assert (await inspected(guest, guest.token))["state"]["active"]

    async def test_200_what_is_not_ours(self, service: Running, admin: Person) -> None:
        token = (await service.exchange())["access_token"]
        header, claims, signature = token.split(".")
        forged = {**json.loads(base64.urlsafe_b64decode(claims + "==")), "sub": admin.user.id}
        changed = base64.urlsafe_b64encode(json.dumps(forged).encode()).rstrip(b"=").decode()
        bad = await inspected(admin, f"{header}.{changed}.{signature}")
        assert (bad["signature"], bad["state"]) == ("bad", None)
        assert bad["claims"]["sub"] == admin.user.id
        unknown = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
        foreign = await inspected(admin, f"{unknown}.{claims}.")
        assert (foreign["kind"], foreign["signature"]) == ("jwt", "unknown_key")
        for text in ("junk", "a.b.c", "kt_junk", "ktr_junk", "\0", "é.é.é", "." * 9_000):
            found = await inspected(admin, text)
            assert found["state"] is found["claims"] is None

    @pytest.mark.parametrize("body", [{}, {"token": ""}, {"token": 1}, {"token": "x" * 16_385}])
    async def test_400(self, admin: Person, body: dict[str, Any]) -> None:
        assert (await admin.post("/tokens/inspect", body)).status_code == 400

    async def test_403_without_the_permission(self, service: Running) -> None:
        viewer = await person(service, VIEWER, service.acme)
        answer = await viewer.post("/tokens/inspect", {"token": viewer.token})
        assert answer.status_code == 403
