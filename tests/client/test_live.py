"""The library against the service, on both backends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import httpx
import jwt as pyjwt
import pytest

from keyturn.client import (
    AccessDenied,
    ApiKeyAuth,
    AsyncTokenClient,
    Credentials,
    InvalidGrant,
    InvalidToken,
    Refused,
    TokenCache,
    TokenClient,
)
from tests.client.conftest import SetClock
from tests.client.test_concurrency import in_threads
from tests.live_server import Live, forged_key, live

__all__ = ["live"]

Get = Callable[..., httpx.Response]


def auth_of(live: Live, **options: object) -> ApiKeyAuth:
    demo = live.demo
    return ApiKeyAuth(live.server.base_url, demo.username, demo.api_key, **options)  # type: ignore[arg-type]


def tokens_of(live: Live) -> TokenClient:
    return TokenClient(live.server.base_url, live.demo.username, live.demo.api_key)


def claims(token: str) -> dict[str, object]:
    body: dict[str, object] = pyjwt.decode(token, options={"verify_signature": False})
    return body


def used(answer: httpx.Response) -> str:
    return str(answer.request.headers["authorization"]).removeprefix("Bearer ")


@pytest.fixture(params=["sync", "async"])
def get(request: pytest.FixtureRequest) -> Get:
    """A request by httpx.Client, or by httpx.AsyncClient in an event loop of its own."""

    def sync_get(auth: ApiKeyAuth, url: str) -> httpx.Response:
        with httpx.Client(auth=auth) as client:
            return client.get(url)

    def async_get(auth: ApiKeyAuth, url: str) -> httpx.Response:
        async def run() -> httpx.Response:
            async with httpx.AsyncClient(auth=auth) as client:
                return await client.get(url)

        return asyncio.run(run())

    return sync_get if request.param == "sync" else async_get


class TestApiKeyAuth:
    @pytest.mark.parametrize("kind", ["base", "token endpoint"])
    def test_exchange(self, live: Live, get: Get, kind: str) -> None:
        url = live.server.base_url if kind == "base" else live.server.token_url
        auth = ApiKeyAuth(url, live.demo.username, live.demo.api_key)
        first, second = get(auth, live.server.me_url), get(auth, live.server.me_url)
        assert first.json()["username"] == live.demo.username
        assert used(first) == used(second)

    def test_for_one_tenant(self, live: Live, get: Get) -> None:
        tenant = live.demo.tenants[0]
        answer = get(auth_of(live, tenant=tenant), f"{live.server.base_url}/iam/tenants/current")
        assert answer.json()["tenant_id"] == tenant
        assert claims(used(answer))["tenant_id"] == tenant

    def test_refresh_keeps_the_session(self, live: Live, get: Get) -> None:
        clock = SetClock()
        auth = auth_of(live, clock=clock, scope="tenants:read")
        before = get(auth, live.server.me_url)
        clock.tick(0.91 * 300)
        after = get(auth, live.server.me_url)
        assert after.status_code == 200
        assert used(after) != used(before)
        for claim in ("sid", "scope", "client_id"):
            assert claims(used(after))[claim] == claims(used(before))[claim]

    def test_a_revoked_token_is_replaced(self, live: Live, get: Get) -> None:
        auth = auth_of(live)
        before = get(auth, live.server.me_url)
        live.revoke(used(before))
        after = get(auth, live.server.me_url)
        assert after.status_code == 200
        assert claims(used(after))["sid"] == claims(used(before))["sid"]

    def test_a_revoked_session_is_replaced(self, live: Live, get: Get) -> None:
        auth = auth_of(live)
        before = get(auth, live.server.me_url)
        assert auth._keeper._unspent is not None
        live.revoke(str(auth._keeper._unspent.refresh_token))
        after = get(auth, live.server.me_url)
        assert after.status_code == 200
        assert claims(used(after))["sid"] != claims(used(before))["sid"]

    def test_client_credentials(self, live: Live, get: Get) -> None:
        answer = get(auth_of(live, grant="client_credentials"), live.server.me_url)
        assert answer.json()["username"] == live.demo.username

    def test_a_wrong_key_is_refused(self, live: Live, get: Get) -> None:
        wrong = forged_key(live.demo.api_key)
        auth = ApiKeyAuth(live.server.base_url, live.demo.username, wrong)
        with pytest.raises(InvalidGrant):
            get(auth, live.server.me_url)

    def test_threads_share_one_exchange(self, live: Live) -> None:
        auth = auth_of(live)
        with httpx.Client(auth=auth, timeout=20) as client:
            answers = in_threads(10, lambda _: used(client.get(live.server.me_url)))
        assert len(set(answers)) == 1

    def test_the_cache_keeps_the_token_for_the_next_one(
        self, live: Live, get: Get, tmp_path: Path
    ) -> None:
        cache = TokenCache(tmp_path / "tokens.json")
        first = get(auth_of(live, cache=cache), live.server.me_url)
        live.revoke(used(first))
        second = get(auth_of(live, cache=cache), live.server.me_url)
        third = get(auth_of(live, cache=cache), live.server.me_url)
        assert used(first) != used(second) == used(third)
        kept = json.loads((tmp_path / "tokens.json").read_text())
        assert [entry["access_token"] for entry in kept.values()] == [used(third)]


class TestTokenClient:
    def test_exchange_refresh_revoke(self, live: Live) -> None:
        with tokens_of(live) as client:
            first = client.exchange()
            assert first.refresh_token is not None
            second = client.refresh(first.refresh_token)
            # A lost answer: the same successor.
            assert client.refresh(first.refresh_token).refresh_token == second.refresh_token
            assert second.expires_at - second.obtained_at == 300
            assert client.me(second.access_token).username == live.demo.username
            assert second.refresh_token is not None
            client.revoke(second.refresh_token)
            with pytest.raises(InvalidToken):
                client.me(second.access_token)
            with pytest.raises(InvalidGrant):
                client.refresh(second.refresh_token)
            client.revoke("garbage, and not a token")

    def test_me_has_all_roles(self, live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
        with tokens_of(live) as client:
            token = client.exchange().access_token
            whole = client.me(token)
            assert {role.tenant_id for role in whole.roles} == set(live.demo.tenants)
            assert whole.api_key_id == live.demo.key_id
            assert whole.kind == "service"
            monkeypatch.setattr("keyturn.client.calls._PAGE", 1)
            assert client.me(token) == whole

    def test_introspection(self, live: Live) -> None:
        demo = live.demo
        with (
            tokens_of(live) as own,
            TokenClient(live.server.base_url, demo.admin_username, demo.admin_api_key) as admin,
        ):
            tokens = own.exchange()
            found = admin.introspect(tokens.access_token)
            assert found.active
            assert found.client_id == demo.key_id
            assert set(found.tenants) == set(demo.tenants)
            assert found.audience == (live.server.base_url,)
            assert found.expires_at is not None
            assert abs(found.expires_at - tokens.expires_at) < 5
            tenant = demo.tenants[0]
            assert admin.introspect(tokens.access_token, tenant).active
            for garbage in ("garbage", "\udcff", "a b"):
                assert not admin.introspect(garbage).active
            own.revoke(tokens.access_token)
            assert not admin.introspect(tokens.access_token).active

    def test_who_may_not_introspect_is_told(self, live: Live) -> None:
        with tokens_of(live) as client, pytest.raises(Refused):
            client.introspect(client.exchange().access_token)

    def test_switch_tenant(self, live: Live) -> None:
        with tokens_of(live) as client:
            token = client.exchange().access_token
            for tenant in live.demo.tenants:
                switched = client.switch_tenant(token, tenant)
                assert claims(switched.access_token)["tenant_id"] == tenant
                assert switched.refresh_token is None
                assert {role.tenant_id for role in client.me(switched.access_token).roles} == {
                    tenant
                }
            with pytest.raises(AccessDenied):
                client.switch_tenant(token, "01890000-0000-7000-8000-00000000ffff")

    def test_exchange_for_fewer_permissions(self, live: Live) -> None:
        with tokens_of(live) as client:
            token = client.exchange().access_token
            less = client.exchange_token(token, tenant=live.demo.tenants[0], scope="tenants:read")
            assert less.scope == "tenants:read"

    @pytest.mark.parametrize("by", ["token", "key"])
    def test_delegation(self, live: Live, by: str) -> None:
        demo = live.demo
        with (
            tokens_of(live) as own,
            TokenClient(live.server.base_url, demo.admin_username, demo.admin_api_key) as admin,
        ):
            known = Credentials(live.server.base_url, demo.admin_username, demo.admin_api_key)
            actor = known if by == "key" else admin.exchange().access_token
            token = own.exchange().access_token
            acting = own.exchange_token(token, tenant=demo.tenants[0], actor=actor)
            found = admin.introspect(acting.access_token)
            assert found.sub == claims(token)["sub"]
            assert found.actors == (claims(admin.exchange().access_token)["sub"],)

    async def test_async(self, live: Live) -> None:
        demo = live.demo
        url = live.server.base_url
        async with (
            AsyncTokenClient(url, demo.username, demo.api_key) as own,
            AsyncTokenClient(url, demo.admin_username, demo.admin_api_key) as admin,
        ):
            first = await own.exchange(tenant=demo.tenants[0])
            assert first.refresh_token is not None
            second = await own.refresh(first.refresh_token)
            me = await own.me(second.access_token)
            assert {role.tenant_id for role in me.roles} == {demo.tenants[0]}
            assert (await admin.introspect(second.access_token)).tenant_id == demo.tenants[0]
            whole = await own.exchange()
            switched = await own.switch_tenant(whole.access_token, demo.tenants[1])
            less = await own.exchange_token(switched.access_token, scope="tenants:read")
            assert less.scope == "tenants:read"
            await own.revoke(switched.access_token)
            assert not (await admin.introspect(less.access_token)).active
