"""The key set: cached, read anew, never flooded; and the metadata it is found by."""

import asyncio
from typing import Any

import httpx
import pytest

from keyturn.client import Network
from keyturn.resource import InvalidToken, TokenVerifier, Unavailable
from keyturn.resource.keys import Keys
from keyturn.resource.service import Fault, Service, metadata_url_of
from tests.resource.attacks import b64, encoded, header_of, signature_of, token
from tests.resource.world import (
    AUDIENCE,
    ISSUER,
    KEY,
    KEYS,
    OTHER_KEY,
    WELL_KNOWN,
    A,
    FakeService,
    Time,
    claims,
    kid_of,
    made,
    public,
    signed,
    verifying,
)

JWKS = "jwks.json"


def random_kids(count: int) -> list[str]:
    return [token(KEY, claims(), kid=f"random-{number}") for number in range(count)]


class TestUnknownKeyIds:
    async def test_a_flood_costs_one_reading_a_cool_down(
        self, service: FakeService, time: Time
    ) -> None:
        async with verifying(service, time, jwks_cooldown=10) as verifier:
            assert service.count(JWKS) == 1
            for _ in range(3):
                time.advance(10)
                before = service.count(JWKS)
                outcomes = await asyncio.gather(
                    *map(verifier.verify, random_kids(300)), return_exceptions=True
                )
                assert {type(outcome) for outcome in outcomes} == {InvalidToken}
                time.advance(9)
                for text in random_kids(20):
                    with pytest.raises(InvalidToken):
                        await verifier.verify(text)
                assert service.count(JWKS) == before + 1
                time.advance(-9)

    async def test_a_new_key_is_found_at_once(self, service: FakeService, time: Time) -> None:
        service.keys = [public(OTHER_KEY)]
        async with verifying(service, time, jwks_cooldown=10) as verifier:
            service.keys.append(public(KEY))
            time.advance(11)
            await verifier.verify(signed())

    async def test_is_unavailable_while_the_keys_cannot_be_read(
        self, service: FakeService, time: Time
    ) -> None:
        async with verifying(service, time) as verifier:
            service.down = True
            time.advance(11)
            with pytest.raises(Unavailable):
                await verifier.verify(token(made(), claims()))


class TestReading:
    async def test_the_service_stopped_does_not_stop_verification(
        self, service: FakeService, time: Time
    ) -> None:
        async with verifying(service, time) as verifier:
            service.down = True
            time.advance(250)
            await verifier.verify(signed())

    async def test_a_failed_reading_keeps_the_keys(self, service: FakeService, time: Time) -> None:
        keys = keys_of(service, time)
        assert await keys.refresh()
        service.down = True
        assert not await keys.refresh()
        assert kid_of(KEY) in keys
        service.down, service.keys = False, []
        assert not await keys.refresh()
        assert kid_of(KEY) in keys

    async def test_a_key_that_is_gone_takes_its_tokens_along(
        self, service: FakeService, time: Time
    ) -> None:
        text = signed()
        async with verifying(service, time) as verifier:
            await verifier.verify(text)
            service.keys = [public(OTHER_KEY)]
            time.advance(11)
            with pytest.raises(InvalidToken):
                await verifier.verify(token(KEY, claims(), kid="other"))
            with pytest.raises(InvalidToken):
                await verifier.verify(text)

    async def test_a_key_is_used_by_its_own_algorithm_only(
        self, service: FakeService, time: Time
    ) -> None:
        key = KEYS["RSA"]
        header = encoded(header_of(key, alg="RS512"))
        body = f"{header}.{encoded(claims())}"
        text = f"{body}.{b64(signature_of(key, body, 'RS512'))}"
        for named, good in (("RS512", True), ("RS256", False), (None, True)):
            service.keys = [public(key, alg=named)]
            async with verifying(service, time, algorithms=["RS256", "RS512"]) as verifier:
                if good:
                    await verifier.verify(text)
                else:
                    with pytest.raises(InvalidToken):
                        await verifier.verify(text)

    @pytest.mark.parametrize(
        ("header", "seconds"),
        [
            ("public, max-age=300", 300),
            ("max-age=1", 30),
            ("max-age=999999", 3600),
            ("no-store", 300),
            ("x-max-age=7", 300),
        ],
    )
    async def test_max_age_is_bounded(
        self, service: FakeService, time: Time, header: str, seconds: float
    ) -> None:
        service.cache_control = header
        keys = keys_of(service, time)
        await keys.refresh()
        assert keys.max_age == seconds

    @pytest.mark.parametrize(
        "jwk",
        [
            public(KEY, use="enc"),
            public(KEY, key_ops=["sign"]),
            KEY.as_dict(private=True),
            {"kty": "oct", "k": "c2VjcmV0", "kid": "oct"},
            public(KEY, alg="HS256"),
            public(KEY, crv="P-999"),
            public(KEY, x="AAAA"),
            public(KEY, kid=None),
            public(KEYS["RSA"], n="AQAB" * 30),
            {"kty": "AKP", "kid": "x"},
            {},
        ],
    )
    async def test_what_cannot_be_used_is_passed_over(
        self, service: FakeService, time: Time, jwk: dict[str, Any]
    ) -> None:
        service.keys = [jwk, public(OTHER_KEY)]
        keys = keys_of(service, time)
        assert await keys.refresh()
        assert kid_of(OTHER_KEY) in keys
        assert kid_of(KEY) not in keys
        assert not {"oct", "x"} & {kid for kid in ("oct", "x") if kid in keys}

    async def test_an_oversize_answer_is_a_fault(self, service: FakeService, time: Time) -> None:
        service.keys = [public(KEY, x5t="y" * 300_000)]
        assert not await keys_of(service, time).refresh()

    async def test_redirects_are_not_followed(self, service: FakeService, time: Time) -> None:
        service.answers[JWKS] = lambda request: httpx.Response(
            302, headers={"location": "https://attacker.example/keys"}
        )
        assert not await keys_of(service, time).refresh()
        assert {request.url.host for request in service.seen} == {"iam.example"}

    async def test_packed_answers_are_not_unpacked(self, service: FakeService, time: Time) -> None:
        service.answers[JWKS] = lambda request: httpx.Response(
            200, content=b"x", headers={"content-encoding": "br"}
        )
        assert not await keys_of(service, time).refresh()


