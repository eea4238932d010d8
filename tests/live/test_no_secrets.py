"""No key, token or secret in a log or in the database, wherever a client has put it (P8).

The scan by shape (tests/secret_scan.py) knows what a secret looks like; here every secret is
known to the letter, so parts of one are found as well.
"""

from __future__ import annotations

import base64
import http.client
import json
import socket
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode

import pytest

from tests.live_server import Live, dump, eventually, forged_key, new_master_secret
from tests.secret_scan import scan_file, scan_for_secrets

FORM = {"content-type": "application/x-www-form-urlencoded"}
JSON = {"content-type": "application/json"}


@dataclass
class Secrets:
    """Every secret that was issued or presented, under a name that may be shown."""

    known: dict[str, str] = field(default_factory=dict, repr=False)

    def add(self, name: str, text: str) -> str:
        """Remembers a secret, and those parts of it that are secret too."""
        self.known[name] = text
        if text.startswith("kt_"):
            # Not its id, which is public. A part, because something may cut it.
            self.known[f"{name}: secret"] = text.split("_")[2]
            self.known[f"{name}: part"] = text.split("_")[2][:20]
        elif text.startswith("ktr_"):
            self.known[f"{name}: body"] = text.removeprefix("ktr_")
            self.known[f"{name}: part"] = text[4:44]
        elif text.startswith("eyJ"):
            header, payload, signature = text.split(".")
            self.known[f"{name}: payload"] = payload
            self.known[f"{name}: signature"] = signature
            self.known[f"{name}: unsigned"] = f"{header}.{payload}"
        return text

    def add_basic(self, name: str, username: str, password: str) -> str:
        """Remembers Basic credentials. Gives the header's value."""
        encoded = base64.b64encode(f"{username}:{password}".encode()).decode()
        self.known[name] = encoded
        return f"Basic {encoded}"

    def found_in(self, text: str) -> list[str]:
        """The names of those that stand in `text`, as they are or as a URL writes them."""
        return [
            name
            for name, secret in self.known.items()
            if secret in text or quote(secret, safe="") in text
        ]


def _tokens(secrets: Secrets, name: str, body: dict[str, str]) -> dict[str, str]:
    for kind in ("access_token", "refresh_token"):
        if kind in body:
            secrets.add(f"{name} {kind}", body[kind])
    return body


def _use(live: Live, secrets: Secrets) -> dict[str, str]:
    """What clients do every day, right and wrong. Gives tokens that are still good."""
    demo, server, client = live.demo, live.server, live.http
    kept = _tokens(secrets, "kept", live.exchange())
    tokens = _tokens(secrets, "exchanged", live.exchange())
    refreshed = _tokens(secrets, "refreshed", live.refresh(tokens["refresh_token"]).json())
    newest = _tokens(secrets, "newest", live.refresh(refreshed["refresh_token"]).json())
    assert live.refresh(tokens["refresh_token"]).status_code == 400  # reuse
    assert live.refresh(newest["refresh_token"]).status_code == 400
    _tokens(
        secrets,
        "client's",
        client.post(
            server.token_url,
            data={"grant_type": "client_credentials"},
            auth=(demo.username, demo.api_key),
        ).json(),
    )
    for name, key in (
        ("forged key", forged_key(demo.api_key)),
        ("mistyped key", demo.api_key[:-1] + ("x" if demo.api_key[-1] != "x" else "y")),
        ("unknown key", forged_key(f"kt_{'0' * 21}1_")),
        ("no key at all", new_master_secret()),
    ):
        secrets.add(name, key)
        fields = {"username": demo.username, "password": key}
        assert client.post(server.token_url, json=fields).status_code == 400
        answer = client.post(
            server.introspect_url, data={"token": kept["access_token"]}, auth=(demo.username, key)
        )
        assert answer.status_code == 401
    revoked = _tokens(secrets, "revoked", live.exchange())
    for kind in ("access_token", "refresh_token"):
        assert live.introspect(revoked[kind])["active"] is True
        live.revoke(revoked[kind])
        assert live.introspect(revoked[kind]) == {"active": False}
    assert live.me(revoked["access_token"]).status_code == 401
    assert live.me(kept["access_token"]).status_code == 200
    return kept


