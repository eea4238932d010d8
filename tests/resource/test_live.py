"""Against the real service: revocations arrive, roles permit, the catalogue decides."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from keyturn.resource import (
    InsufficientScope,
    InvalidToken,
    ResourceError,
    TokenVerifier,
    Unavailable,
    WrongTenant,
)
from tests.live_server import Live

#: An end of a token must be heard of within this (seconds).
HEARD = 5.0


@asynccontextmanager
async def verifying(live: Live, **settings: Any) -> AsyncIterator[TokenVerifier]:
    demo, issuer = live.demo, live.server.base_url
    async with TokenVerifier(
        issuer,
        issuer,
        username=demo.admin_username,
        api_key=demo.admin_api_key,
        tenant=demo.tenants[0],
        **settings,
    ) as verifier:
        yield verifier


async def eventually(call: Callable[[], Awaitable[object]], error: type[ResourceError]) -> None:
    """Until the call is refused so."""
    end = time.monotonic() + HEARD
    while time.monotonic() < end:
        try:
            await call()
        except error:
            return
        await asyncio.sleep(0.05)
    pytest.fail(f"no {error.__name__} within {HEARD} s")


def exchanged(live: Live, tenant: str | None = None) -> str:
    chosen = {} if tenant is None else {"tenant_id": tenant}
    text: str = live.exchange(**chosen)["access_token"]
    return text


def administer(live: Live, method: str, path: str, body: Any = None) -> Any:
    """By the administrator, in the first tenant."""
    demo = live.demo
    tokens = live.exchange(username=demo.admin_username, password=demo.admin_api_key)
    headers = {
        "authorization": f"Bearer {tokens['access_token']}",
        "x-tenant-id": demo.tenants[0],
    }
    url = f"{live.server.base_url}/iam{path}"
    answer = live.http.request(method, url, json=body, headers=headers)
    assert answer.is_success, answer.text
    return answer.json() if answer.content else None


class TestRevocation:
    async def test_a_revoked_token_is_refused_soon(self, live: Live) -> None:
        async with verifying(live) as verifier:
            text, other = exchanged(live), exchanged(live)
            assert (await verifier.verify(text)).key_id == live.demo.key_id
            live.revoke(text)
            await eventually(lambda: verifier.verify(text), InvalidToken)
            await verifier.verify(other)

    async def test_introspection_says_so_at_once(self, live: Live) -> None:
        async with verifying(live, revocation="introspect") as verifier:
            text = exchanged(live)
            live.revoke(text)
            with pytest.raises(InvalidToken):
                await verifier.verify(text)

    async def test_wrong_credentials_are_no_news(self, live: Live) -> None:
        issuer = live.server.base_url
        verifier = TokenVerifier(
            issuer,
            issuer,
            username=live.demo.username,
            api_key=live.demo.api_key,
            tenant=live.demo.tenants[1],  # where it may not introspect
        )
        async with verifier:
            with pytest.raises(Unavailable):
                await verifier.verify(exchanged(live))


class TestPolicy:
    async def test_roles_permit_what_the_service_says_they_do(self, live: Live) -> None:
        text = exchanged(live)
        async with verifying(live) as verifier:
            for tenant in live.demo.tenants:
                caller = await verifier.caller(text, tenant)
                headers = {"authorization": f"Bearer {text}", "x-tenant-id": tenant}
                url = f"{live.server.base_url}/iam/auth/verify"
                told = live.http.get(url, headers=headers).json()
                assert sorted(caller.permissions) == told["permissions"]
                assert list(caller.roles) == told["roles"]
            with pytest.raises(WrongTenant):
                await verifier.caller(text, "00000000-0000-7000-8000-000000000000")

    async def test_the_catalogue_decides_and_its_changes_are_heard(self, live: Live) -> None:
        tenant = live.demo.tenants[0]
        text = exchanged(live)
        async with verifying(live, service="assets") as verifier:
            held = sorted((await verifier.caller(text, tenant)).permissions)[0]

            def call() -> Awaitable[Any]:
                return verifier.caller(text, tenant, method="GET", path="/things/7")

            with pytest.raises(InsufficientScope):
                await call()
            new = {
                "service": "assets",
                "method": "GET",
                "path": "/things/{id}",
                "name": "One thing",
                "opened_by": [[held]],
            }
            made = administer(live, "POST", "/endpoints", new)
            end = time.monotonic() + HEARD
            while True:
                try:
                    caller = await call()
                    break
                except InsufficientScope:
                    assert time.monotonic() < end
                    await asyncio.sleep(0.05)
            assert caller.endpoint is not None
            assert caller.endpoint.id == made["id"]
            administer(live, "DELETE", f"/endpoints/{made['id']}")
            await eventually(call, InsufficientScope)


class TestServiceStopped:
    async def test_goes_on_until_the_feed_is_too_old(self, live: Live) -> None:
        text = exchanged(live)
        async with verifying(live, max_staleness=2.0) as verifier:
            await verifier.verify(text)
            await asyncio.to_thread(live.server.kill)
            try:
                await verifier.verify(text)
                await eventually(lambda: verifier.verify(text), Unavailable)
            finally:
                await asyncio.to_thread(live.server.start)
            end = time.monotonic() + 2 * HEARD
            while True:
                try:
                    await verifier.verify(text)
                    break
                except Unavailable:
                    assert time.monotonic() < end
                    await asyncio.sleep(0.05)
