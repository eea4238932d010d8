"""`/signing-keys`: what tokens are signed with. The private parts never leave."""

from typing import Annotated, Any, Literal

from pydantic import StringConstraints
from starlette.responses import Response

from ...services.callers import Needs
from ...services.management.signing_keys import ShownKey, SigningKeyManagement
from ...services.ports import Page
from ..fields import Body
from ..operation import Call, Operation, done, listed, shown


class Rotation(Body):
    """Of which algorithm; null: the setting's."""

    algorithm: Literal["ES256", "RS256", "Ed25519"] | None = None


class SigningKeyImport(Body):
    """A private key: exactly one of both."""

    # No fault must quote them: nothing is said of what is in them but by the importer.
    pem: Annotated[str, StringConstraints(max_length=16_384)] | None = None
    jwk: dict[str, object] | None = None


def signing_key_operations(keys: SigningKeyManagement) -> list[Operation]:
    """The operations on signing keys. The service refuses them outside of the root tenant."""

    async def list_all(call: Call) -> Response:
        return listed(Page(await keys.list(call.tenant), None), _view)

    async def rotate(call: Call) -> Response:
        wanted = (await call.body(Rotation)).algorithm
        return shown(_view(await keys.rotate(call.tenant, wanted)))

    async def revoke(call: Call) -> Response:
        await keys.revoke(call.tenant, call.path("kid"))
        return done()

    async def take_in(call: Call) -> Response:
        body = await call.body(SigningKeyImport)
        return shown(_view(await keys.take_in(call.tenant, pem=body.pem, jwk=body.jwk)), status=201)

    path = "/signing-keys"
    reads, writes = Needs("signing-keys:read"), Needs("signing-keys:write")
    return [
        Operation("listSigningKeys", "GET", path, reads, list_all),
        Operation("importSigningKey", "POST", path, writes, take_in, body=SigningKeyImport),
        Operation("rotateSigningKey", "POST", f"{path}/rotate", writes, rotate, body=Rotation),
        Operation("revokeSigningKey", "POST", f"{path}/{{kid}}/revoke", writes, revoke),
    ]


def _view(found: ShownKey) -> dict[str, Any]:
    key = found.key
    return {
        "kid": key.kid,
        "algorithm": key.algorithm,
        "slot": key.slot,
        "created_at": key.created_at,
        "slot_since": key.slot_since,
        "ready_at": found.ready_at,
        "signs_from": found.signs_from,
        "removed_at": found.removed_at,
        "public_jwk": key.public_jwk,
    }