class TestMetadata:
    @pytest.mark.parametrize(
        ("issuer", "url"),
        [
            ("https://iam.example", f"https://iam.example{WELL_KNOWN}"),
            ("https://iam.example/", f"https://iam.example{WELL_KNOWN}"),
            ("https://iam.example/a/b", f"https://iam.example{WELL_KNOWN}/a/b"),
        ],
    )
    def test_the_url_of_an_issuer(self, issuer: str, url: str) -> None:
        assert metadata_url_of(issuer) == url

    @pytest.mark.parametrize("issuer", [f"{ISSUER}/", "https://IAM.example", "", None])
    async def test_of_another_issuer_is_a_fault(
        self, service: FakeService, issuer: str | None
    ) -> None:
        service.metadata["issuer"] = issuer
        with pytest.raises(Fault, match=r"is of the issuer .* not of"):
            await Service(ISSUER, network=service.network()).metadata()

    @pytest.mark.parametrize("url", ["http://iam.example/keys", "file:///keys", "", None])
    async def test_naming_no_https_url_is_a_fault(
        self, service: FakeService, url: str | None
    ) -> None:
        service.metadata["jwks_uri"] = url
        with pytest.raises(Fault, match="no https URL"):
            await Service(ISSUER, network=service.network()).metadata()

    async def test_certificates_are_checked_wherever_it_leads(self, service: FakeService) -> None:
        asked: list[str] = []

        class Recording(Network):
            def async_client(self, url: str) -> httpx.AsyncClient:
                asked.append(url)
                return super().async_client(url)

        network = Recording(transport=service.network().transport)
        service.metadata["issuer"] = "http://localhost"
        here = Service("http://localhost", network=network)
        assert await keys_of(service, Time(), here).refresh()
        await here.close()
        assert [request.url.scheme for request in service.seen] == ["http", "https"]
        assert [url.partition(":")[0] for url in asked] == ["http", "https"]

    async def test_keys_may_be_on_another_path(self, service: FakeService, time: Time) -> None:
        service.metadata["jwks_uri"] = "https://keys.example/deep/down/jwks.json"
        async with verifying(service, time) as verifier:
            await verifier.verify(signed())

    async def test_a_service_that_is_away_at_the_start_is_found_later(
        self, service: FakeService, time: Time
    ) -> None:
        service.down = True
        async with verifying(service, time) as verifier:
            with pytest.raises(Unavailable):
                await verifier.verify(signed())
            service.down = False
            time.advance(11)
            await verifier.verify(signed())


