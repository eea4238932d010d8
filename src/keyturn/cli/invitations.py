"""`keyturn invitation …`"""

from contextlib import closing, suppress
from http.client import CONFLICT
from typing import Annotated
from urllib.parse import quote

import typer

from . import names, profiles, secret_input, tables
from .answers import Refused, inner
from .api import Api, Value
from .commands import (
    Call,
    ExpiresIn,
    Limit,
    QuietSecret,
    Search,
    Yes,
    ask,
    given,
    group,
    taught,
    verb,
)
from .problems import Problem, reported, say

app = group("invitation")

_COLUMNS = ("id", "email", "role_name", "state", "expires_at")
_FIELDS = (
    *("id", "email", "tenant_name", "tenant_id", "role_name", "role_id", "state"),
    *("created_at", "expires_at", "answered_at"),
)
#: Of those that are offered to one user.
INVITATION_COLUMNS = ("id", "tenant_name", "role_name", "state", "expires_at")

Invitation = Annotated[str, typer.Argument(help="Id of the invitation.")]


@verb(app, "list")
def list_invitations(
    call: Call,
    state: Annotated[
        str | None,
        typer.Option(help="Only pending, accepted, declined, withdrawn or expired ones."),
    ] = None,
    search: Search = None,
    limit: Limit = 1000,
) -> None:
    """List the tenant's invitations.

    Examples:
      keyturn invitation list --state pending
      keyturn invitation list --search example.org
    """
    params = {"state": state, "query": search}
    call.list("/invitations", _COLUMNS, limit, params=params)


@verb(app, "show")
def show(call: Call, invitation: Invitation) -> None:
    """Show one of the tenant's invitations.

    Example:
      keyturn invitation show 01989e6c-0000-7000-8000-000000000001
    """
    path = f"/invitations/{quote(invitation, safe='')}"
    call.show(call.send("GET", path).entity, _FIELDS)


@verb(app, "create")
def create(
    call: Call,
    email: str,
    role: Annotated[str, typer.Option(help="Role in the tenant: id or name.")],
    expires_in: ExpiresIn = None,
    quiet: QuietSecret = False,
) -> None:
    """Invite somebody into a role. The code to accept it with is mailed, if the service has mail.

    The code is printed once. Whoever lost it withdraws the invitation, and invites anew.

    Examples:
      keyturn invitation create ada@example.org --role editor
      keyturn invitation create ada@example.org --role viewer --expires-in 2d --quiet
    """
    role_id = names.role(call.api, call.tenant_id, role)
    body = given(email=email, role_id=role_id, expires_in=expires_in)
    try:
        made = call.send("POST", "/invitations", body=body, creates=True)
    except Refused as error:
        if error.status == CONFLICT and (pending := _pending(call, email, role_id)):
            raise Problem(
                f"{error} No code is shown twice: keyturn invitation withdraw {pending}, then"
                " create it again"
            ) from None
        raise
    call.show_secret(made.entity, "code", (*_FIELDS, "mailed"), quiet=quiet)


@verb(app, "withdraw")
def withdraw(call: Call, invitation: Invitation, yes: Yes = False) -> None:
    """Withdraw an invitation that is not answered yet.

    Example:
      keyturn invitation withdraw 01989e6c-0000-7000-8000-000000000001 --yes
    """
    ask(f"Withdraw the invitation {invitation!r}?", yes=yes)
    call.send("DELETE", f"/invitations/{quote(invitation, safe='')}")


@verb(app, "mine", bound=False)
def mine(call: Call) -> None:
    """List what you are invited to.

    Example:
      keyturn invitation mine
    """
    call.list_whole("/users/me/invitations", INVITATION_COLUMNS, own=True)


@verb(app, "accept", bound=False)
def accept(
    call: Call,
    invitation: Invitation,
    program: Annotated[
        bool, typer.Option("--no-code", help="For a service user, which needs none.")
    ] = False,
    stdin: Annotated[bool, typer.Option("--stdin", help="Read the code from stdin.")] = False,
) -> None:
    """Accept an invitation of yours, with its code. Asks for it.

    Without a login yet: keyturn invitation join.

    Examples:
      keyturn invitation accept 01989e6c-0000-7000-8000-000000000001 --stdin < code
      keyturn invitation accept 01989e6c-0000-7000-8000-000000000001 --no-code
    """
    code = None if program else secret_input.read(["Code of the invitation"], from_stdin=stdin)[0]
    _answer(call, invitation, "accepted", code)


@verb(app, "decline", bound=False)
def decline(call: Call, invitation: Invitation) -> None:
    """Decline an invitation of yours.

    Example:
      keyturn invitation decline 01989e6c-0000-7000-8000-000000000001
    """
    _answer(call, invitation, "declined")


def _pending(call: Call, email: str, role_id: str) -> str | None:
    """The id of the invitation that offers the role to the address, if it can be seen."""
    with suppress(Problem):
        params: dict[str, Value] = {"state": "pending"}
        items, _ = call.api.pages(
            "/invitations", limit=1000, tenant_id=call.tenant_id, params=params
        )
        for item in items:
            if (str(item["email"]).lower(), item["role_id"]) == (email.lower(), role_id.lower()):
                return str(item["id"])
    return None


def _answer(call: Call, invitation: str, state: str, code: str | None = None) -> None:
    path = f"/users/me/invitations/{quote(invitation, safe='')}"
    answered = call.send("PATCH", path, body=given(state=state, code=code), own=True)
    call.show(answered.entity, INVITATION_COLUMNS)


def join(
    url: Annotated[str, typer.Option(envvar=profiles.URL, help="Where the service answers.")],
    name: Annotated[str | None, typer.Option(help="How you are shown.")] = None,
    key: Annotated[
        str | None, typer.Option(help="Name of a first API key to make; it is shown once.")
    ] = None,
    stdin: Annotated[
        bool, typer.Option("--stdin", help="Read code and password from stdin, a line each.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="What the service answered.")] = False,
) -> None:
    """Accept an invitation by its code, with a password. Asks for both.

    Examples:
      keyturn invitation join --url https://iam.example --name 'Ada L.' --key laptop
      keyturn invitation join --url https://iam.example --stdin < code-and-password
    """
    with reported():
        asked = ("Code of the invitation", "Password")
        code, password = secret_input.read(asked, from_stdin=stdin)
        body = given(
            code=code, password=password, name=name, api_key=None if key is None else {"name": key}
        )
        nobody = profiles.Profile(None, profiles.base_url(url), "", "")
        with closing(Api(nobody)) as api:
            joined = api.call("POST", "/invitations/accept", body=body, anonymous=True).entity
        user, made = inner(joined, "user"), inner(joined, "api_key")
        if as_json:
            tables.show_json(joined)
        else:
            shown = {**user, **inner(joined, "invitation"), "api_key": made.get("secret")}
            fields = ("email", "name", "tenant_name", "role_name", *(["api_key"] if made else []))
            tables.show_one(shown, fields, as_json=False)
        if made:
            say("Keep the API key now: it is not shown again. It is what keyturn login asks for.")


app.command("join", help=taught(join))(join)
