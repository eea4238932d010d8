"""The REST API, asked in process, as the person at the browser.

What comes back is what openapi.yaml says. What an operation refuses is raised as it is raised
there: a Refusal with the field at fault, Throttled, Unavailable.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope

from ..domain.errors import Code, Refusal
from ..http.doors import Doors
from ..http.limits import FAILED
from ..http.operation import Needs, Operation, Public
from ..services.callers import Arrival

#: What an operation says: JSON, as openapi.yaml describes it.
Document = dict[str, Any]
#: What a page may ask in the URL of an operation. None is left out.
Query = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Answer:
    """What an operation answered. `etag` is the thing's version, for `If-Match`."""

    status: int
    data: Document
    etag: str | None = None


class Operations:
    """All operations, by their ids."""

    def __init__(
        self, operations: Sequence[Operation], doors: Doors, base_path: str, base_url: str
    ) -> None:
        """`base_url` is where clients find them, for commands that a page shows."""
        self.base_url = base_url
        self._by_id = {operation.id: operation for operation in operations}
        self._doors = doors
        self._base_path = base_path

    def __getitem__(self, operation_id: str) -> Operation:
        return self._by_id[operation_id]

    def allows(self, operation_id: str, permissions: frozenset[str]) -> bool:
        """Whether who has these permissions in a tenant is let in to the operation there."""
        access = self._by_id[operation_id].access
        return access.permission in permissions if isinstance(access, Needs) else True

    async def ask(
        self,
        operation_id: str,
        arrival: Arrival | None,
        *,
        address: str | None,
        tenant_id: str | None = None,
        path: Mapping[str, str] | None = None,
        query: Query | None = None,
        body: object = None,
        if_match: str | None = None,
        once: str | None = None,
        outer: Scope | None = None,
    ) -> Response:
        """The operation's response. `arrival` None: nobody signed in, for `Public` ones.

        `outer` is the browser's request: what is a failure here is one of it, too. `once` is the
        Idempotency-Key of a form, so that one sent twice makes one thing.
        """
        operation = self._by_id[operation_id]
        request = Request(
            _scope(
                operation,
                self._base_path,
                path or {},
                query or {},
                {"x-tenant-id": tenant_id, "if-match": if_match, "idempotency-key": once},
            ),
            _once(b"" if body is None else orjson.dumps(body)),
        )
        if isinstance(operation.access, Public):
            return await self._doors.serve_anyone(operation, request, address)
        if arrival is None:
            raise Refusal(Code.MISSING_TOKEN, "Sign in first.")
        here = (operation.method, self._base_path + operation.path)
        response = await self._doors.serve(operation, replace(arrival, endpoint=here), request)
        if outer is not None and FAILED in request.scope:
            outer[FAILED] = True
        return response


def answer_of(response: Response) -> Answer:
    """A response of an operation that speaks JSON."""
    body = bytes(response.body)
    data: Document = orjson.loads(body) if body else {}
    return Answer(response.status_code, data, response.headers.get("etag"))


def _scope(
    operation: Operation,
    base_path: str,
    path: Mapping[str, str],
    query: Query,
    headers: Mapping[str, str | None],
) -> Scope:
    url = base_path + operation.path
    for name, value in path.items():
        url = url.replace(f"{{{name}}}", value)
    asked = {name: _text(value) for name, value in query.items() if value not in (None, "")}
    given = [(n.encode(), v.encode()) for n, v in headers.items() if v is not None]
    return {
        "type": "http",
        "method": operation.method,
        "path": url,
        "path_params": dict(path),
        "query_string": urlencode(asked).encode(),
        "headers": [(b"content-type", b"application/json"), *given],
        "client": None,
        # It is here already: nobody waits for it (says BoundedHttp of others).
        "keyturn.whole": True,
    }


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _once(body: bytes) -> Receive:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive
