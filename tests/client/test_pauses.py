"""What fails is left alone for a while: the token service, and servers that take no token."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import httpx
import pytest

from keyturn.client import (
    ApiKeyAuth,
    InvalidClient,
    InvalidGrant,
    KeyturnError,
    Network,
    Throttled,
    TokenClient,
    Unavailable,
    UnexpectedAnswer,
)
from keyturn.client.calls import Service
from keyturn.client.credentials import Credentials
from keyturn.client.steps import Answer, Fault, Patience, answered
from tests.client.conftest import (
    API_KEY,
    ASSETS,
    URL,
    USERNAME,
    FakeService,
    Get,
    SetClock,
    invalid_token,
    oauth_error,
)
from tests.client.test_concurrency import in_threads

OTHER = "https://other.example/things"

FAULT = pytest.param(lambda: httpx.Response(500), Unavailable, 0.2, 10.0, id="fault")
NOES = [
    pytest.param(lambda: oauth_error("invalid_grant"), InvalidGrant, 1.0, 30.0, id="grant"),
    pytest.param(lambda: oauth_error("invalid_client", 401), InvalidClient, 1.0, 30.0, id="client"),
    pytest.param(lambda: httpx.Response(404), UnexpectedAnswer, 1.0, 30.0, id="wrong URL"),
]


def error_of(get: Get, auth: ApiKeyAuth) -> KeyturnError:
    with pytest.raises(KeyturnError) as raised:
        get(auth)
    return raised.value


def grown(first: float, longest: float) -> Iterator[float]:
    """The pauses as they are without their spread, until they grow no more."""
    pause = first
    while pause < longest:
        yield pause
        pause *= 2
    yield from (longest, longest)


class TestAfterRetryAfter:
    @pytest.mark.parametrize(("status", "kind"), [(503, Unavailable), (429, Throttled)])
    def test_nobody_asks_sooner_and_all_are_told_what_is_left(
        self, service: FakeService, get: Get, clock: SetClock, status: int, kind: type[Exception]
    ) -> None:
        service.replies = [httpx.Response(status, headers={"retry-after": "20"}) for _ in range(60)]
        auth = service.auth(clock=clock)
        first = error_of(get, auth)
        clock.tick(8)
        later = [error_of(get, auth) for _ in range(49)]
        assert len(service.forms) == 1
        assert {type(error) for error in later} == {kind}
        left = [error.retry_after for error in later if isinstance(error, Unavailable)]
        assert left == [pytest.approx(12)] * 49
        assert {str(error) for error in later} == {str(first)}
        assert len({id(error) for error in [first, *later]}) == 50
        clock.tick(11.9)
        error_of(get, auth)
        assert len(service.forms) == 1
        clock.tick(0.2)
        error_of(get, auth)
        assert len(service.forms) == 2

    def test_a_long_one_is_kept_to_for_a_minute(
        self, service: FakeService, get: Get, clock: SetClock
    ) -> None:
        service.replies = [httpx.Response(503, headers={"retry-after": "600"})]
        auth = service.auth(clock=clock)
        error_of(get, auth)
        clock.tick(59)
        error = error_of(get, auth)
        assert isinstance(error, Unavailable)
        assert error.retry_after == pytest.approx(541)
        clock.tick(2)
        assert get(auth).status_code == 200
        assert len(service.forms) == 2

    def test_of_an_early_refresh_it_is_kept_to_when_the_token_dies(
        self, service: FakeService, get: Get, clock: SetClock
    ) -> None:
        auth = service.auth(clock=clock)
        get(auth)
        clock.tick(0.91 * 300)
        service.replies = [httpx.Response(503, headers={"retry-after": "30"})]
        assert get(auth).status_code == 200
        clock.tick(25)
        error_of(get, auth)
        assert len(service.forms) == 2
        clock.tick(6)
        assert get(auth).status_code == 200


class TestAfterFailures:
    @pytest.mark.parametrize(("reply", "kind", "first", "longest"), [FAULT, *NOES])
    def test_pauses_grow_and_the_error_is_the_same(
        self,
        service: FakeService,
        get: Get,
        clock: SetClock,
        reply: Callable[[], httpx.Response],
        kind: type[KeyturnError],
        first: float,
        longest: float,
    ) -> None:
        service.replies = [reply() for _ in range(20)]
        auth = service.auth(clock=clock)
        errors = [error_of(get, auth)]
        for calls, pause in enumerate(grown(first, longest), start=1):
            errors += [error_of(get, auth) for _ in range(3)]
            clock.tick(0.74 * pause)
            errors.append(error_of(get, auth))
            assert len(service.forms) == calls
            clock.tick(0.27 * pause)
            errors.append(error_of(get, auth))
            assert len(service.forms) == calls + 1
        assert {type(error) for error in errors} == {kind}
        assert len({str(error) for error in errors}) == 1
        assert len({id(error) for error in errors}) == len(errors)

    def test_of_a_fault_what_is_left_is_told(
        self, service: FakeService, get: Get, clock: SetClock
    ) -> None:
        service.replies = [httpx.Response(500)]
        auth = service.auth(clock=clock)
        error_of(get, auth)
        error = error_of(get, auth)
        assert isinstance(error, Unavailable)
        assert error.retry_after is not None
        assert 0.15 <= error.retry_after <= 0.2

    def test_a_success_ends_them(self, service: FakeService, get: Get, clock: SetClock) -> None:
        auth = service.auth(clock=clock)
        service.replies = [oauth_error("invalid_grant") for _ in range(3)]
        for pause in (1, 2, 4):
            error_of(get, auth)
            clock.tick(pause)
        assert get(auth).status_code == 200
        clock.tick(299)
        service.replies = [oauth_error("invalid_grant"), oauth_error("invalid_grant")]
        error_of(get, auth)
        clock.tick(1)
        assert get(auth).status_code == 200

    def test_clients_spread(self, service: FakeService, clock: SetClock) -> None:
        auths = [service.auth(clock=clock) for _ in range(60)]
        service.replies = [httpx.Response(500) for _ in auths]
        for auth in auths:
            with service.client(auth) as client, pytest.raises(Unavailable):
                client.get(ASSETS)
        clock.tick(0.175)
        asked = 0
        for auth in auths:
            with service.client(auth) as client:
                try:
                    asked += client.get(ASSETS).status_code == 200
                except Unavailable:
                    continue
        assert 5 < asked < 55

    def test_are_shared_by_threads_and_tasks(self, service: FakeService, clock: SetClock) -> None:
        service.replies = [oauth_error("invalid_grant") for _ in range(200)]
        auth = service.auth(clock=clock)

        async def tasks() -> list[object]:
            async with service.async_client(auth) as client:
                got = (client.get(ASSETS) for _ in range(20))
                return list(await asyncio.gather(*got, return_exceptions=True))

        def work(number: int) -> list[object]:
            if number % 2:
                return asyncio.run(tasks())
            with service.client(auth) as client, pytest.raises(InvalidGrant) as raised:
                client.get(ASSETS)
            return [raised.value]

        errors = [error for _ in range(2) for found in in_threads(8, work) for error in found]  # type: ignore[attr-defined]
        assert {type(error) for error in errors} == {InvalidGrant}
        assert len({id(error) for error in errors}) == len(errors) == 2 * 4 * 21
        assert len(service.forms) == 1

    def test_of_one_who_was_taken_for_lost_are_nobodys(
        self, service: FakeService, get: Get, clock: SetClock
    ) -> None:
        auth = service.auth(clock=clock)
        late, follower = auth._keeper.token(), auth._keeper.token()
        next(late)
        next(follower)
        clock.tick(20)
        with pytest.raises(Unavailable):
            follower.send(None)
        assert get(auth).status_code == 200
        with pytest.raises(InvalidGrant):
            late.send(Answer(400, {}, oauth_error("invalid_grant").content))
        service.dead.update(service.issued)
        assert get(auth).status_code == 200


class TestRefusedTokens:
    def test_by_a_server_that_takes_none_cost_few(
        self, service: FakeService, get: Get, clock: SetClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen = refuse_at(service, monkeypatch, "assets.example")
        auth = service.auth(clock=clock)
        assert {get(auth).status_code for _ in range(50)} == {401}
        assert service.grants == ["password", "refresh_token"]
        assert len(seen) == 51
        for calls, pause in enumerate(grown(1, 60), start=2):
            clock.tick(0.74 * pause)
            assert get(auth).status_code == 401
            assert len(service.forms) == calls
            clock.tick(0.27 * pause)
            assert {get(auth).status_code for _ in range(3)} == {401}
            assert len(service.forms) == calls + 1

    def test_by_a_server_that_takes_none_cost_few_for_many_threads(
        self, service: FakeService, clock: SetClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        refuse_at(service, monkeypatch, "assets.example")
        auth = service.auth(clock=clock)
        with service.client(auth) as client:
            for _ in range(2):
                assert set(in_threads(20, lambda _: client.get(ASSETS).status_code)) == {401}
        assert len(service.forms) == 2

    def test_of_streams_cost_few(
        self, service: FakeService, clock: SetClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        refuse_at(service, monkeypatch, "assets.example")
        with service.client(service.auth(clock=clock)) as client:
            for _ in range(10):
                assert client.post(ASSETS, content=iter([b"a"])).status_code == 401
        assert len(service.forms) == 2

    def test_are_replaced_at_once_when_one_worked_in_between(
        self, service: FakeService, get: Get, clock: SetClock
    ) -> None:
        auth = service.auth(clock=clock)
        for count in range(1, 6):
            assert get(auth).status_code == 200
            assert len(service.forms) == count
            service.dead.update(service.issued)

    def test_are_replaced_at_once_when_the_server_takes_some_again(
        self, service: FakeService, get: Get, clock: SetClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        auth = service.auth(clock=clock)
        with monkeypatch.context() as patch:
            refuse_at(service, patch, "assets.example")
            get(auth)
        assert get(auth).status_code == 200
        service.dead.update(service.issued)
        assert get(auth).status_code == 200
        assert len(service.forms) == 3

    @pytest.mark.parametrize("status", [403, 404, 500])
    def test_any_other_answer_counts_as_work(
        self,
        service: FakeService,
        get: Get,
        clock: SetClock,
        monkeypatch: pytest.MonkeyPatch,
        status: int,
    ) -> None:
        answers = [invalid_token(), invalid_token(), httpx.Response(status), invalid_token()]
        monkeypatch.setattr(
            service, "resource", lambda _: answers.pop(0) if answers else httpx.Response(200)
        )
        auth = service.auth(clock=clock)
        assert [get(auth).status_code for _ in range(3)] == [401, status, 200]
        assert len(service.forms) == 3

    def test_of_one_server_delay_no_other(
        self, service: FakeService, get: Get, clock: SetClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        refuse_at(service, monkeypatch, "other.example")
        auth = service.auth(clock=clock)
        for _ in range(5):
            assert get(auth, url=OTHER).status_code == 401
            assert get(auth).status_code == 200
        assert len(service.forms) == 2
        service.dead.update(service.issued)
        assert get(auth, url=OTHER).status_code == 401
        assert get(auth).status_code == 200
        assert len(service.forms) == 3

    def test_of_many_servers_are_not_all_remembered(
        self, service: FakeService, clock: SetClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        refuse_at(service, monkeypatch, "")
        auth = service.auth(clock=clock)
        with service.client(auth) as client:
            for number in range(100):
                client.get(f"https://a{number}.example")
        assert len(auth._keeper._refusers._pauses) == 64


class TestFaultOfTheConnection:
    def test_names_where_the_service_should_be(self, pauses: list[float]) -> None:
        def fail(request: httpx.Request) -> httpx.Response:
            raise httpx.ConnectError("refused")

        url = "https://iam.example:8443/of-somebody/auth/token"
        transport = httpx.MockTransport(fail)
        network = Network(transport=transport)
        with (
            TokenClient(url, USERNAME, API_KEY, network=network, deadline=0.01) as client,
            pytest.raises(Unavailable) as raised,
        ):
            client.exchange()
        told = "the token service at https://iam.example:8443 cannot be reached: refused"
        assert str(raised.value) == told

    def test_names_no_credentials(self, clock: SetClock) -> None:
        service = Service("https://user:word@iam.example/path")
        call = service.exchange(Credentials(URL, USERNAME, API_KEY))
        steps = answered(call, Patience(clock, 0))
        next(steps)
        with pytest.raises(Unavailable) as raised:
            steps.send(Fault("late"))
        told = "the token service at https://iam.example cannot be reached: late"
        assert str(raised.value) == told


def refuse_at(
    service: FakeService, monkeypatch: pytest.MonkeyPatch, host: str
) -> list[httpx.Request]:
    """Makes a host (any: "") refuse every token, and gives what is sent to it."""
    seen: list[httpx.Request] = []
    real = service.resource

    def resource(request: httpx.Request) -> httpx.Response:
        if host not in ("", request.url.host):
            return real(request)
        seen.append(request)
        return invalid_token()

    monkeypatch.setattr(service, "resource", resource)
    return seen
