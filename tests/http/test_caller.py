"""`GET /iam/users/me` and the tenant-bound `GET /iam/tenants/current` (promise P7)."""

from datetime import timedelta

import pytest

from keyturn.server.domain.ids import new_id
from tests.http.conftest import Running


class TestMe:
    async def test_200_c3_one_item_a_tenant_and_role(self, service: Running) -> None:
        token = (await service.exchange())["access_token"]
        body = (await service.get("/iam/users/me", token)).json()
        assert body["sub"] == service.demo.user.id
        assert body["username"] == service.username
        assert sorted((i["tenant_name"], i["role_name"]) for i in body["roles"]) == [
            ("acme", "operator"),
            ("globex", "viewer"),
        ]
        for item in body["roles"]:
            assert item.keys() == {"tenant_id", "tenant_name", "role_id", "role_name"}

    async def test_200_c3_one_tenant_one_item(self, service: Running) -> None:
        token = (await service.exchange(tenant=service.acme))["access_token"]
        roles = (await service.get("/iam/users/me", token)).json()["roles"]
        assert [item["tenant_id"] for item in roles] == [service.acme]

    async def test_200_c4_without_admin_right_and_without_tenant(self, service: Running) -> None:
        user = await service.add_user()
        key = await service.add_key(user_id=user.id)
        token = (await service.exchange(key=key, user=user.username))["access_token"]
        answer = await service.get("/iam/users/me", token)
        assert answer.status_code == 200
        assert answer.json()["roles"] == []

    @pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=x", "after=x", "limit=²"])
    async def test_400_bad_page(self, service: Running, query: str) -> None:
        token = (await service.exchange())["access_token"]
        assert (await service.get(f"/iam/users/me?{query}", token)).status_code == 400


class TestBearer:
    async def test_401_without_token_names_no_error(self, service: Running) -> None:
        """RFC 6750, 3.1."""
        answer = await service.get("/iam/users/me")
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == 'Bearer realm="keyturn"'

    @pytest.mark.parametrize(
        "value",
        [
            "Bearer",
            "Bearer ",
            "Bearer x",
            "bearer a.b.c",
            "Basic Zm9vOmJhcg==",
            "x",
            "",
            "Bearer \xff",
        ],
    )
    async def test_401_garbage(self, service: Running, value: str) -> None:
        answer = await service.client.get(
            "/iam/users/me", headers=[(b"Authorization", value.encode("latin-1"))]
        )
        assert answer.status_code == 401
        assert 'error="invalid_token"' in answer.headers["www-authenticate"]

    async def test_400_repeated(self, service: Running) -> None:
        token = (await service.exchange())["access_token"]
        header = ("Authorization", f"Bearer {token}")
        answer = await service.client.get("/iam/users/me", headers=[header, header])
        assert answer.status_code == 400

    async def test_401_in_the_query(
        self, service: Running, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("WARNING", "httpx")  # the test's own client would log the URL
        token = (await service.exchange())["access_token"]
        assert (await service.get(f"/iam/users/me?access_token={token}")).status_code == 401

    async def test_401_expired(self, service: Running) -> None:
        token = (await service.exchange())["access_token"]
        service.clock.shift = timedelta(seconds=301)
        assert (await service.get("/iam/users/me", token)).status_code == 401

    async def test_401_a_refresh_token_or_an_api_key(self, service: Running) -> None:
        body = await service.exchange()
        for text in (body["refresh_token"], service.api_key):
            assert (await service.get("/iam/users/me", text)).status_code == 401


class TestTenant:
    async def test_200_c5(self, service: Running) -> None:
        token = (await service.exchange())["access_token"]
        body = (await service.get("/iam/tenants/current", token, service.acme)).json()
        assert (body["tenant_id"], body["tenant_name"]) == (service.acme, "acme")
        assert body["roles"] == ["operator"]
        assert "assets:manage" in body["permissions"]
        other = (await service.get("/iam/tenants/current", token, service.globex)).json()
        assert "assets:manage" not in other["permissions"]

    @pytest.mark.parametrize(
        "value", ["", "acme", "1", "0" * 36, "../x", "{acme}x", "{acme}, {acme}"]
    )
    async def test_400_c5_missing_or_malformed(self, service: Running, value: str) -> None:
        token = (await service.exchange())["access_token"]
        text = value.replace("{acme}", service.acme)
        answer = await service.get("/iam/tenants/current", token, text)
        assert answer.status_code == 400
        assert (await service.get("/iam/tenants/current", token)).status_code == 400

    async def test_400_repeated(self, service: Running) -> None:
        token = (await service.exchange())["access_token"]
        answer = await service.client.get(
            "/iam/tenants/current",
            headers=[
                ("Authorization", f"Bearer {token}"),
                ("x-tenant-id", service.acme),
                ("x-tenant-id", service.acme),
            ],
        )
        assert answer.status_code == 400

    async def test_403_the_same_body_whether_the_tenant_exists(self, service: Running) -> None:
        stranger = await service.add_tenant("stranger")
        token = (await service.exchange())["access_token"]
        bodies = []
        for tenant in (stranger.id, new_id(), service.demo.platform.tenant.id):
            answer = await service.get("/iam/tenants/current", token, tenant)
            assert answer.status_code == 403
            bodies.append({k: v for k, v in answer.json().items() if k != "request_id"})
        assert bodies[0] == bodies[1] == bodies[2]

    async def test_403_a_token_of_one_tenant_in_another_of_the_same_user(
        self, service: Running
    ) -> None:
        token = (await service.exchange(tenant=service.acme))["access_token"]
        answer = await service.get("/iam/tenants/current", token, service.globex)
        assert answer.status_code == 403

    async def test_403_a_role_given_later_needs_a_new_token(self, service: Running) -> None:
        stranger = await service.add_tenant("stranger")
        token = (await service.exchange())["access_token"]
        role = await service.add_role(stranger.id, "reader", "tenants:read")
        await service.give(service.demo.user.id, stranger.id, role.id)
        assert (await service.get("/iam/tenants/current", token, stranger.id)).status_code == 403
        fresh = (await service.exchange())["access_token"]
        assert (await service.get("/iam/tenants/current", fresh, stranger.id)).status_code == 200

    async def test_403_without_the_permission(self, service: Running) -> None:
        token = (await service.exchange(tenant=service.acme, scope="assets:manage"))["access_token"]
        answer = await service.get("/iam/tenants/current", token, service.acme)
        assert answer.status_code == 403
        assert answer.json()["type"] == "urn:keyturn:error:insufficient_scope"
