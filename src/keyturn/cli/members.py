"""`keyturn member …`"""

from typing import Annotated

import typer

from . import names
from .answers import Entity, inner_list
from .commands import Call, Limit, Search, Yes, ask, group, verb

app = group("member")

User = Annotated[str, typer.Argument(help="Id, name or mail address.")]


def _roles(member: Entity) -> list[str]:
    return [str(role["role_name"]) for role in inner_list(member, "roles")]


_COLUMNS = ("user_id", "kind", "name", "email", ("roles", _roles), "disabled_at")


@verb(app, "list")
def list_members(
    call: Call,
    below: Annotated[bool, typer.Option("--below", help="Also in the tenants below.")] = False,
    search: Search = None,
    limit: Limit = 1000,
) -> None:
    """List who has a role in the tenant itself, people and service users.

    Examples:
      keyturn member list --tenant acme
      keyturn member list --below --search example.org
    """
    columns = (*_COLUMNS, "tenant_name") if below else _COLUMNS
    params = {"below": below or None, "query": search}
    call.list("/members", columns, limit, params=params)


@verb(app, "show")
def show(call: Call, user: User) -> None:
    """Show a member and its roles.

    Example:
      keyturn member show ada@example.org
    """
    call.show(call.send("GET", _path(call, user)).entity, _COLUMNS)


@verb(app, "add")
def add(
    call: Call, user: User, role: Annotated[str, typer.Option(help="Role: id or name.")]
) -> None:
    """Give a role to a member, or to a service user at home here. Others are invited.

    Example:
      keyturn member add ci-runner --role operator
    """
    try:
        user_id = names.user(call.api, call.tenant_id, user)
    except names.Unknown:
        raise names.Unknown(
            f"{user!r} is neither a member nor a service user here; others are invited:"
            " keyturn invitation create ADDRESS --role ROLE"
        ) from None
    body = {"user_id": user_id, "role_id": names.role(call.api, call.tenant_id, role)}
    call.show(call.send("POST", "/members", body=body, creates=True).entity, _COLUMNS)


@verb(app, "remove")
def remove(
    call: Call,
    user: User,
    role: Annotated[str | None, typer.Option(help="This role alone: id or name.")] = None,
    yes: Yes = False,
) -> None:
    """Take all roles in the tenant from somebody, or one of them. It counts at once.

    Examples:
      keyturn member remove ada@example.org
      keyturn member remove ada@example.org --role operator --yes
    """
    what = f"the role {role!r} of {user!r}" if role else f"{user!r} from the tenant"
    ask(f"Remove {what}?", yes=yes)
    path = _path(call, user)
    if role:
        path += f"/roles/{names.role(call.api, call.tenant_id, role)}"
    call.send("DELETE", path)


def _path(call: Call, user: str) -> str:
    return f"/members/{names.member(call.api, call.tenant_id, user)}"
