"""`keyturn webhook …`."""

import base64
import hashlib
import hmac
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run, Running, running_dev
from tests.cli.test_commands import one_line
from tests.live_server import eventually


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, log_dir: Path) -> Iterator[Running]:
    """A service that may call this machine, as the receiver is on it."""
    directory = tmp_path_factory.mktemp("hooks")
    with running_dev(directory, log_dir, webhook_networks="127.0.0.0/8") as running:
        yield running


class Receiver(HTTPServer):
    """Keeps what came; answers with `status`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.status = 204
        self.got: list[tuple[dict[str, str], bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook"


class Answering(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.got.append(({k.lower(): v for k, v in self.headers.items()}, body))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class TestWebhook:
    def test_0_from_made_to_deleted(self, admin: Run, answer: Any, receiver: Receiver) -> None:
        new = ("webhook", "create", "hook", "--url", receiver.url)
        days = ("--expiring-days", "3", "--unused-days", "5")
        made = answer(*new, "--event", "api_key.leaked", *days)
        assert (made["events"], made["expiring_days"]) == (["api_key.leaked"], [3])
        secret = made.pop("secret")
        assert answer("webhook", "show", "hook") == made
        assert answer("webhook", "list") == [made]
        assert receiver.url in admin("webhook", "list").stdout
        changed = answer("webhook", "change", "hook", "--all-events", "--name", "hooks")
        assert changed == {**made, "events": None, "name": "hooks"}
        assert answer("webhook", "change", "hooks", "--disable")["enabled"] is False
        assert answer("webhook", "change", "hooks", "--enable")["enabled"] is True
        rotated = admin("webhook", "rotate-secret", "hooks", "--quiet")
        assert rotated.stdout.strip().startswith("whsec_")
        assert rotated.stdout.strip() != secret
        assert admin("webhook", "delete", "hooks", "--yes").returncode == 0
        assert answer("webhook", "list") == []

    def test_0_tested_and_tried_again(self, admin: Run, answer: Any, receiver: Receiver) -> None:
        receiver.status = 410
        new = ("webhook", "create", "tested", "--url", receiver.url, "--event", "api_key.leaked")
        secret = admin(*new, "--quiet").stdout.strip()
        sent = answer("webhook", "test", "tested")
        listed = ("webhook", "deliveries", "tested")
        eventually(lambda: answer(*listed, "--state", "dead") != [], 20)
        assert answer("webhook", "show", "tested")["disabled_reason"] == "gone"
        receiver.status = 200
        answer("webhook", "change", "tested", "--enable")
        assert answer("webhook", "retry", "tested", sent["id"])["state"] == "pending"
        eventually(lambda: answer(*listed, "--state", "delivered") != [], 20)
        assert "webhook.test" in admin(*listed).stdout
        assert answer("webhook", "retry", "tested") == {"retried": 0}
        headers, body = receiver.got[-1]
        key = base64.b64decode(secret.removeprefix("whsec_"))
        content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        digest = base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()
        assert headers["webhook-signature"] == f"v1,{digest}"

    def test_1_an_address_inside(self, admin: Run) -> None:
        done = admin("webhook", "create", "x", "--url", "https://169.254.169.254/")
        assert (done.returncode, done.stdout) == (1, "")
        assert ": url: " in one_line(done.stderr)

    def test_1_unknown(self, admin: Run) -> None:
        assert "'nothing'" in one_line(admin("webhook", "test", "nothing").stderr)

    @pytest.mark.parametrize("more", [(), ("--all-events", "--event", "api_key.leaked")])
    def test_2_nothing_to_change_or_both(self, admin: Run, more: tuple[str, ...]) -> None:
        assert admin("webhook", "change", "x", *more).returncode == 2
