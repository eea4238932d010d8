"""A new API key: whose, how wide, how long; and its secret, this once."""

from starlette.responses import Response

from ...domain.errors import Refusal
from .. import commands
from ..api import Document
from ..frame import View
from ..visit import Visit
from . import key_fields, names
from .api_keys import ALL_KEYS

_NEW = f"{ALL_KEYS}/new"


def views() -> list[View]:
    """Their pages."""
    return [
        View("GET", _NEW, ask_new, "createApiKey"),
        View("POST", _NEW, create, "createApiKey", max_form=key_fields.MAX_FORM),
    ]


async def ask_new(visit: Visit) -> Response:
    """The form, once it is known whose key it will be."""
    user_id = visit.asked("user_id")
    if user_id:
        return await _form(visit, user_id)
    query = {"cursor": visit.asked("cursor"), "query": visit.asked("query")[:128]}
    page = await visit.get_if("listServiceUsers", query=query)
    return visit.render("api_keys/whose.html", page=page)


async def create(visit: Visit) -> Response:
    """Makes it, and shows its secret. The form sent twice makes one, and shows the same."""
    form = visit.form
    user_id = form.text("user_id")
    if key_fields.is_search(form):
        return await _form(visit, user_id)
    try:
        body = {
            "user_id": user_id,
            "name": form.text("name"),
            "role_ids": key_fields.roles(form),
            "endpoint_ids": key_fields.endpoints(form),
            "networks": key_fields.networks(form),
            "tenant_id": form.or_none("tenant_id"),
            "idle_timeout": form.number("idle_timeout"),
            **key_fields.expiring(form),
        }
        made = await visit.ask("createApiKey", body=body, once=True)
    except Refusal as refusal:
        visit.refused(refusal)
        return await _form(visit, user_id, 400)
    user = await names.person(visit, user_id)
    return show_secret(visit, made.data, user, "The API key is made")


def show_secret(
    visit: Visit, key: Document, user: Document, title: str, at: str = "/api-keys"
) -> Response:
    """The page that has a key's secret: it is in this answer, and in no other.

    `user` is empty for who may not read users: then the commands want a username. `at` is where the
    key stands among others.
    """
    who = visit.operations.base_url, user.get("email", "USERNAME"), key["secret"]
    return visit.render(
        "api_keys/secret.html",
        title=title,
        key=key,
        at=at,
        user=user,
        exchange=commands.exchange(*who),
        who_am_i=commands.who_am_i(*who),
    )


async def _form(visit: Visit, user_id: str, status: int = 200) -> Response:
    user = await visit.get("getServiceUser", user_id=user_id)
    held = {role["role_id"]: role["role_name"] for role in user["roles"]}
    tenants = await names.tenants(visit, {role["tenant_id"] for role in user["roles"]})
    return visit.render(
        "api_keys/new.html",
        status,
        user=user,
        roles=list(held.items()),
        tenants=list(tenants.items()),
        choice=await key_fields.choice(visit),
        expiries=key_fields.EXPIRIES,
        idle=key_fields.IDLE,
    )
