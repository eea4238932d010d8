"""Clients that call at a steady rate all day, and judge each answer.

What is dead once must stay so: every credential whose end was acknowledged is tried again and
again, whatever happens to the service meanwhile.
"""

from __future__ import annotations

import asyncio
import random
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import httpx

from keyturn.client import Network
from keyturn.resource import InvalidToken, TokenVerifier, Unavailable
from tests.faults.nodes import claim
from tests.live_server import Demo

from .timeline import Answer

#: Seconds after the acknowledgement of a revocation by which it holds everywhere.
PROMISE = 1.0
#: Seconds a client waits for an answer. nginx and the service both give one before.
PATIENCE = 20.0

_REFUSED = (400, 401)


@dataclass(frozen=True, slots=True)
class Dead:
    """A credential that was ended: `access`, `refresh` or `key`; since when it must be refused."""

    kind: str
    text: str = field(repr=False)
    why: str = ""
    since: float = 0.0


@dataclass
class World:
    """What clients know in common."""

    url: str
    demo: Demo
    audience: str
    tls: ssl.SSLContext
    answers: list[Answer] = field(default_factory=list)
    dead: list[Dead] = field(default_factory=list)
    #: Raised by a restore: whatever was issued in an earlier one is dead then.
    era: int = 0
    #: Calls of each client in a second.
    rate: float = 8.0

    def ended(self, kind: str, text: str, why: str, after: float = 0.0) -> None:
        """Writes down that a credential must be refused, from so many seconds on."""
        if text:
            self.dead.append(Dead(kind, text, why, time.monotonic() + after))


class Load:
    """All clients, in a thread and an event loop of their own."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._end = threading.Event()
        self._failure: BaseException | None = None

    def __enter__(self) -> Load:
        self._thread = threading.Thread(target=self._main, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._end.set()
        self._thread.join(60)
        if self._failure is not None and value is None:
            raise self._failure

    def check(self) -> None:
        """Raises what ended the clients, if something did."""
        if self._failure is not None:
            raise self._failure

    def _main(self) -> None:
        try:
            asyncio.run(self._run())
        except BaseException as error:  # noqa: BLE001 - raised where it is asked for
            self._failure = error

    async def _run(self) -> None:
        limits = httpx.Limits(max_connections=None, keepalive_expiry=30)
        world = self.world
        async with (
            httpx.AsyncClient(timeout=PATIENCE, limits=limits, verify=world.tls) as http,
            asyncio.TaskGroup() as group,
        ):
            clients: list[Client] = [
                *(Exchanging(world, http) for _ in range(2)),
                *(Refreshing(world, http) for _ in range(2)),
                Reading(world, http),
                Introspecting(world, http),
                Verifying(world, http),
                Revoking(world, http),
                *(Probing(world, http) for _ in range(2)),
            ]
            for client in clients:
                group.create_task(self._pace(client))

    async def _pace(self, client: Client) -> None:
        step = 1 / self.world.rate
        await asyncio.sleep(random.uniform(0, step))
        due = time.monotonic()
        async with client:
            while not self._end.is_set():
                await client.step()
                # A call that took long is not made up for: the rate is an upper limit.
                due = max(due + step, time.monotonic())
                await asyncio.sleep(due - time.monotonic())


class Client:
    """One caller of the service."""

    def __init__(self, world: World, http: httpx.AsyncClient) -> None:
        self.world = world
        self.http = http

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def step(self) -> None:
        """One call, or a few that belong together."""
        raise NotImplementedError

    async def call(
        self,
        name: str,
        expected: int,
        method: str,
        path: str,
        *,
        judge: Callable[[httpx.Response], str] = lambda _: "",
        era: int | None = None,
        **more: Any,
    ) -> httpx.Response | None:
        """The answer if it is the expected one, else None. Written down either way.

        `judge` says what is wrong with an expected answer. Credentials of an earlier `era` may be
        refused as well: a restore came between.
        """
        started = time.monotonic()
        url = f"{self.world.url}{path}"
        answer: httpx.Response | None = None
        try:
            answer = await self.http.request(method, url, **more)
        except httpx.TransportError as error:
            verdict, said = "wrong", type(error).__name__
        else:
            said = f"{answer.status_code} {answer.text[:200]}" if answer.is_error else "200"
            if answer.status_code == 503 and int(answer.headers.get("retry-after", "0")) >= 1:
                verdict = "unavailable"
            elif answer.status_code != expected:
                over = era is not None and era != self.world.era
                verdict = "over" if over and answer.status_code in _REFUSED else "wrong"
            elif wrong := judge(answer):
                verdict, said = "wrong", wrong
            else:
                verdict = "good"
        self.note(name, verdict, started, said)
        return answer if verdict == "good" else None

    def note(self, name: str, verdict: str, started: float, said: str = "") -> None:
        """Writes one answer down."""
        seconds = time.monotonic() - started
        self.world.answers.append(Answer(started, name, verdict, seconds, said))

    async def exchange(
        self, name: str = "exchange", key: str | None = None, era: int | None = None
    ) -> dict[str, Any]:
        """Tokens of the demo's service user; an empty object when there are none now."""
        form = {
            "grant_type": "password",
            "username": self.world.demo.username,
            "password": key or self.world.demo.api_key,
        }
        answer = await self.call(name, 200, "POST", "/iam/auth/token", data=form, era=era)
        return {} if answer is None else dict(answer.json())


