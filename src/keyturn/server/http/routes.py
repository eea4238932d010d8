"""All routes: the operations below the base path, what is published for everybody, and pages."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from .doors import Doors
from .operation import Operation
from .published import Published

Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Page:
    """What browsers show, or load for it: no operation, and not in the contract.

    `path` is whole: `/console/…` at the root, others below the base path by themselves.
    """

    path: str
    endpoints: Mapping[str, Endpoint]


@dataclass(frozen=True, slots=True)
class Surface:
    """What is served. `base_path` stands before each operation's path."""

    operations: Sequence[Operation]
    published: Published
    doors: Doors
    base_path: str
    issuer_path: str
    pages: Sequence[Page] = ()


def oauth_paths(base_path: str) -> frozenset[str]:
    """Where errors are RFC 6749's."""
    return frozenset(f"{base_path}/auth/{name}" for name in ("token", "revoke", "introspect"))


def routes(surface: Surface) -> list[Route]:
    """All routes of the contract."""
    published = surface.published
    by_path: dict[str, dict[str, Endpoint]] = {}
    for operation in surface.operations:
        path = surface.base_path + operation.path
        endpoint = surface.doors.endpoint(operation, path)
        by_path.setdefault(path, {})[operation.method] = endpoint
    documents: dict[str, Endpoint] = {
        "/.well-known/jwks.json": published.jwks,
        "/.well-known/oauth-authorization-server": published.metadata,
        "/.well-known/openid-configuration": published.metadata,
        "/health/live": published.live,
        "/health/ready": published.ready,
    }
    if path := surface.issuer_path:
        # RFC 8414, 3.1 puts the issuer's path behind the well-known name, OpenID before it.
        documents[f"/.well-known/oauth-authorization-server{path}"] = published.metadata
        documents[f"{path}/.well-known/openid-configuration"] = published.metadata
    found = {**by_path, **{path: {"GET": answer} for path, answer in documents.items()}}
    return _made(found)


def page_routes(surface: Surface) -> list[Route]:
    """All routes that browsers alone call."""
    return _made({page.path: page.endpoints for page in surface.pages})


def _made(found: Mapping[str, Mapping[str, Endpoint]]) -> list[Route]:
    return [Route(path, Methods(path, found[path])) for path in sorted(found, key=_literal_first)]


class Table:
    """Finds what answers a path. ASGI.

    One look for all literal paths: tried one by one, as a router does it, they would cost more
    than the answers do. What has parameters, and all that is no request, is the router's.
    """

    def __init__(self, router: Router) -> None:
        self._router = router
        self._literal: dict[str, ASGIApp] = {}

    def serve(self, surface: Surface) -> None:
        """Takes in all routes of the service."""
        found = [*routes(surface), *page_routes(surface)]
        self._literal = {route.path: route.endpoint for route in found if "{" not in route.path}
        self._router.routes[:] = [route for route in found if "{" in route.path]

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        endpoint = self._literal.get(scope["path"]) if scope["type"] == "http" else None
        return (self._router if endpoint is None else endpoint)(scope, receive, send)


def _literal_first(path: str) -> list[bool]:
    return ["{" in segment for segment in path.split("/")]


class Methods:
    """What answers one path, by method. It takes every method of that path: what would be 405
    here is no call of a path with a parameter that looks alike (RFC 9110, 15.5.6).
    """

    def __init__(self, path: str, endpoints: Mapping[str, Endpoint]) -> None:
        self.path = path
        self.endpoints = endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["keyturn.route"] = self.path
        request = Request(scope, receive)
        method = "GET" if request.method == "HEAD" else request.method
        if method not in self.endpoints:
            heads = {"HEAD"} if "GET" in self.endpoints else set()
            allowed = ", ".join(sorted(self.endpoints.keys() | heads))
            raise HTTPException(405, headers={"Allow": allowed})
        response = await self.endpoints[method](request)
        await response(scope, receive, send)
