"""Signing in to the console: who may, how it is refused, and what a cookie opens."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from datetime import timedelta
from typing import Any

import pytest

from keyturn.server.domain.errors import Refusal, Throttled
from keyturn.server.domain.model import UserKind
from keyturn.server.domain.permissions import TENANT_ADMIN, VIEWER
from keyturn.server.domain.sign_ins import IDLE, LONGEST, MOST
from keyturn.server.services.callers import Needs
from keyturn.server.services.management.people import PeopleManagement
from keyturn.server.services.signing_in import Browser, CodeNeeded, SignedIn
from tests.http.sign_in.conftest import BROWSER, PASSWORD, Console, at

NEW = "a lamp that hums at noon"


class TestByPassword:
    async def test_gives_a_cookie_that_says_who_it_is(self, console: Console) -> None:
        cookie = await console.sign_in()
        assert console.passwords.computed == 1
        caller = await console.caller(cookie)
        assert caller.record.user_id == console.user.id
        (event,) = await console.events("user.signed_in")
        assert event["target"] == console.user.id
        assert event["data"] == {"by": "password", "agent": BROWSER.agent}

    async def test_whatever_the_case_of_the_name(self, console: Console) -> None:
        name = console.user.username.upper()
        assert isinstance(await console.signing_in.by_password(name, PASSWORD, BROWSER), SignedIn)

    async def test_a_browser_may_call_itself_anything(self, console: Console) -> None:
        odd = Browser(None, "\0\ud800\n" + "x" * 500)
        await console.signing_in.by_password(console.user.username, PASSWORD, odd)
        (event,) = await console.events("user.signed_in")
        assert event["data"]["agent"] == "x" * 200

    @pytest.mark.parametrize("what", ["unknown", "odd", "service", "disabled", "none", "wrong"])
    async def test_refuses_all_alike_after_one_hash(self, console: Console, what: str) -> None:
        username, password = console.user.username, PASSWORD
        match what:
            case "unknown":
                username = "nobody@example.org"
            case "odd":
                username = "\0\ud800" * 1000
            case "service":
                username = console.service.username
            case "disabled":
                async with console.service.service.parts.store.transaction() as tx:
                    await tx.users.set_disabled(console.user.id, await tx.now())
            case "none":
                username = (await console.service.add_user(UserKind.HUMAN)).username
            case "wrong":
                password = NEW
        with pytest.raises(Refusal) as caught:
            await console.signing_in.by_password(username, password, BROWSER)
        assert console.passwords.computed == 1
        assert caught.value.public == "The email address or the password is not right."
        assert (caught.value.code, caught.value.field) == ("invalid_request", "password")
        events = await console.events("user.sign_in_refused")
        assert [event["outcome"] for event in events] == ["refused"] * (
            what not in ("unknown", "odd")
        )

    async def test_too_many_tries_refuse_the_right_password_too(
        self, start: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        service = await start(limit_failures_per_username="3/hour")
        console = await Console.open(service, monkeypatch)
        for _ in range(3):
            with pytest.raises(Refusal):
                await console.signing_in.by_password(console.user.username, NEW, BROWSER)
        with pytest.raises(Throttled):
            await console.signing_in.by_password(console.user.username, PASSWORD, BROWSER)
        assert console.passwords.computed == 3


class TestFirstPassword:
    async def test_a_whole_key_vouches_for_who_has_none(self, console: Console) -> None:
        username, key = console.service.admin
        signed_in = await console.signing_in.first_password(username, key, NEW, BROWSER)
        assert isinstance(signed_in, SignedIn)
        assert (await console.caller(signed_in.cookie)).record.username == username
        again = await console.signing_in.by_password(username, NEW, BROWSER)
        assert isinstance(again, SignedIn)

    async def test_a_second_factor_is_asked_for_all_the_same(self, console: Console) -> None:
        generator, _ = await console.enrol(await console.sign_in())
        async with console.service.service.parts.store.transaction() as tx:
            await tx.sign_ins.forget_password(console.user.id)
        key = (await console.service.add_key(user_id=console.user.id)).text
        needed = await console.signing_in.first_password(console.user.username, key, NEW, BROWSER)
        assert isinstance(needed, CodeNeeded)
        assert len(await console.events("user.password_changed")) == 1
        with pytest.raises(Refusal) as caught:
            await console.signing_in.first_password(console.user.username, key, NEW, BROWSER)
        assert caught.value.code == "conflict"
        signed_in = await console.signing_in.by_code(needed.step, at(generator), BROWSER)
        await console.arrive(signed_in.cookie)

    async def test_409_for_who_has_one(self, console: Console) -> None:
        key = await console.service.add_key(user_id=console.user.id)
        with pytest.raises(Refusal) as caught:
            await console.signing_in.first_password(console.user.username, key.text, NEW, BROWSER)
        assert caught.value.code == "conflict"
        assert console.passwords.computed == 0

    @pytest.mark.parametrize(
        "what", ["another's", "narrowed", "revoked", "a service user's", "no key", "a cookie"]
    )
    async def test_400_for_any_other_key(self, console: Console, what: str) -> None:
        user, service = await console.service.add_user(UserKind.HUMAN), console.service
        username, key = user.username, (await service.add_key(user_id=user.id)).text
        match what:
            case "another's":
                key = service.admin[1]
            case "narrowed":
                narrow = await service.add_key(user_id=user.id, networks=("0.0.0.0/0", "::/0"))
                key = narrow.text
            case "revoked":
                now = service.clock()
                key = (await service.add_key(user_id=user.id, revoked_at=now)).text
            case "a service user's":
                username, key = service.username, service.api_key
            case "no key":
                key = "kt_nothing"
            case "a cookie":
                key = await console.sign_in()
        with pytest.raises(Refusal) as caught:
            await console.signing_in.first_password(username, key, NEW, BROWSER)
        assert (caught.value.code, caught.value.field) == ("invalid_request", "api_key")

    async def test_400_for_a_password_that_nobody_should_have(self, console: Console) -> None:
        username, key = console.service.admin
        with pytest.raises(Refusal) as caught:
            await console.signing_in.first_password(username, key, "short", BROWSER)
        assert caught.value.field == "new_password"


class TestCookies:
    async def test_another_letter_anywhere_is_refused(self, console: Console) -> None:
        cookie = await console.sign_in()
        prefix, key_id, epoch, secret = cookie.split("_")
        other = "0" if secret[-1] != "0" else "1"
        for altered in (
            f"{prefix}_{key_id}_{epoch}_{secret[:-1]}{other}",
            f"{prefix}_{key_id}_{int(epoch) + 1}_{secret}",
            f"{prefix}_{key_id}_0{epoch}_{secret}",
            f"{prefix}_{console.service.demo.key.key_id}_{epoch}_{secret}",
            f"kt_{key_id}_{epoch}_{secret}",
            cookie + "0",
            cookie + "\n",
            "",
        ):
            await console.over(altered)
        await console.arrive(cookie)

    async def test_an_api_key_is_none_and_a_cookie_is_no_api_key(self, console: Console) -> None:
        service = console.service
        await console.over(service.api_key)
        _, key_id, secret, _ = service.api_key.split("_")
        await console.over(f"ktc_{key_id}_1_{secret}")
        cookie = await console.sign_in()
        _, key_id, _, secret = cookie.split("_")
        for text in (cookie, service.service.parts.key_format.new(key_id).text):
            answer = await service.token(
                grant_type="password", username=console.user.username, password=text
            )
            assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")

    async def test_opens_what_the_person_may_do_there(self, console: Console) -> None:
        service = console.service
        arrival = await console.arrive(await console.sign_in())
        callers = console.signing_in._callers
        caller = await callers.in_tenant(arrival, service.acme, Needs("tenants:read"))
        assert caller.roles == (TENANT_ADMIN.name,)
        with pytest.raises(Refusal) as caught:
            await callers.in_tenant(arrival, service.globex, Needs("tenants:read"))
        assert caught.value.code == "access_denied"
        me = await callers.me(arrival)
        assert (me.username, [r.tenant_id for r in me.roles]) == (
            console.user.username,
            [service.acme],
        )

    async def test_goes_on_with_other_roles(self, console: Console) -> None:
        cookie = await console.sign_in()
        await console.arrive(cookie)
        acme, path = console.service.acme, f"/members/{console.user.id}"
        other = await console.service.add_user(UserKind.HUMAN)
        await console.service.give(other.id, acme, TENANT_ADMIN.id)
        body = {"user_id": console.user.id, "role_id": VIEWER.id}
        await console.service.administer("POST", "/members", acme, body)
        await console.service.administer("DELETE", f"{path}/roles/{TENANT_ADMIN.id}", acme)
        arrival = await console.arrive(cookie)
        caller = await console.signing_in._callers.in_tenant(
            arrival, console.service.acme, Needs("tenants:read")
        )
        assert caller.roles == (VIEWER.name,)

    async def test_nothing_in_a_suspended_tenant(self, console: Console) -> None:
        cookie = await console.sign_in()
        await console.service.suspend(console.service.acme)
        arrival = await console.arrive(cookie)
        with pytest.raises(Refusal) as caught:
            await console.signing_in._callers.in_tenant(
                arrival, console.service.acme, Needs("tenants:read")
            )
        assert caught.value.code == "access_denied"

    async def test_one_that_was_replaced_by_another_master_secret(
        self, start: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = await Console.open(await start(), monkeypatch)
        cookie = await first.sign_in()
        old = first.service.settings.master_secret.get_secret_value()
        changed = await start(master_secret=secrets.token_urlsafe(40), previous_master_secrets=old)
        signing_in = changed.service.entrance.signing_in
        assert (await signing_in.arrive(cookie, None, ("", ""))).token.user_id == first.user.id


class TestOver:
    async def test_signed_out_at_once_and_again(self, console: Console) -> None:
        cookie, other = await console.sign_in(), await console.sign_in()
        await console.arrive(cookie)
        await console.signing_in.sign_out(cookie)
        await console.over(cookie)
        await console.arrive(other)
        for text in (cookie, "nothing", console.service.api_key):
            await console.signing_in.sign_out(text)
        assert len(await console.events("user.signed_out")) == 1

    async def test_nobody_signs_out_with_half_a_cookie(self, console: Console) -> None:
        cookie = await console.sign_in()
        half = cookie[:-4] + ("0000" if not cookie.endswith("0000") else "1111")
        await console.signing_in.sign_out(half)
        await console.arrive(cookie)

    async def test_unused(self, console: Console) -> None:
        cookie = await console.sign_in()
        console.service.clock.shift = IDLE - timedelta(minutes=1)
        await console.arrive(cookie)
        await console.service.service.usage.flush()
        console.service.clock.shift = 2 * IDLE - timedelta(minutes=2)
        await console.arrive(cookie)
        await console.service.service.usage.flush()
        console.service.clock.shift = 3 * IDLE
        await console.over(cookie)

    async def test_at_its_end_however_it_is_used(self, console: Console) -> None:
        cookie = await console.sign_in()
        quarter = timedelta(minutes=15)
        while console.service.clock.shift < LONGEST - quarter:
            await console.arrive(cookie)
            await console.service.service.usage.flush()
            console.service.clock.shift += quarter
        console.service.clock.shift = LONGEST
        await console.over(cookie)

    async def test_the_person_is_disabled(self, console: Console) -> None:
        cookie = await console.sign_in()
        await console.arrive(cookie)
        async with console.service.service.parts.store.transaction() as tx:
            await tx.users.set_disabled(console.user.id, await tx.now())
        await console.over(cookie)

    @pytest.mark.parametrize("kind", ["user", "everything"])
    async def test_all_sessions_were_ended(self, console: Console, kind: str) -> None:
        cookie = await console.sign_in()
        await console.arrive(cookie)
        root = console.service.demo.platform.tenant.id
        body = {"user_id": console.user.id} if kind == "user" else {"everything": True}
        await console.service.administer("POST", "/revocations", root, body)
        await console.over(cookie)
        caller = await console.caller(await console.sign_in())
        (only,) = await console.signing_in.mine(caller)
        assert only.current

    async def test_the_oldest_of_too_many(self, console: Console) -> None:
        cookies = [await console.sign_in() for _ in range(MOST + 1)]
        await console.over(cookies[0])
        caller = await console.caller(cookies[1])
        assert len(await console.signing_in.mine(caller)) == MOST

    async def test_the_oldest_of_too_many_at_once(self, console: Console) -> None:
        first = await console.sign_in()
        cookies = await asyncio.gather(*(console.sign_in() for _ in range(MOST + 5)))
        await console.over(first)
        good = []
        for cookie in cookies:
            with contextlib.suppress(Refusal):
                good.append(await console.caller(cookie))
        assert len(good) == MOST
        assert len(await console.signing_in.mine(good[0])) == MOST


class TestMine:
    async def test_are_listed_with_their_browsers(self, console: Console) -> None:
        first, second = await console.sign_in(), await console.sign_in()
        await console.sign_in(await self.another(console))
        listed = await console.signing_in.mine(await console.caller(second))
        assert [one.current for one in listed] == [True, False]
        assert {(one.agent, one.address) for one in listed} == {(BROWSER.agent, BROWSER.address)}
        assert first.split("_")[1] == listed[1].id

    async def test_end_one_by_one(self, console: Console) -> None:
        first, second = await console.sign_in(), await console.sign_in()
        caller = await console.caller(second, "POST")
        await console.signing_in.end(caller, first.split("_")[1])
        await console.over(first)
        await console.arrive(second)

    async def test_404_for_what_is_not_mine(self, console: Console) -> None:
        theirs = await console.sign_in(await self.another(console))
        key = await console.service.add_key(user_id=console.user.id)
        caller = await console.caller(await console.sign_in(), "POST")
        for other in (theirs.split("_")[1], key.key_id, "nothing"):
            with pytest.raises(Refusal) as caught:
                await console.signing_in.end(caller, other)
            assert caught.value.code == "not_found"
        await console.arrive(theirs)

    @pytest.mark.parametrize("but_current", [True, False])
    async def test_end_together(self, console: Console, but_current: bool) -> None:
        first, second = await console.sign_in(), await console.sign_in()
        theirs = await console.sign_in(await self.another(console))
        caller = await console.caller(second, "POST")
        assert await console.signing_in.end_all(caller, but_current) == 2 - but_current
        await console.over(first)
        await (console.arrive(second) if but_current else console.over(second))
        await console.arrive(theirs)

    async def test_end_with_another_password_but_for_the_present_one(
        self, console: Console
    ) -> None:
        first, second = await console.sign_in(), await console.sign_in()
        parts = console.service.service.parts
        people = PeopleManagement(
            parts.store,
            console.signing_in._changes,
            console.passwords,
            parts.lookup,
            parts.key_format,
            console.signing_in._throttling,
        )
        key = await console.service.add_key(
            user_id=console.user.id, home_tenant_id=console.service.acme
        )
        await people.change_password(await console.caller(second, "PUT"), PASSWORD, NEW)
        await console.over(first)
        await console.arrive(second)
        await console.service.exchange(key=key, user=console.user.username)

    @staticmethod
    async def another(console: Console) -> Any:
        user = await console.service.add_user(UserKind.HUMAN)
        await console.give_password(user)
        return user


class TestForms:
    async def test_a_token_is_of_one_sign_in(self, console: Console) -> None:
        signing_in = console.signing_in
        cookie, other = await console.sign_in(), await console.sign_in()
        token = signing_in.csrf(cookie)
        assert signing_in.is_csrf(cookie, token)
        assert not signing_in.is_csrf(other, token)
        for wrong in ("", token[:-1], "\ud800", token.upper() + "é"):
            assert not signing_in.is_csrf(cookie, wrong)
        assert not signing_in.is_csrf("no cookie", token)
        assert cookie.split("_")[3] not in token