class Exchanging(Client):
    """Exchanges the key for tokens."""

    async def step(self) -> None:
        """An exchange."""
        await self.exchange()


class Refreshing(Client):
    """Has one session, and refreshes it. A token that brought no answer is sent again."""

    _era = -1
    _token = ""

    async def step(self) -> None:
        """A refresh, or the exchange that begins the session."""
        era = self.world.era
        if self._era != era:
            self.world.ended("refresh", self._token, "restore")
            self._token = (await self.exchange()).get("refresh_token", "")
            if self._token:
                self._era = era
            return
        form = {"grant_type": "refresh_token", "refresh_token": self._token}
        answer = await self.call("refresh", 200, "POST", "/iam/auth/token", data=form, era=era)
        if answer is not None:
            self._token = answer.json()["refresh_token"]


class Reading(Client):
    """Calls with an access token that is good."""

    _era = -1
    _token = ""
    _until = 0.0

    async def token(self) -> str:
        """A live access token; empty when there is none now."""
        if self._era != self.world.era or time.monotonic() > self._until:
            era = self.world.era
            if self._era != era:
                self.world.ended("access", self._token, "restore")
                self._token = ""
            body = await self.exchange()
            if not body:
                return ""
            self._era, self._token = era, body["access_token"]
            self._until = time.monotonic() + body["expires_in"] / 2
        return self._token

    async def step(self) -> None:
        """`/users/me`."""
        if token := await self.token():
            headers = {"authorization": f"Bearer {token}"}
            await self.call("me", 200, "GET", "/iam/users/me", headers=headers, era=self._era)


class Introspecting(Reading):
    """Asks about its token, as the administrator."""

    async def step(self) -> None:
        """`/auth/introspect`."""
        if token := await self.token():
            demo = self.world.demo
            era = self._era

            def judge(answer: httpx.Response) -> str:
                live = answer.json()["active"]
                return "" if live or era != self.world.era else "a live token is not active"

            await self.call(
                "introspect",
                200,
                "POST",
                "/iam/auth/introspect",
                data={"token": token},
                auth=(demo.admin_username, demo.admin_api_key),
                judge=judge,
            )


class Verifying(Reading):
    """A resource server: checks new tokens offline, with the published keys and the feed."""

    async def __aenter__(self) -> Client:
        world = self.world
        self._verifier = TokenVerifier(
            world.audience,
            world.audience,
            username=world.demo.admin_username,
            api_key=world.demo.admin_api_key,
            tenant=world.demo.tenants[0],
            metadata_url=f"{world.url}/.well-known/oauth-authorization-server",
            # New tokens alone are checked: the service takes what has ended to be tried elsewhere.
            when_stale="accept",
            network=Network(verify=world.tls),
        )
        return await super().__aenter__()

    async def __aexit__(self, *_: object) -> None:
        await self._verifier.close()

    async def step(self) -> None:
        """An exchange, and the offline check of what it gave."""
        era, body = self.world.era, await self.exchange()
        if not body:
            return
        started = time.monotonic()
        try:
            await self._verifier.verify(body["access_token"])
        except InvalidToken as error:
            wrong = era == self.world.era
            self.note("verify", "wrong" if wrong else "good", started, f"refused: {error}")
        except Unavailable as error:
            self.note("verify", "unavailable", started, str(error))
        else:
            self.note("verify", "good", started)


