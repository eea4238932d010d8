"""The feed: merged, reset, swept; and what happens when it is cut."""

import sys
from typing import Any

import httpx
import pytest

from keyturn.resource import InvalidToken, Stale, Unavailable, WrongTenant
from keyturn.resource.feed import RevocationFeed
from keyturn.resource.revocation import Entries, Entry, Presented, Verdict
from keyturn.resource.service import Service
from keyturn.resource.tokens import read_claims
from tests.resource.attacks import token
from tests.resource.world import (
    ISSUER,
    KEY,
    NOW,
    A,
    B,
    FakeService,
    OwnToken,
    Time,
    claims,
    entry,
    form_of,
    listing,
    news,
    signed,
    verifying,
)

FOREVER = 221_845_392_000


class Listener:
    def __init__(self) -> None:
        self.heard: list[bytes | None] = []

    def changed(self, subject: bytes) -> None:
        self.heard.append(subject)

    def all_changed(self) -> None:
        self.heard.append(None)


def feed_of(
    service: FakeService, time: Time, max_staleness: float = 5, listener: Listener | None = None
) -> RevocationFeed:
    asked = Service(ISSUER, network=service.network(), auth=lambda url: OwnToken())
    return RevocationFeed(
        asked,
        A,
        max_staleness=max_staleness,
        listener=listener,
        clock=time.clock,
        monotonic=time.monotonic,
    )


def presented(members: dict[str, Any] | None = None) -> Presented:
    return Presented.of(read_claims(members or claims(), KEY.kid or ""))


async def verdict(
    feed: RevocationFeed, members: dict[str, Any] | None = None, tenant_id: str | None = A
) -> Verdict:
    return await feed.find("", presented(members), tenant_id)


class TestPolling:
    async def test_asks_with_its_own_token_in_its_tenant(
        self, service: FakeService, time: Time
    ) -> None:
        feed = feed_of(service, time)
        service.feed = [news(reset=True, cursor="one"), news(cursor="two"), news()]
        for _ in range(3):
            await feed.poll()
        first, second, third = service.seen[1:]
        assert first.headers["authorization"] == "Bearer own"
        assert first.headers["x-tenant-id"] == A
        assert dict(first.url.params) == {"limit": "5000"}
        assert second.url.params["cursor"] == "one"
        assert third.url.params["cursor"] == "two"
        # Two polls and what they take lie within max_staleness.
        assert 0 < float(second.url.params["wait"]) <= 2.5

    async def test_goes_on_at_once_while_there_is_more(
        self, service: FakeService, time: Time
    ) -> None:
        feed = feed_of(service, time)
        service.feed = [
            news(entry("token", "jti-1"), reset=True, more=True),
            news(entry("token", "x"), more=True),
            news(entry("token", "y")),
        ]
        assert await feed.poll() == 0
        assert not feed.fresh
        assert await feed.poll() == 0
        assert "wait" not in service.seen[-1].url.params
        assert await feed.poll() > 0
        assert len(feed) == 3
        assert await verdict(feed) is Verdict.DEAD

    async def test_is_no_busy_loop(self, service: FakeService, time: Time) -> None:
        feed = feed_of(service, time)
        service.feed = [news(), news(), news(entry("token", "x"))]
        assert min([await feed.poll() for _ in range(3)]) > 0

    async def test_is_as_old_as_its_last_poll_and_what_that_told(
        self, service: FakeService, time: Time
    ) -> None:
        feed = feed_of(service, time)
        with pytest.raises(Stale):
            await verdict(feed)
        service.feed = [news(age=1.5)]
        await feed.poll()
        assert feed.staleness == 1.5
        time.advance(3.5)
        assert await verdict(feed) is Verdict.LIVE
        time.advance(0.1)
        with pytest.raises(Stale):
            await verdict(feed)

    async def test_time_counts_from_a_polls_start(self, service: FakeService, time: Time) -> None:
        feed = feed_of(service, time)

        def slow(request: httpx.Request) -> dict[str, Any]:
            time.advance(2)
            return news()

        service.answers["/revocations"] = slow
        await feed.poll()
        assert feed.staleness == 2