def _send(
    live: Live, method: str, path: str, headers: dict[str, str], body: str | bytes | None = None
) -> int:
    # Not httpx: it logs URLs, and what a client logs is not the server's doing.
    connection = http.client.HTTPConnection("127.0.0.1", live.server.port, timeout=20)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def _misuse(live: Live, secrets: Secrets, name: str, text: str) -> None:
    """Puts `text` where it does not belong: everywhere."""
    demo = live.demo
    basic = secrets.add_basic(f"{name} as Basic", text, text)
    form = urlencode({"grant_type": "password", "username": demo.username, "password": text})
    token = "/iam/auth/token"

    # In the URL.
    _send(live, "POST", f"{token}?{urlencode({'password': text, 'q': text})}", FORM, form)
    _send(live, "GET", f"/iam/users/me?access_token={text}&after={text}&limit={text}", {})
    _send(live, "GET", f"/iam/users/me?{text}", {"authorization": f"Bearer {text}"})
    _send(live, "GET", f"/{text}/x", {})
    _send(live, "GET", f"/{'x' * 170}/{text}", {})
    _send(live, "GET", f"http://{demo.key_id}:{text}@127.0.0.1/iam/users/me", {})
    # In headers.
    for header, value in (
        ("authorization", text),
        ("authorization", f"Bearer {text}"),
        ("authorization", f"bearer  {text} {text}"),
        ("authorization", basic),
        ("authorization", f"Basic {text}"),
        ("authorization", f"Token token={text}"),
        ("cookie", f"session={text}"),
        ("x-api-key", text),
        ("x-request-id", text),
        ("x-request-id", text[:64]),
        ("x-tenant-id", text),
        ("x-forwarded-for", text),
        ("user-agent", text),
        ("referer", f"http://example.com/?key={text}"),
        ("traceparent", text),
        ("if-none-match", text),
    ):
        for path in ("/iam/users/me", "/iam/tenants/current", "/.well-known/jwks.json"):
            _send(live, "GET", path, {header: value})
        for path in (token, "/iam/auth/revoke", "/iam/auth/introspect"):
            _send(live, "POST", path, {**FORM, header: value}, f"{form}&token={quote(text)}")
    _send(live, "POST", token, {"content-type": f"application/{text}"}, form)
    _send(live, "POST", token, {"content-type": f"{FORM['content-type']}; charset={text}"}, form)
    # In parameters of another meaning.
    for parameter in (
        "username",
        "grant_type",
        "client_id",
        "client_secret",
        "scope",
        "refresh_token",
        "token_type_hint",
        "resource",
        text,
    ):
        fields = {"grant_type": "password", "username": demo.username, "password": demo.api_key}
        fields |= {"token": text, parameter: text}
        for path in (token, "/iam/auth/revoke", "/iam/auth/introspect"):
            _send(live, "POST", path, FORM, urlencode(fields))
            _send(live, "POST", path, JSON, json.dumps(fields))
    _send(live, "POST", token, FORM, urlencode({"grant_type": "refresh_token", "scope": text}))
    # In bodies that are none.
    for body in (
        text,
        f'{{"password": "{text}"',
        f'{{"password": "{text}", "password": "{text}"}}',
        json.dumps({"username": {"password": [text, {text: text}]}}),
        json.dumps([{"password": text}]),
        json.dumps({"password": 1, text: None}),
        json.dumps({"username": text, "password": f"{text}\x00"}),
        '{"a":' * 2000 + f'"{text}"',
        json.dumps({"password": text * 1000}),
        f"password={text}".encode() + b"\xff\xfe",
        "&".join([f"password={text}"] * 100),
    ):
        for headers in (FORM, JSON):
            _send(live, "POST", token, headers, body)
    # In what is not HTTP.
    for raw in (
        f"{text} / HTTP/1.1\r\nhost: x\r\n\r\n",
        f"GET /?key={text} HTTP/9.9\r\n\r\n",
        f"GET / HTTP/1.1\r\nhost: x\r\n{text}\r\n\r\n",
        f"POST {token} HTTP/1.1\r\nhost: x\r\ncontent-length: {text}\r\n\r\n",
        f"POST {token} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        f"content-length: 5000\r\n\r\n{text}",
        f"{text}\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", live.server.port), 20) as connection:
            connection.sendall(raw.encode())
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass


class TestNoSecrets:
    @pytest.fixture(scope="class")
    @staticmethod
    def secrets(live: Live) -> Secrets:
        """All that was used, after it was used."""
        demo, secrets = live.demo, Secrets()
        secrets.add("API key", demo.api_key)
        secrets.add("administrator's API key", demo.admin_api_key)
        secrets.add("master secret", demo.master_secret)
        secrets.add_basic("administrator's Basic", demo.admin_username, demo.admin_api_key)
        secrets.add_basic("Basic", demo.username, demo.api_key)
        kept = _use(live, secrets)
        for name, text in (
            ("forged key", secrets.known["forged key"]),
            ("access token", kept["access_token"]),
            ("refresh token", kept["refresh_token"]),
        ):
            _misuse(live, secrets, name, text)
        # It took all that without falling over.
        live.exchange()
        # Last, since it ends by that: to show a whole key at /revoke revokes it.
        _misuse(live, secrets, "API key", demo.api_key)
        assert live.http.get(f"{live.server.base_url}/health/ready").status_code == 200
        # The batch writer has written what it noted.
        action = "token.refused"
        eventually(lambda: action in dump(live.server.database_url), 10)
        return secrets

    def test_none_in_the_log(self, live: Live, secrets: Secrets) -> None:
        log = live.server.log.read_text(errors="replace")
        assert '"level":"debug"' in log
        assert log.count('"event":"request"') > 100
        assert secrets.found_in(log) == []
        assert scan_file(live.server.log) == []

    def test_none_in_the_database(self, live: Live, secrets: Secrets) -> None:
        rows = dump(live.server.database_url)
        assert live.demo.key_id in rows
        assert "session.reuse_detected" in rows
        assert secrets.found_in(rows) == []
        assert scan_for_secrets(rows) == []

    def test_no_server_error(self, live: Live, secrets: Secrets) -> None:
        log = live.server.log.read_text(errors="replace")
        assert '"status":5' not in log
        assert "Traceback" not in log

    def test_a_secret_would_be_found(self, live: Live, secrets: Secrets) -> None:
        for text in (
            live.demo.api_key,
            live.demo.master_secret,
            secrets.known["kept access_token"],
        ):
            assert secrets.found_in(f'{{"event": "x {text}"}}')
