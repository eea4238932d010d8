"""`keyturn audit`: what happened, told so that it can be read without looking up ids."""

import itertools
import json
import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import respx

from tests.cli.conftest import Run
from tests.cli.test_commands import one_line

HEADS = ["time", "action", "outcome", "who", "target", "count", "why", "address"]


def rows(text: str) -> list[dict[str, str]]:
    """The lines below the heads, with empty cells."""
    head, *lines = text.splitlines()
    starts = [match.start() for match in re.finditer(r"\S+", head)]
    assert head.split() == HEADS
    ends = [*starts[1:], None]
    return [
        {name: line[a:b].strip() for name, a, b in zip(HEADS, starts, ends, strict=True)}
        for line in lines
    ]


@pytest.fixture(scope="module")
def numbers() -> "itertools.count[int]":
    return itertools.count()


@pytest.fixture
def robot(answer: Any, numbers: "itertools.count[int]") -> dict[str, Any]:
    """A new service user with a key."""
    made: dict[str, Any] = answer(
        "service-user", "create", f"robot-{next(numbers)}", "--role", "operator", "--key", "first"
    )
    return made


@pytest.fixture
def ids_asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of calls that were made."""
    asked: list[str] = []
    send: Callable[..., httpx.Response] = httpx.Client.send

    def sent(client: httpx.Client, request: httpx.Request, **more: Any) -> httpx.Response:
        asked.append(request.url.path)
        return send(client, request, **more)

    monkeypatch.setattr(httpx.Client, "send", sent)
    return asked


class TestList:
    def test_0_who_did_what(self, admin: Run, answer: Any) -> None:
        tenant = answer("tenant", "create", "audited")
        find = ("--action", "tenant.created", "--target", tenant["id"], "--since", "1h")
        [event] = answer("audit", "list", *find)
        me = answer("whoami")
        assert event["actor"]["user_id"] == me["sub"]
        exported = admin("audit", "export", *find).stdout
        assert [json.loads(line) for line in exported.splitlines()] == [event]
        assert answer("audit", "list", *find[:-1], "2100-01-01") == []
        [row] = rows(admin("audit", "list", *find).stdout)
        assert (row["who"], row["target"]) == (me["username"], "audited")
        assert (row["count"], row["why"]) == ("", "")
        assert row["address"] == "127.0.0.1"

    def test_0_why_and_how_often(self, run: Run) -> None:
        user, tenant = (
            "01989e6c-0000-7000-8000-00000000000a",
            "01989e6c-0000-7000-8000-00000000000b",
        )
        event = {
            "at": "2026-03-01T12:00:00.123456Z",
            "action": "token.refused",
            "outcome": "refused",
            "actor": {"user_id": user, "address": "10.0.0.1"},
            "target": "k" * 22,
            "data": {"count": 3, "why": "wrong secret"},
        }
        once = {**event, "outcome": "granted", "data": {"count": 1}}
        person = {"user_id": user, "kind": "human", "name": "Ada", "email": "ada@example.org"}
        with respx.mock(base_url="http://keyturn.localhost/iam") as service:
            service.post("/auth/token").respond(json={"access_token": "t", "expires_in": 300})
            for path, items in (
                ("/audit-events", [event, once]),
                ("/api-keys", [{"id": "k" * 22, "name": "deploy"}]),
                ("/members", [person]),
            ):
                service.get(path).respond(json={"items": items, "next_cursor": None})
            who = {"url": "http://keyturn.localhost", "username": "ada", "api_key": "kt_x"}
            refused, granted = rows(run("audit", "list", **who, tenant=tenant).stdout)
        assert refused == {
            "time": "2026-03-01T12:00:00Z",
            "action": "token.refused",
            "outcome": "refused",
            "who": "ada@example.org",
            "target": "deploy",
            "count": "3",
            "why": "wrong secret",
            "address": "10.0.0.1",
        }
        assert (granted["count"], granted["why"]) == ("", "")

    def test_0_what_is_gone_goes_by_its_id(self, admin: Run, robot: dict[str, Any]) -> None:
        assert admin("service-user", "delete", robot["id"], "--yes").returncode == 0
        shown = rows(admin("audit", "list", "--target", robot["id"]).stdout)
        # The roles it had went in the same moment.
        assert "service_user.deleted" in [row["action"] for row in shown[:3]]
        assert admin("audit", "list", "--target", robot["name"]).returncode == 1

    def test_0_by_the_names_of_others(self, admin: Run, answer: Any, robot: dict[str, Any]) -> None:
        answer("member", "add", robot["name"], "--role", "viewer")
        for named in (robot["name"], robot["email"], robot["id"]):
            events = answer("audit", "list", "--target", named)
            assert {event["target"] for event in events} == {robot["id"]}
        shown = rows(admin("audit", "list", "--target", robot["name"]).stdout)
        assert {row["target"] for row in shown} == {robot["name"]}

    def test_0_by_an_actor_from_above(self, answer: Any) -> None:
        me = answer("whoami")
        answer("role", "create", "acted", "--permission", "assets:manage")
        events = answer("audit", "list", "--actor", me["username"], "--target", "acted")
        assert [event["action"] for event in events] == ["role.created"]
        assert answer("audit", "list", "--actor", me["sub"], "--limit", "1") != []

    def test_0_a_permission_is_its_own_id(self, answer: Any) -> None:
        answer("permission", "register", "audit-me:read")
        [event] = answer("audit", "list", "--target", "audit-me:read")
        assert event["action"] == "permission.registered"
        assert answer("audit", "list", "--target", "nobody:knows") == []

    def test_0_json_looks_nothing_up(self, admin: Run, ids_asked: list[str]) -> None:
        assert admin("audit", "list", "--json").returncode == 0
        assert set(ids_asked) == {"/iam/auth/token", "/iam/audit-events"}

    def test_0_each_list_is_asked_once_at_most(
        self, admin: Run, robot: dict[str, Any], ids_asked: list[str]
    ) -> None:
        assert admin("audit", "list").returncode == 0
        assert len(set(ids_asked)) == len(ids_asked)

    @pytest.mark.parametrize("option", ["--actor", "--target"])
    def test_1_an_unknown_name_is_no_empty_list(self, admin: Run, option: str) -> None:
        done = admin("audit", "list", option, "nobody-at-all")
        assert (done.returncode, done.stdout) == (1, "")
        assert "'nobody-at-all'" in one_line(done.stderr)

    def test_1_a_name_of_two_things(self, admin: Run, answer: Any) -> None:
        answer("role", "create", "twice", "--permission", "assets:manage")
        answer("service-user", "create", "twice", "--role", "operator")
        done = admin("audit", "list", "--target", "twice")
        assert done.returncode == 1
        assert "more than one thing" in one_line(done.stderr)

    @pytest.mark.parametrize("since", ["soon", "2026-13-01", "999999999d", "7"])
    def test_2_no_time(self, admin: Run, since: str) -> None:
        assert admin("audit", "list", "--since", since).returncode == 2

    def test_2_says_what_a_time_is(self, admin: Run) -> None:
        line = one_line(admin("audit", "list", "--since", "yesterday").stderr)
        assert "12h" in line
        assert "2026-03-01" in line

    def test_0_without_the_right_to_read_lists(
        self, admin: Run, run: Run, answer: Any, who: dict[str, str]
    ) -> None:
        answer("role", "create", "trail-reader", "--permission", "audit:read")
        new = ("--role", "trail-reader", "--key", "first")
        made = answer("service-user", "create", "auditing", *new)
        auditor = {**who, "username": made["email"], "api_key": made["api_key"]["secret"]}
        done = run("audit", "list", **auditor)
        assert (done.returncode, done.stderr) == (0, "")
        assert "auditing" in {row["target"] for row in rows(done.stdout)}
