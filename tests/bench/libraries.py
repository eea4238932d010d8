"""What the libraries cost who uses them, as a process of its own: `libraries URL` prints JSON.

Who it is comes as JSON on stdin: username, api_key, tenant. The service behind URL is real; what
is measured in memory is filled from a service that is played.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import resource
import sys
import time
from collections.abc import Iterator
from statistics import median
from typing import Any

import httpx

from keyturn.client import Network
from keyturn.resource import InvalidToken, TokenMiddleware, TokenVerifier
from tests.resource import world
from tests.resource.attacks import token

#: Each figure's name, its unit, and what it says.
FIGURES = {
    "verify.first": ("µs", "a token that was never seen: signature and claims"),
    "verify.cached": ("µs", "a token that was seen before, the feed asked again"),
    "middleware": ("µs", "what the middleware adds to a request, the token seen before"),
    "revoked.p50": ("ms", "from the call that revokes to the refusal, 10 verifiers on the feed"),
    "revoked.p99": ("ms", "the same, the slowest of a hundred"),
    "memory.token": ("bytes", "a verified token that is kept"),
    "memory.revocation": ("bytes", "a revocation that is known"),
}
VERIFIERS = 10
PATIENCE = 10.0
#: Revocations in one answer of the feed.
_PAGE = 5_000


def main() -> None:
    """Measures, and prints each figure by name."""
    url, tries, kept = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    who: dict[str, str] = json.load(sys.stdin)
    print(json.dumps(asyncio.run(_measured(url, who, tries, kept))))


async def _measured(url: str, who: dict[str, str], tries: int, kept: int) -> dict[str, float]:
    figures = await _verifying(url, who, tries)
    figures |= await _revoking(url, who, tries)
    figures |= await _remembering(kept)
    return figures


def _verifier(url: str, who: dict[str, str], **more: Any) -> TokenVerifier:
    return TokenVerifier(
        url,
        url,
        username=who["username"],
        api_key=who["api_key"],
        tenant=who["tenant"],
        allow_http=True,
        **more,
    )


async def _tokens(
    client: httpx.AsyncClient, url: str, who: dict[str, str], count: int
) -> list[str]:
    keys = {"username": who["username"], "password": who["api_key"]}
    headers = {"x-tenant-id": who["tenant"]}
    found = []
    for _ in range(count):
        answer = await client.post(f"{url}/iam/auth/token", json=keys, headers=headers)
        found.append(str(answer.raise_for_status().json()["access_token"]))
    return found


async def _verifying(url: str, who: dict[str, str], tries: int) -> dict[str, float]:
    async with httpx.AsyncClient() as client, _verifier(url, who) as verifier:
        texts = await _tokens(client, url, who, tries)
        first: list[float] = []
        for text in texts:
            with _timed(first):
                await verifier.verify(text)
        rounds = 20
        cached: list[float] = []
        for _ in range(rounds):
            with _timed(cached):
                for text in texts:
                    await verifier.verify(text)
        guarded = TokenMiddleware(_app, verifier)
        scope = _scope(texts[0], who["tenant"])
        await guarded({**scope}, _receive, _send)
        bare: list[float] = []
        through: list[float] = []
        for _ in range(rounds):
            for times, app in ((bare, _app), (through, guarded)):
                with _timed(times):
                    for _ in range(500):
                        await app({**scope}, _receive, _send)
    return {
        "verify.first": median(first) * 1e6,
        "verify.cached": median(cached) / len(texts) * 1e6,
        "middleware": (median(through) - median(bare)) / 500 * 1e6,
    }


async def _revoking(url: str, who: dict[str, str], tries: int) -> dict[str, float]:
    times: list[float] = []
    async with contextlib.AsyncExitStack() as stack:
        client = await stack.enter_async_context(httpx.AsyncClient())
        verifiers = [await stack.enter_async_context(_verifier(url, who)) for _ in range(VERIFIERS)]
        for text in await _tokens(client, url, who, tries):
            for verifier in verifiers:
                await verifier.verify(text)
            waiting = [asyncio.create_task(_refused(verifier, text)) for verifier in verifiers]
            began = time.perf_counter()
            await client.post(f"{url}/iam/auth/revoke", data={"token": text})
            times += [at - began for at in await asyncio.gather(*waiting)]
    times.sort()
    return {
        "revoked.p50": median(times) * 1e3,
        "revoked.p99": times[min(len(times) - 1, len(times) * 99 // 100)] * 1e3,
    }


async def _refused(verifier: TokenVerifier, text: str) -> float:
    end = time.perf_counter() + PATIENCE
    while time.perf_counter() < end:
        try:
            await verifier.verify(text)
        except InvalidToken:
            return time.perf_counter()
        await asyncio.sleep(0.001)
    raise SystemExit("a revoked token was never refused")


class _Forgetful(world.FakeService):
    """Keeps no answer that it gave: what is left in memory is the library's."""

    def network(self) -> Network:
        return Network(transport=httpx.MockTransport(self.answer))


async def _remembering(kept: int) -> dict[str, float]:
    """Bytes of resident memory for each of so many tokens and revocations."""
    fake, clock = _Forgetful(), world.Time()
    pages = kept // _PAGE
    told = asyncio.Event()
    page = 0

    def feed(request: httpx.Request) -> dict[str, Any]:
        nonlocal page
        if page == pages:
            told.set()
            return world.news()
        entries = (world.entry("token", f"jti-{page}-{number}") for number in range(_PAGE))
        page += 1
        return world.news(*entries, reset=page == 1, more=page < pages, cursor=str(page))

    fake.answers["/auth/revocations"] = feed
    before = _resident()
    async with world.verifying(fake, clock, revocation="feed"), asyncio.timeout(60):
        await told.wait()
        revocations = (_resident() - before) / kept
    async with world.verifying(fake, clock, cache_size=kept) as verifier:
        before = _resident()
        for number in range(kept):
            claims = world.claims(jti=f"j{number}", sid=f"s{number}")
            await verifier.verify(token(world.KEY, claims))
        tokens = (_resident() - before) / kept
    return {"memory.token": tokens, "memory.revocation": revocations}


def _resident() -> int:
    gc.collect()
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


@contextlib.contextmanager
def _timed(times: list[float]) -> Iterator[None]:
    began = time.perf_counter()
    yield
    times.append(time.perf_counter() - began)


def _scope(text: str, tenant: str) -> dict[str, Any]:
    headers = [
        (b"host", b"assets.example"),
        (b"authorization", f"Bearer {text}".encode()),
        (b"x-tenant-id", tenant.encode()),
    ]
    return {
        "type": "http",
        "method": "GET",
        "path": "/assets",
        "raw_path": b"/assets",
        "query_string": b"",
        "headers": headers,
    }


async def _app(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def _receive() -> Any:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _send(message: Any) -> None:
    return None


if __name__ == "__main__":
    main()
