"""Ids, for those who gave a name: each function takes either and gives the id.

A name is looked up in a list of the service, so it takes the right to read that list; an id
takes nothing. All raise Problem for a name that nothing, or more than one thing, has.
"""

import re
from collections.abc import Callable, Mapping, Sequence

from .answers import Entity, inner_list
from .api import Api, Value
from .problems import ExitCode, Problem

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_KEY_ID = re.compile(r"[0-9A-Za-z]{22}")
_PARAMETER = re.compile(r"\{[^/{}]*\}|(?<=/):[^/]+")
#: Things that are looked through for a name.
_MOST = 2000
#: Ids that a message lists.
_SHOWN = 5


class Unknown(Problem):
    """Nothing is called so."""


def is_id(text: str) -> bool:
    """Whether it is an id of anything but an API key."""
    return _ID.fullmatch(text) is not None


def is_key_id(text: str) -> bool:
    """Whether it is an id of an API key."""
    return _KEY_ID.fullmatch(text) is not None


def me(api: Api, wanted: str | None, limit: int = _MOST) -> tuple[Entity, bool]:
    """Who the caller is, with the first `limit` of its roles; and whether there are more.

    A kept token tells the tenants of its time. When the `wanted` one is not among them, by id or
    name, a new token is asked.
    """
    found, more = api.me(limit)
    if not more and api.token_is_kept and not called(tenants_of(found), wanted):
        api.forget_token()
        found, more = api.me(limit)
    return found, more


def tenants_of(me: Entity) -> dict[str, str]:
    """The names of the tenants in which the caller has roles, by id."""
    roles = inner_list(me, "roles")
    return {str(role["tenant_id"]): str(role["tenant_name"]) for role in roles}


def called(tenants: Mapping[str, str], wanted: str | None) -> list[str]:
    """The ids of those that are called so, or have that id; of all, when none is wanted."""
    if wanted is None:
        return list(tenants)
    return [id_ for id_, name in tenants.items() if wanted == name or wanted.lower() == id_]


def tenant_of_mine(api: Api, wanted: str | None) -> str:
    """A tenant in which the caller has a role; the only one, when none is wanted."""
    if wanted is not None and is_id(wanted):
        return wanted.lower()
    caller, more = me(api, wanted)
    tenants = tenants_of(caller)
    if wanted is not None:
        items = [{"id": id_, "name": name} for id_, name in tenants.items()]
        return _only(api, "tenant of yours", wanted, (items, more), ["name"])
    if len(tenants) == 1:
        return next(iter(tenants))
    if not tenants:
        raise Problem("you have no role in any tenant")
    raise Problem(
        f"choose a tenant ({_few(sorted(tenants.values()))}): --tenant NAME each time, or"
        " keyturn tenant use NAME",
        ExitCode.USAGE,
    )


def tenant(api: Api, tenant_id: str, text: str) -> str:
    """The chosen tenant, or one below it."""
    if is_id(text):
        return text
    params: dict[str, Value] = {"below": True, "name": text}
    items, more = api.pages("/tenants", limit=_MOST, tenant_id=tenant_id, params=params)
    if not any(item.get("name") == text for item in items):
        items.append(api.call("GET", f"/tenants/{tenant_id}", tenant_id=tenant_id).entity)
    return _only(api, "tenant here", text, (items, more), ["name"])


def role(api: Api, tenant_id: str, text: str) -> str:
    """A role that can be used in the tenant."""
    return _listed(api, tenant_id, "role", "/roles", text, ["name"])


def resource_server(api: Api, tenant_id: str, text: str) -> str:
    """A resource server of the tenant, by its identifier or its name."""
    fields = ["identifier", "name"]
    return _listed(api, tenant_id, "resource server", "/resource-servers", text, fields)


def webhook(api: Api, tenant_id: str, text: str) -> str:
    """A webhook of the tenant."""
    return _listed(api, tenant_id, "webhook", "/webhooks", text, ["name"])


def service_user(api: Api, tenant_id: str, text: str) -> str:
    """A service user at home in the tenant, by its name or its mail address."""
    return _listed(api, tenant_id, "service user", "/service-users", text, ["email", "name"])


def member(api: Api, tenant_id: str, text: str) -> str:
    """Somebody with a role in the tenant, by name or mail address."""
    return _listed(
        api, tenant_id, "member", "/members", text, ["email", "name"], id_field="user_id"
    )


def user(api: Api, tenant_id: str, text: str) -> str:
    """A service user at home in the tenant, or a member of it."""
    try:
        return service_user(api, tenant_id, text)
    except Unknown:
        return member(api, tenant_id, text)


def api_key(api: Api, tenant_id: str | None, path: str, text: str) -> str:
    """An API key in the list at `path`."""
    if text.startswith("kt_"):
        raise Problem("give the key's id or its name, never the key itself", ExitCode.USAGE)
    if is_key_id(text):
        return text
    return _listed(api, tenant_id, "API key", path, text, ["name"])


def endpoint(api: Api, tenant_id: str, text: str) -> str:
    """An endpoint, by method and path (`GET /hosts/{id}`; parameters' names do not matter)."""
    method, _, path = text.partition(" ")
    if is_id(text):
        return text
    if not path.startswith("/"):
        raise Problem(
            "an endpoint is an id, or a method and a path as in 'GET /hosts/{id}'", ExitCode.USAGE
        )
    params: dict[str, Value] = {"q": path, "experimental": True}
    found = api.pages("/endpoints", limit=_MOST, tenant_id=tenant_id, params=params)

    def same(item: Entity) -> bool:
        return (item.get("method"), _shape(str(item.get("path")))) == (method, _shape(path))

    return _only(api, "endpoint", text, found, same)


def _shape(path: str) -> str:
    return _PARAMETER.sub("{}", path)


def _listed(
    api: Api,
    tenant_id: str | None,
    noun: str,
    path: str,
    text: str,
    fields: Sequence[str],
    *,
    id_field: str = "id",
) -> str:
    if is_id(text):
        return text
    found = api.pages(path, limit=_MOST, tenant_id=tenant_id)
    return _only(api, noun, text, found, fields, id_field=id_field)


def _only(
    api: Api,
    noun: str,
    text: str,
    listed: tuple[Sequence[Entity], bool],
    same: Sequence[str] | Callable[[Entity], bool],
    *,
    id_field: str = "id",
) -> str:
    items, more = listed
    if callable(same):
        found = [item for item in items if same(item)]
    else:
        found = [item for item in items if any(item.get(field) == text for field in same)]
    ids = [str(item[id_field]) for item in found]
    if len(ids) == 1 and not more:
        api.named[ids[0]] = text
        return ids[0]
    if len(ids) > 1:
        line = f"more than one {noun} is called {text!r}; give the id: {_few(ids)}"
    elif more:
        line = f"there are too many to look for {text!r} ({noun}): give the id"
    else:
        raise Unknown(f"no {noun} is called {text!r}")
    raise Problem(line, ExitCode.FAILED)


def _few(texts: Sequence[str]) -> str:
    return ", ".join(texts[:_SHOWN]) + (", …" if len(texts) > _SHOWN else "")