class TestItsAge:
    """Counts by the clock that went on further."""

    async def test_grows_while_the_machine_sleeps(self, service: FakeService, time: Time) -> None:
        feed = feed_of(service, time)
        await feed.poll()
        time.now += 3_600  # and the monotonic clock stands
        assert feed.staleness == 3_600
        with pytest.raises(Stale):
            await verdict(feed)
        await feed.poll()
        assert await verdict(feed) is Verdict.LIVE

    async def test_grows_although_the_wall_clock_is_set_back(
        self, service: FakeService, time: Time
    ) -> None:
        feed = feed_of(service, time)
        await feed.poll()
        time.advance(5.1)
        time.now -= 3_600
        assert feed.staleness == pytest.approx(5.1)
        with pytest.raises(Stale):
            await verdict(feed)

    async def test_is_none_before_the_first_list(self, service: FakeService, time: Time) -> None:
        service.answers["/revocations"] = lambda request: httpx.Response(403)
        async with verifying(service, time, revocation="feed") as verifier:
            before = verifier.staleness
            assert before is None
            with pytest.raises(Unavailable, match="never read"):
                await verifier.verify(signed())
            feed = verifier._feed
            assert feed is not None
            del service.answers["/revocations"]
            await feed.poll()
            assert verifier.staleness == 0
        async with verifying(service, time) as without:
            assert without.staleness is None

    async def test_makes_policies_old_too(self, service: FakeService, time: Time) -> None:
        text = token(KEY, listing({A: ["reader"]}))
        async with verifying(service, time, revocation="feed", when_stale="accept") as verifier:
            await verifier.caller(text, A)
            time.advance(60)
            assert verifier._feed is not None
            await verifier._feed.poll()
            await verifier.caller(text, A)
            assert service.count("/policy") == 1
            service.answers["/revocations"] = lambda request: httpx.Response(500)
            time.now += 60
            await verifier.caller(text, A)
            assert service.count("/policy") == 2


class TestFaults:
    @pytest.mark.parametrize(
        "answer",
        [
            {},
            news(cursor=""),
            news(cursor="c" * 257),
            news(cursor=7),
            news(age=-1),
            news(age="0"),
            news(more="no"),
            news(reset=None),
            {**news(), "entries": {}},
            {**news(), "entries": [entry("token", "a"), None]},
            {**news(), "entries": [{**entry("token", "a"), "subject": "short"}]},
            {**news(), "entries": [{**entry("token", "a"), "subject": "?" * 22}]},
            {**news(), "entries": [{**entry("token", "a"), "expires_at": "soon"}]},
            {**news(), "entries": [{**entry("user", "a"), "epoch": -1}]},
        ],
    )
    async def test_a_malformed_answer_counts_for_nothing(
        self, service: FakeService, time: Time, answer: dict[str, Any]
    ) -> None:
        feed = feed_of(service, time)
        service.feed = [answer]
        assert await feed.poll() > 0
        assert not feed.fresh
        assert len(feed) == 0

    async def test_pauses_grow_and_are_bounded(self, service: FakeService, time: Time) -> None:
        feed = feed_of(service, time)
        service.down = True
        pauses = [await feed.poll() for _ in range(12)]
        assert pauses[0] <= 0.25
        assert 1.5 <= pauses[-1] <= 2.5

    async def test_retry_after_is_honoured_within_bounds(
        self, service: FakeService, time: Time
    ) -> None:
        feed = feed_of(service, time)
        for told, least, most in (("7", 5, 9), ("9999", 22, 38)):
            service.answers["/revocations"] = lambda request, told=told: httpx.Response(  # type: ignore[misc]
                503, headers={"retry-after": told}
            )
            assert least < await feed.poll() < most

    async def test_refused_credentials_are_told_once(
        self, service: FakeService, time: Time, caplog: pytest.LogCaptureFixture
    ) -> None:
        feed = feed_of(service, time)
        service.answers["/revocations"] = lambda request: httpx.Response(403)
        for _ in range(5):
            assert await feed.poll() > 5
        told = [record for record in caplog.records if "own credentials" in record.message]
        assert len(told) == 1
        assert told[0].levelname == "ERROR"

    async def test_a_cursor_that_is_not_known_any_more_begins_anew(
        self, service: FakeService, time: Time
    ) -> None:
        feed = feed_of(service, time)
        service.feed = [news(entry("token", "jti-1"), reset=True)]
        await feed.poll()
        service.answers["/revocations"] = lambda request: httpx.Response(400)
        await feed.poll()
        assert await verdict(feed) is Verdict.DEAD
        del service.answers["/revocations"]
        service.feed = [news(entry("token", "x"))]
        await feed.poll()
        assert "cursor" not in service.seen[-1].url.params
        assert await verdict(feed) is Verdict.LIVE


