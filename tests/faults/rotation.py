"""Signing keys rotate under load, and no verifier notices: `python -m tests.faults.rotation`.

Two processes on one PostgreSQL hand out tokens while their keys rotate every few seconds. Four
verifiers check them all the time, each with the published keys cached for their `max-age` to the
end: PyJWT's own client, joserfc and Authlib over a cache, and httpx with the key's mathematics.
"""

from __future__ import annotations

import random
import re
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import jwt as pyjwt
from authlib.oauth2.rfc9068 import JWTBearerTokenValidator
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from joserfc import jwt as jose
from joserfc.jwk import KeySet

from tests.databases import database
from tests.live_server import SHARED_ISSUER, Demo, LiveServer, prepare, running
from tests.servers import running_postgres

from .quick_keys import MAX_AGE

#: Seconds: a token's life, and a key's.
TOKEN_LIFE, KEY_LIFE = 6, 10

Verify = Callable[[str], None]


class QuickServer(LiveServer):
    """A node whose keys live for seconds."""

    module = "tests.faults.quick_keys"


class CachedKeys:
    """The published keys, read anew when their `max-age` is over, and never for an unknown kid."""

    def __init__(self, url: str, client: httpx.Client) -> None:
        self._url = url
        self._client = client
        self._until = 0.0
        self._keys: dict[str, Any] = {}

    def get(self) -> dict[str, Any]:
        """The document."""
        if time.monotonic() >= self._until:
            answer = self._client.get(self._url)
            found = re.search(r"max-age=(\d+)", answer.headers["cache-control"])
            assert found is not None
            self._keys = answer.json()
            self._until = time.monotonic() + int(found[1])
        return self._keys


def with_pyjwt(url: str, _: httpx.Client) -> Verify:
    client = pyjwt.PyJWKClient(url, lifespan=MAX_AGE)

    def verify(token: str) -> None:
        key = client.get_signing_key_from_jwt(token).key
        pyjwt.decode(token, key, algorithms=["ES256"], audience=SHARED_ISSUER)

    return verify


def with_joserfc(url: str, client: httpx.Client) -> Verify:
    keys = CachedKeys(url, client)

    def verify(token: str) -> None:
        found = jose.decode(token, KeySet.import_key_set(keys.get()), algorithms=["ES256"])  # type: ignore[arg-type]
        jose.JWTClaimsRegistry(aud={"essential": True, "value": SHARED_ISSUER}).validate(
            found.claims
        )

    return verify


def with_authlib(url: str, client: httpx.Client) -> Verify:
    keys = CachedKeys(url, client)

    class Validator(JWTBearerTokenValidator):  # type: ignore[misc]  # authlib is untyped
        def get_jwks(self) -> Any:
            return KeySet.import_key_set(keys.get())  # type: ignore[arg-type]

    validator = Validator(issuer=SHARED_ISSUER, resource_server=SHARED_ISSUER)

    def verify(token: str) -> None:
        validator.validate_token(validator.authenticate_token(token), None, None)

    return verify


def with_httpx(url: str, client: httpx.Client) -> Verify:
    keys = CachedKeys(url, client)

    def verify(token: str) -> None:
        signed, _, signature = token.rpartition(".")
        kid = pyjwt.get_unverified_header(token)["kid"]
        [jwk] = [key for key in keys.get()["keys"] if key["kid"] == kid]
        public = pyjwt.PyJWK(jwk).key
        assert isinstance(public, ec.EllipticCurvePublicKey)
        raw = pyjwt.utils.base64url_decode(signature)
        r, s = (int.from_bytes(half, "big") for half in (raw[:32], raw[32:]))
        public.verify(encode_dss_signature(r, s), signed.encode(), ec.ECDSA(hashes.SHA256()))

    return verify


VERIFIERS = {
    "PyJWT": with_pyjwt,
    "joserfc": with_joserfc,
    "Authlib": with_authlib,
    "httpx": with_httpx,
}


