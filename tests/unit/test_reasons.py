"""What is said of a server that cannot be reached: by its cause, and without quoting anything."""

from __future__ import annotations

import errno
import socket
import ssl
from typing import Any

import httpx
import pytest

from keyturn.server.reasons import unreachable
from tests.servers import free_port

REFUSED = ConnectionRefusedError(errno.ECONNREFUSED, "ada")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (REFUSED, "db:1 refuses connections"),
        (OSError(f"Multiple: [Errno {errno.ECONNREFUSED}] ada"), "db:1 refuses connections"),
        (ExceptionGroup("all", [REFUSED, OSError("ada")]), "db:1 refuses connections"),
        (socket.gaierror(-2, "ada"), "no address is known of db:1"),
        (TimeoutError("ada"), "db:1 does not answer in time"),
        (OSError(errno.EHOSTUNREACH, "ada"), "no way leads to db:1"),
        (ConnectionResetError(errno.ECONNRESET, "ada"), "db:1 closes connections"),
        (BrokenPipeError(errno.EPIPE, "ada"), "db:1 closes connections"),
        (ssl.SSLError(1, "ada"), "db:1 does not speak TLS as it should"),
        (OSError(errno.EIO, "ada"), None),
        (ValueError("ada"), None),
    ],
)
def test_says_what_is_wrong_wrapped_or_not(error: Exception, said: str | None) -> None:
    assert unreachable("db:1", error) == said
    wrapped = RuntimeError("postgresql://ada:s3cret@db")
    wrapped.__cause__ = error
    assert unreachable("db:1", wrapped) == said


@pytest.mark.parametrize(
    ("host", "said"),
    [("127.0.0.1", "refuses connections"), ("nowhere.invalid", "no address is known of")],
)
async def test_sees_through_httpx(host: str, said: str) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        with pytest.raises(httpx.ConnectError) as caught:
            await client.get(f"http://{host}:{free_port()}/")
    told = unreachable(host, caught.value)
    assert told is not None
    assert said in told


def test_causes_in_a_circle_end() -> None:
    one: Any = RuntimeError("one")
    one.__context__ = two = RuntimeError("two")
    two.__context__ = one
    assert unreachable("db:1", one) is None
