"""For resource servers: the feed of revocations, a tenant's policy, and the verdict on one call."""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from urllib.parse import quote

import orjson
from pydantic import Field, StringConstraints
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from ..domain.errors import Refusal, Unavailable, invalid_request, not_a_member
from ..domain.permissions import TOKENS_INTROSPECT
from ..services.callers import Callers, Needs
from ..services.policy_bundle import PolicyBundles
from ..services.ports import News, RevocationFeed
from ..services.verifying import Asked, Verdict, Verifying
from .caller import bearer, header, tenant_choice
from .errors import NO_STORE, json_response
from .fields import Query
from .operation import Bearer, Call, Operation
from .stopping import Stopping

#: Longest wait of one poll, and longest life of one stream (seconds).
MAX_WAIT, MAX_STREAM = 30.0, 300.0
#: How often, while it waits, a follower's own token is looked at, and a stream says that it lives
#: (seconds).
BEAT = 1.0
#: Entries of one answer.
MAX_ENTRIES = 10_000

Place = Callable[[], contextlib.AbstractContextManager[None]]


class FeedQuery(Query):
    """Which part of the feed."""

    cursor: Annotated[str, StringConstraints(max_length=256)] | None = None
    wait: Annotated[float, Field(ge=0, le=MAX_WAIT)] = 0.0
    limit: Annotated[int, Field(ge=1, le=MAX_ENTRIES)] = 5_000


class PolicyQuery(Query):
    """Which service's endpoints."""

    service: Annotated[str, StringConstraints(max_length=128)] | None = None


class VerifyQuery(Query):
    """What the call needs."""

    audience: Annotated[str, StringConstraints(min_length=1, max_length=512)] | None = None
    permission: Annotated[str, StringConstraints(max_length=2_048)] = ""
    service: Annotated[str, StringConstraints(max_length=128)] | None = None
    headers: Literal["original", "forwarded"] = "original"


