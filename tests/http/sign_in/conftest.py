"""A person who can sign in to the console of a service, and what they come with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pyotp
import pytest

from keyturn.server.domain.errors import Refusal
from keyturn.server.domain.model import User, UserKind
from keyturn.server.domain.permissions import TENANT_ADMIN
from keyturn.server.services.callers import Arrival, OwnCaller
from keyturn.server.services.second_factor import SecondFactorService
from keyturn.server.services.signing_in import Browser, CodeNeeded, SignedIn, SigningIn
from keyturn.server.tokens.totp import TotpCodes
from tests.http.conftest import Running

PASSWORD = "ten green bottles on a wall"
BROWSER = Browser("192.0.2.7", "Mozilla/5.0 (a test)")
ENDPOINT = ("GET", "/users/me")
#: In the middle of a step, whenever a test runs.
NOON = datetime(2026, 3, 4, 12, 0, 15, tzinfo=UTC)


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

    def needs_rehash(self, stored: str) -> bool:
        return False


class AtNoon(TotpCodes):
    """Generators whose time stands still."""

    def step_of(self, secret: str, code: str, now: datetime) -> int | None:
        return super().step_of(secret, code, NOON)


def at(generator: pyotp.TOTP, steps: int = 0) -> str:
    """The code of so many steps after the present one."""
    return generator.at(NOON + steps * timedelta(seconds=30))


@dataclass
class Console:
    """A person with a password, who administers acme."""

    service: Running
    signing_in: SigningIn
    second_factor: SecondFactorService
    passwords: FakePasswords
    user: User

    @classmethod
    async def open(cls, service: Running, monkeypatch: pytest.MonkeyPatch) -> Console:
        wired, passwords = service.service.entrance, FakePasswords()
        for one in (wired.signing_in, wired.second_factor):
            monkeypatch.setattr(one, "_passwords", passwords)
            monkeypatch.setattr(one._codes, "_generators", AtNoon())
        user = await service.add_user(UserKind.HUMAN)
        await service.give(user.id, service.acme, TENANT_ADMIN.id)
        console = cls(service, wired.signing_in, wired.second_factor, passwords, user)
        await console.give_password(user)
        return console

    async def give_password(self, user: User) -> None:
        async with self.service.service.parts.store.transaction() as tx:
            await tx.users.set_password(user.id, f"hash of {PASSWORD}", await tx.now())

    async def sign_in(self, user: User | None = None) -> str:
        """The cookie."""
        name = (user or self.user).username
        signed_in = await self.signing_in.by_password(name, PASSWORD, BROWSER)
        assert isinstance(signed_in, SignedIn)
        return signed_in.cookie

    async def step(self) -> str:
        """The password alone, where a code is wanted."""
        needed = await self.signing_in.by_password(self.user.username, PASSWORD, BROWSER)
        assert isinstance(needed, CodeNeeded)
        return needed.step

    async def enrol(self, cookie: str) -> tuple[pyotp.TOTP, tuple[str, ...]]:
        """The generator, whose step before was used, and the recovery codes."""
        enrolment = await self.second_factor.begin(await self.caller(cookie))
        generator = pyotp.TOTP(enrolment.secret)
        code = at(generator, -1)
        caller = await self.caller(cookie, "POST")
        confirmed = self.second_factor.confirm(caller, enrolment.sealed, code, PASSWORD)
        return generator, await confirmed

    async def arrive(self, cookie: str) -> Arrival:
        return await self.signing_in.arrive(cookie, BROWSER.address, ENDPOINT)

    async def over(self, cookie: str) -> None:
        """It is."""
        with pytest.raises(Refusal) as caught:
            await self.arrive(cookie)
        assert caught.value.code == "invalid_token"

    async def caller(self, cookie: str, method: str = "GET") -> OwnCaller:
        arrival = replace(await self.arrive(cookie), endpoint=(method, "/users/me"))
        return await self.signing_in._callers.own(arrival)

    async def events(self, action: str) -> list[Any]:
        """Of acme's trail."""
        await self.service.service.usage.flush()
        answer = await self.service.administer(
            "GET", f"/audit-events?action={action}", self.service.acme
        )
        items: list[Any] = answer.json()["items"]
        return items


@pytest.fixture
async def console(service: Running, monkeypatch: pytest.MonkeyPatch) -> Console:
    return await Console.open(service, monkeypatch)
