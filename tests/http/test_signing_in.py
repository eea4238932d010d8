"""Signing in to the console: who may, how it is refused, and what a cookie opens."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

from keyturn.server.domain.errors import Refusal
from keyturn.server.domain.model import User, UserKind
from keyturn.server.services.callers import Arrival, OwnCaller
from keyturn.server.services.signing_in import Browser, SignedIn, SigningIn
from tests.http.conftest import Running

PASSWORD = "ten green bottles on a wall"
BROWSER = Browser("192.0.2.7", "Mozilla/5.0 (a test)")
ANYTHING = ("GET", "/users/me")


class FakePasswords:
    """Counts what would take a tenth of a second."""

    def __init__(self) -> None:
        self.computed = 0

    async def hash(self, password: str) -> str:
        self.computed += 1
        return f"hash of {password}"

    async def verify(self, password: str, stored: str | None) -> bool:
        self.computed += 1
        return stored == f"hash of {password}"


@dataclass
class Console:
    service: Running
    signing_in: SigningIn
    passwords: FakePasswords
    user: User

    @classmethod
    async def open(cls, service: Running, monkeypatch: pytest.MonkeyPatch) -> Console:
        passwords = FakePasswords()
        wired = service.service.entrance
        for one in (wired.signing_in, wired.second_factor):
            monkeypatch.setattr(one, "_passwords", passwords)
        user = await service.add_user(UserKind.HUMAN)
        console = cls(service, wired.signing_in, passwords, user)
        await console.give_password(user.id)
        return console

    async def give_password(self, user_id: str) -> None:
        async with self.service.service.parts.store.transaction() as tx:
            await tx.users.set_password(user_id, f"hash of {PASSWORD}", await tx.now())

    async def sign_in(self, browser: Browser = BROWSER) -> SignedIn:
        signed_in = await self.signing_in.by_password(self.user.username, PASSWORD, browser)
        assert isinstance(signed_in, SignedIn)
        return signed_in

    async def arrive(self, cookie: str) -> Arrival:
        return await self.signing_in.arrive(cookie, BROWSER.address, ANYTHING)

    async def over(self, cookie: str) -> None:
        with pytest.raises(Refusal) as caught:
            await self.arrive(cookie)
        assert caught.value.code == "invalid_token"

    async def caller(self, cookie: str, method: str = "GET") -> OwnCaller:
        arrival = replace(await self.arrive(cookie), endpoint=(method, "/users/me"))
        return await self.signing_in._callers.own(arrival)

    async def events(self, action: str) -> list[Any]:
        await self.service.service.usage.flush()
        root = self.service.demo.platform.tenant.id
        answer = await self.service.administer("GET", f"/audit-events?action={action}", root)
        found: list[Any] = answer.json()["items"]
        home = await self.service.administer(
            "GET", f"/audit-events?action={action}", self.service.acme
        )
        return found + home.json()["items"]


@pytest.fixture
async def console(service: Running, monkeypatch: pytest.MonkeyPatch) -> Console:
    return await Console.open(service, monkeypatch)


class TestByPassword:
    async def test_gives_a_cookie_that_says_who_it_is(self, console: Console) -> None:
        signed_in = await console.sign_in()
        caller = await console.caller(signed_in.cookie)
        assert caller.record.user_id == console.user.id == signed_in.user_id
        assert console.passwords.computed == 1
        (event,) = await console.events("user.signed_in")
        assert event["target"] == console.user.id
        assert event["data"] == {"by": "password", "agent": BROWSER.agent}

    async def test_whatever_the_case_of_the_name(self, console: Console) -> None:
        name = console.user.username.upper()
        assert isinstance(await console.signing_in.by_password(name, PASSWORD, BROWSER), SignedIn)

    @pytest.mark.parametrize("what", ["unknown", "service", "disabled", "none", "wrong"])
    async def test_refuses_all_alike_after_one_hash(self, console: Console, what: str) -> None:
        username, password = console.user.username, PASSWORD
        match what:
            case "unknown":
                username = "nobody@example.org"
            case "service":
                username = console.service.username
            case "disabled":
                async with console.service.service.parts.store.transaction() as tx:
                    await tx.users.set_disabled(console.user.id, await tx.now())
            case "none":
                username = (await console.service.add_user(UserKind.HUMAN)).username
            case "wrong":
                password = "another password of some length"
        with pytest.raises(Refusal) as caught:
            await console.signing_in.by_password(username, password, BROWSER)
        assert console.passwords.computed == 1
        assert caught.value.public == "The email address or the password is not right."
        assert (caught.value.code, caught.value.field) == ("invalid_request", "password")
        if what != "unknown":
            (event,) = await console.events("user.sign_in_refused")
            assert event["outcome"] == "refused"


class TestCookies:
    async def test_another_letter_anywhere_is_refused(self, console: Console) -> None:
        cookie = (await console.sign_in()).cookie
        prefix, key_id, epoch, secret = cookie.split("_")
        other = "0" if secret[-1] != "0" else "1"
        for altered in (
            f"{prefix}_{key_id}_{epoch}_{secret[:-1]}{other}",
            f"{prefix}_{key_id}_{int(epoch) + 1}_{secret}",
            f"{prefix}_{key_id[:-1]}{other}_{epoch}_{secret}",
            f"kt_{key_id}_{epoch}_{secret}",
            cookie + "0",
            "",
            console.service.api_key,
        ):
            await console.over(altered)
        await console.arrive(cookie)
