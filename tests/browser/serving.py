"""The service that the browser visits: a real process with the demo, and what tests make in it."""

from __future__ import annotations

import secrets
import shutil
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from keyturn.server.domain.permissions import TENANT_ADMIN, VIEWER
from tests.certificates import made
from tests.databases import no_secrets
from tests.live_server import Demo, Live, LiveServer, dump, prepare

TENANT_ADMIN_ROLE = TENANT_ADMIN.id
VIEWER_ROLE = VIEWER.id


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with an account, at home in one tenant."""

    email: str
    tenant: str
    id: str
    password: str = field(repr=False)
    api_key: str = field(repr=False)


@dataclass
class Served(Live):
    """A running service, and calls of its REST API as the platform's administrator.

    A test makes a tenant of its own to work in, so that tests of one service do not meet.
    """

    @property
    def base_url(self) -> str:
        """Scheme, host and port, without a slash at the end."""
        return self.server.base_url

    def api(
        self, method: str, path: str, json: object = None, *, tenant: str | None = None
    ) -> dict[str, Any]:
        """The body that `/iam` + path answers, in that tenant (acme). Anything but 2xx fails."""
        token = self.exchange(username=self.demo.admin_username, password=self.demo.admin_api_key)
        headers = {
            "authorization": f"Bearer {token['access_token']}",
            "x-tenant-id": tenant or self.demo.tenants[0],
        }
        url = f"{self.base_url}/iam{path}"
        answer = self.http.request(method, url, json=json, headers=headers)
        assert answer.is_success, answer.text
        body: dict[str, Any] = answer.json() if answer.content else {}
        return body

    def tenant(self, name: str | None = None) -> str:
        """The id of a new tenant below acme."""
        return str(self.api("POST", "/tenants", {"name": name or fresh("tenant")})["id"])

    def service_user(self, tenant: str, **fields: object) -> dict[str, Any]:
        """A new service user at home there, with the role `viewer` and a key unless told other."""
        given = {"name": fresh("robot"), "role_id": VIEWER_ROLE, "api_key": {"name": "first"}}
        return self.api("POST", "/service-users", {**given, **fields}, tenant=tenant)

    def person(self, tenant: str, role_id: str = TENANT_ADMIN_ROLE) -> Person:
        """Somebody who was invited there, came, and has a password and an API key."""
        email, password = f"{fresh('ada')}@example.com", secrets.token_urlsafe(18)
        offer = {"email": email, "role_id": role_id}
        code = self.api("POST", "/invitations", offer, tenant=tenant)["code"]
        joined = self.http.post(
            f"{self.base_url}/iam/invitations/accept",
            json={"code": code, "password": password, "name": "Ada", "api_key": {"name": "first"}},
        )
        assert joined.status_code == 201, joined.text
        body = joined.json()
        return Person(email, tenant, body["user"]["id"], password, body["api_key"]["secret"])


class TlsServer(LiveServer):
    """`keyturn serve` with a certificate of its own, which its clients here take for what it is."""

    scheme = "https"

    def __init__(self, log_dir: Path, database_url: str, master_secret: str) -> None:
        """The certificate lies beside the database, which is SQLite's."""
        directory = Path(database_url.removeprefix("sqlite:///")).parent
        files = directory / "cert.pem", directory / "key.pem"
        for path, content in zip(files, made("127.0.0.1"), strict=True):
            path.touch(mode=0o600)
            path.write_bytes(content)
        self.verify = ssl.create_default_context(cafile=str(files[0]))
        self.verify.check_hostname = False
        super().__init__(
            log_dir, database_url, master_secret, tls_cert_file=files[0], tls_key_file=files[1]
        )


@dataclass(frozen=True, slots=True)
class Template:
    """An SQLite database with the demo in it, to be copied."""

    path: Path
    demo: Demo

    @classmethod
    def prepared(cls, directory: Path) -> Template:
        """Makes one in that directory."""
        path = directory / "template.db"
        return cls(path, prepare(f"sqlite:///{path}"))

    def copied(self, directory: Path) -> str:
        """The URL of a copy in another directory."""
        path = directory / "keyturn.db"
        shutil.copy(self.path, path)
        return f"sqlite:///{path}"


@contextmanager
def served_by(server: LiveServer, demo: Demo) -> Iterator[Served]:
    """Starts the server, and stops it at the end. What it stored must hold no secret then."""
    server.start()
    try:
        with httpx.Client(timeout=20, verify=server.verify) as client:
            yield Served(server, demo, client)
    finally:
        server.stop()
    no_secrets(dump(server.database_url))


def fresh(what: str) -> str:
    """A name that nothing has yet."""
    return f"{what}-{secrets.token_hex(4)}"
