"""What an endpoint asks of its caller, written beside it. For Starlette and FastAPI."""

import functools
import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ParamSpec, Protocol, TypeVar, cast

from .callers import Caller
from .errors import MissingToken, ResourceError, answer

P = ParamSpec("P")
R = TypeVar("R")


class Connection(Protocol):
    """A request or websocket of whichever framework: it has its ASGI scope."""

    @property
    def scope(self) -> Any: ...


def caller_of(request: Connection) -> Caller:
    """Who calls. Raises MissingToken when nobody in particular does (`public`, `optional`)."""
    caller = request.scope.get("keyturn.caller")
    if not isinstance(caller, Caller):
        raise MissingToken("the call was let through without a token")
    return caller


def requires(permission: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Lets only callers with that permission in; others are answered 403, without a token 401.

    The endpoint, async or not, must take the request (or websocket) as an argument. It stands below
    the route's decorator: what a router was given already, it lets everybody call.
    """
    return requires_any(permission)


def requires_any(*permissions: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Like `requires`, for callers with one of several permissions."""
    if not permissions:
        raise ValueError("which permission?")

    def decorated(endpoint: Callable[P, R]) -> Callable[P, R]:
        if not inspect.signature(endpoint).parameters:
            raise TypeError("the endpoint must take the request as an argument")
        if inspect.iscoroutinefunction(endpoint):
            waiting = cast("Callable[P, Awaitable[Any]]", endpoint)

            @functools.wraps(endpoint)
            async def later(*args: P.args, **kwargs: P.kwargs) -> Any:
                request = _request(args, kwargs)
                try:
                    caller_of(request).need_any(*permissions)
                except ResourceError as error:
                    return _refused(request, error)
                return await waiting(*args, **kwargs)

            return cast("Callable[P, R]", later)

        @functools.wraps(endpoint)
        def at_once(*args: P.args, **kwargs: P.kwargs) -> Any:
            request = _request(args, kwargs)
            try:
                caller_of(request).need_any(*permissions)
            except ResourceError as error:
                return _refused(request, error)
            return endpoint(*args, **kwargs)

        return cast("Callable[P, R]", at_once)

    return decorated


def permission(*permissions: str) -> Callable[..., Caller]:
    """A dependency of FastAPI's that gives the caller, who must have one of the permissions.

        @app.get("/assets")
        def assets(caller: Annotated[Caller, Depends(permission("assets:read"))]): ...

    Without permissions any caller will do. Raises the errors of this package, which
    `TokenMiddleware` answers when it was added by `add_middleware`.
    """
    from starlette.requests import HTTPConnection

    def dependency(connection: Any) -> Caller:
        caller = caller_of(connection)
        if permissions:
            caller.need_any(*permissions)
        return caller

    # FastAPI goes by the annotation; it is not there before Starlette is.
    dependency.__annotations__ = {"connection": HTTPConnection, "return": Caller}
    return dependency


def refused(request: Connection, error: Exception) -> Any:
    """A Starlette response for an error of this package; others are raised again.

    For applications that are wrapped as a whole, `TokenMiddleware(app, verifier)`, where errors
    never get as far as the middleware: `exception_handlers={ResourceError: refused}`.
    """
    if not isinstance(error, ResourceError):
        raise error
    return _refused(request, error)


def _refused(request: Connection, error: ResourceError) -> Any:
    if request.scope["type"] != "http":
        raise error
    from starlette.responses import Response

    scope = request.scope
    given = answer(
        error,
        resource_metadata=scope.get("keyturn.resource_metadata"),
        request_id=scope.get("keyturn.request_id"),
        call=ascii(f"{scope.get('method', '')} {scope.get('path', '')[:200]}")[1:-1],
    )
    return Response(given.body, given.status, dict(given.headers))


def _request(args: tuple[object, ...], kwargs: Mapping[str, object]) -> Connection:
    for value in (*args, *kwargs.values()):
        scope = getattr(value, "scope", None)
        if isinstance(scope, Mapping) and "type" in scope:
            return cast("Connection", value)
    raise TypeError("the endpoint must take the request as an argument")
