"""A receiver of Keyturn's webhooks: it believes what is signed, and what it has not seen.

    keyturn webhook create incidents --url https://hooks.example/keyturn --quiet > secret
    WEBHOOK_SECRET=$(cat secret) python webhook.py 8000

It listens on this machine alone: put what ends TLS in front of it. To try it beside a node of one's
own, start that with KEYTURN_WEBHOOK_NETWORKS=127.0.0.0/8, and say --url http://127.0.0.1:8000/.
"""

import base64
import hashlib
import hmac
import json
import os
import sys
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def verified(secret: str, headers: Mapping[str, str], body: bytes) -> dict[str, object]:
    """The event, if Keyturn signed it within five minutes. Raises ValueError for anything else."""
    event_id, sent_at = headers["webhook-id"], headers["webhook-timestamp"]
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.digest(key, f"{event_id}.{sent_at}.".encode() + body, hashlib.sha256)
    wanted = "v1," + base64.b64encode(digest).decode()
    # Two signatures while the secret is being replaced: one that fits is enough.
    signatures = headers["webhook-signature"].split()
    if not any(hmac.compare_digest(wanted.encode(), one.encode()) for one in signatures):
        raise ValueError("not signed by Keyturn")
    if abs(time.time() - int(sent_at)) > 300:
        raise ValueError("sent too long ago, or replayed")
    event: dict[str, object] = json.loads(body)
    return event


class Receiver(BaseHTTPRequestHandler):
    """Answers at once. What takes long belongs into a queue: after ten seconds it is sent again."""

    seen: set[str] = set()  # noqa: RUF012 - a database would keep it, for a day and a half

    def do_POST(self) -> None:
        """204 for an event, known or new; 400 for anything else."""
        body = self.rfile.read(int(self.headers["content-length"] or 0))
        try:
            event = verified(os.environ["WEBHOOK_SECRET"], dict(self.headers), body)
        except (KeyError, ValueError):
            self.send_error(400)
            return
        self.send_response(204)
        self.end_headers()
        if self.headers["webhook-id"] not in self.seen:
            self.seen.add(self.headers["webhook-id"])
            print(event["type"], json.dumps(event["data"]), flush=True)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: events are printed."""


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver).serve_forever()
