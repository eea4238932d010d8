"""What no caller may get past the door with, on every route. Never a 5xx, never a traceback."""

import base64
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from keyturn.server.http.body import MAX_FIELDS
from tests.http.conftest import Clock, Running, World, running
from tests.http.contract import operations

OAUTH = ("/iam/auth/token", "/iam/auth/revoke", "/iam/auth/introspect")
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
JSON = {"Content-Type": "application/json"}


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(
    sqlite_template: Path, worlds: dict[str, World], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Running]:
    """One service for all: nothing here gets as far as to write, and no backend differs."""
    path = tmp_path_factory.mktemp("bad-input") / "keyturn.db"
    shutil.copy(sqlite_template, path)
    async with running(f"sqlite:///{path}", worlds, Clock()) as started:
        yield started


async def post(service: Running, path: str, body: bytes, headers: dict[str, str]) -> httpx.Response:
    return await service.client.post(path, content=body, headers=headers)


def oauth_error(answer: httpx.Response) -> str:
    assert answer.headers["content-type"] == "application/json"
    error: str = answer.json()["error"]
    # RFC 6749, 5.2: the description keeps to its characters, whatever the input was.
    assert all(
        c in "\x20\x21" or "\x23" <= c <= "\x5b" or "\x5d" <= c <= "\x7e"
        for c in answer.json()["error_description"]
    )
    return error


@pytest.mark.parametrize("path", OAUTH)
class TestBody:
    async def test_413_over_64_kib(self, service: Running, path: str) -> None:
        answer = await post(service, path, b"a=" + b"x" * 65_536, FORM)
        assert answer.status_code == 413
        assert oauth_error(answer) == "invalid_request"

    async def test_413_over_64_kib_in_chunks(self, service: Running, path: str) -> None:
        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(9):
                yield b"x" * 8_192

        answer = await service.client.post(path, content=chunks(), headers=FORM)
        assert answer.status_code == 413

    @pytest.mark.parametrize("length", ["9" * 5_000, "65537"])
    async def test_413_announced(self, service: Running, path: str, length: str) -> None:
        answer = await post(service, path, b"a=b", {**FORM, "Content-Length": length})
        assert answer.status_code == 413

    @pytest.mark.parametrize(
        "headers",
        [
            {},
            {"Content-Type": ""},
            {"Content-Type": "text/plain"},
            {"Content-Type": "multipart/form-data; boundary=x"},
            {"Content-Type": "application/json; charset=latin-1"},
            {"Content-Type": "application/x-www-form-urlencoded", "Content-Encoding": "gzip"},
            {"Content-Type": "application/jsonx"},
        ],
    )
    async def test_415(self, service: Running, path: str, headers: dict[str, str]) -> None:
        answer = await post(service, path, b"grant_type=password", headers)
        assert answer.status_code == 415
        assert oauth_error(answer) == "invalid_request"

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"{",
            b"[]",
            b"[[]]",
            b'"x"',
            b"null",
            b"1",
            b"\xff\xfe",
            b'{"token": 1}',
            b'{"token": ["x"]}',
            b'{"token": {"a": "b"}}',
            b'{"token": "a", "token": "b"}',
            b'{"token": null, "token": "b"}',
            b'{"token": "a\\u0000"}',
            b'{"token": "\\ud800"}',
            b'{"token": NaN}',
            b"\xef\xbb\xbf{}",
            b"[" * 60_000,
            b'{"a":' * 10_000,
            b'{"token": ' + b"9" * 5_000 + b"}",
        ],
    )
    async def test_400_json(self, service: Running, path: str, body: bytes) -> None:
        answer = await post(service, path, body, JSON)
        assert answer.status_code == 400
        assert oauth_error(answer) == "invalid_request"

    @pytest.mark.parametrize(
        "body",
        [
            b"token=a&token=b",
            b"token=%00",
            b"token=a%0Ab",
            b"token=%FF",
            b"token=\xff",
            b"token=%ED%A0%80",
            b"a=&" * 10_000,
            b"&" * 60_000,
        ],
    )
    async def test_400_form(self, service: Running, path: str, body: bytes) -> None:
        answer = await post(service, path, body, FORM)
        assert answer.status_code == 400
        assert oauth_error(answer) == "invalid_request"

    async def test_400_too_many_members(self, service: Running, path: str) -> None:
        body = json.dumps({f"f{n}": "x" for n in range(MAX_FIELDS + 1)}).encode()
        assert (await post(service, path, body, JSON)).status_code == 400

    async def test_400_parameters_in_the_query(self, service: Running, path: str) -> None:
        answer = await post(service, f"{path}?grant_type=password", b"token=x", FORM)
        assert answer.status_code == 400
        assert oauth_error(answer) == "invalid_request"

    @pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"])
    async def test_405_with_allow(self, service: Running, path: str, method: str) -> None:
        answer = await service.client.request(method, path)
        assert answer.status_code == 405
        assert answer.headers["allow"] == "POST"

    @pytest.mark.parametrize(
        "value",
        [
            "Basic",
            "Basic !!!",
            "Basic " + base64.b64encode(b"no colon").decode(),
            "Basic " + base64.b64encode(b"\xff\xfe:x").decode(),
            "Basic " + base64.b64encode(b"%FF:x").decode(),
            "Basic " + base64.b64encode(b"a%00:x").decode(),
            "Bearer x",
            "Digest x",
            "\xe4",
        ],
    )
    async def test_401_garbage_in_authorization(
        self, service: Running, path: str, value: str
    ) -> None:
        answer = await service.client.post(
            path,
            content=b"grant_type=client_credentials&token=x",
            headers=[
                (b"Content-Type", FORM["Content-Type"].encode()),
                (b"Authorization", value.encode("latin-1")),
            ],
        )
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Basic ")
        assert oauth_error(answer) == "invalid_client"

    async def test_400_two_ways_to_authenticate(self, service: Running, path: str) -> None:
        answer = await service.client.post(
            path,
            data={"grant_type": "client_credentials", "token": "x", "client_secret": "y"},
            auth=("x", "y"),
        )
        assert answer.status_code == 400

    async def test_400_repeated_authorization(self, service: Running, path: str) -> None:
        answer = await service.client.post(
            path,
            content=b"token=x",
            headers=[("Content-Type", FORM["Content-Type"])]
            + [("Authorization", "Basic eDp5")] * 2,
        )
        assert answer.status_code == 400


