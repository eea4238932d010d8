"""Reading a request's body: once, bounded in bytes, fields and time, strict in its encoding."""

import asyncio
import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar
from urllib.parse import unquote_plus

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request

from ..domain.errors import Code, Refusal, Unavailable, invalid_request
from .caller import headers_once

#: Form fields or JSON members that are looked at; a token request has at most ten.
MAX_FIELDS = 64
#: What RFC 8707 (2) and RFC 8693 (2.1) let a request say more than once; in JSON it is a list.
REPEATABLE = frozenset({"resource", "audience"})
#: Seconds that a client may take to send its body.
BODY_WAIT = 10.0
#: JSON bodies of more bytes are parsed in a thread: it takes megabytes seconds.
LARGE = 64 * 1024
#: Seconds that a large body may wait for its turn, and be parsed.
PARSE_WAIT = 10.0

# One: threads share the interpreter, and each one more makes everybody else wait longer.
_parser = ThreadPoolExecutor(1, "large-bodies")

Model = TypeVar("Model", bound=BaseModel)
Parsed = TypeVar("Parsed")

FORM = b"application/x-www-form-urlencoded"
JSON = b"application/json"


async def read_params(request: Request, max_body: int) -> tuple[dict[str, str], bool]:
    """The parameters in a form or JSON body, and whether it was JSON. `max_body` in bytes.

    Values of one that may be repeated are put together with a space, which none of them has.

    Raises Refusal: `body_too_large`, `unsupported_media_type`, or `invalid_request` for all
    that is malformed, repeated, or not UTF-8.
    """
    is_json = _announced(request, max_body) == JSON
    body = await _read(request, max_body)
    pairs = _json_pairs(body) if is_json else _form_pairs(body)
    params: dict[str, str] = {}
    for name, value in pairs:
        if name not in params:
            params[name] = value
        elif name in REPEATABLE:
            params[name] += f" {value}"
        else:
            raise invalid_request("A parameter is repeated.")
    return params, is_json


async def read_json(request: Request, model: type[Model], max_body: int) -> tuple[bytes, Model]:
    """A JSON body of at most `max_body` bytes, as it came and as `model`.

    Raises Malformed, and Refusal `body_too_large`, `unsupported_media_type`, or
    `invalid_request` (also when an object names a member twice); Unavailable when too many large
    ones are being parsed.
    """
    if _announced(request, max_body) != JSON:
        raise Refusal(Code.UNSUPPORTED_MEDIA_TYPE, "The body must be application/json, in UTF-8.")
    body = await _read(request, max_body)
    if len(body) <= LARGE:
        return body, _modelled(model, body)
    return body, await in_turn(partial(_modelled, model, body))


async def in_turn(parse: Callable[[], Parsed]) -> Parsed:
    """What parsing a body of more than `LARGE` gives: in a thread, while others are served.

    Raises what it raises; Unavailable when too many are being parsed.
    """
    try:
        async with asyncio.timeout(PARSE_WAIT):
            return await asyncio.get_running_loop().run_in_executor(_parser, parse)
    except TimeoutError:
        raise Unavailable("large bodies wait too long to be parsed") from None


async def read_raw(request: Request, max_body: int, kind: bytes = JSON) -> bytes:
    """A body of one kind as it came, not parsed. `max_body` in bytes.

    Raises Refusal `body_too_large`, `unsupported_media_type`, `invalid_request` when it is slow.
    """
    if _announced(request, max_body) != kind:
        raise Refusal(Code.UNSUPPORTED_MEDIA_TYPE, f"The body must be {kind.decode()}, in UTF-8.")
    return await _read(request, max_body)


class Malformed(Refusal):
    """A request whose fields are at fault: `faults` are the first ones, with what is wrong."""

    def __init__(self, error: ValidationError) -> None:
        super().__init__(Code.INVALID_REQUEST, "The request is malformed: see errors.")
        self.faults = [
            (".".join(map(str, fault["loc"]))[:128], _TEXTS.get(fault["type"], fault["msg"]))
            for fault in error.errors(include_input=False, include_url=False)[:20]
        ]


# Where pydantic's own words are about Python.
_TEXTS = {
    "extra_forbidden": "is not a field of this request",
    "missing": "is required",
    "model_type": "must be a JSON object",
    "model_attributes_type": "must be a JSON object",
}


def parsed(model: type[Model], source: bytes | dict[str, str]) -> Model:
    """A JSON body, or parameters, as `model`. Raises Malformed."""
    try:
        if isinstance(source, bytes):
            return model.model_validate_json(source)
        return model.model_validate(source)
    except ValidationError as error:
        raise Malformed(error) from None


def _modelled(model: type[Model], body: bytes) -> Model:
    try:
        json.loads(body.decode(), object_pairs_hook=_each_once)
    except (ValueError, RecursionError):
        raise invalid_request("The body is not JSON in UTF-8.") from None
    return parsed(model, body)


def _each_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise invalid_request("A member of the body is repeated.")
    return members


def _announced(request: Request, max_body: int) -> bytes:
    """What kind of body the headers announce: FORM or JSON. Raises Refusal."""
    headers = headers_once(request.scope)
    if headers is None:
        names = [name for name, _ in request.scope["headers"]]
        headers = {} if names.count(b"content-type") > 1 else dict(request.scope["headers"])
    kind, charset = headers.get(b"content-type", b""), b""
    if b";" in kind:
        kind, _, charset = kind.partition(b";")
        charset = charset.strip().lower().replace(b'"', b"")
    kind = b"" if b"content-encoding" in headers else kind.strip().lower()
    length = headers.get(b"content-length", b"")
    if kind not in (FORM, JSON) or charset not in (b"", b"charset=utf-8"):
        raise Refusal(
            Code.UNSUPPORTED_MEDIA_TYPE,
            "The body must be application/x-www-form-urlencoded or application/json, in UTF-8.",
        )
    # A longer run of digits is too large whatever it says, and slow to make a number of.
    if length.isdigit() and (len(length) > 12 or int(length) > max_body):
        raise _too_large()
    return kind


async def _read(request: Request, max_body: int) -> bytes:
    if "keyturn.whole" in request.scope:  # says BoundedHttp
        return await _receive(request, max_body)
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
        # As parse_qsl does it, which takes thrice the time.
        fields = (field.partition("=") for field in body.decode().split("&") if field)
        return [(_unquoted(name), _unquoted(value)) for name, _, value in fields]
    except ValueError:  # UnicodeDecodeError is one
        raise invalid_request("The body is not a form in UTF-8.") from None


def _unquoted(text: str) -> str:
    # Usernames have an @, and mostly nothing else that is quoted.
    text = text.replace("%40", "@")
    return unquote_plus(text, errors="strict") if "%" in text or "+" in text else text


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
        return [(name, _text(name, value)) for name, value in members if value is not None]
    except (ValueError, RecursionError):  # UnicodeDecodeError and JSONDecodeError are the first
        raise invalid_request("The body is not a JSON object of strings, in UTF-8.") from None


def _text(name: str, value: object) -> str:
    if name in REPEATABLE and isinstance(value, list) and all(isinstance(v, str) for v in value):
        return " ".join(value)
    if not isinstance(value, str):
        raise _NotFlat
    return value
