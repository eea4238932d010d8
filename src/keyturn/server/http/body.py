"""Reading a request's body: once, bounded in bytes, fields and time, strict in its encoding."""

import asyncio
import json
from collections.abc import Iterable
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request

from ..domain.errors import Code, Refusal, invalid_request

#: Form fields or JSON members that are looked at; a token request has at most ten.
MAX_FIELDS = 64
#: Seconds that a client may take to send its body.
BODY_WAIT = 10.0

FORM = b"application/x-www-form-urlencoded"
JSON = b"application/json"


async def read_params(request: Request, max_body: int) -> tuple[dict[str, str], bool]:
    """The parameters in a form or JSON body, and whether it was JSON. `max_body` in bytes.

    Raises Refusal: `body_too_large`, `unsupported_media_type`, or `invalid_request` for all
    that is malformed, repeated, or not UTF-8.
    """
    is_json = _is_json(request)
    body = await _read(request, max_body)
    pairs = _json_pairs(body) if is_json else _form_pairs(body)
    params: dict[str, str] = {}
    for name, value in pairs:
        if name in params:
            raise invalid_request("A parameter is repeated.")
        params[name] = value
    return params, is_json


def _is_json(request: Request) -> bool:
    kinds = [value for name, value in request.scope["headers"] if name == b"content-type"]
    if len(kinds) == 1 and "content-encoding" not in request.headers:
        kind, _, rest = kinds[0].partition(b";")
        kind = kind.strip().lower()
        charset = rest.strip().lower().replace(b'"', b"")
        if kind in (FORM, JSON) and charset in (b"", b"charset=utf-8"):
            return bool(kind == JSON)
    raise Refusal(
        Code.UNSUPPORTED_MEDIA_TYPE,
        "The body must be application/x-www-form-urlencoded or application/json, in UTF-8.",
    )


async def _read(request: Request, max_body: int) -> bytes:
    length = request.headers.get("content-length", "")
    # A longer run of digits is too large whatever it says, and slow to make a number of.
    if length.isdecimal() and (len(length) > 12 or int(length) > max_body):
        raise _too_large()
    try:
        # From the first byte on: who announces a body and sends none must not stay for ever.
        async with asyncio.timeout(BODY_WAIT):
            return await _receive(request, max_body)
    except TimeoutError:
        raise invalid_request("The body did not arrive in time.") from None


async def _receive(request: Request, max_body: int) -> bytes:
    chunks: list[bytes] = []
    size, more = 0, True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > max_body:
            raise _too_large()
        chunks.append(chunk)
        more = message.get("more_body", False)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _too_large() -> Refusal:
    return Refusal(Code.BODY_TOO_LARGE, "The body is too large.")


def _form_pairs(body: bytes) -> list[tuple[str, str]]:
    # Counted first: ten thousand fields are refused without being parsed.
    if body.count(b"&") >= MAX_FIELDS:
        raise invalid_request("There are too many parameters.")
    try:
        return parse_qsl(body.decode(), keep_blank_values=True, errors="strict")
    except ValueError:  # UnicodeDecodeError is one
        raise invalid_request("The body is not a form in UTF-8.") from None


class _NotFlat(ValueError):
    """A JSON value that cannot be a parameter."""


def _flat(pairs: Iterable[tuple[str, object]]) -> list[tuple[str, object]]:
    """Keeps an object's members as they were written: a dict would hide repeated names."""
    return list(pairs)


def _json_pairs(body: bytes) -> list[tuple[str, str]]:
    try:
        members = json.loads(body.decode(), object_pairs_hook=_flat)
        if not isinstance(members, list) or not body.lstrip().startswith(b"{"):
            raise _NotFlat
        if len(members) > MAX_FIELDS:
            raise invalid_request("There are too many parameters.")
        names = [name for name, _ in members]
        if len(set(names)) < len(names):
            raise invalid_request("A parameter is repeated.")
        return [(name, _text(value)) for name, value in members if value is not None]
    except (ValueError, RecursionError):  # UnicodeDecodeError and JSONDecodeError are the first
        raise invalid_request("The body is not a JSON object of strings, in UTF-8.") from None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise _NotFlat
    return value
