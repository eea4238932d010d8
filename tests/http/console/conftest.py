"""A person at the console, without a browser: pages are asked for and forms sent as one does it."""

from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from keyturn.server.domain.model import Role, User, UserKind
from keyturn.server.domain.permissions import TENANT_ADMIN
from keyturn.server.tokens.passwords import Argon2Passwords
from tests.http.conftest import Running
from tests.http.management.conftest import Person, person

PASSWORD = "brown ravens over the pier"

_HIDDEN = re.compile(r'<input type="hidden" name="(\w+)" value="([^"]*)">')


@dataclass
class Console:
    """Somebody's browser, at the pages of one tenant."""

    service: Running
    user: User
    tenant: str
    client: httpx.AsyncClient
    #: The same person with a token: what was done is seen by REST.
    rest: Person

    def url(self, path: str) -> str:
        """`/api-keys` is of the tenant; `/console/...` is as it is."""
        return path if path.startswith("/console") else f"/console/t/{self.tenant}{path}"

    async def get(self, path: str, **more: Any) -> httpx.Response:
        """A page."""
        return await self.client.get(self.url(path), **more)

    async def page(self, path: str) -> str:
        """The text of a page that is there."""
        answer = await self.get(path)
        assert answer.status_code == 200, answer.text
        return answer.text

    async def post(
        self, path: str, fields: dict[str, Any] | None = None, *, form: str | None = None
    ) -> httpx.Response:
        """Sends a form as the page does that has it (`form`; without: the page of that path).

        A list stands for a name that is repeated.
        """
        shown = await self.client.get(self.url(form or path))
        hidden = dict(_HIDDEN.findall(shown.text))
        data = {name: html.unescape(value) for name, value in hidden.items()} | (fields or {})
        return await self.client.post(self.url(path), data=data, headers=SAME_ORIGIN)

    async def done(
        self, path: str, fields: dict[str, Any] | None = None, *, form: str | None = None
    ) -> str:
        """Sends a form that is taken; gives the text of the page that it leads to."""
        answer = await self.post(path, fields, form=form)
        assert answer.status_code == 303, answer.text
        return await self.page(answer.headers["location"])


#: What a browser says of a form that one of the console's own pages sends.
SAME_ORIGIN = {"sec-fetch-site": "same-origin"}

Enter = Callable[..., Awaitable[Console]]


async def sign_in(client: httpx.AsyncClient, username: str, password: str) -> httpx.Response:
    """Sends the form of the page to sign in."""
    shown = await client.get("/console/sign-in")
    hidden = {name: html.unescape(value) for name, value in _HIDDEN.findall(shown.text)}
    fields = {**hidden, "username": username, "password": password}
    return await client.post("/console/sign-in", data=fields, headers=SAME_ORIGIN)


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """One backend: pages ask operations, which are shown on both."""
    return sqlite_url


@pytest.fixture
async def enter(service: Running) -> AsyncIterator[Enter]:
    """Has somebody new with a role sign in. `tenant`: acme by itself; `role` None: none at all."""
    # Cheap to make and to check: what it costs is shown elsewhere.
    passwords = Argon2Passwords(memory=64, passes=1, lanes=1)
    async with AsyncExitStack() as stack:

        async def entered(role: Role | None = TENANT_ADMIN, tenant: str = "") -> Console:
            tenant = tenant or service.acme
            rest = await person(service, role, tenant, kind=UserKind.HUMAN)
            hashed = await passwords.hash(PASSWORD)
            async with service.service.parts.store.transaction() as tx:
                await tx.users.set_password(rest.user.id, hashed, service.clock())
            transport = service.client._transport
            client = await stack.enter_async_context(
                httpx.AsyncClient(transport=transport, base_url=service.settings.public_url)
            )
            answer = await sign_in(client, rest.user.username, PASSWORD)
            assert answer.status_code == 303, answer.text
            return Console(service, rest.user, tenant, client, rest)

        yield entered
    passwords.close()


@pytest.fixture
async def console(enter: Enter) -> Console:
    """The administrator of acme at the console."""
    return await enter()
