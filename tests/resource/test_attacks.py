"""Every attack of the collection is `invalid_token`, and moves nobody to make a call."""

import time as real

import pytest

from keyturn.resource import InvalidToken
from tests.resource.attacks import attacks, other_s, token
from tests.resource.world import (
    AUDIENCE,
    ISSUER,
    KEYS,
    NOW,
    OTHER_KEY,
    FakeService,
    Time,
    claims,
    public,
    signed,
    verifying,
)


def now_claims() -> dict[str, object]:
    now = int(real.time())
    return claims(iat=now - 10, exp=now + 290)


@pytest.mark.parametrize("kind", KEYS)
class TestAttacks:
    async def test_each_is_refused_without_an_outgoing_call(
        self, kind: str, service: FakeService
    ) -> None:
        key, good, other_kid = KEYS[kind], now_claims(), OTHER_KEY.kid or ""
        service.keys = [public(key), public(OTHER_KEY)]
        given = list(
            attacks(key, issuer=ISSUER, audience=AUDIENCE, claims=good, other_kid=other_kid)
        )
        assert len(given) > 200
        assert len({attack.name for attack in given}) == len(given)
        async with verifying(service, Time(real.time())) as verifier:
            assert (await verifier.verify(token(key, good))).user_id == "user-1"
            before = len(service.seen)
            accepted = []
            for attack in given:
                try:
                    await verifier.verify(attack.text)
                except InvalidToken as error:
                    told = str(error) + error.public
                    if len(attack.text) < 20 or attack.text not in told:
                        continue
                accepted.append(attack.name)
            assert accepted == []
            assert len(service.seen) == before

    async def test_each_of_the_good_spellings_is_accepted(
        self, kind: str, service: FakeService, time: Time
    ) -> None:
        service.keys = [public(KEYS[kind])]
        async with verifying(service, time) as verifier:
            for typ in ("at+jwt", "AT+JWT", "application/at+jwt", "Application/AT+JWT"):
                await verifier.verify(token(KEYS[kind], claims(), typ=typ))
            await verifier.verify(token(KEYS[kind], claims(aud=["x", AUDIENCE])))


class TestHighS:
    async def test_is_allowed(self, service: FakeService, time: Time) -> None:
        async with verifying(service, time) as verifier:
            await verifier.verify(other_s(signed()))
            await verifier.verify(signed())


class TestEdwards:
    @pytest.mark.parametrize("published", ["EdDSA", "Ed25519", None])
    @pytest.mark.parametrize("header", ["EdDSA", "Ed25519"])
    async def test_both_names_are_the_same_algorithm(
        self, service: FakeService, time: Time, published: str | None, header: str
    ) -> None:
        service.keys = [public(KEYS["OKP"], alg=published)]
        async with verifying(service, time) as verifier:
            await verifier.verify(token(KEYS["OKP"], claims(), alg=header))

    async def test_not_when_it_is_not_listed(self, service: FakeService, time: Time) -> None:
        service.keys = [public(KEYS["OKP"]), public(KEYS["EC"])]
        async with verifying(service, time, algorithms=["ES256"]) as verifier:
            with pytest.raises(InvalidToken):
                await verifier.verify(token(KEYS["OKP"], claims()))


class TestTimes:
    @pytest.mark.parametrize(
        ("changes", "good"),
        [
            ({"exp": NOW - 9}, True),
            ({"exp": NOW - 10}, False),
            ({"iat": NOW + 10}, True),
            ({"iat": NOW + 11}, False),
            ({"nbf": NOW + 10}, True),
            ({"nbf": NOW + 11}, False),
        ],
    )
    async def test_the_leeway_is_ten_seconds(
        self, service: FakeService, time: Time, changes: dict[str, int], good: bool
    ) -> None:
        async with verifying(service, time) as verifier:
            if good:
                await verifier.verify(signed(**changes))
            else:
                with pytest.raises(InvalidToken):
                    await verifier.verify(signed(**changes))

    async def test_a_token_that_was_seen_ends_like_any_other(
        self, service: FakeService, time: Time
    ) -> None:
        async with verifying(service, time, leeway=0) as verifier:
            text = signed(exp=int(time.now) + 5)
            await verifier.verify(text)
            time.advance(4.9)
            await verifier.verify(text)
            time.advance(0.1)
            with pytest.raises(InvalidToken):
                await verifier.verify(text)
