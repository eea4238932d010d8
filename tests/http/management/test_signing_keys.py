"""Signing keys over HTTP: looked at, rotated, revoked, brought along; in the root tenant alone."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from joserfc.jwk import ECKey, OKPKey, RSAKey

from keyturn.server import parts
from keyturn.server.domain.errors import Unavailable
from keyturn.server.domain.signing_keys import KeyAges
from keyturn.server.tokens import following
from tests.http.conftest import Running
from tests.http.management.conftest import Person

PRIVATE = {"d", "p", "q", "dp", "dq", "qi", "k"}


@pytest.fixture
def ready(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every key was published long enough."""
    monkeypatch.setattr(parts, "key_ages", lambda _: KeyAges(0, 0, 420))


@pytest.fixture
def unready(monkeypatch: pytest.MonkeyPatch) -> None:
    """No key was, although those of all tests were made when the first one began."""
    monkeypatch.setattr(parts, "key_ages", lambda _: KeyAges(0, 86_400, 420))


async def keys(person: Person) -> list[dict[str, Any]]:
    answer = await person.get("/signing-keys")
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def slots(person: Person, algorithm: str = "ES256") -> dict[str, str]:
    """The kids by slot."""
    return {key["slot"]: key["kid"] for key in await keys(person) if key["algorithm"] == algorithm}


async def published(service: Running) -> set[str]:
    body = (await service.get("/.well-known/jwks.json")).json()
    return {key["kid"] for key in body["keys"]}


def kid(token: str) -> str:
    return str(jwt.get_unverified_header(token)["kid"])


async def actions(person: Person, target: str) -> list[str]:
    answer = await person.get("/audit-events", params={"target": target})
    return [event["action"] for event in answer.json()["items"]]


def pem(key: Any) -> str:
    form = serialization.PrivateFormat.PKCS8
    text: bytes = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    return text.decode()


class TestList:
    async def test_200_what_each_is_for(self, root_admin: Person) -> None:
        found = {key["slot"]: key for key in await keys(root_admin)}
        assert set(found) == {"current", "next"}
        assert kid(root_admin.token) == found["current"]["kid"]
        assert found["next"]["ready_at"] < found["next"]["signs_from"]
        assert found["current"]["signs_from"] == found["current"]["slot_since"]
        for key in found.values():
            assert not PRIVATE & key["public_jwk"].keys()
            assert key["removed_at"] is None
        assert await published(root_admin.service) == {key["kid"] for key in found.values()}

    async def test_403_in_another_tenant(self, admin: Person) -> None:
        answer = await admin.get("/signing-keys")
        assert answer.status_code == 403
        assert "root tenant" in answer.json()["detail"]

    async def test_403_for_the_platforms_administrator_there_as_well(
        self, root_admin: Person
    ) -> None:
        root_admin.tenant = root_admin.service.acme
        for call in ("/signing-keys/rotate", "/signing-keys", "/signing-keys/x/revoke"):
            more: dict[str, Any] = {} if call.endswith("revoke") else {"json": {}}
            assert (await root_admin.call("POST", call, **more)).status_code == 403


