"""What every route goes through: who calls, whether they may, and what they said.

An `Operation` declares its method, its path and what opens it; nothing is served that is not
one. So no route can forget to ask who is calling, and a test can walk all of them.
"""

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from ..domain.errors import Code, Refusal, invalid_request
from ..domain.ids import parse_id
from ..services.callers import Arrival, Needs, OwnCaller, TenantCaller
from ..services.management.changes import Once, Versions
from ..services.ports import Page, Slice
from .body import parsed, read_json
from .caller import header, tenant_choice
from .cursors import read_cursor, write_cursor
from .errors import NO_STORE, json_response

T = TypeVar("T")
Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Public:
    """Opens a call to everybody. `why` says what protects it instead."""

    why: str


@dataclass(frozen=True, slots=True)
class Bearer:
    """Opens a call to whoever has a live token, whatever its key's allow-list says (C4).

    `for_proxies`: they know 401 and 403 only, so a malformed Authorization is no token.
    """

    for_proxies: bool = False


@dataclass(frozen=True, slots=True)
class Own:
    """Opens a call to whoever has a live token, in no tenant: it concerns the caller alone."""


Access = Public | Bearer | Own | Needs
Answer = Callable[["Call"], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Operation:
    """One method on one path. `id` is its operationId in openapi.yaml.

    `body` and `query` are what it reads, and all it reads. `creates`: it honours an
    Idempotency-Key. `max_body` (bytes) is its own, where bodies are larger than elsewhere.
    `for_resource_servers`: it is no management, and not limited as that is.
    """

    id: str
    method: str
    path: str
    access: Access
    answer: Answer
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    creates: bool = False
    max_body: int | None = None
    for_resource_servers: bool = False


@dataclass(slots=True)
class Call:
    """One request of an operation, its caller admitted."""

    operation: Operation
    request: Request
    address: str | None
    caller: Arrival | OwnCaller | TenantCaller | None
    max_body: int
    _raw: bytes = field(default=b"", repr=False)
    _body: BaseModel | None = field(default=None, repr=False)

    @property
    def tenant(self) -> TenantCaller:
        """The caller of an operation that `Needs` a permission."""
        assert isinstance(self.caller, TenantCaller)  # noqa: S101 - admitted as one
        return self.caller

    @property
    def arrival(self) -> Arrival:
        """The caller of an operation that any `Bearer` may call."""
        assert isinstance(self.caller, Arrival)  # noqa: S101 - admitted as one
        return self.caller

    @property
    def own(self) -> OwnCaller:
        """The caller of an operation that is its `Own`."""
        assert isinstance(self.caller, OwnCaller)  # noqa: S101 - admitted as one
        return self.caller

    def path(self, name: str) -> str:
        """A part of the path; an id in its one form. What it names may not exist."""
        value: str = self.request.path_params[name]
        return parse_id(value) or value

    async def body(self, model: type[Model]) -> Model:
        """The JSON body. Raises Refusal that names each field at fault."""
        assert model is self.operation.body  # noqa: S101 - what is declared is what is read
        if not isinstance(self._body, model):  # it comes once, however often it is asked for
            self._raw, self._body = await read_json(self.request, model, self.max_body)
        return self._body

    def query(self, model: type[Model]) -> Model:
        """The parameters in the URL. Raises Refusal that names each one at fault."""
        assert model is self.operation.query  # noqa: S101 - what is declared is what is read
        given: dict[str, str] = {}
        for name, value in self.request.query_params.multi_items():
            if name in given:
                raise invalid_request("A parameter is repeated.", field=name[:64])
            given[name] = value
        return parsed(model, given)

    def versions(self) -> Versions:
        """What If-Match names (RFC 9110, 13.1.1); None without one, or for `*`."""
        text = header(self.request, b"if-match")
        if text is None or text.strip() == "*":
            return None
        tags = [tag.strip() for tag in text.split(",")]
        # Tags that are not ours match nothing, weak ones neither: the comparison is strong.
        return frozenset(
            int(tag[1:-1])
            for tag in tags
            if tag[:1] == tag[-1:] == '"' and tag[1:-1].isascii() and tag[1:-1].isdecimal()
            if len(tag) < 20
        )

    def once(self, answer: Callable[[T], Response]) -> Once[T] | None:
        """What makes this creation happen once (after `body` was read); None without a key.

        `answer` is what answers the one who made it, and whoever repeats the request. Raises
        Refusal `invalid_request` for a malformed Idempotency-Key.
        """
        key = header(self.request, b"idempotency-key")
        if key is None:
            return None
        if not (0 < len(key) <= 255 and key.isascii() and key.isprintable()):
            raise invalid_request("Idempotency-Key must be 1 to 255 printable characters.")
        if isinstance(self.caller, TenantCaller):
            token, chosen = self.caller.token, self.caller.tenant_id
            # A kept answer may hold a secret. A narrower token of the same key gets none.
            carried = sorted(self.caller.permissions)
        else:
            token, chosen = self.own.token, tenant_choice(self.request) or ""
            carried = [token.tenant_id or ""]
        who = [token.user_id, token.key_id, chosen, carried]
        where = [self.operation.id, self.request.url.path]
        return Once(
            hashlib.sha256(orjson.dumps([*who, *where, key])).digest(),
            hashlib.sha256(self._raw).digest(),
            lambda made: packed(answer(made)),
        )


# --- answers ------------------------------------------------------------------------------


def shown(
    body: Mapping[str, Any], *, version: int | None = None, status: int = 200, at: str | None = None
) -> Response:
    """One thing as JSON. `version` becomes its ETag, `at` its Location."""
    headers = dict(NO_STORE)
    if version is not None:
        headers["ETag"] = f'"{version}"'
    if at is not None:
        headers["Location"] = at
    return json_response(body, status, headers)


def listed(page: Page[T], view: Callable[[T], Mapping[str, Any]], **more: Any) -> Response:
    """One page, and the cursor of the next one, when there is one."""
    items: Sequence[Mapping[str, Any]] = [view(item) for item in page.items]
    return json_response(
        {"items": items, "next_cursor": write_cursor(page.next), **more}, headers=dict(NO_STORE)
    )


def done() -> Response:
    """Nothing is left to say (204)."""
    return Response(status_code=204, headers=dict(NO_STORE))


def part(limit: int, cursor: str | None) -> Slice:
    """The page asked for. Raises Refusal for a cursor that no page gave."""
    return Slice(limit, read_cursor(cursor))


def packed(answer: Response) -> bytes:
    """An answer that is kept for whoever repeats the request."""
    return orjson.dumps([answer.status_code, dict(answer.headers), bytes(answer.body).decode()])


def unpacked(kept: bytes) -> Response:
    """What `packed` made."""
    status, headers, body = orjson.loads(kept)
    return Response(body, status, {**headers, "Idempotency-Replayed": "true"})


__all__ = [
    "Access",
    "Bearer",
    "Call",
    "Code",
    "Needs",
    "Operation",
    "Own",
    "Public",
    "Refusal",
    "done",
    "listed",
    "packed",
    "part",
    "shown",
    "unpacked",
]
