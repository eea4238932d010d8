"""`/api-keys`: the keys at home in the caller's tenant."""

from dataclasses import asdict
from typing import Annotated, Any

from pydantic import Field, StringConstraints
from starlette.responses import Response

from ...services.callers import Needs
from ...services.management.api_keys import ApiKeyManagement
from ...services.management.key_making import KeyChange, MadeKey, WantedKey
from ...services.management.key_states import KeyState, ListedKey
from ...services.management.rotation import MAX_OVERLAP, WantedRotation
from ...services.management.sessions import SessionManagement
from ...services.ports import KeyFilter
from ..fields import Body, Id, Moment, Name, PageQuery, Seconds
from ..operation import Call, Operation, listed, part, shown

Ids = Annotated[tuple[Id, ...], Field(max_length=500)]
Networks = Annotated[
    tuple[Annotated[str, StringConstraints(max_length=64)], ...], Field(max_length=50)
]


class NewKeyBody(Body):
    """A key to be made."""

    name: Name
    role_ids: Ids | None = None
    endpoint_ids: Ids | None = None
    networks: Networks | None = None
    tenant_id: Id | None = None
    expires_at: Moment | None = None
    expires_in: Seconds | None = None
    idle_timeout: Seconds | None = None

    def wanted(self) -> WantedKey:
        """What the services are asked for."""
        return WantedKey(
            name=self.name,
            role_ids=self.role_ids,
            endpoint_ids=self.endpoint_ids,
            networks=self.networks,
            tenant_id=self.tenant_id,
            expires_at=self.expires_at,
            expires_in=self.expires_in,
            idle_timeout=self.idle_timeout,
        )


class NewUsersKey(NewKeyBody):
    """A key to be made for a service user."""

    user_id: Id


class KeyChangeBody(Body):
    """What is to be changed of a key: what is omitted stays, null opens it (F3)."""

    name: Name = Field(default="")
    role_ids: Ids | None = None
    endpoint_ids: Ids | None = None
    networks: Networks | None = None

    def wanted(self) -> KeyChange:
        """What the services are asked for."""
        return KeyChange(**self.given())


class RotationBody(Body):
    """How long the old secret still works beside the new one, and whether sessions end."""

    overlap_seconds: Annotated[int, Field(ge=0, le=MAX_OVERLAP)] | None = None
    ends_on_first_use: bool = False
    end_sessions: bool | None = None

    def wanted(self) -> WantedRotation:
        """What the services are asked for: to wait for the first use takes some overlap."""
        overlap = self.overlap_seconds
        if overlap is None:
            overlap = MAX_OVERLAP if self.ends_on_first_use else 0
        return WantedRotation(overlap, self.ends_on_first_use, self.end_sessions)


class KeyQuery(PageQuery):
    """Which keys."""

    user_id: Id | None = None
    state: KeyState | None = None
    expires_before: Moment | None = None
    unused_since: Moment | None = None

    def wanted(self) -> KeyFilter:
        """What the services are asked for, beside the state."""
        return KeyFilter(
            user_id=self.user_id,
            expires_before=self.expires_before,
            unused_since=self.unused_since,
        )


def key_view(item: ListedKey, base: str) -> dict[str, Any]:
    """A key as it is listed. `base` is what stands before its id in `href`."""
    whose = {
        "user_name": None if item.user is None else item.user.display_name,
        "user_kind": None if item.user is None else item.user.kind,
    }
    return {**_bare_view(item, base), **whose}


def _bare_view(item: ListedKey, base: str) -> dict[str, Any]:
    key, rotation = item.key, item.key.rotation
    return {
        "id": key.id,
        "href": f"{base}/{key.id}",
        "name": key.name,
        "user_id": key.user_id,
        "state": item.state,
        "reason": item.reason,
        "tenant_id": key.tenant_id,
        "role_ids": key.role_ids,
        "endpoint_ids": key.endpoint_ids,
        "networks": key.networks,
        "expires_at": key.expires_at,
        "idle_timeout": key.idle_timeout,
        "created_at": key.created_at,
        "created_by": key.created_by,
        "rotated_at": rotation.at if rotation else None,
        "old_secret_until": rotation.old_until if rotation else None,
        "old_secret_ends_on_first_use": rotation.ends_on_use if rotation else None,
        "revoked_at": key.revoked_at,
        "last_used_at": key.last_used_at,
        "last_used_from": key.last_used_from,
        "use_count": key.use_count,
    }


def made_view(made: MadeKey, base: str) -> dict[str, Any]:
    """A key just made, with its secret: the only answer that has one."""
    return {**_bare_view(ListedKey(made.key), base), "secret": made.secret}


def key_entity(item: ListedKey, base: str) -> Response:
    """The answer that shows one key."""
    return shown(key_view(item, base), version=item.key.version)


def secret_entity(made: MadeKey, base: str, status: int = 200) -> Response:
    """The answer that shows a key with its secret; 201 says where it is."""
    view = made_view(made, base)
    at = view["href"] if status == 201 else None
    return shown(view, version=made.key.version, status=status, at=at)


def api_key_operations(
    keys: ApiKeyManagement, sessions: SessionManagement, base: str
) -> list[Operation]:
    """The operations on a tenant's keys. `base` is what the answers' `href` begin with."""
    base += "/api-keys"

    async def list_keys(call: Call) -> Response:
        query = call.query(KeyQuery)
        slice_ = part(query.limit, query.cursor)
        page = await keys.list(call.tenant, slice_, query.wanted(), query.state)
        return listed(page, lambda item: key_view(item, base))

    def created(made: MadeKey) -> Response:
        return secret_entity(made, base, 201)

    async def create(call: Call) -> Response:
        new = await call.body(NewUsersKey)
        once = call.once(created)
        return created(await keys.make(call.tenant, new.user_id, new.wanted(), once))

    async def read(call: Call) -> Response:
        item = await keys.get(call.tenant, call.path("key_id"))
        live = asdict(await sessions.live_of_key(call.tenant, item.key.id))
        return shown({**key_view(item, base), "live_sessions": live}, version=item.key.version)

    async def change(call: Call) -> Response:
        wanted = (await call.body(KeyChangeBody)).wanted()
        item = await keys.change(call.tenant, call.path("key_id"), wanted, call.versions())
        return key_entity(item, base)

    def rotated(made: MadeKey) -> Response:
        return secret_entity(made, base)

    async def rotate(call: Call) -> Response:
        wanted, once = (await call.body(RotationBody)).wanted(), call.once(rotated)
        key_id, seen = call.path("key_id"), call.versions()
        return rotated(await keys.rotate(call.tenant, key_id, wanted, seen, once))

    async def revoke(call: Call) -> Response:
        return key_entity(await keys.revoke(call.tenant, call.path("key_id")), base)

    read_them, write_them = Needs("keys:read"), Needs("keys:write")
    all_of_them, one = "/api-keys", "/api-keys/{key_id}"
    return [
        Operation("listApiKeys", "GET", all_of_them, read_them, list_keys, query=KeyQuery),
        Operation(
            "createApiKey", "POST", all_of_them, write_them, create, body=NewUsersKey, creates=True
        ),
        Operation("getApiKey", "GET", one, read_them, read),
        Operation("changeApiKey", "PATCH", one, write_them, change, body=KeyChangeBody),
        Operation(
            "rotateApiKey",
            "POST",
            f"{one}/rotate",
            write_them,
            rotate,
            body=RotationBody,
            creates=True,
        ),
        Operation("revokeApiKey", "POST", f"{one}/revoke", write_them, revoke),
    ]
