"""`keyturn audit …`"""

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Annotated

import typer

from . import names, tables
from .answers import Entity, Refused, inner, inner_list
from .api import PAGE, Api, Value
from .commands import Call, Limit, Since, Until, group, verb
from .problems import Problem

app = group("audit")

#: What stands in the trail as its own id: permissions, and services of the catalogue.
_PERMISSION = re.compile(r"[a-z0-9._-]+(:[a-z0-9._-]+)+")

Actor = Annotated[
    str | None, typer.Option(help="By this user: id, name, username; of who is gone: the id.")
]
Action = Annotated[str | None, typer.Option(help="As in api_key.created.")]
Target = Annotated[
    str | None,
    typer.Option(
        help="Done to this user, API key, role, tenant, …: id or name; of what is gone: the id."
    ),
]


@verb(app, "list")
def list_events(
    call: Call,
    since: Since = None,
    until: Until = None,
    actor: Actor = None,
    action: Action = None,
    target: Target = None,
    limit: Limit = 1000,
) -> None:
    """List what happened, newest first: when, what, by whom, to what, how often, and why.

    Names are shown where one page of each list tells them; --json has all that is known.

    Examples:
      keyturn audit list --since 24h
      keyturn audit list --action api_key.created --since 2026-03-01 --json
      keyturn audit list --actor ada@example.org --target ci-runner
    """
    params = _wanted(call, since, until, actor, action, target)
    events, more = call.api.pages(
        "/audit-events", limit=limit, tenant_id=call.tenant_id, params=params
    )
    known = {} if call.as_json else _known(call, events)
    tables.show_list(events, more, _columns(known), as_json=call.as_json)


@verb(app, "export")
def export(
    call: Call,
    since: Since = None,
    until: Until = None,
    actor: Actor = None,
    action: Action = None,
    target: Target = None,
) -> None:
    """Print everything that happened as JSON lines, however much it is.

    Example:
      keyturn audit export --since 2026-03-01 --until 2026-04-01 > march.jsonl
    """
    params = _wanted(call, since, until, actor, action, target)
    with call.api.lines("/audit-events/export", tenant_id=call.tenant_id, params=params) as parts:
        for part in parts:
            sys.stdout.buffer.write(part)
        sys.stdout.buffer.flush()


@verb(app, "activity")
def activity(
    call: Call,
    since: Since = None,
    until: Until = None,
    step: Annotated[str, typer.Option(help="Count by the hour or the day.")] = "hour",
) -> None:
    """Count what happened: exchanges, refreshes, refusals, revocations, changes.

    Examples:
      keyturn audit activity
      keyturn audit activity --since 30d --step day
    """
    params: dict[str, Value] = {"from": since, "to": until, "step": step}
    found = call.send("GET", "/activity", params=params).entity
    if call.as_json:
        tables.show_json(found)
        return
    kinds = ("exchanges", "refreshes", "refusals", "revocations", "changes")
    tables.show_list(inner_list(found, "items"), False, ("at", *kinds), as_json=False)


def _wanted(
    call: Call,
    since: str | None,
    until: str | None,
    actor: str | None,
    action: str | None,
    target: str | None,
) -> dict[str, Value]:
    return {
        "since": since,
        "until": until,
        "actor": actor and _user(call.api, call.tenant_id, actor),
        "action": action,
        "target": target and _target(call.api, call.tenant_id, target),
    }


# --- ids of those who were named ----------------------------------------------------------


def _user(api: Api, tenant_id: str, text: str) -> str:
    """Somebody here, or the caller, who may have come from above."""
    try:
        return names.user(api, tenant_id, text)
    except names.Unknown:
        me, _ = api.me(1)
        if me.get("username") == text:
            return str(me["sub"])
        raise names.Unknown(f"nobody here is called {text!r}; who is gone goes by the id") from None


def _key(api: Api, tenant_id: str, text: str) -> str:
    return names.api_key(api, tenant_id, "/api-keys", text)


def _service(api: Api, tenant_id: str, text: str) -> str:
    params: dict[str, Value] = {"service": text, "experimental": True}
    found, _ = api.pages("/endpoints", limit=1, tenant_id=tenant_id, params=params)
    if not found:
        raise names.Unknown(f"no service is called {text!r}")
    return text


_KINDS: tuple[Callable[[Api, str, str], str], ...] = (
    _key,  # first of all, for it knows a key's text, which is sent nowhere
    _user,
    names.role,
    names.tenant,
    _service,
)


def _target(api: Api, tenant_id: str, text: str) -> str:
    if names.is_id(text) or names.is_key_id(text) or _PERMISSION.fullmatch(text):
        return text
    if " /" in text:
        return names.endpoint(api, tenant_id, text)
    found = set()
    for find in _KINDS:
        with suppress(names.Unknown):
            found.add(find(api, tenant_id, text))
    if len(found) > 1:
        ids = ", ".join(sorted(found))
        raise Problem(f"more than one thing is called {text!r}; give the id: {ids}")
    if not found:
        raise names.Unknown(f"nothing here is called {text!r}; what is gone goes by its id")
    return found.pop()


# --- names of what has an id --------------------------------------------------------------


def _known(call: Call, events: Sequence[Entity]) -> dict[str, str]:
    """What the events' ids are called, as far as they and one page of each list tell it."""
    known: dict[str, str] = {}
    for event in events:
        data = inner(event, "data")
        name = _name(inner(data, "after")) or _name(inner(data, "before"))
        if name:  # the newest event's, which comes first
            known.setdefault(str(event.get("target")), name)
    ids = {str(id_) for event in events for id_ in (_actor(event), event.get("target")) if id_}
    keys = {id_ for id_ in ids if names.is_key_id(id_)}
    others = {id_ for id_ in ids if names.is_id(id_)}
    for path, id_field, wanted in (
        ("/api-keys", "id", keys),
        ("/members", "user_id", others),
        ("/service-users", "id", others),
        ("/roles", "id", others),
    ):
        if wanted <= known.keys():
            continue
        with suppress(Refused):  # it takes a right of its own to read that list
            items, _ = call.api.pages(path, limit=PAGE, tenant_id=call.tenant_id)
            known |= {str(item[id_field]): _name(item) for item in items}
    if not others <= known.keys():
        me, _ = call.api.me(PAGE)
        known = {str(me["sub"]): str(me["username"]), **names.tenants_of(me), **known}
    return known


def _name(item: Entity) -> str:
    """People go by their addresses, all else by names."""
    by_address = item.get("kind") == "human" or not item.get("name")
    return str(item.get("email") or "" if by_address else item["name"])


def _actor(event: Entity) -> object:
    return inner(event, "actor").get("user_id")


def _columns(known: Mapping[str, str]) -> list[tables.Column]:
    def called(id_: object) -> object:
        return known.get(str(id_), id_)

    def count(event: Entity) -> object:
        times = inner(event, "data").get("count")
        return None if times == 1 else times

    def why(event: Entity) -> object:
        data = inner(event, "data")
        return data.get("why") or data.get("reason")

    return [
        ("time", lambda event: event["at"]),
        "action",
        "outcome",
        ("who", lambda event: called(_actor(event))),
        ("target", lambda event: called(event.get("target"))),
        ("count", count),
        ("why", why),
        ("address", lambda event: inner(event, "actor").get("address")),
    ]
