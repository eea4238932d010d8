"""deploy/nginx/ as it is shipped: TLS before two nodes, and the question before each call."""

from __future__ import annotations

import json
import os
import secrets
import signal
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.live_server import (
    SHARED_ISSUER,
    Demo,
    LiveServer,
    eventually,
    postgres_database,
    prepare,
    redis_database,
    rows,
    running,
)
from tests.servers import PostgresServer, RedisServer, free_port

from .gateway import arrange, certificate, nginx, running_nginx

pytestmark = pytest.mark.skipif(
    nginx() is None, reason="NGINX IS NOT INSTALLED: deploy/nginx/ is not tested on this machine"
)

NAME = "iam.example"
#: The client's address. The nodes see nginx', which is another one, and the only one they trust.
CLIENT = "127.0.0.2"
#: Another client's.
GUESSER = "127.0.0.3"


class _Told(BaseHTTPRequestHandler):
    """A resource server that knows nothing of tokens: it says what it was told."""

    def do_GET(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        self.answer()

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        body = json.dumps({name.lower(): value for name, value in self.headers.items()}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@dataclass
class Gateway:
    """nginx before two nodes, as clients see it."""

    nodes: tuple[LiveServer, LiveServer]
    demo: Demo
    database_url: str
    guarded: str
    audience: str
    http: httpx.Client

    def exchange(self, **more: str) -> httpx.Response:
        given = {"username": self.demo.username, "password": self.demo.api_key, **more}
        return self.http.post("/iam/auth/token", data={"grant_type": "password", **given})

    def token(self, **more: str) -> str:
        answer = self.exchange(**more)
        assert answer.status_code == 200, answer.text
        text: str = answer.json()["access_token"]
        return text

    def manage(self, method: str, path: str, body: Any) -> httpx.Response:
        """A call of the administrator, in the demo's first tenant."""
        demo = self.demo
        token = self.token(username=demo.admin_username, password=demo.admin_api_key)
        headers = {"authorization": f"Bearer {token}", "x-tenant-id": demo.tenants[0]}
        return self.http.request(method, f"/iam{path}", headers=headers, json=body)

    def guarded_call(self, token: str, **headers: str) -> httpx.Response:
        """A call of the resource server behind nginx."""
        tenant = {"x-tenant-id": self.demo.tenants[0]}
        given = {**({"authorization": f"Bearer {token}"} if token else {}), **tenant, **headers}
        return self.http.get(f"{self.guarded}/assets?page=2", headers=given)

    def issued_to(self) -> set[str]:
        """The addresses that the nodes took their callers for."""
        query = "SELECT DISTINCT address FROM audit_events WHERE address IS NOT NULL"
        return {row["address"] for row in rows(self.database_url, query)}


def nodes_for(
    stack: ExitStack, log_dir: Path, url: str, redis_url: str, demo: Demo
) -> tuple[LiveServer, LiveServer]:
    one, two = (
        LiveServer(
            log_dir,
            url,
            demo.master_secret,
            redis_url=redis_url,
            issuer=SHARED_ISSUER,
            trusted_proxies="127.0.0.1/32",
            limit_failures_per_address="40/hour",
        )
        for _ in range(2)
    )
    stack.enter_context(running(one, two))
    return one, two


@pytest.fixture(scope="module")
def gateway(
    postgres_server: PostgresServer,
    redis_server: RedisServer,
    log_dir: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Gateway]:
    with ExitStack() as stack:
        url = stack.enter_context(postgres_database(postgres_server))
        demo = prepare(url)
        one, two = nodes_for(stack, log_dir, url, redis_database(redis_server), demo)
        assets = ThreadingHTTPServer(("127.0.0.1", 0), _Told)
        stack.callback(assets.server_close)
        threading.Thread(target=assets.serve_forever, daemon=True).start()
        stack.callback(assets.shutdown)

        prefix = tmp_path_factory.mktemp("nginx")
        chain, key = certificate(prefix, NAME)
        tls, guarded = free_port(), free_port()
        audience = f"http://127.0.0.1:{assets.server_port}"
        main = arrange(
            prefix,
            {
                "listen 443 ssl": f"listen 127.0.0.1:{tls} ssl",
                "listen 8090": f"listen 127.0.0.1:{guarded}",
                "/etc/nginx/tls/keyturn.crt": str(chain),
                "/etc/nginx/tls/keyturn.key": str(key),
                "127.0.0.1:8081": f"127.0.0.1:{one.port}",
                "127.0.0.1:8082": f"127.0.0.1:{two.port}",
                "127.0.0.1:8000": f"127.0.0.1:{assets.server_port}",
                # For a node that is frozen.
                "proxy_read_timeout 45s": "proxy_read_timeout 2s",
            },
        )
        stack.enter_context(running_nginx(main))
        transport = httpx.HTTPTransport(
            verify=ssl.create_default_context(cafile=str(chain)), local_address=CLIENT
        )
        base = f"https://127.0.0.1:{tls}"
        client = stack.enter_context(httpx.Client(transport=transport, base_url=base, timeout=30))
        made = Gateway((one, two), demo, url, f"http://127.0.0.1:{guarded}", audience, client)
        for path, body in (
            ("/endpoints/import", {"service": "assets", "document": DOCUMENT}),
            ("/resource-servers", {"identifier": audience, "name": "assets"}),
        ):
            answer = made.manage("POST", path, body)
            assert answer.is_success, answer.text
        yield made


DOCUMENT = {
    "openapi": "3.1.0",
    "info": {"title": "Assets", "version": "1"},
    "paths": {
        "/assets": {
            "get": {"x-permissions": "tenants:read"},
            "delete": {"x-permissions": "assets:write"},
        }
    },
}


class TestTwoNodes:
    def test_exchange_and_users_me_at_either(self, gateway: Gateway) -> None:
        for _ in range(4):
            token = gateway.token()
            for _ in range(2):
                answer = gateway.http.get(
                    "/iam/users/me", headers={"authorization": f"Bearer {token}"}
                )
                assert answer.status_code == 200, answer.text
                assert answer.json()["username"] == gateway.demo.username
        assert all('"/iam/auth/token"' in node.log.read_text() for node in gateway.nodes)

    def test_a_refused_key_is_the_clients_fault_there_too(self, gateway: Gateway) -> None:
        answer = gateway.exchange(password="kt_wrong")
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")

    def test_a_body_that_is_too_large_is_refused_by_keyturn(self, gateway: Gateway) -> None:
        answer = gateway.exchange(scope="a" * 70_000)
        assert answer.status_code == 413
        assert answer.json()["error"] == "invalid_request"

    def test_who_calls_is_what_nginx_saw(self, gateway: Gateway) -> None:
        gateway.http.post(
            "/iam/auth/token",
            data={"grant_type": "password", "username": "nobody", "password": "kt_wrong"},
            headers={"x-forwarded-for": "203.0.113.9"},
        )
        assert gateway.exchange().status_code == 200
        eventually(lambda: gateway.issued_to() == {CLIENT}, 10)

    def test_a_revoked_token_is_refused_at_either(self, gateway: Gateway) -> None:
        token = gateway.token()
        answer = gateway.http.post("/iam/auth/revoke", data={"token": token})
        assert answer.status_code == 200
        for _ in range(4):
            answer = gateway.http.get("/iam/users/me", headers={"authorization": f"Bearer {token}"})
            assert answer.status_code == 401


class TestBeforeAResourceServer:
    def test_a_good_token_gets_through_and_its_user_is_told(self, gateway: Gateway) -> None:
        answer = gateway.guarded_call(
            gateway.token(resource=gateway.audience), **{"X-Keyturn-User": "somebody-else"}
        )
        assert answer.status_code == 200, answer.text
        told = answer.json()
        me = gateway.http.get(
            "/iam/users/me", headers={"authorization": f"Bearer {gateway.token()}"}
        ).json()
        assert told["x-keyturn-user"] == me["sub"]
        assert told["x-keyturn-tenant"] == gateway.demo.tenants[0]
        assert "tenants:read" in told["x-keyturn-permissions"].split()
        assert "authorization" not in told

    def test_a_bad_token_is_refused(self, gateway: Gateway) -> None:
        good = gateway.token(resource=gateway.audience)
        for token in ("", "not.a.token", good[:-8] + secrets.token_urlsafe(6), gateway.token()):
            answer = gateway.guarded_call(token)
            assert answer.status_code == 401, answer.text
            assert answer.headers["www-authenticate"].startswith("Bearer")
        gateway.http.post("/iam/auth/revoke", data={"token": good})
        assert gateway.guarded_call(good).status_code == 401

    def test_who_is_over_a_limit_is_told_so_and_nobody_else(self, gateway: Gateway) -> None:
        with httpx.Client(transport=httpx.HTTPTransport(local_address=GUESSER)) as guesser:
            for _ in range(100):
                answer = guesser.get(
                    f"{gateway.guarded}/assets", headers={"authorization": "Bearer x.y.z"}
                )
                if answer.status_code != 401:
                    break
        assert answer.status_code == 429
        assert 1 < int(answer.headers["retry-after"]) <= 7_200
        assert gateway.guarded_call(gateway.token(resource=gateway.audience)).status_code == 200

    def test_what_the_catalogue_does_not_open_is_forbidden(self, gateway: Gateway) -> None:
        headers = {
            "authorization": f"Bearer {gateway.token(resource=gateway.audience)}",
            "x-tenant-id": gateway.demo.tenants[0],
        }
        for method, path in (("DELETE", "/assets"), ("GET", "/elsewhere")):
            answer = gateway.http.request(method, gateway.guarded + path, headers=headers)
            assert answer.status_code == 403, answer.text


class TestANodeIsAway:
    """At the end: they leave nodes that were killed and started again."""

    def test_a_frozen_node_gets_no_second_chance_to_do_a_thing(self, gateway: Gateway) -> None:
        here, _ = gateway.nodes
        names = [f"role-{number}" for number in range(2)]
        token = gateway.token(
            username=gateway.demo.admin_username, password=gateway.demo.admin_api_key
        )
        headers = {"authorization": f"Bearer {token}", "x-tenant-id": gateway.demo.tenants[0]}
        here.freeze()
        try:
            answers = [
                gateway.http.post(
                    "/iam/roles",
                    headers=headers,
                    json={"name": name, "permissions": ["tenants:read"]},
                )
                for name in names
            ]
            # The one that was put to the frozen node was not repeated at the other.
            assert sorted(answer.status_code for answer in answers) == [201, 503]
            # What may be repeated is, and nobody notices.
            assert [gateway.exchange().status_code for _ in range(3)] == [200] * 3
        finally:
            os.kill(here.pid, signal.SIGCONT)

    def test_with_one_dead_nothing_fails(self, gateway: Gateway) -> None:
        here, there = gateway.nodes
        for dead in (here, there):
            dead.kill()
            for number in range(4):
                assert gateway.exchange().status_code == 200
                role = {"name": f"role-{dead.port}-{number}", "permissions": ["tenants:read"]}
                assert gateway.manage("POST", "/roles", role).status_code == 201
            dead.start()

    def test_with_both_dead_it_is_503_to_be_tried_again(self, gateway: Gateway) -> None:
        token = gateway.token(resource=gateway.audience)
        for node in gateway.nodes:
            node.kill()
        answer = gateway.exchange()
        assert answer.status_code == 503
        assert answer.json()["error"] == "temporarily_unavailable"
        assert int(answer.headers["retry-after"]) >= 1
        # Nobody knows whether it is good, so it is not let through.
        answer = gateway.guarded_call(token)
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) >= 1
        for node in gateway.nodes:
            node.start()
        eventually(lambda: gateway.exchange().status_code == 200, 10)
