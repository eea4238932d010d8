"""`keyturn signing-key …` against a running service, and `keyturn secrets …` on a database."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc.jwk import ECKey

from keyturn.server.app import create_app, migrate
from keyturn.server.parts import open_parts
from keyturn.server.services.bootstrap import Demo, make_demo
from keyturn.server.settings import Settings
from tests.cli.conftest import Run
from tests.databases import run as in_loop

Answer = Callable[..., Any]


def new_pem() -> str:
    form = serialization.PrivateFormat.PKCS8
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(
        serialization.Encoding.PEM, form, serialization.NoEncryption()
    ).decode()


@pytest.fixture
def root(answer: Answer) -> str:
    """The root tenant's name."""
    roles = answer("whoami")["roles"]
    [name] = {role["tenant_name"] for role in roles} - {"acme", "globex"}
    return str(name)


class TestSigningKeys:
    def test_0_list_and_import(self, answer: Answer, admin: Run, root: str, tmp_path: Path) -> None:
        before = {key["slot"]: key["kid"] for key in answer("signing-key", "list", tenant=root)}
        assert set(before) == {"current", "next"}
        key = ECKey.generate_key("P-256")
        (tmp_path / "key.json").write_text(json.dumps(key.as_dict(private=True)))
        made = answer("signing-key", "import", "key.json", tenant=root)
        assert (made["kid"], made["slot"]) == (key.thumbprint(), "next")
        again = answer("signing-key", "import", "-", tenant=root, stdin=new_pem())
        assert again["kid"] != made["kid"]
        shown = admin("signing-key", "list", tenant=root)
        assert again["kid"] in shown.stdout
        assert made["kid"] not in shown.stdout

    def test_1_rotate_too_soon(self, admin: Run, root: str) -> None:
        done = admin("signing-key", "rotate", tenant=root)
        assert done.returncode == 1
        assert "Verifiers may not have the next key yet" in done.stderr

    def test_1_in_another_tenant(self, admin: Run) -> None:
        done = admin("signing-key", "list")
        assert done.returncode == 1
        assert "root tenant" in done.stderr

    @pytest.mark.parametrize("text", ["{", "\0\xff"])
    def test_2_no_key(self, admin: Run, root: str, tmp_path: Path, text: str) -> None:
        (tmp_path / "key").write_bytes(text.encode("latin-1"))
        done = admin("signing-key", "import", "key", tenant=root)
        assert done.returncode == 2
        assert "neither PEM nor JWK" in done.stderr

    def test_0_revoke_the_next_one(self, answer: Answer, admin: Run, root: str) -> None:
        before = {key["slot"]: key["kid"] for key in answer("signing-key", "list", tenant=root)}
        done = admin("signing-key", "revoke", before["next"], "--yes", tenant=root)
        assert done.returncode == 0, done.stderr
        after = {key["slot"]: key["kid"] for key in answer("signing-key", "list", tenant=root)}
        assert after["current"] == before["current"]
        assert after["next"] != before["next"]


async def _started(settings: Settings) -> Demo:
    """A service with the demo, on a new database."""
    await migrate(settings)
    async with open_parts(settings) as parts:
        demo = await make_demo(parts.store, parts.key_format)
    app = create_app(settings)
    async with app.router.lifespan_context(app):  # makes the next signing key
        return demo


async def _exchange(settings: Settings, *whose: tuple[str, str]) -> list[int]:
    """Starts a service and exchanges keys; how that was answered."""
    import httpx

    app = create_app(settings)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://testserver") as client,
    ):
        answers = [
            await client.post("/iam/auth/token", json={"username": name, "password": key})
            for name, key in whose
        ]
        return [answer.status_code for answer in answers]


class TestSecrets:
    def test_old_then_both_then_new(self, run: Run, tmp_path: Path, database_url: str) -> None:
        old, new = secrets.token_urlsafe(40), secrets.token_urlsafe(40)
        before: dict[str, Any] = {"database_url": database_url, "master_secret": old}
        both = {**before, "master_secret": new, "previous_master_secrets": old}
        after = {**before, "master_secret": new}
        demo = in_loop(_started(Settings(**before)))
        user = (demo.user.username, demo.key.text)
        admin = (demo.platform.user.username, demo.platform.key.text)

        # The old one alone: nothing to do. The new one alone: refused, and nothing broken.
        assert run("secrets", "status", **before).returncode == 0
        refused = run("secrets", "rotate", **after)
        assert refused.returncode == 1
        assert "KEYTURN_MASTER_SECRET" in refused.stderr

        assert in_loop(_exchange(Settings(**both), user)) == [200]
        asked = run("secrets", "status", "--json", **both)
        told = {"resealed": 0, "signing_keys": 2, "api_keys": 1, "kept_answers": 0, "done": False}
        assert (asked.returncode, json.loads(asked.stdout)) == (1, told)

        first = run("secrets", "rotate", "--json", **both)
        told |= {"resealed": 2, "signing_keys": 0}
        assert (first.returncode, json.loads(first.stdout)) == (1, told)
        again = run("secrets", "rotate", **both)
        assert again.returncode == 1
        assert "needed still" in again.stderr

        # The last key moves at its next use.
        assert in_loop(_exchange(Settings(**both), admin)) == [200]
        done = run("secrets", "rotate", **both)
        assert done.returncode == 0
        assert "may be dropped" in done.stderr
        for secret in (old, new):
            assert secret not in done.stdout + done.stderr
        assert in_loop(_exchange(Settings(**after), user, admin)) == [200, 200]
        assert run("secrets", "status", **after).returncode == 0
