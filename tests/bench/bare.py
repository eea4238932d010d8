"""The bare route: what Starlette and uvicorn can do when nothing is to be done."""

from __future__ import annotations

from urllib.parse import parse_qsl

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

PATH = "/bare"
#: As large as the answer of an exchange, in bytes.
ANSWER_BYTES = 900

_ANSWER = {"access_token": "", "token_type": "bearer", "expires_in": 300, "scope": "a:read"}
_ANSWER["access_token"] = "x" * (ANSWER_BYTES - len(orjson.dumps(_ANSWER)))
_HEADERS = {"Cache-Control": "no-store"}


async def answer(request: Request) -> Response:
    """A form in, JSON out."""
    params = dict(parse_qsl((await request.body()).decode(), keep_blank_values=True))
    body = {**_ANSWER, "expires_in": 300 if "grant_type" in params else 0}
    return Response(orjson.dumps(body), headers=_HEADERS, media_type="application/json")


def create_app() -> Starlette:
    """The application with this one route."""
    return Starlette(routes=[Route(PATH, answer, methods=["POST"])])
