"""A copy restored: what was revoked since works again, until `keyturn restored` ends it.

Each way of copying is a real one: PostgreSQL's dump, or its templates, and a backup of an SQLite
file.
"""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from keyturn.server import storage
from keyturn.server.parts import open_memory, open_parts
from keyturn.server.services import continuity
from keyturn.server.settings import Settings
from tests.copies import creation, dropping, execute
from tests.live_server import Demo, Live, LiveServer, prepare, rows, run, running
from tests.servers import PostgresServer, RedisServer

#: Nobody else's: the list is filled and flushed here.
REDIS_DATABASE = "/7"


@dataclass
class Place:
    """A database that can be copied, and put back as it was."""

    url: str
    back_up: Callable[[], None]
    restore: Callable[[], None]


@contextmanager
def on_postgres(server: PostgresServer, how: str, directory: Path) -> Iterator[Place]:
    # What a dump brings back is what a template does, only later.
    if how == "dump" and not all(_program(server, one) for one in ("pg_dump", "pg_restore")):
        how = "template"
    name = f"keyturn_restored_{secrets.token_hex(4)}"
    url = urlsplit(server.url)._replace(path=f"/{name}").geturl()
    run(execute(server.url, creation(name, "template1")))
    dump = directory / "dump"

    def tool(program: str, *words: str) -> None:
        found = _program(server, program)
        assert found is not None
        subprocess.run([found, *words], check=True, timeout=120, capture_output=True)

    def back_up() -> None:
        if how == "dump":
            tool("pg_dump", "--format=custom", f"--file={dump}", f"--dbname={url}")
        else:
            run(execute(server.url, creation(f"{name}_copy", name)))

    def restore() -> None:
        run(execute(server.url, dropping(name)))
        if how == "dump":
            run(execute(server.url, creation(name, "template0")))
            tool("pg_restore", "--exit-on-error", f"--dbname={url}", str(dump))
        else:
            run(execute(server.url, creation(name, f"{name}_copy")))

    try:
        yield Place(url, back_up, restore)
    finally:
        for one in (name, f"{name}_copy"):
            run(execute(server.url, dropping(one).replace("DATABASE", "DATABASE IF EXISTS")))


def _program(server: PostgresServer, name: str) -> str | None:
    """The client program of the server's own version, or one that is installed, or none."""
    beside = server.binary.path.parent / name if server.binary else None
    if beside is not None and beside.is_file():
        return str(beside)
    return shutil.which(name)


def command(server: LiveServer, *words: str) -> str:
    """What `keyturn` with the server's settings printed; it must succeed."""
    before = server.log.stat().st_size if server.log.exists() else 0
    code = server.command(*words).wait(90)
    said = server.log.read_bytes()[before:].decode()
    assert code == 0, said[-2000:]
    return said


@dataclass
class Story:
    """What was given out before the copy, and revoked after it."""

    server: LiveServer
    demo: Demo
    http: httpx.Client
    made: dict[str, Any] = field(default_factory=dict, repr=False)
    tokens: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)

    @property
    def live(self) -> Live:
        return Live(self.server, self.demo, self.http)

    def call(self, method: str, path: str, **body: Any) -> Any:
        admin = self.live.exchange(
            username=self.demo.admin_username, password=self.demo.admin_api_key
        )
        headers = {
            "authorization": f"Bearer {admin['access_token']}",
            "x-tenant-id": self.demo.tenants[0],
        }
        answer = self.http.request(
            method,
            f"{self.server.base_url}/iam{path}",
            json=body if method == "POST" else None,
            headers=headers,
        )
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else None

    def before(self) -> None:
        """Users with keys and sessions: one for each way to be revoked."""
        viewer = "00000000-0000-7000-8000-000000000003"
        for name in NAMES:
            made = self.call(
                "POST", "/service-users", name=name, role_id=viewer, api_key={"name": name}
            )
            self.made[name] = made
            self.tokens[name] = self.exchange(name).json()
        self.call("POST", "/webhooks", name="w", url="https://127.0.0.1:1/")

    def exchange(self, name: str) -> httpx.Response:
        made = self.made[name]
        given = {"username": made["email"], "password": made["api_key"]["secret"]}
        return self.http.post(self.server.token_url, json=given)

    def works(self, name: str) -> bool:
        """Whether its key gives a token that may do anything."""
        answer = self.exchange(name)
        assert answer.status_code in {200, 400}
        return bool(answer.status_code == 200 and answer.json()["scope"])

    def refresh(self, name: str) -> httpx.Response:
        return self.live.refresh(self.tokens[name]["refresh_token"])

    def after(self, trail: Path) -> None:
        """Revokes, and exports the trail before it is lost."""
        key_id = self.made["key"]["api_key"]["id"]
        self.call("POST", f"/api-keys/{key_id}/revoke")
        self.call("POST", f"/service-users/{self.made['user']['id']}/disable")
        self.call("DELETE", f"/members/{self.made['member']['id']}")
        self.call("POST", f"/api-keys/{self.made['rotated']['api_key']['id']}/rotate")
        self.live.revoke(self.tokens["untouched"]["refresh_token"])
        assert {name: self.works(name) for name in NAMES} == GONE
        assert self.refresh("untouched").status_code == 400
        admin = self.live.exchange(
            username=self.demo.admin_username, password=self.demo.admin_api_key
        )
        headers = {
            "authorization": f"Bearer {admin['access_token']}",
            "x-tenant-id": self.demo.tenants[0],
        }
        url = f"{self.server.base_url}/iam/audit-events/export"
        trail.write_bytes(self.http.get(url, headers=headers).content)