class TestReset:
    async def test_the_old_list_holds_until_the_new_one_is_whole(
        self, service: FakeService, time: Time
    ) -> None:
        listener = Listener()
        feed = feed_of(service, time, listener=listener)
        service.feed = [
            news(entry("token", "jti-1"), reset=True),
            news(entry("token", "x"), reset=True, more=True),
            news(entry("token", "y")),
        ]
        await feed.poll()
        assert listener.heard == [None]
        await feed.poll()
        assert await verdict(feed) is Verdict.DEAD
        await feed.poll()
        assert await verdict(feed) is Verdict.LIVE
        assert len(feed) == 2
        assert listener.heard == [None, None]


class TestMerging:
    def merged(self, *given: dict[str, Any]) -> Entries:
        entries = Entries()
        for members in given:
            entries.merge(Entry.read(members))
        return entries

    def verdict(
        self, entries: Entries, members: dict[str, Any] | None = None, now: float = NOW
    ) -> Verdict:
        return entries.verdict(presented(members).subjects, A, now)

    @pytest.mark.parametrize(
        ("epochs", "dead"),
        [
            ([5], False),
            ([6], True),
            ([6, 5], True),
            ([5, 6], True),
            ([None], True),
            ([None, 1], True),
            ([1, None], True),
        ],
    )
    def test_the_highest_epoch_holds(self, epochs: list[int | None], dead: bool) -> None:
        for kind, name in (("user", "user-1"), ("everything", "*")):
            entries = self.merged(*(entry(kind, name, epoch) for epoch in epochs))
            assert (self.verdict(entries) is Verdict.DEAD) is dead

    def test_the_latest_end_holds(self) -> None:
        entries = self.merged(
            entry("token", "jti-1", ends=NOW + 9),
            entry("token", "jti-1", ends=NOW + 1),
            entry("token", "jti-1", ends=0),
        )
        assert self.verdict(entries, now=NOW + 8) is Verdict.DEAD
        assert self.verdict(entries, now=NOW + 9) is Verdict.LIVE

    def test_a_tenants_suspension_is_lifted(self) -> None:
        there, gone = entry("tenant", A, ends=FOREVER), entry("tenant", A, ends=0)
        assert self.verdict(self.merged(there)) is Verdict.DEAD
        assert self.verdict(self.merged(there, gone)) is Verdict.LIVE
        assert self.verdict(self.merged(there, gone, there)) is Verdict.DEAD

    def test_a_listed_tenant_is_taken_out(self) -> None:
        entries = self.merged(entry("tenant", A, ends=FOREVER))
        both = presented(listing({A: ["reader"], B: ["reader"]})).subjects
        assert entries.verdict(both, A, NOW) is Verdict.SUSPENDED
        assert entries.verdict(both, B, NOW) is Verdict.LIVE
        assert entries.verdict(both, None, NOW) is Verdict.LIVE
        alone = presented(listing({A: ["reader"]})).subjects
        assert entries.verdict(alone, None, NOW) is Verdict.SUSPENDED

    def test_old_entries_are_swept(self) -> None:
        entries = self.merged(
            entry("token", "a", ends=NOW), entry("user", "b", 3, ends=NOW), entry("key", "c")
        )
        entries.sweep(NOW)
        assert len(entries) == 1

    def test_a_hundred_thousand_take_little(self) -> None:
        entries = self.merged(*(entry("session", str(number)) for number in range(1_000)))
        held = entries._ends
        size = sys.getsizeof(held) + sum(map(sys.getsizeof, held))
        assert size / len(entries) < 200  # bytes