class TestProxiesOfTheEnvironment:
    async def test_see_nothing_that_goes_in_the_clear(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[bytes] = []

        async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            seen.append(await reader.readline())
            writer.close()

        async with await asyncio.start_server(listen, "127.0.0.1") as proxy:
            port = proxy.sockets[0].getsockname()[1]
            for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
                monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
                monkeypatch.setenv(name.lower(), f"http://127.0.0.1:{port}")
            for name in ("NO_PROXY", "no_proxy"):
                monkeypatch.delenv(name, raising=False)
            # A port that nobody listens at (RFC 6335, 6).
            for issuer, told in (("http://127.0.0.1:0", 0), ("https://iam.example", 1)):
                asked = Service(issuer)
                with pytest.raises(Fault):
                    await asked.metadata()
                await asked.close()
                assert len(seen) == told
        assert seen[0].startswith(b"CONNECT iam.example:443")


class TestCredentialsThatWereFound:
    @pytest.fixture
    def found(self, service: FakeService, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("KEYTURN_PROFILE", raising=False)
        monkeypatch.setenv("KEYTURN_URL", ISSUER)
        monkeypatch.setenv("KEYTURN_USERNAME", "svc")
        monkeypatch.setenv("KEYTURN_API_KEY", "kt_secret")
        monkeypatch.setenv("KEYTURN_TENANT", A)
        active = {"active": True, "jti": "jti-1", "tenant_id": A}
        service.answers["/introspect"] = lambda request: active

    def finding(self, service: FakeService, time: Time, **options: Any) -> TokenVerifier:
        return TokenVerifier.find(
            ISSUER,
            AUDIENCE,
            revocation="introspect",
            network=service.network(),
            clock=time.clock,
            monotonic=time.monotonic,
            **options,
        )

    @pytest.mark.usefixtures("found")
    async def test_are_sent_to_their_own_service(self, service: FakeService, time: Time) -> None:
        service.metadata["introspection_endpoint"] = "https://IAM.example:443/iam/auth/introspect"
        async with self.finding(service, time) as verifier:
            await verifier.verify(signed())
        assert service.count("/introspect") == 1

    @pytest.mark.usefixtures("found")
    @pytest.mark.parametrize("name", ["token_endpoint", "introspection_endpoint"])
    @pytest.mark.parametrize(
        "url",
        [
            "https://other.example/iam/auth/token",
            "https://iam.example:8443/iam/auth/token",
            "https://iam.example/iam-too/auth/token",
            "https://iam.example/iam/%2e%2e/other/token",
            "https://iam.example:100000/iam/auth/token",
            "https://iam.example/iam",
        ],
    )
    async def test_are_sent_to_no_other_one(
        self,
        service: FakeService,
        time: Time,
        name: str,
        url: str,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        service.metadata[name] = url
        async with self.finding(service, time) as verifier:
            with pytest.raises(Unavailable):
                await verifier.verify(signed())
        assert {request.url.path for request in service.seen} == {WELL_KNOWN}
        assert f"are of {ISSUER}/iam" in caplog.text
        assert url in caplog.text
        assert "kt_secret" not in caplog.text

    @pytest.mark.usefixtures("found")
    async def test_do_not_bind_those_that_were_given(
        self, service: FakeService, time: Time
    ) -> None:
        service.metadata["introspection_endpoint"] = "https://other.example/introspect"
        given = {"username": "svc", "api_key": "kt_given"}
        async with self.finding(service, time, **given) as verifier:
            await verifier.verify(signed())


class TestSettings:
    @pytest.mark.parametrize(
        "changes",
        [
            {"issuer": "http://iam.example"},
            {"issuer": "https://user@iam.example"},
            {"issuer": "https://iam.example?x=1"},
            {"audience": ""},
            {"algorithms": []},
            {"algorithms": ["none"]},
            {"algorithms": ["ES256", "HS256"]},
            {"leeway": 61},
            {"leeway": -1},
            {"max_staleness": 0.5},
            {"when_stale": "shrug"},
            {"cache_size": 0},
            {"username": "u"},
            {"revocation": "feed"},
            {"revocation": "feed", "username": "u", "api_key": "k"},
            {"revocation": "introspect"},
            {"when_stale": "introspect"},
            {"service": "assets"},
        ],
    )
    def test_that_cannot_be_are_refused(self, changes: dict[str, Any]) -> None:
        settings = {"issuer": ISSUER, "audience": AUDIENCE, "revocation": None, **changes}
        with pytest.raises(ValueError, match=r".+"):
            TokenVerifier(**settings)

    def test_repr_tells_no_key(self) -> None:
        verifier = TokenVerifier(
            ISSUER, AUDIENCE, username="u", api_key="kt_secret", revocation=None
        )
        assert "kt_secret" not in repr(verifier)


def keys_of(service: FakeService, time: Time, asked: Service | None = None) -> Keys:
    asked = asked or Service(ISSUER, network=service.network())
    return Keys(asked, ["ES256", "RS256"], cooldown=10, monotonic=time.monotonic)
