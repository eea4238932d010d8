"""`TokenCache`: one exchange for several processes, and no call that fails by it."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from keyturn.client import TokenCache
from tests.client.conftest import API_KEY, FakeService, SetClock

ASSETS = "https://assets.example/assets"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="modes")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "tokens.json"


def get(service: FakeService, path: Path, **options: object) -> str:
    """A process of its own, as far as the cache can tell."""
    auth = service.auth(cache=TokenCache(path), **options)
    with service.client(auth) as client:
        answer = client.get(ASSETS)
    assert answer.status_code == 200
    return str(answer.json()["token"])


class TestKept:
    def test_for_the_next_process(self, service: FakeService, path: Path) -> None:
        assert get(service, path) == get(service, path)
        assert len(service.forms) == 1

    def test_for_the_owner_alone(self, service: FakeService, path: Path) -> None:
        old = os.umask(0)
        try:
            get(service, path)
        finally:
            os.umask(old)
        assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700

    def test_without_key_or_refresh_token(self, service: FakeService, path: Path) -> None:
        get(service, path)
        text = path.read_text()
        assert API_KEY not in text
        assert API_KEY.split("_")[2] not in text
        assert "ktr_" not in text

    @pytest.mark.parametrize(
        "other",
        [{"tenant": "t"}, {"scope": "a"}, {"resource": "b"}, {"grant": "client_credentials"}],
    )
    def test_apart_from_others(
        self, service: FakeService, path: Path, other: dict[str, str]
    ) -> None:
        first = get(service, path)
        assert get(service, path, **other) != first
        assert get(service, path) == first

    def test_until_it_is_old(self, service: FakeService, path: Path, clock: SetClock) -> None:
        get(service, path, clock=clock)
        clock.tick(0.74 * 300)
        get(service, path, clock=clock)
        assert len(service.forms) == 1
        clock.tick(0.17 * 300)
        get(service, path, clock=clock)
        assert len(service.forms) == 2

    def test_a_dead_one_is_replaced(self, service: FakeService, path: Path) -> None:
        service.dead.add(get(service, path))
        fresh = get(service, path)
        assert fresh == service.issued[1] == get(service, path)

    def test_what_another_process_got_is_taken(
        self, service: FakeService, path: Path, clock: SetClock
    ) -> None:
        auth = service.auth(cache=TokenCache(path), clock=clock)
        with service.client(auth) as client:
            client.get(ASSETS)
            clock.tick(0.91 * 300)
            other = get(service, path, clock=clock)
            assert client.get(ASSETS).json()["token"] == other
        assert len(service.forms) == 2

    def test_expired_ones_are_thrown_away(
        self, service: FakeService, path: Path, clock: SetClock
    ) -> None:
        get(service, path, clock=clock)
        clock.tick(301)
        get(service, path, clock=clock, scope="a")
        assert len(json.loads(path.read_text())) == 1

    def test_from_before_the_clock_was_set_back_it_is_not_used(
        self, service: FakeService, path: Path, clock: SetClock
    ) -> None:
        get(service, path, clock=clock)
        clock.step_wall(-3600)
        get(service, path, clock=clock)
        assert len(service.forms) == 2


class TestUnusable:
    @pytest.mark.parametrize(
        "text",
        [
            b"",
            b"{",
            b"[]",
            b"\xff",
            b'{"%s": 1}',
            b'{"%s": {}}',
            b'{"%s": {"access_token": "a\\nb", "obtained_at": 0, "expires_at": 9e9, "scope": ""}}',
            b'{"%s": {"access_token": "a", "obtained_at": "x", "expires_at": 9e9, "scope": ""}}',
            b'{"%s": {"access_token": "a", "obtained_at": NaN, "expires_at": 9e9, "scope": ""}}',
            b'{"%s": {"access_token": "a", "obtained_at": 1'
            + b"0" * 400
            + b', "expires_at": 9e9}}',
            b"[" * 70000,
        ],
    )
    def test_broken_it_is_replaced(self, service: FakeService, path: Path, text: bytes) -> None:
        first = get(service, path)
        (name,) = json.loads(path.read_text())
        path.write_bytes(text.replace(b"%s", name.encode()))
        second = get(service, path)
        assert first != second == get(service, path)
        assert len(service.assets) == 3  # nothing of the file was sent, and refused

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
    def test_for_others_to_read_or_write_it_is_replaced(
        self, service: FakeService, path: Path, mode: int
    ) -> None:
        first = get(service, path)
        path.chmod(mode)
        assert get(service, path) != first
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    def test_as_a_link_it_is_not_followed(
        self, service: FakeService, path: Path, tmp_path: Path
    ) -> None:
        first = get(service, path)
        elsewhere = tmp_path / "elsewhere"
        path.rename(elsewhere)
        path.symlink_to(elsewhere)
        before = elsewhere.read_text()
        assert get(service, path) != first
        assert not path.is_symlink()
        assert elsewhere.read_text() == before

    @pytest.mark.parametrize("kind", ["file", "directory", "pipe", "locked directory"])
    def test_no_call_fails_by_it(self, service: FakeService, path: Path, kind: str) -> None:
        if kind == "file":
            path.parent.write_text("")
        elif kind == "directory":
            path.mkdir(parents=True)
        elif kind == "pipe":
            path.parent.mkdir()
            os.mkfifo(path)
        else:
            path.parent.mkdir()
            path.with_name(f"{path.name}.lock").mkdir()
        assert get(service, path)

    def test_a_lock_that_nobody_gives_back_is_waited_for_a_while(
        self, service: FakeService, path: Path
    ) -> None:
        with TokenCache(path).try_lock():  # type: ignore[union-attr]
            assert TokenCache(path).try_lock() is None
            assert get(service, path, deadline=0.2)
        assert get(service, path, deadline=0.2)

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
    def test_a_lock_is_not_kept_by_a_forked_child(self, path: Path) -> None:
        cache = TokenCache(path)
        told, tell = os.pipe()
        heard, answer = os.pipe()
        lock = cache.try_lock()
        assert lock is not None
        with lock, warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # threads of other tests
            child = os.fork()
            if child == 0:
                os.close(tell)
                os.write(answer, b"x")
                os.read(told, 1)  # until the parent goes on, or ends
                os._exit(0)
            os.close(answer)
            assert os.read(heard, 1) == b"x"
            assert cache.try_lock() is None  # the child gave back nothing of its parent's
        try:
            again = cache.try_lock()
            assert again is not None
            with again:
                pass
        finally:
            os.close(tell)
            os.waitpid(child, 0)
            os.close(told)
            os.close(heard)


PROGRAM = """
import sys, time
import httpx
from keyturn.client import ApiKeyAuth, Network, TokenCache

