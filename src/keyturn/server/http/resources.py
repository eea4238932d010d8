"""For resource servers: the feed of revocations, and a tenant's policy."""

import asyncio
import contextlib
import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import orjson
from pydantic import Field, StringConstraints
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from ..domain.errors import Refusal, Unavailable
from ..domain.permissions import TOKENS_INTROSPECT
from ..services.callers import Callers, Needs
from ..services.policy_bundle import PolicyBundles
from ..services.ports import News, RevocationFeed
from .caller import bearer, header
from .errors import NO_STORE, json_response
from .fields import Query
from .operation import Call, Operation
from .stopping import Stopping

#: Longest wait of one poll, and longest life of one stream (seconds).
MAX_WAIT, MAX_STREAM = 30.0, 300.0
#: How often, while it waits, a follower's own token is looked at, and a stream says that it lives
#: (seconds).
BEAT = 1.0
#: Entries of one answer.
MAX_ENTRIES = 10_000
#: One user has at most this part of the followers' places: nobody keeps all others out.
OF_ONE_USER = 4
#: How long what was sent may wait for a reader who does not read (seconds).
UNREAD = 10.0

Place = Callable[[], contextlib.AbstractContextManager[None]]


class FeedQuery(Query):
    """Which part of the feed."""

    cursor: Annotated[str, StringConstraints(max_length=256)] | None = None
    wait: Annotated[float, Field(ge=0, le=MAX_WAIT)] = 0.0
    limit: Annotated[int, Field(ge=1, le=MAX_ENTRIES)] = 5_000


class PolicyQuery(Query):
    """Which service's endpoints."""

    service: Annotated[str, StringConstraints(max_length=128)] | None = None


class Followers:
    """Those who wait for news: so many at once, of one user a part of them, none in flight."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._most_of_one = max(1, most // OF_ONE_USER)
        self._places: Counter[str] = Counter()

    @property
    def count(self) -> int:
        """How many wait now."""
        return self._places.total()

    @contextlib.contextmanager
    def place(self, call: Call) -> Iterator[None]:
        """For one of them. Raises Unavailable when there are too many."""
        user_id = call.tenant.user_id
        if self._places[user_id] >= self._most_of_one or self._places.total() >= self._most:
            raise Unavailable("too many follow the revocations")
        aside: Place = call.request.scope.get("keyturn.aside", contextlib.nullcontext)
        self._places[user_id] += 1
        try:
            with aside():
                yield
        finally:
            self._places[user_id] -= 1
            if not self._places[user_id]:
                del self._places[user_id]


@dataclass(frozen=True, slots=True)
class ResourceParts:
    """What answers resource servers. No token is good for longer than `longest_life` (seconds)."""

    callers: Callers
    feed: RevocationFeed
    bundles: PolicyBundles
    followers: Followers
    stopping: Stopping
    longest_life: int


def resource_operations(parts: ResourceParts) -> list[Operation]:
    """The operations that a resource server calls."""

    async def revocations(call: Call) -> Response:
        query = call.query(FeedQuery)
        request = call.request
        if "text/event-stream" in (header(request, b"accept") or ""):
            cursor = query.cursor or header(request, b"last-event-id")
            # Before the stream begins: what is refused is refused.
            first = await parts.feed.since(cursor, wait=0, limit=query.limit)
            place = contextlib.ExitStack()
            place.enter_context(parts.followers.place(call))
            return _EventStream(_events(parts, request, first, query.limit), place)
        news = await _poll(parts, call, query)
        return json_response(_shown(news, parts.longest_life), headers=dict(NO_STORE))

    async def policy(call: Call) -> Response:
        bundle = await parts.bundles.of(call.tenant, call.query(PolicyQuery).service)
        body = orjson.dumps(
            {
                "tenant_id": bundle.tenant_id,
                "depends_on": bundle.depends_on,
                "roles": {name: sorted(held) for name, held in sorted(bundle.roles.items())},
                "endpoints": [
                    {
                        "id": endpoint.id,
                        "tenant_id": endpoint.tenant_id,
                        "service": endpoint.service,
                        "method": endpoint.method,
                        "path": endpoint.shape,
                        "opened_by": [sorted(group) for group in endpoint.opened_by],
                    }
                    for endpoint in bundle.endpoints
                ],
            }
        )
        tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
        seen = {part.strip() for part in (header(call.request, b"if-none-match") or "").split(",")}
        if seen & {tag, f"W/{tag}", "*"}:
            return Response(status_code=304, headers=headers)
        return Response(body, headers=headers, media_type="application/json")

    follows = Needs(TOKENS_INTROSPECT)
    return [
        Operation(
            "followRevocations",
            "GET",
            "/auth/revocations",
            follows,
            revocations,
            query=FeedQuery,
            for_resource_servers=True,
        ),
        Operation(
            "getPolicy",
            "GET",
            "/auth/policy",
            follows,
            policy,
            query=PolicyQuery,
            for_resource_servers=True,
        ),
    ]


# --- the feed -----------------------------------------------------------------------------

_STREAM = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


async def _poll(parts: ResourceParts, call: Call, query: FeedQuery) -> News:
    if not query.wait:
        return await parts.feed.since(query.cursor, wait=0, limit=query.limit)
    loop, request = asyncio.get_running_loop(), call.request
    end = loop.time() + query.wait
    with parts.followers.place(call):
        while True:
            wait = max(0.0, min(end - loop.time(), BEAT))
            news = await parts.feed.since(query.cursor, wait=wait, limit=query.limit)
            # Its own token may have ended while it waited.
            await parts.callers.of(bearer(request))
            if news.items or news.reset or loop.time() >= end or parts.stopping.begun:
                return news
            if await request.is_disconnected():
                return news


class _EventStream(StreamingResponse):
    """A stream that ends, whether or not it is read, and gives its place back."""

    def __init__(self, events: AsyncIterator[bytes], place: contextlib.ExitStack) -> None:
        super().__init__(events, headers=_STREAM, media_type="text/event-stream")
        self._place = place

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            async with asyncio.timeout(UNREAD):
                await send(message)

        with self._place:
            try:
                await super().__call__(scope, receive, sending)
            except* TimeoutError:
                pass  # nobody reads: the connection ends


async def _events(
    parts: ResourceParts, request: Request, first: News, limit: int
) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    end = loop.time() + MAX_STREAM
    news = first
    try:
        while True:
            yield _event(news, parts.longest_life)
            if loop.time() >= end or parts.stopping.begun:
                return
            news = await parts.feed.since(news.cursor, wait=BEAT, limit=limit)
            await parts.callers.of(bearer(request))
    except (Refusal, Unavailable):
        # The status was told long ago. Who comes back hears why.
        return


def _event(news: News, longest_life: int) -> bytes:
    data = orjson.dumps(_shown(news, longest_life))
    return b"event: revocations\nid: " + news.cursor.encode() + b"\ndata: " + data + b"\n\n"


def _shown(news: News, longest_life: int) -> dict[str, Any]:
    return {
        "entries": [
            {
                "kind": item.kind,
                "subject": item.subject,
                "epoch": item.epoch,
                "expires_at": item.expires_at,
            }
            for item in news.items
        ],
        "cursor": news.cursor,
        "more": news.more,
        "reset": news.reset,
        "age": round(news.age, 3),
        "longest_life": longest_life,
    }
