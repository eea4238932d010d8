"""`keyturn signing-key …` against a running service, and `keyturn secrets …` on a database."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc.jwk import ECKey, OKPKey

from keyturn.server.app import create_app, migrate
from keyturn.server.domain.ids import new_id
from keyturn.server.domain.sign_ins import SecondFactor
from keyturn.server.domain.webhooks import Webhook
from keyturn.server.parts import open_parts
from keyturn.server.services.bootstrap import Demo, make_demo
from keyturn.server.services.ports import Slice
from keyturn.server.settings import Settings
from keyturn.server.tokens.second_factors import SealedFactors
from keyturn.server.tokens.secrets import DerivedKeys
from keyturn.server.tokens.webhook_secrets import SealedWebhookSecrets
from tests.cli.conftest import Run
from tests.cli.test_commands import one_line
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

    def test_1_import_of_an_algorithm_that_nobody_asks_for(self, admin: Run, root: str) -> None:
        key = OKPKey.generate_key("Ed25519")
        text = json.dumps(key.as_dict(private=True))
        done = admin("signing-key", "import", "-", tenant=root, stdin=text)
        assert done.returncode == 1
        assert "Ed25519" in one_line(done.stderr)
        assert "KEYTURN_SIGNING_ALGORITHM" in done.stderr

    def test_1_revoke_what_is_none(self, admin: Run, root: str) -> None:
        done = admin("signing-key", "revoke", "foo", "--yes", tenant=root)
        assert done.returncode == 1
        assert one_line(done.stderr) == "keyturn: no signing key is called 'foo'"

    def test_0_revoke_the_current_one(self, answer: Answer, admin: Run, root: str) -> None:
        before = {key["slot"]: key for key in answer("signing-key", "list", tenant=root)}
        current, following = before["current"]["kid"], before["next"]
        done = admin("signing-key", "revoke", "--yes", "--", current, tenant=root)
        assert (done.returncode, done.stdout) == (0, "")
        line = one_line(done.stderr)
        assert f"revoked {current}; {following['kid']} signs now; verifiers" in line
        assert f"until {following['ready_at'][:19]}Z" in line
        after = {key["slot"]: key for key in answer("signing-key", "list", tenant=root)}
        assert after["current"]["kid"] == following["kid"]

    def test_0_revoke_the_next_one(self, answer: Answer, admin: Run, root: str) -> None:
        before = {key["slot"]: key["kid"] for key in answer("signing-key", "list", tenant=root)}
        done = admin("signing-key", "revoke", "--yes", "--", before["next"], tenant=root)
        assert done.returncode == 0, done.stderr
        assert one_line(done.stderr) == f"keyturn: revoked {before['next']}"
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


async def _with_webhook(settings: Settings, demo: Demo) -> tuple[Webhook, str | None]:
    """A webhook of the first tenant, and what it signs."""
    webhook_id, secrets_ = new_id(), _seals(settings.master_secret.get_secret_value())
    _, sealed = secrets_.new(webhook_id)
    now = datetime.now(UTC)
    webhook = Webhook(webhook_id, demo.tenants[0].id, "x", "https://hooks.example", now, sealed)
    async with open_parts(settings) as parts, parts.store.transaction() as tx:
        await tx.webhooks.add(webhook)
    return webhook, secrets_.signature(webhook, now, b"x")


async def _with_second_factor(settings: Settings, demo: Demo) -> SecondFactor:
    """The administrator's."""
    user_id, now = demo.platform.user.id, datetime.now(UTC)
    sealed = _factors(settings.master_secret.get_secret_value()).seal(user_id, "JBSWY3DPEHPK3PXP")
    factor = SecondFactor(user_id, sealed, now, 0, ())
    async with open_parts(settings) as parts, parts.store.transaction() as tx:
        await tx.second_factors.put(factor)
    return factor


async def _second_factor(settings: Settings, demo: Demo) -> SecondFactor:
    async with open_parts(settings) as parts, parts.store.transaction() as tx:
        factor = await tx.second_factors.get(demo.platform.user.id)
    assert factor is not None
    return factor


def _factors(master_secret: str) -> SealedFactors:
    return SealedFactors(DerivedKeys([master_secret], "second factors", 64))


