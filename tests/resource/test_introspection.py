"""The source that asks about every token."""

import asyncio
import base64
from typing import Any

import httpx
import pytest

from keyturn.resource import InvalidToken, Unavailable, WrongTenant
from tests.resource.attacks import token
from tests.resource.world import (
    KEY,
    A,
    B,
    FakeService,
    Time,
    entry,
    form_of,
    listing,
    news,
    signed,
    unlisted,
    verifying,
)

FOREVER = 221_845_392_000
ACTIVE = {"active": True, "jti": "jti-1", "tenant_id": A}


async def asked(service: FakeService, time: Time, text: str, answer: Any, **changes: Any) -> None:
    service.answers["/introspect"] = lambda request: answer
    async with verifying(service, time, revocation="introspect", **changes) as verifier:
        await verifier.verify(text)


class TestAsking:
    async def test_shows_client_credentials_form_encoded(
        self, service: FakeService, time: Time
    ) -> None:
        text = signed()
        await asked(service, time, text, ACTIVE)
        request = service.last("/introspect")
        scheme, _, value = request.headers["authorization"].partition(" ")
        # RFC 6749, 2.3.1: a plus in a username is no space.
        assert (scheme, base64.b64decode(value)) == ("Basic", b"svc%2Brs%40acme:kt_x%2By")
        assert form_of(request) == {"token": text}

    async def test_once_a_second_and_once_for_many(self, service: FakeService, time: Time) -> None:
        service.answers["/introspect"] = lambda request: ACTIVE
        async with verifying(service, time, revocation="introspect") as verifier:
            await asyncio.gather(*(verifier.verify(signed()) for _ in range(1)))
            text = signed(sid="sid-2")
            await asyncio.gather(*(verifier.verify(text) for _ in range(20)))
            assert service.count("/introspect") == 2
            time.advance(1)
            await verifier.verify(text)
            assert service.count("/introspect") == 2
            time.advance(0.1)
            await verifier.verify(text)
            assert service.count("/introspect") == 3

    async def test_not_before_the_service_wants_to_be_asked_again(
        self, service: FakeService, time: Time
    ) -> None:
        answers: list[Any] = [httpx.Response(429, headers={"retry-after": "7"}), ACTIVE]
        service.answers["/introspect"] = lambda request: answers.pop(0)
        async with verifying(service, time, revocation="introspect") as verifier:
            for _ in range(5):
                with pytest.raises(Unavailable):
                    await verifier.verify(signed())
            assert service.count("/introspect") == 1
            time.advance(7.1)
            await verifier.verify(signed())

    async def test_inactive_is_invalid(self, service: FakeService, time: Time) -> None:
        with pytest.raises(InvalidToken):
            await asked(service, time, signed(), {"active": False})

    @pytest.mark.parametrize(
        "answer",
        [
            {},
            {"active": "yes"},
            {"active": True},
            {**ACTIVE, "jti": "other"},
            {"active": True, "jti": "jti-1", "tenants": []},
            httpx.Response(200, content=b"["),
            httpx.Response(401),
            httpx.Response(500),
            httpx.Response(302, headers={"location": "https://x.example"}),
        ],
    )
    async def test_any_fault_is_503_or_as_the_policy_says(
        self, service: FakeService, time: Time, answer: Any
    ) -> None:
        with pytest.raises(Unavailable):
            await asked(service, time, signed(), answer)
        await asked(service, time, signed(), answer, when_stale="accept")

    async def test_a_listed_tenant_that_is_not_answered_is_403(
        self, service: FakeService, time: Time
    ) -> None:
        answer = {"active": True, "jti": "jti-1", "tenants": {A: ["reader"]}}
        service.answers["/introspect"] = lambda request: answer
        async with verifying(service, time, revocation="introspect") as verifier:
            text = token(KEY, listing({A: ["reader"], B: ["reader"]}))
            await verifier.caller(text, A)
            with pytest.raises(WrongTenant):
                await verifier.caller(text, B)
            await verifier.verify(token(KEY, unlisted()))


def verified(request: httpx.Request) -> dict[str, Any]:
    there = request.headers["x-tenant-id"]
    return {"jti": "jti-1", "tenant_id": there, "roles": ["reader"], "permissions": []}


class TestTenantsThatAreNotListed:
    """Nobody but the service knows of them, and of their suspension."""

    async def test_are_asked_about_as_often_as_the_token(
        self, service: FakeService, time: Time
    ) -> None:
        service.answers |= {"/introspect": lambda request: ACTIVE, "/verify": verified}
        async with verifying(service, time, revocation="introspect") as verifier:
            text = token(KEY, unlisted())
            await verifier.caller(text, A)
            time.advance(0.9)
            await verifier.caller(text, A)
            assert service.count("/verify") == 1
            service.answers["/verify"] = lambda request: httpx.Response(403)
            time.advance(0.2)
            with pytest.raises(WrongTenant):
                await verifier.caller(text, A)

    async def test_without_any_source_hold_for_max_staleness(
        self, service: FakeService, time: Time
    ) -> None:
        service.answers["/verify"] = verified
        async with verifying(service, time, max_staleness=5) as verifier:
            text = token(KEY, unlisted())
            await verifier.caller(text, A)
            time.advance(4.9)
            await verifier.caller(text, A)
            assert service.count("/verify") == 1
            service.down = True
            time.advance(0.2)
            with pytest.raises(Unavailable):
                await verifier.caller(text, A)

    async def test_hold_while_a_fresh_feed_vouches(self, service: FakeService, time: Time) -> None:
        service.answers["/verify"] = verified
        async with verifying(service, time, revocation="feed") as verifier:
            feed = verifier._feed
            assert feed is not None
            text = token(KEY, unlisted())
            for _ in range(5):
                await verifier.caller(text, A)
                time.advance(4)
                await feed.poll()
            assert service.count("/verify") == 1
            service.feed = [news(entry("tenant", A, ends=FOREVER))]
            await feed.poll()
            with pytest.raises(WrongTenant):
                await verifier.caller(text, A)

    @pytest.mark.parametrize(("when_stale", "holds"), [("introspect", 1.0), ("accept", 5.0)])
    async def test_hold_for_no_longer_once_it_is_stale(
        self, service: FakeService, time: Time, when_stale: str, holds: float
    ) -> None:
        service.answers |= {"/introspect": lambda request: ACTIVE, "/verify": verified}
        async with verifying(service, time, revocation="feed", when_stale=when_stale) as verifier:
            text = token(KEY, unlisted())
            service.answers["/revocations"] = lambda request: httpx.Response(500)
            time.advance(5.1)
            await verifier.caller(text, A)
            time.advance(holds - 0.1)
            await verifier.caller(text, A)
            assert service.count("/verify") == 1
            service.answers["/verify"] = lambda request: httpx.Response(403)
            time.advance(0.2)
            with pytest.raises(WrongTenant):
                await verifier.caller(text, A)

    async def test_stay_suspended_if_the_feed_said_so_before_it_was_cut(
        self, service: FakeService, time: Time
    ) -> None:
        service.feed = [news(entry("tenant", A, ends=FOREVER), reset=True)]
        service.answers |= {"/introspect": lambda request: ACTIVE, "/verify": verified}
        async with verifying(service, time, revocation="feed", when_stale="introspect") as verifier:
            service.answers["/revocations"] = lambda request: httpx.Response(500)
            time.advance(60)
            text = token(KEY, unlisted())
            with pytest.raises(WrongTenant):
                await verifier.caller(text, A)
            await verifier.caller(text, B)
