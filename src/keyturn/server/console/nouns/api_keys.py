"""API keys: all of a tenant's, one of them, and its end."""

from datetime import timedelta

from starlette.responses import Response

from ..api import Document
from ..frame import View
from ..over import has_ended, need_not_revoked
from ..templates import iso
from ..visit import Visit
from . import names

ALL_KEYS, ONE_KEY = "/t/{tenant_id}/api-keys", "/t/{tenant_id}/api-keys/{key_id}"

_STATES = (
    ("", "In any state"),
    ("active", "Active"),
    ("expired", "Expired"),
    ("idle", "Unused for too long"),
    ("revoked", "Revoked"),
    ("user_disabled", "Of a disabled user"),
)
_EXPIRES = (("", "Whenever they expire"), ("7", "Expire within 7 days"), ("30", "Within 30 days"))
_UNUSED = (("", "However they are used"), ("30", "Unused for 30 days"), ("90", "For 90 days"))
#: What the list may be narrowed by: parameter of the page, what it is called, what to choose from.
_FILTERS = (
    ("state", "State", _STATES),
    ("expires", "Expiry", _EXPIRES),
    ("unused", "Use", _UNUSED),
)


def views() -> list[View]:
    """Their pages."""
    return [
        View("GET", ALL_KEYS, everyone, "listApiKeys"),
        View("GET", ONE_KEY, one, "getApiKey"),
        View("GET", f"{ONE_KEY}/revoke", ask_revoke, "revokeApiKey"),
        View("POST", f"{ONE_KEY}/revoke", revoke, "revokeApiKey"),
    ]


async def everyone(visit: Visit) -> Response:
    """The keys at home in the tenant, or those of one user."""
    asked = {name: visit.asked(name) for name in ("user_id", *(name for name, _, _ in _FILTERS))}
    now = visit.templates.now()
    query = {
        "cursor": visit.asked("cursor"),
        "user_id": asked["user_id"],
        "state": asked["state"],
    }
    if days := _days(asked["expires"]):
        query["expires_before"] = iso(now + timedelta(days=days))
    if days := _days(asked["unused"]):
        query["unused_since"] = iso(now - timedelta(days=days))
    page = await visit.get("listApiKeys", query=query)
    whose = await names.person(visit, asked["user_id"]) if asked["user_id"] else {}
    return visit.render("api_keys/all.html", page=page, filters=_FILTERS, asked=asked, whose=whose)


async def one(visit: Visit) -> Response:
    """All that is known of one."""
    key = await visit.get("getApiKey", key_id=visit.path("key_id"))
    user = await names.person(visit, key["user_id"])
    held = {role["role_id"]: role["role_name"] for role in user.get("roles", ())}
    return visit.render(
        "api_keys/one.html",
        key=key,
        ended=has_ended(key),
        user=user,
        roles=[held.get(role_id, role_id) for role_id in key["role_ids"] or ()],
        endpoints=await names.endpoints(visit, key["endpoint_ids"] or ()),
        tenants=await names.tenants(visit, [key["tenant_id"]] if key["tenant_id"] else ()),
        made_by=await names.person(visit, key["created_by"]) if key["created_by"] else {},
        live=await _live_sessions(visit, key),
    )


async def ask_revoke(visit: Visit) -> Response:
    """Asks, and says what it ends."""
    key = await visit.get("getApiKey", key_id=visit.path("key_id"))
    need_not_revoked(key, "/api-keys")
    live = await _live_sessions(visit, key)
    at = f"/api-keys/{key['id']}"
    return visit.confirm(
        f"Revoke “{key['name']}”?",
        ends=[
            f"the API key of {key['user_name']}, {_used(visit, key)}",
            f"its live sessions: {live}, and those that were not refreshed yet"
            if live
            else "all its sessions",
            "the access tokens that it gave, on every resource server, within a second",
        ],
        note="Programs that have this key get no token any more, until they have another key."
        " It cannot be undone. The key stays listed.",
        label="Revoke",
        action=f"{at}/revoke",
        back=at,
    )


async def revoke(visit: Visit) -> Response:
    """Revokes it."""
    key_id = visit.path("key_id")
    await visit.ask("revokeApiKey", path={"key_id": key_id})
    return visit.to(f"/api-keys/{key_id}", "api-key-revoked")


def _used(visit: Visit, key: Document) -> str:
    if key["last_used_at"] is None:
        return "never used"
    where = f" from {key['last_used_from']}" if key["last_used_from"] else ""
    count = "once" if key["use_count"] == 1 else f"{key['use_count']:,} times"
    return f"last used {visit.ago(key['last_used_at'])}{where}; used {count} in all"


async def _live_sessions(visit: Visit, key: Document) -> str:
    """How many there are; empty for who may not know."""
    told = key.get("live_sessions")
    if told is None:
        query = {"api_key_id": key["id"], "live": True, "limit": 100}
        page = await visit.get_if("listSessions", query=query)
        if not page:
            return ""
        told = {"count": len(page["items"]), "more": page["next_cursor"] is not None}
    return f"{told['count']}{' or more' if told['more'] else ''}"


def _days(text: str) -> int:
    return int(text) if text in ("7", "30", "90") else 0