@dataclass
class Report:
    """What was seen."""

    verified: dict[str, int] = field(default_factory=lambda: dict.fromkeys(VERIFIERS, 0))
    failures: list[str] = field(default_factory=list)
    issued: int = 0
    unavailable: int = 0
    kids: list[str] = field(default_factory=list)

    @property
    def rotations(self) -> int:
        """How often another key signed."""
        return max(len(self.kids) - 1, 0)

    def __str__(self) -> str:
        verified = ", ".join(f"{name} {count}" for name, count in self.verified.items())
        return (
            f"{self.rotations} rotations under load: {self.issued} tokens issued"
            f" ({self.unavailable} times unavailable), {sum(self.verified.values())} verifications"
            f" ({verified}), failures: {len(self.failures)}"
        )


class Rotation:
    """The load, and the verifiers."""

    def __init__(self, servers: list[QuickServer], demo: Demo) -> None:
        self._servers = servers
        self._demo = demo
        self._tokens: deque[tuple[float, str]] = deque(maxlen=2_000)
        self._end = threading.Event()
        self.report = Report()

    def run(self, rotations: int, seconds: float) -> Report:
        """Until there were so many rotations, or the time is over."""
        with httpx.Client(timeout=30) as client:
            work = [threading.Thread(target=self._issue, args=(s,)) for s in self._servers]
            for number, (name, make) in enumerate(VERIFIERS.items()):
                url = self._servers[number % len(self._servers)].jwks_url
                work.append(threading.Thread(target=self._verify, args=(name, make(url, client))))
            deadline = time.monotonic() + seconds
            for thread in work:
                thread.start()
            while self.report.rotations < rotations and time.monotonic() < deadline:
                time.sleep(0.1)
            # The last rotation must be lived through, too.
            time.sleep(TOKEN_LIFE)
            self._end.set()
            for thread in work:
                thread.join()
        return self.report

    def _issue(self, server: QuickServer) -> None:
        form = {
            "grant_type": "password",
            "username": self._demo.username,
            "password": self._demo.api_key,
        }
        with httpx.Client(timeout=30) as client:
            while not self._end.is_set():
                answer = client.post(server.token_url, data=form)
                if answer.status_code != 200:
                    self.report.unavailable += 1
                    time.sleep(0.05)
                    continue
                token = answer.json()["access_token"]
                self.report.issued += 1
                kid = pyjwt.get_unverified_header(token)["kid"]
                if kid not in self.report.kids:
                    self.report.kids.append(kid)
                until = pyjwt.decode(token, options={"verify_signature": False})["exp"]
                self._tokens.append((until, token))
                time.sleep(0.01)

    def _verify(self, name: str, verify: Verify) -> None:
        while not self._end.is_set():
            live = [item for item in list(self._tokens) if time.time() < item[0]]
            if not live:
                time.sleep(0.01)
                continue
            # The oldest as often as the newest: one has a retired key, one perhaps a new one.
            until, token = random.choice([live[0], live[-1], random.choice(live)])
            try:
                verify(token)
            except Exception as error:  # noqa: BLE001 - whatever a verifier says
                if time.time() < until:  # else it ended while it was looked at
                    self.report.failures.append(f"{name}: {type(error).__name__}: {error}")
            else:
                self.report.verified[name] += 1
            time.sleep(0.005)


def rotate_under_load(
    log_dir: Path, database_url: str, rotations: int = 4, seconds: float = 120
) -> Report:
    """Runs it on an empty database."""
    demo = prepare(database_url)
    servers = [
        QuickServer(
            log_dir,
            database_url,
            demo.master_secret,
            issuer=SHARED_ISSUER,
            access_token_lifetime=TOKEN_LIFE,
            signing_key_max_age=KEY_LIFE,
        )
        for _ in range(2)
    ]
    with running(*servers):
        return Rotation(servers, demo).run(rotations, seconds)


def main() -> int:
    """Prints what was seen; fails when a verifier failed."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(running_postgres())
        url = stack.enter_context(database(server.url, "keyturn_rotation"))
        report = rotate_under_load(directory, url)
    print(report)
    for failure in report.failures[:10]:
        print(failure)
    return 1 if report.failures or not report.rotations else 0


if __name__ == "__main__":
    sys.exit(main())
