"""The person's own API keys: listed, made, seen."""

from starlette.responses import Response

from ...domain.errors import Refusal
from ..api import Document
from ..frame import View
from ..nouns import key_fields
from ..nouns.api_key_making import show_secret
from ..nouns.tenants import tenants_of
from ..over import has_ended
from ..visit import Visit

#: Where they stand in the console.
ALL = "/account/api-keys"


def views() -> list[View]:
    """Their pages."""
    return [
        View("GET", ALL, everyone),
        View("GET", f"{ALL}/new", ask_new),
        View("POST", f"{ALL}/new", create),
        View("GET", f"{ALL}/{{key_id}}", one),
    ]


async def everyone(visit: Visit) -> Response:
    """All of them, dead ones too."""
    page = await visit.get("listOwnApiKeys", query={"cursor": visit.asked("cursor")})
    return visit.render("account/keys.html", page=page)


async def ask_new(visit: Visit) -> Response:
    """The form."""
    return await _form(visit)


async def create(visit: Visit) -> Response:
    """Makes it, and shows its secret. The form sent twice makes one, and shows the same."""
    form = visit.form
    try:
        body = {
            "name": form.text("name"),
            "role_ids": key_fields.roles(form),
            "networks": key_fields.networks(form),
            "tenant_id": form.or_none("tenant_id"),
            "idle_timeout": form.number("idle_timeout"),
            **key_fields.expiring(form),
        }
        made = await visit.ask("createOwnApiKey", body=body, once=True)
    except Refusal as refusal:
        visit.refused(refusal)
        return await _form(visit, 400)
    return show_own_secret(visit, made.data, await username(visit), "The API key is made")


async def one(visit: Visit) -> Response:
    """All that is known of one."""
    key = await visit.get("getOwnApiKey", key_id=visit.path("key_id"))
    me = await _me(visit)
    roles = {role["role_id"]: role["role_name"] for role in me["roles"]}
    tenants = {role["tenant_id"]: role["tenant_name"] for role in me["roles"]}
    return visit.render(
        "account/key.html", key=key, ended=has_ended(key), roles=roles, tenants=tenants
    )


async def username(visit: Visit) -> str:
    """The person's."""
    name: str = (await visit.get("me", query={"limit": 1}))["username"]
    return name


def show_own_secret(visit: Visit, key: Document, username: str, title: str) -> Response:
    """The page that has a secret of one's own."""
    return show_secret(visit, key, {"email": username}, title, at=ALL)


async def _form(visit: Visit, status: int = 200) -> Response:
    me = await _me(visit)
    return visit.render(
        "account/key_new.html",
        status,
        roles=list({role["role_id"]: role["role_name"] for role in me["roles"]}.items()),
        tenants=tenants_of(me["roles"]),
        expiries=key_fields.EXPIRIES,
        idle=key_fields.IDLE,
    )


async def _me(visit: Visit) -> Document:
    return await visit.get("me", query={"limit": 200})
