"""Bodies that take long to parse."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

import pytest
from starlette.requests import Request
from starlette.types import Message

from keyturn.server.domain.errors import Refusal, Unavailable
from keyturn.server.http import body as body_module
from keyturn.server.http.body import LARGE, Malformed, read_json
from keyturn.server.http.management.endpoints import MAX_IMPORT, Import

T = TypeVar("T")

DEEP = b"[" * 100_000 + b"]" * 100_000


def request(body: bytes) -> Request:
    async def receive() -> Message:
        return {"type": "http.request", "body": body}

    headers = [(b"content-type", b"application/json")]
    return Request({"type": "http", "headers": headers}, receive)


def importing(value: bytes) -> bytes:
    return b'{"service": "edge", "document": {"a": ' + value + b"}}"


def many(value: bytes) -> bytes:
    """A list of as many as an import may have."""
    return b"[" + (value + b",") * (MAX_IMPORT // (len(value) + 1) - 100) + value + b"]"


async def turns(work: Awaitable[T]) -> tuple[T, int]:
    """What comes of `work`, and how often others had their turn meanwhile."""
    count = 0

    async def others() -> None:
        nonlocal count
        while True:
            # Not at once again: that would fight the parser's thread for the interpreter.
            await asyncio.sleep(0.001)
            count += 1

    task = asyncio.create_task(others())
    try:
        return await work, count
    finally:
        task.cancel()


class TestLargeBody:
    @pytest.mark.parametrize("value", [b"{}", b'{"a":{}}', b"[]"], ids=repr)
    async def test_others_have_their_turn_meanwhile(
        self, value: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(body_module, "PARSE_WAIT", 300.0)  # however slow the machine is
        body = importing(many(value))
        (raw, read), count = await turns(read_json(request(body), Import, MAX_IMPORT))
        assert (raw, read.service) == (body, "edge")
        assert count > 0  # on the event loop itself it would be none

    async def test_small_ones_are_parsed_at_once(self) -> None:
        (_, read), count = await turns(read_json(request(importing(b"1")), Import, MAX_IMPORT))
        assert (read.document, count) == ({"a": 1}, 0)

    @pytest.mark.parametrize(
        "value",
        [b'{"x": 1, "x": 1}', b"{", b"\xff", DEEP],
        ids=["repeated", "cut", "no UTF-8", "deep"],
    )
    @pytest.mark.parametrize("padding", [0, LARGE], ids=["small", "large"])
    async def test_refused_alike(self, value: bytes, padding: int) -> None:
        with pytest.raises(Refusal):
            await read_json(request(importing(value) + b" " * padding), Import, MAX_IMPORT)

    @pytest.mark.parametrize("padding", [0, LARGE], ids=["small", "large"])
    async def test_faults_are_named_alike(self, padding: int) -> None:
        with pytest.raises(Malformed) as malformed:
            await read_json(request(b'{"service": 1}' + b" " * padding), Import, MAX_IMPORT)
        assert [field for field, _ in malformed.value.faults] == ["service", "document"]

    async def test_too_many_are_told_to_come_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(body_module, "PARSE_WAIT", 0.0)
        with pytest.raises(Unavailable):
            await read_json(request(importing(many(b"{}"))), Import, MAX_IMPORT)
