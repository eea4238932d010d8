"""`keyturn api-key inspect` and `leaked`: about a whole key, without a login."""

import json
import secrets
from urllib.parse import parse_qs

import httpx
import pytest
import respx

from keyturn.server.domain.ids import base62, uuid7_int
from keyturn.server.domain.key_text import key_text
from tests.cli.conftest import Run

URL = "http://keyturn.localhost"


@pytest.fixture
def key() -> str:
    return key_text(base62(uuid7_int(), 22), base62(secrets.randbits(256), 43))


class TestInspect:
    def test_0_says_which_key_it_is_and_asks_nobody(self, run: Run, key: str) -> None:
        with respx.mock(assert_all_called=False) as router:
            done = run("api-key", "inspect", "--stdin", stdin=f"{key}\n")
            assert not router.calls
        assert (done.returncode, done.stdout) == (0, key.split("_")[1] + "\n")
        told = run("api-key", "inspect", "--stdin", "--json", stdin=key)
        assert json.loads(told.stdout) == {"api_key": True, "id": key.split("_")[1]}
        assert key.split("_")[2] not in done.stdout + done.stderr + told.stdout + told.stderr

    def test_1_a_letter_that_is_wrong(self, run: Run, key: str) -> None:
        wrong = key[:40] + ("0" if key[40] != "0" else "1") + key[41:]
        for text in (wrong, key[:-1], "nothing", "ktr_" + "x" * 40):
            done = run("api-key", "inspect", "--stdin", stdin=text)
            assert (done.returncode, done.stdout) == (1, "")
            assert "checksum" in done.stderr
            assert text not in done.stderr
        told = run("api-key", "inspect", "--stdin", "--json", stdin=wrong)
        assert json.loads(told.stdout) == {"api_key": False, "id": None}

    def test_2_nobody_to_ask(self, run: Run) -> None:
        assert run("api-key", "inspect").returncode == 2


class TestLeaked:
    def test_0_sends_the_key_alone(self, run: Run, key: str) -> None:
        with respx.mock() as router:
            route = router.post(f"{URL}/iam/auth/revoke").respond(200)
            done = run("api-key", "leaked", "--url", URL, "--stdin", "--yes", stdin=key)
        assert (done.returncode, done.stdout) == (0, key.split("_")[1] + "\n")
        request = route.calls.last.request
        assert sent(request) == key
        assert "authorization" not in request.headers
        assert key not in done.stdout + done.stderr

    def test_1_what_is_no_key_is_not_sent(self, run: Run, key: str) -> None:
        with respx.mock(assert_all_called=False) as router:
            done = run("api-key", "leaked", "--url", URL, "--stdin", "--yes", stdin=key[:-1] + "-")
            assert not router.calls
        assert done.returncode == 1

    def test_2_asks_first(self, run: Run, key: str) -> None:
        done = run("api-key", "leaked", "--url", URL, "--stdin", stdin=key)
        assert done.returncode == 2
        assert "--yes" in done.stderr


def sent(request: httpx.Request) -> str:
    text = request.content.decode()
    if request.headers["content-type"] == "application/json":
        return str(json.loads(text)["token"])
    return parse_qs(text)["token"][0]