def token(request):
    with open(sys.argv[2], "a") as log:
        log.write("exchange\\n")
    time.sleep(0.3)
    return httpx.Response(200, json={
        "access_token": f"a.{time.time()}.c", "token_type": "bearer", "expires_in": 300})

def resource(request):
    return httpx.Response(200, text=request.headers["authorization"])

auth = ApiKeyAuth("https://iam.example", "svc@acme", "key", cache=TokenCache(sys.argv[1]),
    network=Network(transport=httpx.MockTransport(token)))
with httpx.Client(auth=auth, transport=httpx.MockTransport(resource)) as client:
    print(client.get("https://assets.example").text)
"""


class TestSeveralProcesses:
    def test_make_one_exchange(self, path: Path, tmp_path: Path) -> None:
        log = tmp_path / "log"
        line = [sys.executable, "-c", PROGRAM, str(path), str(log)]
        started = [subprocess.Popen(line, stdout=subprocess.PIPE) for _ in range(4)]
        said = {process.communicate(timeout=60)[0] for process in started}
        assert len(said) == 1
        assert said.pop().startswith(b"Bearer a.")
        assert log.read_text() == "exchange\n"


class TestRepr:
    def test_tells_the_path(self, path: Path) -> None:
        assert repr(TokenCache(path)) == f"TokenCache({str(path)!r})"