class Revoking(Client):
    """Makes a key, exchanges it, and ends a token, a session and the key."""

    _era = -1
    _admin = ""
    _until = 0.0
    _turn = 0

    async def step(self) -> None:
        """One key's life and its end."""
        era = self.world.era
        headers = await self._headers()
        if not headers:
            return
        self._turn += 1
        body = {"user_id": self._user, "name": f"day-{self._turn}-{random.getrandbits(40):x}"}
        made = await self.call(
            "create key", 201, "POST", "/iam/api-keys", era=era, json=body, headers=headers
        )
        if made is None:
            return
        key = made.json()
        for how in ("token", "session", "key"):
            tokens = await self.exchange("exchange new", key["secret"], era)
            if not tokens:
                continue
            access, refresh = tokens["access_token"], tokens["refresh_token"]
            if how == "key":
                path = f"/iam/api-keys/{key['id']}/revoke"
                ended = await self._end("revoke key", path, era, headers=headers)
            else:
                form = {"token": access if how == "token" else refresh}
                ended = await self._end("revoke", "/iam/auth/revoke", era, data=form)
            if ended:
                self.world.ended("access", access, how, PROMISE)
            if ended and how != "token":
                self.world.ended("refresh", refresh, how, PROMISE)
            if ended and how == "key":
                self.world.ended("key", key["secret"], how, PROMISE)

    async def _end(self, name: str, path: str, era: int, **more: Any) -> bool:
        """Whether it was acknowledged. Until it is, it is asked for again: it changes nothing."""
        while era == self.world.era:
            if await self.call(name, 200, "POST", path, era=era, **more) is not None:
                return era == self.world.era
            await asyncio.sleep(0.2)
        return False

    async def _headers(self) -> dict[str, str]:
        """The administrator's token; nothing when there is none now."""
        world = self.world
        if self._era != world.era or time.monotonic() > self._until:
            era = world.era
            form = {
                "grant_type": "password",
                "username": world.demo.admin_username,
                "password": world.demo.admin_api_key,
            }
            answer = await self.call("exchange", 200, "POST", "/iam/auth/token", data=form)
            service = await self.exchange()
            if answer is None or not service:
                return {}
            self._user = claim(service["access_token"], "sub")
            self._era, self._admin = era, answer.json()["access_token"]
            self._until = time.monotonic() + answer.json()["expires_in"] / 2
        return {
            "authorization": f"Bearer {self._admin}",
            "x-tenant-id": world.demo.tenants[0],
        }


class Probing(Client):
    """Tries what is dead."""

    async def step(self) -> None:
        """One of all that ended, the newest more often."""
        due = [dead for dead in list(self.world.dead) if time.monotonic() >= dead.since]
        if not due:
            return
        dead = random.choice([random.choice(due), due[-1]])
        name = f"dead {dead.kind} ({dead.why})"
        if dead.kind == "access":
            headers = {"authorization": f"Bearer {dead.text}"}
            await self.call(name, 401, "GET", "/iam/users/me", headers=headers)
            return
        form = (
            {"grant_type": "refresh_token", "refresh_token": dead.text}
            if dead.kind == "refresh"
            else {
                "grant_type": "password",
                "username": self.world.demo.username,
                "password": dead.text,
            }
        )

        def judge(answer: httpx.Response) -> str:
            error = answer.json()["error"]
            return "" if error == "invalid_grant" else f"refused as {error}"

        await self.call(name, 400, "POST", "/iam/auth/token", data=form, judge=judge)
