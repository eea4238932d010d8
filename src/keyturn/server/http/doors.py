"""Who is let in to an operation, and how its answer comes about."""

import asyncio
import random
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from ..domain.errors import Code, Contended, Refusal, bad_token, invalid_request
from ..services.callers import Arrival, Callers, Needs, OwnCaller, TenantCaller
from ..services.management.changes import Replayed
from .caller import bearer, chosen_tenant
from .limits import Limits
from .operation import Access, Bearer, Call, Operation, Own, Public, unpacked

#: How often a change is tried whose transaction was in another one's way.
TRIES = 4


class Doors:
    """Makes endpoints of operations: admits the caller, then lets the operation answer."""

    def __init__(self, callers: Callers, limits: Limits, max_body: int) -> None:
        self._callers = callers
        self._limits = limits
        self._max_body = max_body

    def endpoint(self, operation: Operation, path: str) -> Callable[[Request], Awaitable[Response]]:
        """For Starlette. `path` is the operation's with the base path before it."""
        max_body = self._max_body_of(operation)

        async def public(request: Request, address: str | None) -> Response:
            return await operation.answer(Call(operation, request, address, None, max_body))

        async def endpoint(request: Request, address: str | None) -> Response:
            arrival = await self._arrive(operation, path, request, address)
            return await self.serve(operation, arrival, request)

        return self._limits.around(public if isinstance(operation.access, Public) else endpoint)

    async def serve_anyone(
        self, operation: Operation, request: Request, address: str | None
    ) -> Response:
        """The answer of a `Public` operation."""
        assert isinstance(operation.access, Public)  # noqa: S101 - nobody else is let in unasked
        max_body = self._max_body_of(operation)
        return await operation.answer(Call(operation, request, address, None, max_body))

    async def serve(self, operation: Operation, arrival: Arrival, request: Request) -> Response:
        """The operation's answer to who has arrived, once they are admitted.

        Raises Refusal, Throttled, Unavailable.
        """
        manages = isinstance(operation.access, Own | Needs) and not operation.for_resource_servers
        left = self._limits.manage(arrival.token, arrival.address) if manages else []
        caller = await self._admit(operation.access, arrival, request)
        call = Call(operation, request, arrival.address, caller, self._max_body_of(operation))
        if operation.query is None and request.scope["query_string"]:
            raise invalid_request("This call takes no parameters in the URL.")
        try:
            answer = await _answered(call)
        except Replayed as again:
            answer = unpacked(again.answer)
        answer.raw_headers += left
        return answer

    def _max_body_of(self, operation: Operation) -> int:
        return operation.max_body or self._max_body

    async def _arrive(
        self, operation: Operation, path: str, request: Request, address: str | None
    ) -> Arrival:
        access = operation.access
        # What a resource server learns here it knows from the token already.
        anyone = isinstance(access, Bearer)
        try:
            text = bearer(request)
        except Refusal as refusal:
            for_proxies = isinstance(access, Bearer) and access.for_proxies
            if refusal.code is not Code.INVALID_REQUEST or not for_proxies:
                raise
            raise bad_token("Authorization is repeated") from None
        return await self._callers.arrive(
            text, address, (operation.method, path), for_anyone=anyone
        )

    async def _admit(
        self, access: Access, arrival: Arrival, request: Request
    ) -> Arrival | OwnCaller | TenantCaller:
        assert not isinstance(access, Public)  # noqa: S101 - nobody is admitted there
        if isinstance(access, Bearer):
            return arrival
        if isinstance(access, Own):
            return await self._callers.own(arrival)
        return await self._callers.in_tenant(arrival, chosen_tenant(request), access)


async def _answered(call: Call) -> Response:
    """The operation's answer, tried again when its transaction was in another one's way."""
    for tries_left in reversed(range(TRIES)):
        try:
            return await call.operation.answer(call)
        except Contended:
            if not tries_left or not isinstance(call.caller, OwnCaller | TenantCaller):
                raise
            # Not in step with the other one.
            await asyncio.sleep(random.uniform(0.01, 0.1))  # noqa: S311 - not a secret
    raise AssertionError("unreachable")
