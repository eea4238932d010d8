"""Random bytes, headers and forms at every route: no answer is ever a 5xx."""

import asyncio
import base64
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyturn.server import app as wiring
from keyturn.server.parts import open_parts
from keyturn.server.services.bootstrap import Demo, make_demo
from keyturn.server.settings import Settings
from tests.http.contract import check, operations
from tests.unlimited import UNLIMITED

PATHS = sorted({path for _, path in operations()})
METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "X"]
NAMES = [
    b"authorization",
    b"content-type",
    b"content-length",
    b"content-encoding",
    b"x-tenant-id",
    b"x-request-id",
    b"x-forwarded-for",
    b"if-none-match",
    b"accept",
    b"transfer-encoding",
]
KINDS = [
    b"application/x-www-form-urlencoded",
    b"application/json",
    b"application/json; charset=utf-8",
    b"text/plain",
]
FIELDS = [
    "grant_type",
    "username",
    "password",
    "refresh_token",
    "scope",
    "client_id",
    "client_secret",
    "token",
    "token_type_hint",
    "x",
]
GRANTS = ["password", "client_credentials", "refresh_token"]

#: What HTTP servers let through in a header's value.
VALUES = st.binary(max_size=60).map(lambda b: bytes(c for c in b if c >= 0x20 and c != 0x7F))
HEADERS = st.lists(st.tuples(st.sampled_from(NAMES), VALUES), max_size=5)


class World:
    """A service in an event loop of its own, so that examples can share it."""

    def __init__(self, directory: str) -> None:
        self.runner = asyncio.Runner()
        self.settings = Settings(
            database_url=f"sqlite:///{directory}/k.db",
            master_secret=secrets.token_urlsafe(40),
            trusted_proxies="127.0.0.0/8",
            **UNLIMITED,
        )
        self.app = wiring.create_app(self.settings)
        self.lifespan = self.app.router.lifespan_context(self.app)
        self.demo: Demo = self.runner.run(self._start())

    async def _start(self) -> Demo:
        await wiring.migrate(self.settings)
        async with open_parts(self.settings) as parts:
            demo = await make_demo(parts.store, parts.key_format)
        await self.lifespan.__aenter__()
        return demo

    def stop(self) -> None:
        self.runner.run(self.lifespan.__aexit__(None, None, None))
        self.runner.close()

    def ask(
        self, method: str, path: str, headers: list[tuple[bytes, bytes]], body: bytes
    ) -> httpx.Response:
        async def call() -> httpx.Response:
            transport = httpx.ASGITransport(self.app)  # an exception fails the test
            async with httpx.AsyncClient(
                transport=transport, base_url="http://t", event_hooks={"response": [check]}
            ) as client:
                return await client.request(method, path, headers=headers, content=body)

        return self.runner.run(call())


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with tempfile.TemporaryDirectory() as directory:
        assert Path(directory).is_dir()
        made = World(directory)
        yield made
        made.stop()


@settings(max_examples=300, deadline=None)
@given(
    method=st.sampled_from(METHODS),
    path=st.sampled_from(PATHS),
    query=st.binary(max_size=40),
    headers=HEADERS,
    body=st.binary(max_size=300),
)
def test_random_bytes(
    world: World,
    method: str,
    path: str,
    query: bytes,
    headers: list[tuple[bytes, bytes]],
    body: bytes,
) -> None:
    from urllib.parse import quote

    url = f"{path}?{quote(query)}" if query else path
    assert world.ask(method, url, headers, body).status_code < 500


@settings(max_examples=300, deadline=None)
@given(
    path=st.sampled_from(["/iam/auth/token", "/iam/auth/revoke", "/iam/auth/introspect"]),
    fields=st.dictionaries(st.sampled_from(FIELDS), st.text(max_size=80), max_size=6),
    grant=st.none() | st.sampled_from(GRANTS),
    headers=HEADERS,
    as_json=st.booleans(),
    data=st.data(),
)
def test_random_forms(
    world: World,
    path: str,
    fields: dict[str, str],
    grant: str | None,
    headers: list[tuple[bytes, bytes]],
    as_json: bool,
    data: st.DataObject,
) -> None:
    import json
    from urllib.parse import urlencode

    known = [world.demo.user.username, world.demo.key.text, world.demo.key.key_id]
    for name in list(fields):
        if data.draw(st.booleans()):
            fields[name] = data.draw(st.sampled_from(known))
    if grant:
        fields["grant_type"] = grant
    kind = KINDS[1] if as_json else KINDS[0]
    text = json.dumps(fields) if as_json else urlencode(fields, errors="surrogatepass")
    rest = [pair for pair in headers if pair[0] not in (b"content-type", b"content-length")]
    answer = world.ask("POST", path, [*rest, (b"content-type", kind)], text.encode())
    assert answer.status_code < 500


@settings(max_examples=200, deadline=None)
@given(cut=st.integers(0, 60_000), letter=st.integers(0, 255), tenant=VALUES)
def test_a_damaged_token_is_refused(world: World, cut: int, letter: int, tenant: bytes) -> None:
    # The other key may have been shown at /revoke before, which ends it.
    who = world.demo.platform
    form = f"grant_type=password&username={who.user.username}&password={who.key.text}"
    tokens = world.ask("POST", "/iam/auth/token", [(b"content-type", KINDS[0])], form.encode())
    token = tokens.json()["access_token"].encode()
    place = cut % len(token)
    damaged = token[:place] + bytes([letter]) + token[place + 1 :]
    headers = [(b"authorization", b"Bearer " + damaged), (b"x-tenant-id", tenant)]
    status = world.ask("GET", "/iam/users/me", headers, b"").status_code
    assert status == 401 or _decoded(damaged) == _decoded(token)


def _decoded(token: bytes) -> list[bytes]:
    """The bytes of a token: the last letter of a segment has bits that mean nothing."""
    return [base64.urlsafe_b64decode(part + b"==") for part in token.split(b".")]
