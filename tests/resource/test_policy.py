"""What roles permit: fetched once, again when the feed says so, kept for a while when it cannot."""

import asyncio
import base64
from typing import Any

import httpx
import pytest

from keyturn.resource import InsufficientScope, Unavailable
from keyturn.resource.policy import Policies
from keyturn.resource.service import Service
from tests.resource import world
from tests.resource.world import (
    ISSUER,
    A,
    B,
    C,
    FakeService,
    OwnToken,
    Time,
    endpoint,
    signed,
    subject,
    verifying,
)


class Told:
    def __init__(self, time: Time) -> None:
        self.time = time
        self.until: float | None = None

    def __call__(self) -> float:
        return self.time.ticks if self.until is None else self.until


def policies_of(
    service: FakeService, time: Time, *, accept_old: bool = False, told: Told | None = None
) -> Policies:
    return Policies(
        Service(ISSUER, network=service.network(), auth=lambda url: OwnToken()),
        service_name="assets",
        max_age=5,
        accept_old=accept_old,
        told_until=told or Told(time),
        monotonic=time.monotonic,
    )


def raw(tenant_id: str) -> bytes:
    return base64.urlsafe_b64decode(subject("policy", tenant_id) + "==")


def answering(tenant_id: str, *above: str, **changes: object) -> dict[str, Any]:
    return {
        "tenant_id": tenant_id,
        "depends_on": [subject("policy", name) for name in (tenant_id, *above)],
        "roles": {"reader": ["assets:read"]},
        "endpoints": [],
        **changes,
    }


class TestFetching:
    async def test_once_and_for_many_at_once(self, service: FakeService, time: Time) -> None:
        policies = policies_of(service, time)
        await asyncio.gather(*(policies.of(A) for _ in range(20)))
        time.advance(3_600)
        found = await policies.of(A)
        assert found.roles["reader"] == {"assets:read"}
        assert service.count("/policy") == 1
        asked = service.last("/policy")
        assert asked.headers["x-tenant-id"] == A
        assert asked.headers["authorization"] == "Bearer own"
        assert asked.url.params["service"] == "assets"

    async def test_equal_catalogues_are_shared(self, service: FakeService, time: Time) -> None:
        policies = policies_of(service, time)
        assert (await policies.of(A)).endpoints is (await policies.of(B)).endpoints

    async def test_again_with_the_etag_when_what_it_depends_on_changed(
        self, service: FakeService, time: Time
    ) -> None:
        policies = policies_of(service, time)
        first = await policies.of(A)
        time.advance(1)
        policies.changed(raw(B))
        await policies.of(A)
        assert service.count("/policy") == 1
        policies.changed(raw(A))
        time.advance(1)
        assert await policies.of(A) is first
        assert service.last("/policy").headers["if-none-match"]
        time.advance(1)
        await policies.of(A)
        assert service.count("/policy") == 2

    async def test_again_when_a_tenant_above_changed(
        self, service: FakeService, time: Time
    ) -> None:
        service.answers["/policy"] = lambda request: answering(A, B)
        policies = policies_of(service, time)
        await policies.of(A)
        policies.changed(raw(B))
        await policies.of(A)
        assert service.count("/policy") == 2

    @pytest.mark.parametrize("all_of_them", [False, True])
    async def test_again_when_it_changed_while_under_way(
        self, service: FakeService, time: Time, all_of_them: bool
    ) -> None:
        policies = policies_of(service, time)

        def changing(request: httpx.Request) -> dict[str, Any]:
            time.advance(0.1)
            if service.count("/policy") == 1 and all_of_them:
                policies.all_changed()
            elif service.count("/policy") == 1:
                policies.changed(raw(A))
            return answering(A)

        service.answers["/policy"] = changing
        for _ in range(4):
            await policies.of(A)
            time.advance(0.1)
        assert service.count("/policy") == 2

    async def test_again_when_news_may_have_been_missed(
        self, service: FakeService, time: Time
    ) -> None:
        policies = policies_of(service, time)
        await policies.of(A)
        policies.all_changed()
        time.advance(0.1)
        await policies.of(A)
        await policies.of(A)
        assert service.count("/policy") == 2

    async def test_every_max_age_where_nothing_is_told(
        self, service: FakeService, time: Time
    ) -> None:
        told = Told(time)
        policies = policies_of(service, time, told=told)
        await policies.of(A)
        time.advance(100)
        told.until = time.ticks
        time.advance(4.9)
        await policies.of(A)
        assert service.count("/policy") == 1
        time.advance(0.2)
        await policies.of(A)
        assert service.count("/policy") == 2


class TestNewsWhileOneIsUnderWay:
    async def test_who_asks_after_it_does_not_get_the_old_one(
        self, service: FakeService, time: Time
    ) -> None:
        policies, reading, going_on = policies_of(service, time), asyncio.Event(), asyncio.Event()
        roles = {"reader": ["assets:read", "assets:write"]}
        real, fetches = policies._service.ask, 0

        async def ask(*given: Any, **named: Any) -> Any:
            nonlocal fetches
            fetches += 1
            reply = await real(*given, **named)
            if fetches == 1:
                reading.set()
                await going_on.wait()
            return reply

        policies._service.ask = ask  # type: ignore[method-assign]
        service.answers["/policy"] = lambda request: answering(A, roles=dict(roles))
        first = asyncio.create_task(policies.of(A))
        await reading.wait()
        roles["reader"] = ["assets:read"]
        policies.changed(raw(A))
        late = asyncio.create_task(policies.of(A))
        await asyncio.sleep(0)
        going_on.set()
        assert (await late).roles["reader"] == {"assets:read"}
        assert (await first).roles["reader"] == {"assets:read"}
        assert fetches == 2

    async def test_without_end_costs_two_fetches_and_one_serves(
        self, service: FakeService, time: Time
    ) -> None:
        policies = policies_of(service, time)

        def changing(request: httpx.Request) -> dict[str, Any]:
            policies.changed(raw(A))
            return answering(A)

        service.answers["/policy"] = changing
        await policies.of(A)
        assert service.count("/policy") == 2

    async def test_serves_no_longer_than_any_that_is_outdated(
        self, service: FakeService, time: Time
    ) -> None:
        policies = policies_of(service, time)

        def changing(request: httpx.Request) -> Any:
            policies.changed(raw(A))
            time.advance(5.1)
            return answering(A) if service.count("/policy") == 1 else httpx.Response(500)

        service.answers["/policy"] = changing
        with pytest.raises(Unavailable):
            await policies.of(A)