class TestWhenTheFeedIsCut:
    @pytest.mark.parametrize("max_staleness", [2.0, 5.0])
    async def test_deny_is_503_from_that_second_on(
        self, service: FakeService, time: Time, max_staleness: float
    ) -> None:
        async with verifying(
            service, time, revocation="feed", max_staleness=max_staleness
        ) as verifier:
            service.down = True
            base = verifier.staleness or 0.0
            time.advance(max_staleness - base - 0.01)
            await verifier.verify(signed())
            time.advance(0.02)
            with pytest.raises(Unavailable) as caught:
                await verifier.verify(signed())
            assert caught.value.retry_after >= 1

    async def test_accept_goes_by_the_signature(self, service: FakeService, time: Time) -> None:
        async with verifying(service, time, revocation="feed", when_stale="accept") as verifier:
            service.down = True
            # On either side of the second from which another policy would refuse.
            for step in (5 - (verifier.staleness or 0.0) - 0.01, 0.02, 60):
                time.advance(step)
                await verifier.verify(signed())
                with pytest.raises(InvalidToken):
                    await verifier.verify(signed() + "A")

    async def test_accept_forgets_no_revocation_that_was_heard_of(
        self, service: FakeService, time: Time
    ) -> None:
        service.feed = [news(entry("token", "jti-1"), reset=True)]
        async with verifying(service, time, revocation="feed", when_stale="accept") as verifier:
            service.down = True
            time.advance(60)
            with pytest.raises(InvalidToken):
                await verifier.verify(signed())
            await verifier.verify(signed(jti="jti-2"))

    async def test_introspect_asks_about_each_token(self, service: FakeService, time: Time) -> None:
        dead = {"jti-2"}

        def introspect(request: httpx.Request) -> dict[str, Any]:
            jti = "jti-2" if form_of(request)["token"] == bad else "jti-1"
            active = {"active": True, "jti": jti, "tenant_id": A}
            return {"active": False} if jti in dead else active

        good, bad = signed(), signed(jti="jti-2")
        service.answers["/introspect"] = introspect
        async with verifying(service, time, revocation="feed", when_stale="introspect") as verifier:
            service.answers["/revocations"] = lambda request: httpx.Response(500)
            time.advance(5 - (verifier.staleness or 0.0) - 0.01)
            await verifier.verify(bad)
            assert service.count("/introspect") == 0
            time.advance(0.02)
            with pytest.raises(InvalidToken):
                await verifier.verify(bad)
            await verifier.verify(good)
            await verifier.verify(good)
            assert service.count("/introspect") == 2
            service.down = True
            time.advance(1.1)
            with pytest.raises(Unavailable):
                await verifier.verify(good)

    async def test_a_revocation_reaches_a_token_that_was_seen(
        self, service: FakeService, time: Time
    ) -> None:
        feed = feed_of(service, time)
        await feed.poll()
        async with verifying(service, time, revocation=feed) as verifier:
            await verifier.verify(signed())
            service.feed = [news(entry("session", "sid-1"))]
            await feed.poll()
            with pytest.raises(InvalidToken):
                await verifier.verify(signed())

    async def test_a_suspended_tenant_is_403_in_it_only(
        self, service: FakeService, time: Time
    ) -> None:
        service.feed = [news(entry("tenant", A, ends=FOREVER), reset=True)]
        async with verifying(service, time, revocation="feed") as verifier:
            text = token(KEY, listing({A: ["reader"], B: ["reader"]}))
            with pytest.raises(WrongTenant):
                await verifier.caller(text, A)
            assert (await verifier.caller(text, B)).roles == ("reader",)
            with pytest.raises(InvalidToken):
                await verifier.verify(signed())


class TestFastPath:
    async def test_a_token_that_was_seen_never_yields(
        self, service: FakeService, time: Time
    ) -> None:
        async with verifying(service, time, revocation="feed") as verifier:
            text = signed()
            await verifier.caller(text, A)
            going = verifier.caller(text, A)
            with pytest.raises(StopIteration) as done:
                going.send(None)
            assert done.value.value.tenant_id == A


class TestLongestLife:
    async def test_a_token_that_the_service_takes_no_more_is_dead(
        self, service: FakeService, time: Time
    ) -> None:
        """Its lifetime was lowered: what ended older tokens need not be in the list any more."""
        service.feed = [news(reset=True, longest_life=60)]
        async with verifying(service, time, revocation="feed") as verifier:
            await verifier.verify(signed(iat=NOW - 59))
            with pytest.raises(InvalidToken):
                await verifier.verify(signed(iat=NOW - 60, jti="old"))

    @pytest.mark.parametrize("life", [None, 0, -1, "60", True])
    async def test_an_answer_without_it_counts_for_nothing(
        self, service: FakeService, time: Time, life: object
    ) -> None:
        service.feed = [news(reset=True, longest_life=life)]
        service.answers["/auth/revocations"] = lambda _: news(reset=True, longest_life=life)
        feed = feed_of(service, time)
        await feed.poll()
        assert not feed.told
