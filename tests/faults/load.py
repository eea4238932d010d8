"""Clients that do not stop while the world around them breaks, and what they were answered."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType

import httpx

from .nodes import Node

#: Between two calls of one client (seconds): the load is to be steady, not high.
PAUSE = 0.01


@dataclass(frozen=True)
class Answer:
    """One call and how it went: `good`, `unavailable` (503 as it must be), `gone`, or `wrong`."""

    call: str
    verdict: str
    seconds: float
    said: str = ""


@dataclass
class Load:
    """Clients of several nodes at once; each has a live session and a revoked one.

    `dead` are revoked access tokens: to accept one is wrong, whatever else happens. To answer
    503 is not wrong here; tests in which nothing may be unavailable look at `verdicts`.
    """

    nodes: Sequence[Node]
    dead: list[str]
    clients: int = 2
    answers: list[Answer] = field(default_factory=list)

    def __enter__(self) -> Load:
        self._end = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()
        self.wait(5 * self.clients * len(self.nodes))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._end.set()
        self._thread.join()

    def wait(self, more: int) -> None:
        """Until there are so many more answers."""
        enough = len(self.answers) + more
        deadline = time.monotonic() + 60
        while len(self.answers) < enough:
            assert time.monotonic() < deadline
            assert self._thread.is_alive()
            time.sleep(0.02)

    def mark(self) -> int:
        """A place among the answers, for `since` and `until`."""
        return len(self.answers)

    def since(self, mark: int, call: str = "") -> list[Answer]:
        """The answers after that place, to one call or to all."""
        return [answer for answer in self.answers[mark:] if call in {"", answer.call}]

    def until(self, mark: int, call: str) -> list[Answer]:
        """The answers before that place, to one call."""
        return [answer for answer in self.answers[:mark] if answer.call == call]

    @property
    def wrong(self) -> list[Answer]:
        """What should never have been answered."""
        return [answer for answer in self.answers if answer.verdict == "wrong"]

    def verdicts(self, mark: int = 0) -> Counter[str]:
        """How many answers of each kind."""
        return Counter(answer.verdict for answer in self.since(mark))

    async def _run(self) -> None:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(timeout=30, limits=limits) as http:
            await asyncio.gather(
                *(_Client(self, node, http).run() for node in [*self.nodes] * self.clients)
            )

    @property
    def ended(self) -> bool:
        """Whether the clients are to stop."""
        return self._end.is_set()


class _Client:
    def __init__(self, load: Load, node: Node, http: httpx.AsyncClient) -> None:
        self._load = load
        self._node = node
        self._http = http

    async def run(self) -> None:
        tokens = await asyncio.to_thread(self._node.exchange)
        live, refresh_token = tokens["access_token"], tokens["refresh_token"]
        server, demo = self._node.server, self._node.demo
        admin = (demo.admin_username, demo.admin_api_key)
        exchange = {
            "grant_type": "password",
            "username": demo.username,
            "password": demo.api_key,
        }
        while not self._load.ended:
            await self._call("exchange", 200, server.token_url, data=exchange)
            await self._call("live", 200, server.me_url, token=live)
            for dead in self._load.dead:
                await self._call("dead", 401, server.me_url, token=dead)
            form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
            answer = await self._call("refresh", 200, server.token_url, data=form)
            if answer is not None and answer.status_code == 200:
                refresh_token = answer.json()["refresh_token"]
            await self._call(
                "introspect", 200, server.introspect_url, data={"token": live}, auth=admin
            )
            await asyncio.sleep(PAUSE)

    async def _call(
        self,
        call: str,
        expected: int,
        url: str,
        *,
        data: dict[str, str] | None = None,
        token: str = "",
        auth: tuple[str, str] | None = None,
    ) -> httpx.Response | None:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        started = time.perf_counter()
        try:
            answer = await self._http.request(
                "POST" if data else "GET", url, data=data, headers=headers, auth=auth
            )
        except httpx.TransportError as error:
            seconds = time.perf_counter() - started
            self._load.answers.append(Answer(call, "gone", seconds, type(error).__name__))
            return None
        seconds = time.perf_counter() - started
        said = f"{answer.status_code} {answer.json().get('error', '')}".strip()
        if answer.status_code == 503 and int(answer.headers.get("retry-after", 0)) >= 1:
            verdict = "unavailable"
        elif answer.status_code != expected or answer.json().get("active") is False:
            verdict = "wrong"
        else:
            verdict = "good"
        self._load.answers.append(Answer(call, verdict, seconds, said))
        return answer


def percentile(answers: Sequence[Answer], percent: float) -> float:
    """That percentile of the answers' times, in seconds."""
    times = sorted(answer.seconds for answer in answers)
    return times[min(len(times) - 1, int(len(times) * percent / 100))]
