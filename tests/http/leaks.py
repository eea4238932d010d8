"""A scanner for secrets: keys made at run time, and the reports that it signs with them."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keyturn.server.domain.key_text import key_text
from tests.http.conftest import Running

URL = "https://scanner.example/meta/public_keys"


class Scanner:
    """Signs reports, and publishes its public key."""

    def __init__(self, key_id: str = "f" * 64) -> None:
        self.key_id = key_id
        self.key = ec.generate_private_key(ec.SECP256R1())

    @property
    def listed(self) -> dict[str, Any]:
        """The key as it is published."""
        pem = self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return {"key_identifier": self.key_id, "key": pem.decode(), "is_current": True}

    def headers(self, body: bytes) -> dict[str, str]:
        """What goes with a report."""
        signature = base64.b64encode(self.key.sign(body, ec.ECDSA(SHA256()))).decode()
        return {
            "Content-Type": "application/json",
            "Github-Public-Key-Identifier": self.key_id,
            "Github-Public-Key-Signature": signature,
        }

    async def report(self, service: Running, *entries: Any) -> httpx.Response:
        """Sends a signed report."""
        body = json.dumps(list(entries)).encode()
        return await post(service, body, self.headers(body))


async def post(service: Running, body: bytes, headers: dict[str, str]) -> httpx.Response:
    """Sends a report as it is."""
    return await service.client.post("/iam/auth/leaked", content=body, headers=headers)


def document(*scanners: Scanner) -> dict[str, Any]:
    """Their keys, as GitHub publishes its own."""
    return {"public_keys": [scanner.listed for scanner in scanners]}


def entry(token: str, **more: Any) -> dict[str, Any]:
    """What was found."""
    found = {"token": token, "type": "keyturn_api_key", "url": "https://git.example/a/b#L1"}
    return {**found, "source": "content", **more}


def other_secret(text: str) -> str:
    """The key of the same id with another secret, its checksum right."""
    _, key_id, secret, _ = text.split("_")
    return key_text(key_id, secret[::-1])


def labels(answer: httpx.Response) -> list[str]:
    """What was said of each entry."""
    assert answer.status_code == 200, answer.text
    return [verdict["label"] for verdict in answer.json()]
