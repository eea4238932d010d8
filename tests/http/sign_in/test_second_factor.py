"""Second factors: how they are set up, asked for once the password was right, and removed."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pyotp
import pytest

from keyturn.server.domain.errors import Refusal, Throttled
from keyturn.server.domain.sign_ins import MOST_WRONG
from keyturn.server.services.second_factor import ENROLMENT, FactorState
from keyturn.server.services.sign_in.codes import CODES
from keyturn.server.services.signing_in import STEP, CodeNeeded
from tests.http.sign_in.conftest import BROWSER, PASSWORD, AtNoon, Console, at

WRONG = "another password of some length"


async def refused(work: Any) -> tuple[str, str | None]:
    with pytest.raises(Refusal) as caught:
        await work
    return caught.value.code.value, caught.value.field


class TestSetUp:
    async def test_is_asked_for_from_then_on(self, console: Console) -> None:
        cookie = await console.sign_in()
        caller = await console.caller(cookie)
        assert await console.second_factor.state(caller) == FactorState()
        generator, codes = await console.enrol(cookie)
        assert len(set(codes)) == CODES
        state = await console.second_factor.state(caller)
        assert state.confirmed_at is not None
        assert state.codes_left == CODES
        signed_in = await console.signing_in.by_code(await console.step(), at(generator), BROWSER)
        await console.arrive(signed_in.cookie)
        assert len(await console.events("user.second_factor_set")) == 1
        events = await console.events("user.signed_in")
        assert {event["data"]["by"] for event in events} == {"password", "password, code"}

    async def test_nothing_until_a_code_shows_that_it_works(self, console: Console) -> None:
        cookie = await console.sign_in()
        caller = await console.caller(cookie, "POST")
        enrolment = await console.second_factor.begin(caller)
        for code in ("000000", "", "12345", enrolment.secret):
            work = console.second_factor.confirm(caller, enrolment.sealed, code, PASSWORD)
            assert await refused(work) == ("invalid_request", "code")
        await console.sign_in()

    async def test_not_with_what_was_sealed_for_another_or_long_ago(self, console: Console) -> None:
        cookie = await console.sign_in()
        caller = await console.caller(cookie, "POST")
        sealed = (await console.second_factor.begin(caller)).sealed
        generator, _ = await console.enrol(cookie)
        step = await console.step()
        console.service.clock.shift = ENROLMENT + timedelta(seconds=1)
        for other in (sealed, sealed[:-8], step, "", "é"):
            work = console.second_factor.confirm(caller, other, at(generator), PASSWORD)
            assert await refused(work) == ("invalid_request", "sealed")

    async def test_takes_the_password(self, console: Console) -> None:
        cookie = await console.sign_in()
        caller = await console.caller(cookie, "POST")
        enrolment = await console.second_factor.begin(caller)
        code = at(pyotp.TOTP(enrolment.secret))
        for password in (WRONG, ""):
            work = console.second_factor.confirm(caller, enrolment.sealed, code, password)
            assert await refused(work) == ("invalid_request", "password")
        assert await console.second_factor.state(caller) == FactorState()
        await console.second_factor.confirm(caller, enrolment.sealed, code, PASSWORD)

    async def test_ends_the_other_sign_ins(self, console: Console) -> None:
        others = [await console.sign_in() for _ in range(2)]
        cookie = await console.sign_in()
        await console.enrol(cookie)
        await console.arrive(cookie)
        for other in others:
            await console.over(other)
        (event,) = await console.events("user.signed_out")
        assert event["data"] == {"sign_ins": 2}

    async def test_not_with_what_another_sign_in_began(self, console: Console) -> None:
        cookie, other = await console.sign_in(), await console.sign_in()
        enrolment = await console.second_factor.begin(await console.caller(other, "POST"))
        code = at(pyotp.TOTP(enrolment.secret))
        caller = await console.caller(cookie, "POST")
        work = console.second_factor.confirm(caller, enrolment.sealed, code, PASSWORD)
        assert await refused(work) == ("invalid_request", "sealed")

    async def test_passwords_are_tried_a_few_times(
        self, start: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        service = await start(limit_failures_per_username="3/hour")
        console = await Console.open(service, monkeypatch)
        caller = await console.caller(await console.sign_in(), "POST")
        enrolment = await console.second_factor.begin(caller)
        code = at(pyotp.TOTP(enrolment.secret))
        for _ in range(3):
            await refused(console.second_factor.confirm(caller, enrolment.sealed, code, WRONG))
        with pytest.raises(Throttled):
            await console.second_factor.confirm(caller, enrolment.sealed, code, PASSWORD)

    async def test_409_for_a_second_one(self, console: Console) -> None:
        cookie = await console.sign_in()
        caller = await console.caller(cookie, "POST")
        sealed = (await console.second_factor.begin(caller)).sealed
        generator, _ = await console.enrol(cookie)
        assert (await refused(console.second_factor.begin(caller)))[0] == "conflict"
        work = console.second_factor.confirm(caller, sealed, at(generator), PASSWORD)
        assert (await refused(work))[0] == "conflict"


class TestCodes:
    async def test_of_the_steps_around_and_each_once(self, console: Console) -> None:
        generator, _ = await console.enrol(await console.sign_in())
        step = await console.step()
        for shift, good in ((-2, False), (-1, False), (0, True), (0, False), (1, True), (0, False)):
            work = console.signing_in.by_code(step, at(generator, shift), BROWSER)
            if good:
                await console.arrive((await work).cookie)
            else:
                assert await refused(work) == ("invalid_request", "code")
        assert await refused(console.signing_in.by_code(step, at(generator, 2), BROWSER)) == (
            "invalid_request",
            "code",
        )

    async def test_one_of_many_at_once_wins(self, console: Console) -> None:
        generator, codes = await console.enrol(await console.sign_in())
        step = await console.step()
        for code in (at(generator), codes[0]):
            tries = [console.signing_in.by_code(step, code, BROWSER) for _ in range(5)]
            done = await asyncio.gather(*tries, return_exceptions=True)
            assert sum(isinstance(one, Refusal) for one in done) == 4, done

    async def test_for_a_lost_generator_each_once(self, console: Console) -> None:
        cookie = await console.sign_in()
        _, codes = await console.enrol(cookie)
        step = await console.step()
        typed = codes[3].upper().replace("-", " ")
        await console.arrive((await console.signing_in.by_code(step, typed, BROWSER)).cookie)
        assert (await refused(console.signing_in.by_code(step, codes[3], BROWSER)))[1] == "code"
        state = await console.second_factor.state(await console.caller(cookie))
        assert state.codes_left == CODES - 1
        (event,) = await console.events("user.recovery_code_used")
        assert event["data"] == {"left": CODES - 1}
        async with console.service.service.parts.store.transaction() as tx:
            factor = await tx.second_factors.get(console.user.id)
        assert not any(code in str(factor) for code in codes)

    async def test_not_by_a_step_that_is_old_altered_or_outdated(self, console: Console) -> None:
        cookie = await console.sign_in()
        generator, _ = await console.enrol(cookie)
        step, code = await console.step(), at(generator)
        begin_again = ("invalid_request", "step")
        for other in ("", "é", step[:-8], step[:-6] + "AAAAAA", step + step):
            assert await refused(console.signing_in.by_code(other, code, BROWSER)) == begin_again
        console.service.clock.shift = STEP
        assert await refused(console.signing_in.by_code(step, code, BROWSER)) == begin_again
        console.service.clock.shift = timedelta(0)
        async with console.service.service.parts.store.transaction() as tx:
            await tx.users.set_password(console.user.id, "hash of another", await tx.now())
        assert await refused(console.signing_in.by_code(step, code, BROWSER)) == begin_again
        await console.give_password(console.user)
        async with console.service.service.parts.store.transaction() as tx:
            await tx.users.set_disabled(console.user.id, await tx.now())
        assert await refused(console.signing_in.by_code(step, code, BROWSER)) == begin_again

    async def test_too_many_wrong_ones_refuse_the_right_one_too(
        self, start: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        service = await start(limit_failures_per_username="3/hour")
        console = await Console.open(service, monkeypatch)
        generator, _ = await console.enrol(await console.sign_in())  # one try of a code
        step = await console.step()
        for _ in range(2):
            await refused(console.signing_in.by_code(step, "000000", BROWSER))
        with pytest.raises(Throttled):
            await console.signing_in.by_code(step, at(generator), BROWSER)


class TestLocked:
    async def guess(self, console: Console, times: int, code: str = "000000") -> None:
        step = await console.step()
        for _ in range(times):
            work = console.signing_in.by_code(step, code, BROWSER)
            assert await refused(work) == ("invalid_request", "code")

    async def wrong(self, console: Console) -> int:
        async with console.service.service.parts.store.transaction() as tx:
            factor = await tx.second_factors.get(console.user.id)
        assert factor is not None
        return factor.wrong

    async def test_after_many_wrong_ones_until_a_recovery_code(self, console: Console) -> None:
        generator, codes = await console.enrol(await console.sign_in())
        await self.guess(console, MOST_WRONG - 1)
        assert await console.events("user.second_factor_locked") == []
        await self.guess(console, 1)
        await self.guess(console, 1, at(generator))
        await self.guess(console, 2)
        (event,) = await console.events("user.second_factor_locked")
        assert event["actor"]["user_id"] == console.user.id
        await console.signing_in.by_code(await console.step(), codes[0], BROWSER)
        assert await self.wrong(console) == 0
        await console.signing_in.by_code(await console.step(), at(generator), BROWSER)

    async def test_not_when_a_right_one_came_between(self, console: Console) -> None:
        generator, _ = await console.enrol(await console.sign_in())
        await self.guess(console, MOST_WRONG - 1)
        await console.signing_in.by_code(await console.step(), at(generator), BROWSER)
        assert await self.wrong(console) == 0
        await self.guess(console, MOST_WRONG - 1)
        await console.signing_in.by_code(await console.step(), at(generator, 1), BROWSER)

    async def test_by_wrong_recovery_codes_too(self, console: Console) -> None:
        generator, codes = await console.enrol(await console.sign_in())
        await self.guess(console, MOST_WRONG + 1, "aaaaa-aaaaa-aaaaa-aaaaa")
        await self.guess(console, 1, at(generator))
        assert len(await console.events("user.second_factor_locked")) == 1
        await console.signing_in.by_code(await console.step(), codes[0], BROWSER)

    async def test_of_many_at_once_no_more_are_judged(
        self, console: Console, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await console.enrol(await console.sign_in())
        judged: list[str] = []
        monkeypatch.setattr(AtNoon, "step_of", lambda _, secret, code, now: judged.append(code))
        step = await console.step()
        tries = [console.signing_in.by_code(step, "000000", BROWSER) for _ in range(15)]
        done = await asyncio.gather(*tries, return_exceptions=True)
        assert all(isinstance(one, Refusal) for one in done), done
        assert len(judged) == MOST_WRONG

    async def test_not_by_who_does_not_know_the_password(self, console: Console) -> None:
        await console.enrol(await console.sign_in())
        step = await console.step()
        async with console.service.service.parts.store.transaction() as tx:
            await tx.users.set_password(console.user.id, "hash of another", await tx.now())
        assert (await refused(console.signing_in.by_code(step, "000000", BROWSER)))[1] == "step"
        assert await self.wrong(console) == 0

    async def test_still_after_new_recovery_codes(self, console: Console) -> None:
        cookie = await console.sign_in()
        generator, _ = await console.enrol(cookie)
        await self.guess(console, MOST_WRONG)
        caller = await console.caller(cookie, "POST")
        await console.second_factor.new_codes(caller, PASSWORD)
        assert await self.wrong(console) == MOST_WRONG
        await self.guess(console, 1, at(generator))

    async def test_no_more_once_it_was_removed(self, console: Console) -> None:
        cookie = await console.sign_in()
        await console.enrol(cookie)
        await self.guess(console, MOST_WRONG)
        await console.second_factor.remove(await console.caller(cookie, "POST"), PASSWORD)
        await console.enrol(cookie)
        assert await self.wrong(console) == 0


class TestWithThePassword:
    async def test_is_removed(self, console: Console) -> None:
        cookie = await console.sign_in()
        await console.enrol(cookie)
        caller = await console.caller(cookie, "POST")
        assert await refused(console.second_factor.remove(caller, WRONG)) == (
            "invalid_request",
            "password",
        )
        assert isinstance(
            await console.signing_in.by_password(console.user.username, PASSWORD, BROWSER),
            CodeNeeded,
        )
        await console.second_factor.remove(caller, PASSWORD)
        await console.sign_in()
        assert (await refused(console.second_factor.remove(caller, PASSWORD)))[0] == "not_found"
        assert len(await console.events("user.second_factor_removed")) == 1

    async def test_gets_other_codes(self, console: Console) -> None:
        cookie = await console.sign_in()
        caller = await console.caller(cookie, "POST")
        assert (await refused(console.second_factor.new_codes(caller, PASSWORD)))[0] == "not_found"
        _, codes = await console.enrol(cookie)
        assert (await refused(console.second_factor.new_codes(caller, WRONG)))[1] == "password"
        others = await console.second_factor.new_codes(caller, PASSWORD)
        assert not set(codes) & set(others)
        step = await console.step()
        assert (await refused(console.signing_in.by_code(step, codes[0], BROWSER)))[1] == "code"
        await console.signing_in.by_code(step, others[0], BROWSER)
