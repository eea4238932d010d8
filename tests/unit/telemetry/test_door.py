"""The port of the metrics: light, and closed to whoever is slow or asks for anything else."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from keyturn.server.telemetry import door
from keyturn.server.telemetry.reading import Reading

Ask = Callable[[bytes], Awaitable[bytes]]


class Source:
    """What is read, and how often it was."""

    def __init__(self) -> None:
        self.asked = 0

    async def __call__(self) -> Reading:
        self.asked += 1
        return {"keyturn_workers": {(): 1}}


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
async def port(source: Source) -> AsyncIterator[int]:
    listener = socket.create_server(("127.0.0.1", 0))
    number: int = listener.getsockname()[1]
    async with door.served(listener, source):
        yield number


@pytest.fixture
def ask(port: int) -> Ask:
    async def asked(request: bytes) -> bytes:
        async with asyncio.timeout(10):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request)
            answer = await reader.read()
            writer.close()
            return answer

    return asked


def get(path: str, method: str = "GET") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


class TestDoor:
    async def test_200_metrics(self, ask: Ask) -> None:
        head, _, body = (await ask(get("/metrics"))).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"\r\nContent-Type: text/plain; version=0.0.4" in head
        assert f"\r\nContent-Length: {len(body)}".encode() in head
        assert b"\nkeyturn_workers 1.0\n" in body

    async def test_200_live(self, ask: Ask) -> None:
        assert (await ask(get("/health/live"))).endswith(b'\r\n\r\n{"status":"ok"}')

    async def test_200_head_has_no_body(self, ask: Ask) -> None:
        assert (await ask(get("/metrics", "HEAD"))).endswith(b"\r\n\r\n")

    @pytest.mark.parametrize("path", ["/", "/metrics/x", "/iam/auth/token", "//metrics"])
    async def test_404(self, ask: Ask, path: str) -> None:
        assert (await ask(get(path))).startswith(b"HTTP/1.1 404 ")

    async def test_405(self, ask: Ask) -> None:
        answer = await ask(get("/metrics", "POST"))
        assert answer.startswith(b"HTTP/1.1 405 ")
        assert b"\r\nAllow: GET, HEAD\r\n" in answer

    async def test_a_head_without_end_is_cut_off(self, ask: Ask, source: Source) -> None:
        try:
            said = await ask(b"GET /metrics HTTP/1.1\r\n" + b"x" * 3 * door.MAX_HEAD)
        except ConnectionError:
            said = b""
        assert (said, source.asked) == (b"", 0)

    async def test_who_is_slow_is_dropped(self, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(door, "HEAD_WAIT", 0.05)
        try:
            said = await ask(b"GET /metrics HTTP/1.1\r\n")
        except ConnectionError:
            said = b""
        assert said == b""

    async def test_who_is_silent_makes_room_for_who_asks(
        self, port: int, ask: Ask, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(door, "HEAD_WAIT", 60.0)
        monkeypatch.setattr(door, "PATIENCE", 60.0)
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(door.MOST)]
        for _ in range(12):
            assert b"200 OK" in await ask(get("/metrics"))
        # The oldest went, the others are where they were.
        assert await held[0][0].read() == b""
        reader, writer = held[-1]
        writer.write(get("/metrics"))
        assert b"200 OK" in await reader.read()
        for _, writer in held:
            writer.close()

    async def test_who_is_being_answered_is_not_closed_for_another(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ready = asyncio.Event()

        async def slowly() -> Reading:
            await ready.wait()
            return {"keyturn_workers": {(): 1}}

        listener = socket.create_server(("127.0.0.1", 0))
        number = listener.getsockname()[1]
        monkeypatch.setattr(door, "PATIENCE", 60.0)
        async with door.served(listener, slowly):
            asking = [await asyncio.open_connection("127.0.0.1", number) for _ in range(door.MOST)]
            for _, writer in asking:
                writer.write(get("/metrics"))
            await asyncio.sleep(0.05)
            late, beyond = await asyncio.open_connection("127.0.0.1", number)
            try:
                assert await late.read() == b""
            except ConnectionError:
                pass
            beyond.close()
            ready.set()
            for reader, writer in asking:
                assert b"200 OK" in await reader.read()
                writer.close()

    async def test_many_who_ask_at_once_are_told_the_same(self, ask: Ask, source: Source) -> None:
        answers = await asyncio.gather(*(ask(get("/metrics")) for _ in range(10)))
        assert all(b"200 OK" in answer for answer in answers)
        assert source.asked < 10

    async def test_a_fault_is_no_answer_and_the_next_one_is_tried(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def broken() -> Reading:
            raise RuntimeError("broken")

        listener = socket.create_server(("127.0.0.1", 0))
        number = listener.getsockname()[1]
        async with door.served(listener, broken):
            for _ in range(2):
                reader, writer = await asyncio.open_connection("127.0.0.1", number)
                writer.write(get("/metrics"))
                with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                    await reader.readexactly(1)
                writer.close()
        assert "the metrics could not be told" in caplog.text