class TestRotate:
    @pytest.mark.usefixtures("unready")
    async def test_409_before_verifiers_can_know_it(self, root_admin: Person) -> None:
        before = {key["slot"]: key for key in await keys(root_admin)}
        answer = await root_admin.post("/signing-keys/rotate", {})
        assert answer.status_code == 409
        assert before["next"]["ready_at"][:19] in answer.json()["detail"]
        assert await slots(root_admin) == {slot: key["kid"] for slot, key in before.items()}

    async def test_409_nobody_asks_for_the_algorithm(self, root_admin: Person) -> None:
        answer = await root_admin.post("/signing-keys/rotate", {"algorithm": "RS256"})
        assert answer.status_code == 409

    async def test_400_no_such_algorithm(self, root_admin: Person) -> None:
        answer = await root_admin.post("/signing-keys/rotate", {"algorithm": "HS256"})
        assert answer.status_code == 400

    @pytest.mark.usefixtures("ready")
    async def test_200_the_next_one_signs(self, root_admin: Person) -> None:
        service = root_admin.service
        before, old = await slots(root_admin), await service.exchange()
        answer = await root_admin.post("/signing-keys/rotate", {})
        assert answer.status_code == 200
        assert (answer.json()["kid"], answer.json()["slot"]) == (before["next"], "current")
        after = await slots(root_admin)
        assert (after["current"], after["retired"]) == (before["next"], before["current"])
        assert after["next"] not in before.values()
        assert await published(service) == set(after.values())
        # Old tokens stay good, new ones have the new key.
        assert (await service.get("/iam/users/me", old["access_token"])).status_code == 200
        new = (await service.exchange())["access_token"]
        assert kid(new) == before["next"]
        assert (await service.get("/iam/users/me", new)).status_code == 200
        retired = [key for key in await keys(root_admin) if key["slot"] == "retired"]
        assert retired[0]["removed_at"] > retired[0]["slot_since"]
        assert "signing_key.promoted" in await actions(root_admin, after["current"])
        assert "signing_key.retired" in await actions(root_admin, after["retired"])
        assert "signing_key.created" in await actions(root_admin, after["next"])