class Followers:
    """Those who wait for news: at most so many at once, and none of them in flight."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._count = 0

    @contextlib.contextmanager
    def place(self, request: Request) -> Iterator[None]:
        """For one of them. Raises Unavailable when there are too many."""
        if self._count >= self._most:
            raise Unavailable("too many follow the revocations")
        aside: Place = request.scope.get("keyturn.aside", contextlib.nullcontext)
        self._count += 1
        try:
            with aside():
                yield
        finally:
            self._count -= 1


@dataclass(frozen=True, slots=True)
class ResourceParts:
    """What answers resource servers."""

    callers: Callers
    feed: RevocationFeed
    bundles: PolicyBundles
    verifying: Verifying
    followers: Followers
    stopping: Stopping


def resource_operations(parts: ResourceParts) -> list[Operation]:
    """The operations that a resource server, or a proxy before one, calls."""

    async def revocations(call: Call) -> Response:
        query = call.query(FeedQuery)
        request = call.request
        if "text/event-stream" in (header(request, b"accept") or ""):
            cursor = query.cursor or header(request, b"last-event-id")
            # The first answer comes before the stream begins: what is refused is refused.
            first = await parts.feed.since(cursor, wait=0, limit=query.limit)
            stream = _stream(parts, request, first, query.limit)
            return StreamingResponse(stream, headers=_STREAM, media_type="text/event-stream")
        news = await _poll(parts, request, query)
        return json_response(_shown(news), headers=dict(NO_STORE))

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

    async def verify(call: Call) -> Response:
        verdict = await parts.verifying.decide(call.arrival.token, _asked(call))
        return _told(verdict)

    follows = Needs(TOKENS_INTROSPECT)
    return [
        Operation(
            "followRevocations",
            "GET",
            "/auth/revocations",
            follows,
            revocations,
            query=FeedQuery,
        ),
        Operation("getPolicy", "GET", "/auth/policy", follows, policy, query=PolicyQuery),
        Operation("verifyCall", "GET", "/auth/verify", Bearer(), verify, query=VerifyQuery),
    ]


# --- the feed -----------------------------------------------------------------------------

_STREAM = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


async def _poll(parts: ResourceParts, request: Request, query: FeedQuery) -> News:
    loop = asyncio.get_running_loop()
    end = loop.time() + query.wait
    with parts.followers.place(request):
        while True:
            wait = max(0.0, min(end - loop.time(), BEAT))
            news = await parts.feed.since(query.cursor, wait=wait, limit=query.limit)
            if query.wait:
                # Its own token may have ended while it waited.
                await parts.callers.of(bearer(request))
            if news.items or news.reset or loop.time() >= end or parts.stopping.begun:
                return news
            if await request.is_disconnected():
                return news


async def _stream(
    parts: ResourceParts, request: Request, first: News, limit: int
) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    end = loop.time() + MAX_STREAM
    news = first
    try:
        with parts.followers.place(request):
            while True:
                yield _event(news)
                if loop.time() >= end or parts.stopping.begun:
                    return
                news = await parts.feed.since(news.cursor, wait=BEAT, limit=limit)
                await parts.callers.of(bearer(request))
    except (Refusal, Unavailable):
        # The status was told long ago. Who comes back hears why.
        return


def _event(news: News) -> bytes:
    data = orjson.dumps(_shown(news))
    return b"event: revocations\nid: " + news.cursor.encode() + b"\ndata: " + data + b"\n\n"


def _shown(news: News) -> dict[str, Any]:
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
    }


# --- one call -----------------------------------------------------------------------------


def _asked(call: Call) -> Asked:
    """What a proxy asks. It knows two kinds of refusal only: 401 and 403."""
    request, query = call.request, call.query(VerifyQuery)
    method, path = _told_call(request, query.headers)
    if query.service is not None and path is None:
        raise invalid_request("Method and path of the call are missing.", field="service")
    return Asked(
        tenant_id=_tenant(request),
        audience=query.audience,
        any_of=query.permission.split(),
        service=query.service,
        method=method if query.service is not None else None,
        path=path if query.service is not None else None,
    )


def _tenant(request: Request) -> str | None:
    try:
        return tenant_choice(request)
    except Refusal as refusal:
        raise not_a_member(refusal.public) from None


def _told_call(request: Request, headers: str) -> tuple[str | None, str | None]:
    """Method and path of the call, by the headers that this proxy sets.

    By no others: a proxy hands on what it does not set, and the client would choose.
    """
    method = header(request, f"x-{headers}-method".encode())
    uri = header(request, f"x-{headers}-uri".encode())
    if method is None or uri is None:
        return None, None
    # As it was sent, but for the query: any reading of it might not be the resource server's.
    return method, uri.partition("?")[0]


def _told(verdict: Verdict) -> Response:
    token, endpoint = verdict.token, verdict.endpoint
    body = {
        "sub": token.user_id,
        "username": verdict.username,
        "client_id": token.key_id,
        "sid": token.session_id,
        "jti": token.jti,
        "exp": token.expires_at,
        "tenant_id": verdict.tenant_id,
        "roles": verdict.roles,
        "permissions": sorted(verdict.permissions),
        "endpoint": None
        if endpoint is None
        else {
            "id": endpoint.id,
            "service": endpoint.service,
            "method": endpoint.method,
            "path": endpoint.path,
        },
    }
    headers = {
        **NO_STORE,
        "X-Keyturn-User": token.user_id,
        "X-Keyturn-Key": token.key_id,
        "X-Keyturn-Session": token.session_id,
        "X-Keyturn-Tenant": verdict.tenant_id or "",
        # Names may have any characters; a header may not.
        "X-Keyturn-Roles": ",".join(quote(name, safe="") for name in verdict.roles),
        "X-Keyturn-Permissions": " ".join(sorted(verdict.permissions)),
    }
    return json_response(body, headers=headers)
