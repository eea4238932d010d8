"""`/users/me/api-keys`: the caller's own keys."""

from starlette.responses import Response

from ...services.management.key_making import MadeKey
from ...services.management.own_keys import OwnKeys
from ..caller import tenant_choice
from ..fields import PageQuery
from ..operation import Call, Operation, Own, listed, part
from .api_keys import (
    KeyChangeBody,
    NewKeyBody,
    RotationBody,
    key_entity,
    key_view,
    secret_entity,
)


def own_key_operations(keys: OwnKeys, base: str) -> list[Operation]:
    """The operations on the caller's own keys. `base` is what the answers' `href` begin with."""
    base += "/users/me/api-keys"

    async def list_keys(call: Call) -> Response:
        query = call.query(PageQuery)
        page = await keys.list(call.own, part(query.limit, query.cursor))
        return listed(page, lambda item: key_view(item, base))

    def created(made: MadeKey) -> Response:
        return secret_entity(made, base, 201)

    async def create(call: Call) -> Response:
        tenant_id = tenant_choice(call.request)
        wanted = (await call.body(NewKeyBody)).wanted()
        return created(await keys.make(call.own, wanted, tenant_id, call.once(created)))

    async def read(call: Call) -> Response:
        return key_entity(await keys.get(call.own, call.path("key_id")), base)

    async def change(call: Call) -> Response:
        wanted = (await call.body(KeyChangeBody)).wanted()
        item = await keys.change(call.own, call.path("key_id"), wanted, call.versions())
        return key_entity(item, base)

    def rotated(made: MadeKey) -> Response:
        return secret_entity(made, base)

    async def rotate(call: Call) -> Response:
        wanted, once = (await call.body(RotationBody)).wanted(), call.once(rotated)
        key_id, seen = call.path("key_id"), call.versions()
        return rotated(await keys.rotate(call.own, key_id, wanted, seen, once))

    async def revoke(call: Call) -> Response:
        return key_entity(await keys.revoke(call.own, call.path("key_id")), base)

    own = Own()
    all_of_them, one = "/users/me/api-keys", "/users/me/api-keys/{key_id}"
    return [
        Operation("listOwnApiKeys", "GET", all_of_them, own, list_keys, query=PageQuery),
        Operation(
            "createOwnApiKey", "POST", all_of_them, own, create, body=NewKeyBody, creates=True
        ),
        Operation("getOwnApiKey", "GET", one, own, read),
        Operation("renameOwnApiKey", "PATCH", one, own, change, body=KeyChangeBody),
        Operation(
            "rotateOwnApiKey",
            "POST",
            f"{one}/rotate",
            own,
            rotate,
            body=RotationBody,
            creates=True,
        ),
        Operation("revokeOwnApiKey", "POST", f"{one}/revoke", own, revoke),
    ]
