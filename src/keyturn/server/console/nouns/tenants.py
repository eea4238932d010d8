"""Which tenant to look at."""

from starlette.responses import Response

from ..api import Document
from ..frame import View
from ..visit import ROOT, Visit, see_other

#: Tenants that the chooser shows; it searches among them.
_SHOWN = 200


def views() -> list[View]:
    """The home of who signed in, and the tenants to choose from."""
    return [
        View("GET", "", home),
        View("GET", "/", home),
        View("GET", "/tenants", choose),
    ]


async def home(visit: Visit) -> Response:
    """The person's only tenant, or all to choose from."""
    found = tenants_of((await visit.get("me", query={"limit": 2}))["roles"])
    if len(found) == 1:
        return see_other(f"{ROOT}/t/{found[0]['id']}")
    return see_other(f"{ROOT}/tenants")


async def choose(visit: Visit) -> Response:
    """All tenants where the person holds roles, page by page."""
    me = await visit.get("me", query={"limit": _SHOWN, "after": visit.asked("after")})
    query = visit.asked("query").casefold()
    found = [tenant for tenant in tenants_of(me["roles"]) if query in tenant["name"].casefold()]
    return visit.render("tenants/choose.html", tenants=found, next=me.get("next_after"))


def tenants_of(roles: list[Document]) -> list[Document]:
    """The tenants of `/users/me`, each with the names of its roles."""
    by_id: dict[str, Document] = {}
    for role in roles:
        tenant_id, name = role["tenant_id"], role["tenant_name"]
        known = by_id.setdefault(tenant_id, {"id": tenant_id, "name": name, "roles": []})
        known["roles"].append(role["role_name"])
    return list(by_id.values())