class TestFaults:
    async def test_never_fetched_is_503(self, service: FakeService, time: Time) -> None:
        service.down = True
        policies = policies_of(service, time, accept_old=True)
        with pytest.raises(Unavailable):
            await policies.of(A)

    async def test_an_old_one_serves_for_max_age_after_it_was_outdated(
        self, service: FakeService, time: Time
    ) -> None:
        policies = policies_of(service, time)
        await policies.of(A)
        time.advance(100)
        service.down = True
        policies.changed(raw(A))
        for _ in range(4):
            await policies.of(A)
            time.advance(1.2)
            policies.changed(raw(A))
        time.advance(0.3)
        with pytest.raises(Unavailable):
            await policies.of(A)

    async def test_accept_goes_on_with_the_old_one(self, service: FakeService, time: Time) -> None:
        policies = policies_of(service, time, accept_old=True)
        await policies.of(A)
        service.down = True
        policies.changed(raw(A))
        time.advance(3_600)
        await policies.of(A)

    async def test_a_failed_fetch_is_not_repeated_at_once(
        self, service: FakeService, time: Time
    ) -> None:
        service.answers["/policy"] = lambda request: httpx.Response(500)
        policies = policies_of(service, time)
        for _ in range(10):
            with pytest.raises(Unavailable):
                await policies.of(A)
        assert service.count("/policy") == 1
        time.advance(1.1)
        with pytest.raises(Unavailable):
            await policies.of(A)
        assert service.count("/policy") == 2

    @pytest.mark.parametrize(
        "answer",
        [
            answering(B),
            answering(A, roles=[]),
            answering(A, roles={"reader": "assets:read"}),
            answering(A, depends_on=["short"]),
            answering(A, endpoints=[{"id": "x"}]),
            answering(A, endpoints=[{**endpoint("x", "GET", "/"), "opened_by": [""]}]),
            answering(A, endpoints=[{**endpoint("x", "GET", "/"), "tenant_id": None}]),
            {},
        ],
    )
    async def test_a_malformed_one_is_none(
        self, service: FakeService, time: Time, answer: dict[str, Any]
    ) -> None:
        service.answers["/policy"] = lambda request: answer
        with pytest.raises(Unavailable):
            await policies_of(service, time).of(A)


class TestCatalogue:
    async def test_of_each_tenant_above_the_most_specific_endpoint_is_hit(
        self, service: FakeService, time: Time
    ) -> None:
        listed = [
            endpoint("one", "GET", "/a/{}", ["a:b"], tenant_id=A),
            endpoint("two", "GET", "/a/{}", ["c:d"], tenant_id=B),
            endpoint("three", "GET", "/a/b", [], tenant_id=B),
        ]
        service.answers["/policy"] = lambda request: answering(C, endpoints=listed)
        found = (await policies_of(service, time).of(C)).endpoints
        assert [e.id for e in found.hit_by("GET", "/a/x")] == ["one", "two"]
        assert [e.id for e in found.hit_by("HEAD", "/a/b")] == ["one", "three"]
        assert found.hit_by("POST", "/a/b") == ()
        assert found.hit_by("GET", "/a%2fb") == ()

    async def test_long_paths_are_not_remembered_and_longer_ones_hit_nothing(
        self, service: FakeService, time: Time
    ) -> None:
        listed = [endpoint("one", "GET", "/a/{}", ["a:b"])]
        service.answers["/policy"] = lambda request: answering(A, endpoints=listed)
        found = (await policies_of(service, time).of(A)).endpoints
        for length, hits in ((512, 1), (8_192, 1), (8_193, 0)):
            path = "/a/".ljust(length, "x")
            assert len(found.hit_by("GET", path)) == hits
            assert found.hit_by(path, path) == ()
        assert found.hit_by("GET", "/a" * 33) == ()
        assert found._remembered.cache_info().currsize == 0
        assert found.hit_by("GET", "/a/x")
        assert found._remembered.cache_info().currsize == 1


class TestEntriesOfSeveralTenants:
    async def test_one_below_asks_for_no_less(
        self, service: FakeService, time: Time, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        above = endpoint("above", "GET", "/assets", ["assets:admin"], tenant_id=B)
        below = endpoint("below", "GET", "/assets", ["assets:read"])
        monkeypatch.setattr(world, "CATALOGUE", [above, below])
        async with verifying(service, time, service="assets") as verifier:
            with pytest.raises(InsufficientScope) as refused:
                await verifier.caller(signed(), A, method="GET", path="/assets")
            assert refused.value.scope == "assets:admin"
            both = signed(scope="assets:read assets:admin", jti="both")
            await verifier.caller(both, A, method="GET", path="/assets")