async def _webhook(settings: Settings, demo: Demo) -> Webhook:
    async with open_parts(settings) as parts, parts.store.transaction() as tx:
        [webhook] = (await tx.webhooks.in_tenant(demo.tenants[0].id, Slice(2))).items
        return webhook


def _seals(master_secret: str) -> SealedWebhookSecrets:
    return SealedWebhookSecrets(DerivedKeys([master_secret], "webhooks", 64))


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

        sealed, signed = in_loop(_with_webhook(Settings(**before), demo))
        factor = in_loop(_with_second_factor(Settings(**before), demo))

        # The old one alone: nothing to do. The new one alone: refused, and nothing broken.
        done = run("secrets", "status", **before)
        assert done.returncode == 0
        assert "no previous master secret is set" in one_line(done.stderr)
        refused = run("secrets", "rotate", **after)
        assert refused.returncode == 1
        assert "KEYTURN_MASTER_SECRET" in refused.stderr

        assert in_loop(_exchange(Settings(**both), user)) == [200]
        asked = run("secrets", "status", "--json", **both)
        told = json.loads(asked.stdout)
        assert asked.returncode == 1
        newest, [earlier] = told["newest"], told["previous"]
        assert newest != earlier
        [unmoved] = told["unmoved_api_keys"]
        assert (unmoved["username"], unmoved["last_used_at"]) == (admin[0], None)
        assert told == {
            "newest": newest,
            "previous": [earlier],
            "resealed": 0,
            "signing_keys": 2,
            "webhooks": 1,
            "second_factors": 1,
            "api_keys": 1,
            "kept_answers": 0,
            "missing": {"api_keys": 0, "kept_answers": 0},
            "unmoved_api_keys": [unmoved],
            "done": False,
        }

        first = run("secrets", "rotate", "--json", **both)
        told |= {"resealed": 2, "signing_keys": 0, "webhooks": 0, "second_factors": 0}
        assert (first.returncode, json.loads(first.stdout)) == (1, told)
        again = run("secrets", "rotate", **both)
        assert again.returncode == 1
        assert "needed still, by 1 API keys" in one_line(again.stderr)
        assert f"{unmoved['id']}  {admin[0]}  last used never" in again.stdout
        # The settings lack the secret that it needs.
        lacking = run("secrets", "status", **after)
        assert lacking.returncode == 1
        assert "is missing from the settings, which 1 API keys need" in one_line(lacking.stderr)

        # The last key moves at its next use.
        assert in_loop(_exchange(Settings(**both), admin)) == [200]
        done = run("secrets", "rotate", **both)
        assert done.returncode == 0
        assert f"If {newest} has replaced it, on every node" in one_line(done.stderr)
        assert "may be dropped 1800 s later" in done.stderr
        for secret in (old, new):
            assert secret not in done.stdout + done.stderr
        assert in_loop(_exchange(Settings(**after), user, admin)) == [200, 200]
        moved = in_loop(_webhook(Settings(**after), demo))
        assert moved.secret != sealed.secret
        assert _seals(new).signature(moved, moved.created_at, b"x") == signed
        assert _seals(new).signature(sealed, sealed.created_at, b"x") is None
        kept = in_loop(_second_factor(Settings(**after), demo))
        assert _factors(new).open(kept) == _factors(old).open(factor) != _factors(new).open(factor)
        assert run("secrets", "status", **after).returncode == 0

    def test_1_before_the_switch_they_differ(
        self, run: Run, tmp_path: Path, database_url: str
    ) -> None:
        """A node that only reads the new secret tells of another newest one."""
        old, new = secrets.token_urlsafe(40), secrets.token_urlsafe(40)
        first: dict[str, Any] = {"database_url": database_url, "master_secret": old}
        first["previous_master_secrets"] = new
        second = {**first, "master_secret": new, "previous_master_secrets": old}
        in_loop(_started(Settings(**first)))
        one, two = (
            json.loads(run("secrets", "status", "--json", **node).stdout)
            for node in (first, second)
        )
        assert (one["newest"], one["previous"]) == (two["previous"][0], [two["newest"]])
        assert (one["done"], two["done"]) == (True, False)
        said = one_line(run("secrets", "status", **first).stderr)
        assert (
            f"which is to replace {one['newest']}, it is known here and not yet the newest" in said
        )
