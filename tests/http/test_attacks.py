"""RFC 8725's attacks, on all who verify: the service's routes, introspection, and the library."""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from joserfc.jwk import Key, import_key

from keyturn.client import Network
from keyturn.resource import InvalidToken, TokenVerifier
from tests.http.conftest import Running
from tests.resource.attacks import Attack, attacks, compact, encoded, misissued

#: Whether a token is taken for a good one.
Taken = Callable[[str], Awaitable[bool]]


async def signing_key(service: Running) -> Key:
    """The service's private signing key."""
    parts = service.service.parts
    async with parts.store.transaction() as tx:
        rows = await tx.signing_keys.all()
    current = next(row for row in rows if row.slot == "current")
    jwk = json.loads(parts.sealer._unsealed(current))
    return import_key({**jwk, "kid": current.kid})


def claims_of(text: str) -> dict[str, Any]:
    payload = text.split(".")[1]
    read: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return read


def by_route(service: Running, path: str) -> Taken:
    async def taken(text: str) -> bool:
        try:
            tenant = service.acme.encode()
            headers = {b"Authorization": f"Bearer {text}".encode(), b"x-tenant-id": tenant}
            answer = await service.client.get(path, headers=headers)
        except (UnicodeError, httpx.HTTPError):
            return False  # no client can send it
        assert answer.status_code in (200, 400, 401), answer.text
        return answer.status_code == 200

    return taken


def by_introspection(service: Running) -> Taken:
    async def taken(text: str) -> bool:
        try:
            answer = await service.introspect(text)
        except UnicodeError:
            return False
        # What is larger than a request may be, or empty, is refused as a request.
        assert answer.status_code in (200, 400, 413), answer.text
        active: bool = answer.status_code == 200 and answer.json()["active"]
        return active

    return taken


def by_verifier(verifier: TokenVerifier) -> Taken:
    async def taken(text: str) -> bool:
        try:
            await verifier.verify(text)
        except InvalidToken:
            return False
        return True

    return taken


ELSEWHERE = ("for another audience", "for other audiences", "audience longer")
#: What is answered about a token of whichever resource server, by design.
FOR_ANYONE = {"/iam/users/me": ELSEWHERE, "introspection": ELSEWHERE}
TARGETS = ("/iam/users/me", "/iam/tenants/current", "/iam/auth/verify", "introspection", "verifier")


@pytest.mark.parametrize("target", TARGETS)
async def test_every_attack_is_refused(service: Running, target: str) -> None:
    body = await service.exchange(tenant=service.acme)
    good, key = body["access_token"], await signing_key(service)
    claims = claims_of(good)
    issuer = service.settings.issuer
    network = Network(transport=service.client._transport)
    async with TokenVerifier(
        issuer, issuer, revocation=None, network=network, allow_http=True
    ) as verifier:
        taken = {
            "introspection": by_introspection(service),
            "verifier": by_verifier(verifier),
        }.get(target) or by_route(service, target)
        # What makes the others mean something: the good one is taken, also when it was made here.
        assert await taken(good)
        header = good.split(".")[0]
        assert await taken(compact(key, header, encoded(claims)))
        other = next(k for k in _kids(service) if k != key.kid)
        given = list(attacks(key, issuer=issuer, audience=issuer, claims=claims, other_kid=other))
        # The service goes by the very header that it writes, so claims are tried under that, too.
        given += [
            Attack(
                f"{attack.name}, its own header", compact(key, header, attack.text.split(".")[1])
            )
            for attack in misissued(key, issuer=issuer, audience=issuer, claims=claims)
        ]
        assert len(given) > 200
        accepted = {attack.name for attack in given if await taken(attack.text)}
    assert accepted == {f"{name}, its own header" for name in FOR_ANYONE.get(target, ())}


def _kids(service: Running) -> list[str]:
    jwks: Any = service.service.surface.published._jwks()
    return [key["kid"] for key in jwks["keys"]]
