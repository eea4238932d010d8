"""Names in the audit trail: of what people filter by, and of those who acted."""

from collections.abc import Mapping
from dataclasses import dataclass

from ...domain.errors import invalid_request
from ...domain.ids import parse_id
from ..api import Document
from ..visit import Visit
from .choosing import users_here
from .names import person

#: What the trail calls what happens: to choose from, and others can be typed.
ACTIONS = (
    "administrator.recovered",
    *(f"api_key.{did}" for did in ("changed", "created", "leaked", "revoked", "rotated")),
    *(f"endpoint.{did}" for did in ("changed", "created", "deleted")),
    *("endpoints.imported", "installation.restored"),
    *(f"invitation.{did}" for did in ("accepted", "created", "declined", "refused", "withdrawn")),
    *("master_secret.rotated", "membership.created", "membership.deleted"),
    *("permission.deleted", "permission.registered", "permissions.registered"),
    *("request.throttled",),
    *(f"resource_server.{did}" for did in ("changed", "created", "removed")),
    *(f"role.{did}" for did in ("changed", "created", "deleted")),
    *(f"service_user.{did}" for did in ("changed", "created", "deleted", "disabled", "enabled")),
    *(f"session.{did}" for did in ("all_ended", "ended", "reuse_detected", "revoked")),
    *(f"signing_key.{did}" for did in ("imported", "promoted", "removed", "retired", "revoked")),
    *(f"tenant.{did}" for did in ("created", "deleted", "policy_changed", "renamed")),
    *("tenant.resumed", "tenant.suspended"),
    *(f"token.{did}" for did in ("issued", "refused", "revoked")),
    *("tokens.revoked", "user.created", "user.password_changed", "user.password_removed"),
    *("user.recovered", "user.recovery_code_used", "user.recovery_codes_made"),
    "user.second_factor_locked",
    *("user.second_factor_removed", "user.second_factor_set", "user.sign_in_refused"),
    *("user.signed_in", "user.signed_out"),
    *(f"webhook.{did}" for did in ("changed", "created", "deleted", "disabled", "retried")),
    *("webhook.secret_rotated", "webhook.tested"),
)
_ABOVE = "administrator of a tenant above, or somebody who is gone"
#: How many of those who acted are looked up one by one, where not all can be listed.
_LOOKED_UP = 5


@dataclass(frozen=True, slots=True)
class Names:
    """Names by id, of members and service users. `all_known`: who is not among them is not here."""

    by_id: Mapping[str, str]
    all_known: bool

    def of(self, user_id: str) -> str:
        """What to call somebody who acted."""
        if user_id in self.by_id:
            return self.by_id[user_id]
        return _ABOVE if self.all_known else user_id


async def user_called(visit: Visit, wanted: str, field: str) -> str:
    """The id of the one user whom a name, address or id names; empty for nobody.

    Raises Refusal at the `field` where several could be meant.
    """
    if parse_id(wanted) is not None:
        return wanted
    if wanted.casefold() == visit.tenant.username.casefold():  # who looks may be at home elsewhere
        return visit.tenant.user_id
    found = (await users_here(visit, wanted)).items
    same = [user for user in found if wanted.casefold() in _called(user)]
    meant = same or found
    if len(meant) > 1:
        several = f"{len(meant)} users here have that in name or address. Write one's address."
        raise invalid_request(several, field=field)
    return meant[0]["id"] if meant else ""


async def names_of(visit: Visit, items: list[Document]) -> Names:
    """The names of those who acted, as far as they are here and may be seen."""
    acted = {item["actor"]["user_id"] for item in items} - {None}
    own = {visit.tenant.user_id: visit.tenant.username}  # who looks, wherever they are at home
    if not acted or not (visit.may("listMembers") and visit.may("listServiceUsers")):
        return Names(own, all_known=False)
    here = await users_here(visit, "")
    names = own | {user["id"]: user["name"] for user in here.items}
    unknown = sorted(acted - names.keys())
    if here.more:
        for user_id in unknown[:_LOOKED_UP]:
            if found := await person(visit, user_id):
                names[user_id] = found["name"]
    return Names(names, all_known=not here.more or len(unknown) <= _LOOKED_UP)


def _called(user: Document) -> tuple[str, str]:
    return user["name"].casefold(), user["email"].casefold()
