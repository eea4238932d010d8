"""The day: what an operator does to a service that is used all the time."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from tests.live_server import eventually
from tests.replicas import Pair, replicated
from tests.unit.revocation.redis_process import RedisProcess
from tests.versions import ROOT, earlier_version, prepared_by

from .clients import Load, World
from .stage import Gateway, Node, make_gateway, pg_tool, status
from .timeline import Timeline

#: Seconds until a service that can be whole again must be.
HEALING = 30.0
#: Seconds between two acts.
CALM = 6.0
#: A restored copy is noticed when it is older than this (seconds; deploy/backup.md).
MEMORY = 26.0
#: Longer than anything here keeps a refresh from its answer (seconds).
GRACE = 120


@dataclass
class Day:
    """All that stands on the stage."""

    directory: Path
    log_dir: Path
    pair: Pair
    redis: RedisProcess
    gateway: Gateway
    world: World
    nodes: tuple[Node, Node]
    timeline: Timeline
    load: Load

    def calm(self, seconds: float = CALM) -> None:
        """Nothing happens, but for the clients."""
        time.sleep(seconds)
        self.load.check()

    def until_whole(self) -> float:
        """Seconds until both nodes say that all is well."""
        return sum(eventually(partial(_well, node), HEALING) for node in self.nodes)

    # --- the acts ----------------------------------------------------------------------------

    def migrate(self) -> None:
        """The new version's schema, under the old version's nodes."""
        with self.timeline.act("migration: `keyturn migrate` of this version, old nodes at work"):
            self._commander().run("migrate")
            self.calm()

    def roll(self) -> None:
        """One node after the other ends and comes back as this version."""
        with self.timeline.act("rolling restart onto this version"):
            for name, node in zip("AB", self.nodes, strict=True):
                started = time.monotonic()
                exit_status = node.stop()
                assert exit_status == 0, f"node {name} ended with {exit_status}"
                away = time.monotonic()
                node.root = ROOT
                node.start()
                self.timeline.say(
                    f"    node {name}: ended in {away - started:.1f} s, ready again after"
                    f" {time.monotonic() - away:.1f} s"
                )
                self.calm(3)

    def rotate_keys(self) -> None:
        """Another key signs, twice; verifiers go by what they had cached."""
        with self.timeline.act("signing keys: rotated twice"):
            for _ in range(2):
                eventually(self._rotated, HEALING)
                self.timeline.say(f"    {self._signing()} signs")
                self.calm()

    def restart_redis(self) -> None:
        """Redis is gone for a while, and comes back with nothing in it."""
        with self.timeline.act("Redis killed"):
            self.redis.kill()
            self.calm()
            self.redis.start()
            took = self.until_whole()
            self.timeline.say(f"    back, empty; both nodes whole after {took:.1f} s")
            self.calm(3)

    def promote(self) -> None:
        """The primary dies, and the replica takes its place."""
        with self.timeline.act("PostgreSQL: the primary is killed, the replica promoted"):
            with self.timeline.window("no primary") as window:
                self.pair.primary.kill()
                time.sleep(2)
                self.pair.replica.promote()
                promoted = time.monotonic()
                took = self.until_whole()
            self.calm(6)
            late = [
                answer.at + answer.seconds - promoted
                for answer in self.world.answers
                if answer.verdict == "unavailable" and window.covers(answer)
            ]
            last = max(late, default=0.0)
            self.timeline.say(
                f"    both nodes whole {took:.1f} s after the promotion, the last 503 after"
                f" {max(last, 0):.1f} s; 503 for {self.timeline.unavailable(window):.1f} s in all"
            )

    def back_up(self) -> Path:
        """A dump, as deploy/backup.md says."""
        with self.timeline.act("backup: pg_dump"):
            dump = self.directory / "keyturn.dump"
            url = urlsplit(self.pair.replica.url)
            self._tool(
                "pg_dump", "--format=custom", "--no-owner", f"--file={dump}",
                f"--dbname={url.geturl()}",
            )  # fmt: skip
            self.calm(MEMORY)
        return dump

    def restore(self, dump: Path) -> None:
        """The database is lost, and the dump is restored into a new one, while the nodes are down.

        What was revoked since the dump must stay so: the dump knows nothing of it.
        """
        with (
            self.timeline.act("the database is lost; the dump is restored"),
            self.timeline.window("restored from the dump"),
        ):
            for node in self.nodes:
                node.stop()
            # What was issued until now must not work any more.
            self.world.era += 1
            trail = self.directory / "trail.jsonl"
            self._commander().run("backup", "trail", str(trail))
            url = self._new_database(dump)
            for node in self.nodes:
                node.turn_to(url)
            self._refused_to_start(self.nodes[0])
            self._commander().run("restored", "--yes", "--keep-keys-unless", str(trail))
            started = time.monotonic()
            for node in self.nodes:
                node.launch()
            for node in self.nodes:
                node.wait_until_ready()
            self.timeline.say(f"    nodes ready {time.monotonic() - started:.1f} s after it")
        self.calm(10)

    def evening(self) -> None:
        """Everything that ended in the day is tried once more, on each node."""
        self.timeline.say(f"evening: {len(self.world.dead)} credentials that ended, tried again")
        form = {"grant_type": "password", "username": self.world.demo.username}
        with httpx.Client(timeout=20) as http:
            for node in self.nodes:
                alive = []
                for dead in self.world.dead:
                    if dead.kind == "access":
                        headers = {"authorization": f"Bearer {dead.text}"}
                        answer = http.get(node.me_url, headers=headers)
                    elif dead.kind == "key":
                        answer = http.post(node.token_url, data={**form, "password": dead.text})
                    else:
                        refresh = {"grant_type": "refresh_token", "refresh_token": dead.text}
                        answer = http.post(node.token_url, data=refresh)
                    if answer.status_code not in {400, 401}:
                        alive.append(f"{dead.kind} ({dead.why}): {answer.status_code}")
                assert not alive, alive
        self._commander().run("doctor", "--offline")
        self.timeline.say("    all refused; `keyturn doctor` has no problem to tell")
        for name, node in zip("AB", self.nodes, strict=True):
            metrics = httpx.get(f"http://127.0.0.1:{node.metrics_port}/metrics", timeout=20).text
            # No refresh token was taken for a stolen one in all that.
            assert _sum(metrics, "keyturn_refreshes_total", 'result="reuse"') == 0
            assert _sum(metrics, "keyturn_usage_lost_total") == 0
            refreshed = _sum(metrics, "keyturn_refreshes_total", 'result="step"')
            issued = _sum(metrics, "keyturn_token_requests_total", 'outcome="issued"')
            assert issued > refreshed > 0
            self.timeline.say(f"    node {name}, by its metrics: {issued:.0f} since the restore")

    # --- what they use -----------------------------------------------------------------------

    def _commander(self) -> Node:
        """A node of this version for commands; it is never started."""
        node = self.nodes[0]
        return Node(
            ROOT,
            self.log_dir,
            node.database_url,
            self.world.demo.master_secret,
            self.redis.url,
            public_url=self.gateway.url,
        )

    def _rotated(self) -> bool:
        """Whether the next key signs now; 409 while verifiers may not know it yet."""
        answer = self._as_root("POST", "/iam/signing-keys/rotate", json={})
        assert answer.status_code in {200, 409}, answer.text
        return answer.status_code == 200

    def _signing(self) -> str:
        keys = self._as_root("GET", "/iam/signing-keys").json()["items"]
        [kid] = [key["kid"] for key in keys if key["slot"] == "current"]
        return f"key {kid[:8]}…"

    def _refused_to_start(self, node: Node) -> None:
        """A copy as it was made is not served: Redis knows that the database was further."""
        process = node.command("serve")
        assert process.wait(60) != 0
        said = node.log.read_text(errors="replace").splitlines()[-1]
        assert "keyturn restored" in said, said
        self.timeline.say("    not served before `keyturn restored`: a node refused to start")

    def _as_root(self, method: str, path: str, **more: object) -> httpx.Response:
        demo = self.world.demo
        with httpx.Client(base_url=self.gateway.url, verify=self.world.tls, timeout=20) as http:
            form = {
                "grant_type": "password",
                "username": demo.admin_username,
                "password": demo.admin_api_key,
            }
            token = http.post("/iam/auth/token", data=form).json()["access_token"]
            headers = {"authorization": f"Bearer {token}"}
            roles = http.get("/iam/users/me", headers=headers).json()["roles"]
            [root] = [role["tenant_id"] for role in roles if role["tenant_name"] == "platform"]
            headers["x-tenant-id"] = root
            return http.request(method, path, headers=headers, **more)  # type: ignore[arg-type]

    def _new_database(self, dump: Path) -> str:
        self.pair.replica.execute("CREATE DATABASE restored")
        url = urlsplit(self.pair.replica.url)._replace(path="/restored").geturl()
        self._tool("pg_restore", "--no-owner", "--exit-on-error", f"--dbname={url}", str(dump))
        return url

    def _tool(self, name: str, *words: str) -> None:
        tool = pg_tool(self.pair.replica._server, name)
        done = subprocess.run([tool, *words], check=False, capture_output=True, text=True)
        assert done.returncode == 0, f"{name}: {done.stderr[-2000:]}"


def _sum(metrics: str, name: str, label: str = "") -> float:
    """All series of a metric that have that label."""
    lines = [line for line in metrics.splitlines() if line.startswith(name) and label in line]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def _well(node: Node) -> bool:
    return status(node) == "ok"


def play(directory: Path, log_dir: Path, show: Callable[[str], None]) -> Timeline:
    """The whole day. Raises AssertionError for an act that fails; its answers are in the result."""
    with ExitStack() as stack:
        old = earlier_version(directory / "earlier")
        pair = stack.enter_context(replicated())
        redis = RedisProcess(directory)
        redis.start()
        stack.callback(redis.kill)
        demo = prepared_by(old or ROOT, pair.primary.url)
        gateway = make_gateway(directory)
        world = World(gateway.url, demo, gateway.url, gateway.tls)
        first, second = urlsplit(pair.primary.url), urlsplit(pair.replica.url)
        both = first._replace(netloc=f"{first.netloc},127.0.0.1:{second.port}").geturl()
        nodes = tuple(
            Node(
                old or ROOT,
                log_dir,
                both,
                demo.master_secret,
                redis.url,
                public_url=gateway.url,
                trusted_proxies="127.0.0.1/32",
                refresh_grace=GRACE,
                shutdown_drain=3,
            )
            for _ in range(2)
        )
        for node in nodes:
            stack.callback(node.stop)
            node.launch()
        for node in nodes:
            node.wait_until_ready()
        prefix = directory / "nginx"
        prefix.mkdir()
        stack.enter_context(gateway.running(prefix, nodes))
        timeline = Timeline(world.answers, show)
        version = "the version before the newest schema" if old else "this version"
        timeline.say(f"morning: two nodes of {version} behind nginx, primary and replica, Redis")
        load = stack.enter_context(Load(world))
        day = Day(
            directory,
            log_dir,
            pair,
            redis,
            gateway,
            world,
            (nodes[0], nodes[1]),
            timeline,
            load,
        )
        with timeline.act("calm"):
            day.calm(8)
        day.migrate()
        day.roll()
        day.rotate_keys()
        day.restart_redis()
        day.promote()
        dump = day.back_up()
        day.restore(dump)
        load.__exit__(None, None, None)
        day.evening()
        return timeline