NAMES = ("key", "user", "member", "rotated", "untouched")
#: What works once all was revoked.
GONE = {**dict.fromkeys(NAMES, False), "untouched": True}


@pytest.fixture(params=["sqlite", "dump"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param != "sqlite":
        server = request.getfixturevalue("postgres_server")
        with on_postgres(server, request.param, tmp_path) as found:
            yield found
        return
    path, copy = tmp_path / "keyturn.db", tmp_path / "copy.db"
    url = f"sqlite:///{path}"

    def back_up() -> None:
        storage.back_up(url, copy)

    def restore() -> None:
        for old in tmp_path.glob("keyturn.db*"):
            old.unlink()
        shutil.copy(copy, path)

    yield Place(url, back_up, restore)


@pytest.fixture
def story(place: Place, log_dir: Path) -> Iterator[Story]:
    demo = prepare(place.url)
    server = LiveServer(log_dir, place.url, demo.master_secret, webhook_networks="127.0.0.0/8")
    with httpx.Client(timeout=20) as http:
        yield Story(server, demo, http)
    server.stop()


def test_what_was_revoked_since_is_refused(place: Place, story: Story, tmp_path: Path) -> None:
    trail = tmp_path / "trail.jsonl"
    with running(story.server):
        story.before()
    place.back_up()
    with running(story.server):
        story.after(trail)
    place.restore()
    with running(story.server):
        # Nothing in the copy tells of it.
        assert {name: story.works(name) for name in NAMES} == dict.fromkeys(NAMES, True)
        assert story.refresh("untouched").status_code == 200
        assert story.live.me(story.tokens["key"]["access_token"]).status_code == 200

    place.restore()
    said = command(story.server, "restored", "--yes")
    assert "webhooks disabled          1" in said
    [kept] = rows(place.url, "SELECT secret, disabled_reason FROM webhooks")
    assert (kept["secret"], kept["disabled_reason"]) == (None, "restored")
    with running(story.server):
        assert {story.exchange(name).status_code for name in NAMES} == {400}
        assert {story.refresh(name).status_code for name in NAMES} == {400}
        for name in NAMES:
            token = story.tokens[name]["access_token"]
            assert story.live.me(token).status_code == 401

    place.restore()
    said = command(story.server, "restored", "--yes", "--keep-keys-unless", str(trail))
    assert "1 api_key.revoked, 1 api_key.rotated, 1 membership.deleted" in said
    with running(story.server):
        assert {name: story.works(name) for name in NAMES} == GONE
        assert {story.refresh(name).status_code for name in NAMES} == {400}
        between = story.exchange("untouched").json()

    # The same copy once more: what was given out since the first time does not come back.
    place.restore()
    command(story.server, "restored", "--yes", "--keep-keys", "--retire-signing-keys")
    with running(story.server):
        assert story.exchange("untouched").status_code == 200
        for tokens in (between, *story.tokens.values()):
            assert story.live.refresh(tokens["refresh_token"]).status_code == 400
            assert story.live.me(tokens["access_token"]).status_code == 401
        actions = [row["action"] for row in rows(place.url, "SELECT action FROM audit_events")]
        assert actions.count("installation.restored") == 1


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    return urlsplit(redis_server.url)._replace(path=REDIS_DATABASE).geturl()


async def _remember(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a node does that has served for a while."""
    monkeypatch.setattr(continuity, "BEHIND", timedelta(0))
    memory = open_memory(settings)
    assert memory is not None
    async with open_parts(settings) as parts:
        await continuity.Continuity(parts.store, memory).remember()


@pytest.mark.parametrize("place", ["sqlite", "template"], indirect=True)
def test_a_node_does_not_start_on_a_copy_that_is_known_to_be_older(
    place: Place,
    log_dir: Path,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    on_redis = not place.url.startswith("sqlite")
    given = {"redis_url": redis_url} if on_redis else {}
    demo = prepare(place.url)
    server = LiveServer(log_dir, place.url, demo.master_secret, **given)
    settings = Settings(database_url=place.url, master_secret=demo.master_secret, **given)
    with httpx.Client(timeout=20) as http:
        live = Live(server, demo, http)
        with running(server):
            token = live.exchange()
        place.back_up()
        with running(server):
            live.revoke(token["access_token"])
        run(_remember(settings, monkeypatch))
        recorded = place.url.removeprefix("sqlite:///") + "-recorded"
        known = Path(recorded).read_text() if not on_redis else ""
        place.restore()
        if not on_redis:
            Path(recorded).write_text(known)
        process = server.command("serve")
        assert process.wait(60) == 1
        assert "keyturn restored" in server.log.read_text().splitlines()[-1]
        lines = command(server, "restored", "--yes", "--keep-keys", "--json").splitlines()
        said = json.loads(next(line for line in lines if line.startswith('{"epoch"')))
        # Of Redis, what the copy had not.
        assert (said["merged_from_redis"] > 0) == on_redis
        with running(server):
            assert live.me(token["access_token"]).status_code == 401
            assert live.me(live.exchange()["access_token"]).status_code == 200
