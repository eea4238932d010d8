"""The platform's signing keys: seen and turned in the root tenant, nowhere else."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from keyturn.server.domain.permissions import TENANT_ADMIN
from tests.http.conftest import Running
from tests.http.console.conftest import Console, Enter


class TestSigningKeys:
    async def test_stand_on_a_timeline(self, service: Running, enter: Enter) -> None:
        root = await enter(TENANT_ADMIN, tenant=service.demo.platform.tenant.id)
        text = await root.page("/signing-keys")
        assert "<svg" in text
        assert "current" in text
        assert "/signing-keys/rotate" in text

    async def test_are_imported_and_rotated(self, service: Running, enter: Enter) -> None:
        root = await enter(TENANT_ADMIN, tenant=service.demo.platform.tenant.id)
        pem = _pem()
        text = await root.done("/signing-keys/import", {"pem": pem})
        assert "is published" in text
        answer = await root.post("/signing-keys/rotate")
        assert answer.status_code in (200, 303)
        answer = await root.post("/signing-keys/import", {"pem": "no key " + pem[:40]})
        assert answer.status_code == 400
        assert "no key" not in answer.text

    async def test_are_not_offered_elsewhere(self, console: Console) -> None:
        assert "/signing-keys" not in await console.page("")
        assert (await console.get("/signing-keys")).status_code == 403


def _pem() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
