"""`keyturn session`: one's own, and as an administrator, against a running service."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.cli.conftest import Run
from tests.cli.test_commands import one_line

Session = dict[str, Any]


@pytest.fixture
def runner(answer: Any) -> dict[str, str]:
    """A service user of this test's own, with a key: what a caller needs to say."""
    if "runner" not in [user["name"] for user in answer("service-user", "list")]:
        answer("service-user", "create", "runner", "--role", "tenant-admin")
    email = answer("service-user", "show", "runner")["email"]
    names = {key["name"] for key in answer("api-key", "list")}
    name = f"key-{len(names)}"
    made = answer("api-key", "create", "--user", "runner", "--name", name)
    return {"username": email, "api_key": made["secret"], "key": name}


@pytest.fixture
def begin(who: dict[str, str], runner: dict[str, str]) -> Callable[[], Session]:
    """Begins a session of the runner, refreshed once."""

    def begun() -> Session:
        url = f"{who['url']}/iam/auth/token"
        asked = {"username": runner["username"], "password": runner["api_key"]}
        first = httpx.post(url, json=asked, timeout=30).json()
        form = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"]}
        body: Session = httpx.post(url, data=form, timeout=30).json()
        return body

    return begun


@pytest.fixture
def goes_on(who: dict[str, str]) -> Callable[[Session], bool]:
    """Whether a session can be refreshed."""

    def refreshed(session: Session) -> bool:
        form = {"grant_type": "refresh_token", "refresh_token": session["refresh_token"]}
        answer = httpx.post(f"{who['url']}/iam/auth/token", data=form, timeout=30)
        assert answer.status_code in {200, 400}
        return answer.status_code == 200

    return refreshed


class TestOwn:
    def test_0_listed_and_ended(
        self,
        run: Run,
        who: dict[str, str],
        runner: dict[str, str],
        begin: Callable[[], Session],
        goes_on: Callable[[Session], bool],
    ) -> None:
        me = {**who, "username": runner["username"], "api_key": runner["api_key"]}
        one, two = begin(), begin()
        found = json.loads(run("session", "list", "--live", "--json", **me).stdout)
        assert len(found) == 2
        done = run("session", "end", found[0]["id"], "--yes", **me)
        assert (done.returncode, done.stdout) == (0, "")
        assert f"ended the session {found[0]['id']}" in one_line(done.stderr)
        assert (goes_on(one), goes_on(two)) == (True, False)
        done = run("session", "end-all", "--yes", **me)
        assert done.returncode == 0
        assert "ended all sessions and tokens of yourself" in one_line(done.stderr)
        assert not goes_on(one)
        found = json.loads(run("session", "list", "--json", **me).stdout)
        assert {item["end_reason"] for item in found} == {"ended", "superseded"}
        assert "end_reason" in run("session", "list", **me).stdout


class TestOfOthers:
    def test_0_of_a_user_and_of_a_key(
        self,
        admin: Run,
        answer: Any,
        runner: dict[str, str],
        begin: Callable[[], Session],
        goes_on: Callable[[Session], bool],
    ) -> None:
        one, two = begin(), begin()
        found = answer("session", "list", "--key", runner["key"])
        assert len(found) == 2
        assert answer("session", "list", "--user", "runner", "--live") == found
        assert admin("session", "end", found[1]["id"], "--other", "--yes").returncode == 0
        assert (goes_on(one), goes_on(two)) == (False, True)
        assert admin("session", "end-all", "--key", runner["key"], "--yes").returncode == 0
        assert not goes_on(two)
        two = begin()
        [found] = answer("session", "list", "--key", runner["key"], "--live")
        done = admin("session", "end", found["id"], "--yes")
        assert (done.returncode, goes_on(two)) == (0, False)
        three = begin()
        assert admin("session", "end-all", "--user", "runner", "--yes").returncode == 0
        assert not goes_on(three)

    def test_0_everybody_and_a_token(
        self,
        admin: Run,
        begin: Callable[[], Session],
        goes_on: Callable[[Session], bool],
    ) -> None:
        one = begin()
        done = admin("session", "end-all", "--everybody", "--yes", tenant="acme")
        assert done.returncode == 0, done.stderr
        assert not goes_on(one)
        jti = "01989e6c-0000-7000-8000-000000000001"
        assert admin("session", "end-token", jti, "--yes").returncode == 1
        done = admin("session", "end-token", jti, "--yes", tenant="platform")
        assert done.returncode == 0
        assert f"ended the access token {jti}" in one_line(done.stderr)
        # Everything there is: a new token is taken by itself.
        done = admin("session", "end-all", "--everybody", "--yes", tenant="platform")
        assert done.returncode == 0, done.stderr
        assert admin("session", "list").returncode == 0

    def test_1_no_such_session(
        self, admin: Run, run: Run, who: dict[str, str], runner: dict[str, str]
    ) -> None:
        id_ = "01989e6c-0000-7000-8000-000000000001"
        for more, said in (
            ({}, "there is no session"),
            ({"tenant": ""}, "--tenant"),
        ):
            done = admin("session", "end", id_, "--yes", **more)
            assert done.returncode == 1
            assert said in one_line(done.stderr)

    def test_0_an_empty_list_says_why(self, admin: Run, answer: Any) -> None:
        answer("service-user", "create", "quiet", "--role", "operator")
        done = admin("session", "list", "--user", "quiet")
        assert (done.returncode, done.stdout) == (0, "")
        assert "first refresh on" in done.stderr
        assert "keyturn session end-all --user quiet" in done.stderr


class TestRotation:
    def test_0_sessions_end_with_the_secret_or_are_kept(
        self,
        admin: Run,
        runner: dict[str, str],
        begin: Callable[[], Session],
        goes_on: Callable[[Session], bool],
    ) -> None:
        body = begin()
        done = admin("api-key", "rotate", runner["key"], "--keep-sessions", "--quiet")
        assert (done.returncode, goes_on(body)) == (0, True)
        runner["api_key"] = done.stdout.strip()
        body = begin()
        done = admin("api-key", "rotate", runner["key"], "--overlap", "1d", "--quiet")
        assert (done.returncode, goes_on(body)) == (0, True)
        runner["api_key"] = done.stdout.strip()
        body = begin()
        assert admin("api-key", "rotate", runner["key"], "--quiet").returncode == 0
        assert not goes_on(body)


class TestUsage:
    @pytest.mark.parametrize(
        "arguments",
        [
            ["list", "--user", "x", "--key", "y"],
            ["end-all", "--user", "x", "--key", "y", "--yes"],
            ["end-all", "--everybody", "--user", "x", "--yes"],
        ],
    )
    def test_2_one_of_them(self, admin: Run, arguments: list[str]) -> None:
        done = admin("session", *arguments)
        assert done.returncode == 2
        assert "exclude each other" in one_line(done.stderr)

    @pytest.mark.parametrize("arguments", [["end", "x"], ["end-all"], ["end-token", "x"]])
    def test_2_nobody_can_answer(self, admin: Run, arguments: list[str]) -> None:
        done = admin("session", *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert "--yes" in one_line(done.stderr)
