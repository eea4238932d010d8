"""The limits on how often, around every operation: who is over one hears 429 and nothing else."""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from ..domain.errors import Refusal, Throttled
from ..domain.tokens import LiveToken
from ..services.ports.turns import UNKNOWN, group
from ..services.throttling import Throttling
from .addresses import Addresses

#: As whom a caller wants to be taken, before that is known: a username, or a client's id.
NAMED = "keyturn.named"

#: Set by an answer that is no refusal, and before a 429, to what is a failure all the same.
FAILED = "keyturn.failed"

Endpoint = Callable[[Request], Awaitable[Response]]


class Limits:
    """Asks `throttling` before a call is judged and after it was refused."""

    def __init__(self, addresses: Addresses, throttling: Throttling) -> None:
        self._addresses = addresses
        self._throttling = throttling

    def around(self, answer: Callable[[Request, str | None], Awaitable[Response]]) -> Endpoint:
        """An endpoint for Starlette. `answer` gets the request and where it comes from."""
        source_of, throttling = self._addresses.source, self._throttling

        async def limited(request: Request) -> Response:
            group.set(UNKNOWN)
            source = source_of(request)
            throttling.admit(source)
            try:
                response = await answer(request, source.address)
            except Refusal as refusal:
                throttling.refused(refusal, source, request.scope.get(NAMED))
                raise
            except Throttled:
                # The address alone: who it was meant for is over the limit already.
                if FAILED in request.scope:
                    throttling.failed(source, None)
                raise
            if FAILED in request.scope:
                throttling.failed(source, request.scope.get(NAMED))
            return response

        return limited

    def manage(self, token: LiveToken, address: str | None) -> list[tuple[bytes, bytes]]:
        """Counts a call of management. Gives the headers that say what is left; none: no limit."""
        left = self._throttling.management(token, address)
        return [] if left is None else [(b"ratelimit", left.encode())]
