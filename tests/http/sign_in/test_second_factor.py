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
from tests.http.sign_in.conftest import BROWSER, PASSWORD, Console, at

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

    async def test_not_with_a_cookie_alone_and_other_browsers_end(self, console: Console) -> None:
        cookie, other = await console.sign_in(), await console.sign_in()
        caller = await console.caller(cookie, "POST")
        enrolment = await console.second_factor.begin(caller)
        code = at(pyotp.TOTP(enrolment.secret))
        work = console.second_factor.confirm(caller, enrolment.sealed, code, "another one")
        assert await refused(work) == ("invalid_request", "password")
        elsewhere = await console.caller(other, "POST")
        work = console.second_factor.confirm(elsewhere, enrolment.sealed, code, PASSWORD)
        assert await refused(work) == ("invalid_request", "sealed")
        await console.second_factor.confirm(caller, enrolment.sealed, code, PASSWORD)
        await console.arrive(cookie)
        assert (await refused(console.arrive(other)))[0] == "invalid_token"

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

    async def test_ten_wrong_ones_in_a_row_leave_recovery_codes_alone(
        self, console: Console
    ) -> None:
        generator, codes = await console.enrol(await console.sign_in())
        step = await console.step()
        for _ in range(MOST_WRONG):
            assert (await refused(console.signing_in.by_code(step, "000000", BROWSER)))[1] == "code"
        code = at(generator, 1)
        assert (await refused(console.signing_in.by_code(step, code, BROWSER)))[1] == "code"
        assert len(await console.events("user.second_factor_locked")) == 1
        await console.signing_in.by_code(step, codes[0], BROWSER)
        await console.signing_in.by_code(await console.step(), code, BROWSER)

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
        service = await start(limit_failures_per_username="3/minute")
        console = await Console.open(service, monkeypatch)
        generator, _ = await console.enrol(await console.sign_in())  # one try of a code
        step = await console.step()
        for _ in range(2):
            await refused(console.signing_in.by_code(step, "000000", BROWSER))
        with pytest.raises(Throttled):
            await console.signing_in.by_code(step, at(generator), BROWSER)


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