class TestTokenRequest:
    @pytest.mark.parametrize(
        ("grant_type", "error"),
        [
            ("implicit", "unsupported_grant_type"),
            ("Password", "unsupported_grant_type"),
            ('"><script>', "unsupported_grant_type"),
            ("é", "unsupported_grant_type"),
            ("", "invalid_request"),
        ],
    )
    async def test_400_grant(self, service: Running, grant_type: str, error: str) -> None:
        answer = await service.token(grant_type=grant_type)
        assert answer.status_code == 400
        assert oauth_error(answer) == error

    @pytest.mark.parametrize("value", ["acme", "", "*", "0" * 36])
    async def test_400_tenant(self, service: Running, value: str) -> None:
        answer = await service.token(
            headers={"x-tenant-id": value},
            grant_type="password",
            username=service.username,
            password=service.api_key,
        )
        assert answer.status_code == 400
        assert oauth_error(answer) == "invalid_request"

    async def test_400_repeated_tenant(self, service: Running) -> None:
        answer = await service.client.post(
            "/iam/auth/token",
            content=b"grant_type=password",
            headers=[
                ("Content-Type", FORM["Content-Type"]),
                ("x-tenant-id", service.acme),
                ("x-tenant-id", service.acme),
            ],
        )
        assert answer.status_code == 400

    @pytest.mark.parametrize("username", ["ä" * 100, "💥", "' OR 1=1 --", "x" * 60_000, "%"])
    async def test_400_odd_usernames(self, service: Running, username: str) -> None:
        answer = await service.token(
            grant_type="password", username=username, password=service.api_key
        )
        assert oauth_error(answer) == "invalid_grant"


class TestElsewhere:
    @pytest.mark.parametrize(
        "path", ["/nope", "/iam", "/iam/auth/token/", "/iam//users/me", "/IAM/users/me"]
    )
    async def test_404_problem(self, service: Running, path: str) -> None:
        answer = await service.client.get(path)
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["type"] == "urn:keyturn:error:not_found"
        assert answer.json()["request_id"] == answer.headers["x-request-id"]

    async def test_405_names_every_method_of_the_path(self, service: Running) -> None:
        """RFC 9110, 15.5.6: also where a path with a parameter looks alike."""
        for path in {path for _, path in operations()}:
            answer = await service.client.request("TRACE", path)
            assert answer.status_code == 405
            methods = {method for method, other in operations() if other == path}
            allowed = set(answer.headers["allow"].split(", "))
            assert allowed - {"HEAD"} == methods
            assert ("HEAD" in allowed) == ("GET" in methods)