class TestByAge:
    async def test_rotates_and_deletes_by_itself(
        self, start: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(parts, "key_ages", lambda _: KeyAges(1, 0, 1))
        monkeypatch.setattr(following, "INTERVAL", 0.05)
        service: Running = await start()
        first = kid((await service.exchange())["access_token"])
        async with asyncio.timeout(20):
            while first in await published(service):  # noqa: ASYNC110 - asked over HTTP
                await asyncio.sleep(0.05)
        body = await service.exchange()
        assert kid(body["access_token"]) != first
        assert (await service.get("/iam/users/me", body["access_token"])).status_code == 200

    async def test_503_when_the_keys_were_not_read_for_long(
        self, service: Running, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await service.exchange()

        async def unread(_: object) -> None:
            raise Unavailable("away")

        monkeypatch.setattr(following.KeyringFollower, "read", unread)
        late = time.monotonic() + following.UNREAD_FOR + 1
        monkeypatch.setattr("keyturn.server.tokens.signing.time.monotonic", lambda: late)
        answer = await service.token(
            grant_type="password", username=service.username, password=service.api_key
        )
        assert answer.status_code == 503
        ready = (await service.get("/health/ready")).json()
        assert ready["checks"]["signing_keys"] == "unavailable"


class TestRevoke:
    async def test_204_all_that_it_signed_is_dead(self, root_admin: Person) -> None:
        service = root_admin.service
        before, old = await slots(root_admin), await service.exchange()
        answer = await root_admin.post(f"/signing-keys/{before['current']}/revoke")
        assert answer.status_code == 204
        assert (await service.get("/iam/users/me", old["access_token"])).status_code == 401
        assert (await root_admin.get("/signing-keys")).status_code == 401
        assert (await service.introspect(old["access_token"])).json() == {"active": False}
        # Its client goes on.
        new = (await service.refresh(old["refresh_token"])).json()["access_token"]
        assert kid(new) == before["next"]
        assert (await service.get("/iam/users/me", new)).status_code == 200
        assert before["current"] not in await published(service)
        again = await root(service)
        after = await slots(again)
        assert set(after) == {"current", "next"}
        assert after["current"] == before["next"]
        # One row for what was done to it.
        assert await actions(again, before["current"]) == ["signing_key.revoked"]
        assert "signing_key.promoted" in await actions(again, before["next"])

    async def test_204_a_next_one(self, root_admin: Person) -> None:
        before = await slots(root_admin)
        answer = await root_admin.post(f"/signing-keys/{before['next']}/revoke")
        assert answer.status_code == 204
        after = await slots(root_admin)
        assert after["current"] == before["current"]
        assert after["next"] != before["next"]

    async def test_404_unknown_or_gone(self, root_admin: Person) -> None:
        before = await slots(root_admin)
        assert (await root_admin.post("/signing-keys/nothing/revoke")).status_code == 404
        await root_admin.post(f"/signing-keys/{before['next']}/revoke")
        answer = await root_admin.post(f"/signing-keys/{before['next']}/revoke")
        assert answer.status_code == 404


async def root(service: Running) -> Person:
    """The platform's administrator with a new token."""
    username, key = service.admin
    answer = await service.token(grant_type="password", username=username, password=key)
    demo = service.demo.platform
    return Person(service, demo.user, answer.json()["access_token"], demo.tenant.id)


@pytest.fixture(scope="module")
def p256() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


class TestImport:
    @pytest.mark.parametrize("form", ["pem", "jwk"])
    async def test_201_stands_in_next(
        self, root_admin: Person, p256: ec.EllipticCurvePrivateKey, form: str
    ) -> None:
        before = await slots(root_admin)
        own = ECKey.import_key(pem(p256))
        jwk = {**own.as_dict(private=True), "alg": "ES256", "kid": "mine", "use": "sig"}
        body = {"pem": pem(p256)} if form == "pem" else {"jwk": jwk}
        answer = await root_admin.post("/signing-keys", body)
        assert answer.status_code == 201, answer.text
        made = answer.json()
        assert (made["kid"], made["slot"], made["algorithm"]) == (
            own.thumbprint(),
            "next",
            "ES256",
        )
        assert not PRIVATE & made["public_jwk"].keys()
        assert await slots(root_admin) == {**before, "next": made["kid"]}
        assert await published(root_admin.service) == {before["current"], made["kid"]}
        assert await actions(root_admin, made["kid"]) == ["signing_key.imported"]
        assert "signing_key.removed" in await actions(root_admin, before["next"])
        assert (await root_admin.post("/signing-keys/rotate", {})).status_code == 409

    @pytest.mark.usefixtures("ready")
    @pytest.mark.parametrize("algorithm", ["ES256", "RS256", "Ed25519"])
    async def test_signs_when_its_time_has_come(self, start: Any, algorithm: str) -> None:
        service: Running = await start(signing_algorithm=algorithm)
        made: Any = {
            "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
            "RS256": lambda: rsa.generate_private_key(65537, 2048),
            "Ed25519": ed25519.Ed25519PrivateKey.generate,
        }[algorithm]()
        admin = await root(service)
        answer = await admin.post("/signing-keys", {"pem": pem(made)})
        assert answer.status_code == 201, answer.text
        if algorithm == "ES256":  # the others take over by themselves, as none signs yet
            assert (await admin.post("/signing-keys/rotate", {})).status_code == 200
        token = (await service.exchange())["access_token"]
        assert kid(token) == answer.json()["kid"]
        audience = service.settings.audience
        names = [algorithm if algorithm != "Ed25519" else "EdDSA"]
        jwt.decode(token, made.public_key(), algorithms=names, audience=audience)
        assert (await service.get("/iam/users/me", token)).status_code == 200

    @pytest.mark.parametrize(
        "name", ["nothing", "both", "public", "p384", "rsa1024", "hmac", "words", "encrypted"]
    )
    async def test_400(
        self, root_admin: Person, p256: ec.EllipticCurvePrivateKey, name: str
    ) -> None:
        own = ECKey.import_key(pem(p256))
        bodies: dict[str, Any] = {
            "nothing": {},
            "both": {"pem": pem(p256), "jwk": own.as_dict(private=True)},
            "public": {"jwk": own.as_dict(private=False)},
            "p384": {"jwk": ECKey.generate_key("P-384").as_dict(private=True)},
            "rsa1024": {"pem": pem(rsa.generate_private_key(65537, 1024))},  # noqa: S505
            "hmac": {"jwk": {"kty": "oct", "k": "AAAA"}},
            "words": {"pem": "no key"},
            "encrypted": {
                "pem": p256.private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.PKCS8,
                    serialization.BestAvailableEncryption(b"words"),
                ).decode()
            },
        }
        before = await slots(root_admin)
        answer = await root_admin.post("/signing-keys", bodies[name])
        assert answer.status_code == 400
        assert await slots(root_admin) == before

    async def test_400_a_public_part_of_another_key(self, root_admin: Person) -> None:
        """Or it is left behind: what is published always follows from the private part."""
        one, other = (OKPKey.generate_key("Ed25519") for _ in range(2))
        mixed = {**one.as_dict(private=True), "x": other.as_dict(private=False)["x"]}
        answer = await root_admin.post("/signing-keys", {"jwk": mixed})
        # Nobody asks for Ed25519 here: it gets as far as that, or not.
        assert answer.status_code in {400, 409}

    async def test_409_nobody_asks_for_its_algorithm(self, root_admin: Person) -> None:
        key = RSAKey.generate_key(2048).as_dict(private=True)
        assert (await root_admin.post("/signing-keys", {"jwk": key})).status_code == 409

    async def test_409_here_already_or_revoked(self, root_admin: Person) -> None:
        body = {"pem": pem(ec.generate_private_key(ec.SECP256R1()))}
        made = (await root_admin.post("/signing-keys", body)).json()
        assert (await root_admin.post("/signing-keys", body)).status_code == 409
        assert (await root_admin.post(f"/signing-keys/{made['kid']}/revoke")).status_code == 204
        assert (await root_admin.post("/signing-keys", body)).status_code == 409


class TestAnotherSetting:
    async def test_the_former_key_signs_until_the_new_one_is_known(
        self, start: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first: Running = await start()
        token = (await first.exchange())["access_token"]
        second: Running = await start(signing_algorithm="Ed25519")
        assert kid((await second.exchange())["access_token"]) == kid(token)
        metadata = (await second.get("/.well-known/openid-configuration")).json()
        assert set(metadata["id_token_signing_alg_values_supported"]) == {"ES256", "EdDSA"}
        # Once it was published long enough, it signs.
        monkeypatch.setattr(parts, "key_ages", lambda _: KeyAges(0, 0, 420))
        third: Running = await start(signing_algorithm="Ed25519")
        new = (await third.exchange())["access_token"]
        assert jwt.get_unverified_header(new)["alg"] == "EdDSA"
        assert (await third.get("/iam/users/me", token)).status_code == 200


class TestForResourceServers:
    async def test_the_first_key_of_an_algorithm_signs_at_once(self, service: Running) -> None:
        upkeep = service.service.parts.signing_keys
        for _ in range(2):
            async with service.service.parts.store.transaction() as tx:
                await upkeep.ensure(tx, "RS256")
        async with service.service.parts.store.transaction() as tx:
            ring = await upkeep.ring(tx)
        made = sorted((key.algorithm, key.slot) for key in ring.keys)
        assert made == [
            ("ES256", "current"),
            ("ES256", "next"),
            ("RS256", "current"),
            ("RS256", "next"),
        ]
        signer = ring.signer(upkeep.ages)
        assert signer is not None
        assert signer.algorithm == "ES256"


class TestSeveralNodes:
    async def test_a_revoked_key_is_dead_on_the_others_and_signs_no_more(
        self, start: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """They hear of it by the revocation, not by their own slow look."""
        monkeypatch.setattr(following, "INTERVAL", 600)
        one, other = await start(), await start()
        old = (await other.exchange())["access_token"]
        answer = await (await root(one)).post(f"/signing-keys/{kid(old)}/revoke")
        assert answer.status_code == 204
        assert kid((await one.exchange())["access_token"]) != kid(old)
        async with asyncio.timeout(10):
            # On SQLite nothing in these calls waits: without a pause, nobody else had a turn.
            while (await other.get("/iam/users/me", old)).status_code == 200:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            while kid((await other.exchange())["access_token"]) == kid(old):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert kid(old) not in await published(other)

    async def test_one_acts(self, start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """Both find the rotation due; it happens once."""
        monkeypatch.setattr(following, "INTERVAL", 60)
        monkeypatch.setattr(parts, "key_ages", lambda _: KeyAges(2, 0, 420))
        nodes: list[Running] = [await start(), await start()]
        before = await published(nodes[0])
        await asyncio.sleep(timedelta(seconds=2.1).total_seconds())
        rings = await asyncio.gather(*(node.service.parts.signing_keys.keep() for node in nodes))
        kids = [{(key.kid, key.slot) for key in ring.keys} for ring in rings]
        assert kids[0] == kids[1]
        assert len(kids[0]) == len(before) + 1
