"""`keyturn webhook …`: where a tenant is told of events."""

from typing import Annotated

import typer

from . import names
from .commands import Call, Limit, Name, QuietId, QuietSecret, Yes, ask, given, group, verb
from .problems import ExitCode, Problem

app = group("webhook")

_COLUMNS = ("id", "name", "url", "enabled")
_FIELDS = (
    *_COLUMNS,
    *("events", "expiring_days", "unused_days", "disabled_at", "disabled_reason"),
    *("old_secret_until", "tenant_id", "created_at"),
)
_SENT = ("id", "type", "state", "attempts", "status", "error", "created_at")

Webhook = Annotated[str, typer.Argument(help="Id or name.")]
Url = Annotated[str | None, typer.Option("--url", help="As in https://hooks.example/keyturn.")]
Events = Annotated[
    list[str] | None, typer.Option("--event", help="A type of events; repeat it. Without: all.")
]
ExpiringDays = Annotated[
    list[int] | None,
    typer.Option("--expiring-days", help="Tell so many days before a key expires; repeat it."),
]
UnusedDays = Annotated[
    int | None, typer.Option("--unused-days", help="Tell of keys unused for so many days.")
]


@verb(app, "list")
def list_webhooks(call: Call, limit: Limit = 1000) -> None:
    """List the webhooks of the tenant.

    Example:
      keyturn webhook list
    """
    call.list("/webhooks", _COLUMNS, limit)


@verb(app, "show")
def show(call: Call, webhook: Webhook) -> None:
    """Show a webhook of the tenant, without its secret.

    Example:
      keyturn webhook show incidents
    """
    call.show(call.send("GET", _path(call, webhook)).entity, _FIELDS)


@verb(app, "create")
def create(
    call: Call,
    name: Annotated[str, typer.Argument(help="What it is called.")],
    url: Annotated[str, typer.Option("--url", help="As in https://hooks.example/keyturn.")],
    event: Events = None,
    expiring_days: ExpiringDays = None,
    unused_days: UnusedDays = None,
    quiet: QuietSecret = False,
) -> None:
    """Make a webhook. Its secret is shown this once: the receiver checks signatures by it.

    Example:
      keyturn webhook create incidents --url https://hooks.example/keyturn --event api_key.leaked
    """
    body = given(
        name=name,
        url=url,
        events=event or None,
        expiring_days=expiring_days or None,
        unused_days=unused_days,
    )
    made = call.send("POST", "/webhooks", body=body, creates=True).entity
    call.show_secret(made, "secret", _FIELDS, quiet=quiet)


@verb(app, "change")
def change(
    call: Call,
    webhook: Webhook,
    name: Name = None,
    url: Url = None,
    event: Events = None,
    all_events: Annotated[bool, typer.Option("--all-events", help="Tell of all.")] = False,
    expiring_days: ExpiringDays = None,
    unused_days: UnusedDays = None,
    enabled: Annotated[
        bool | None, typer.Option("--enable/--disable", help="Whether it is told of events.")
    ] = None,
) -> None:
    """Change a webhook. What waited while it was disabled goes on.

    Example:
      keyturn webhook change incidents --disable
    """
    if all_events and event:
        raise Problem("say --event or --all-events, not both", ExitCode.USAGE)
    body: dict[str, object] = {"events": None} if all_events else {}
    said = {"name": name, "url": url, "unused_days": unused_days, "enabled": enabled}
    lists = {"events": event or None, "expiring_days": expiring_days or None}
    body |= {field: value for field, value in {**said, **lists}.items() if value is not None}
    if not body:
        given()
    call.show(call.send("PATCH", _path(call, webhook), body=body).entity, _FIELDS)


@verb(app, "delete")
def delete(call: Call, webhook: Webhook, yes: Yes = False) -> None:
    """Remove a webhook, with all that waits to be delivered.

    Example:
      keyturn webhook delete incidents --yes
    """
    ask(f"Delete the webhook {webhook!r} and its deliveries?", yes=yes)
    call.send("DELETE", _path(call, webhook))


@verb(app, "rotate-secret")
def rotate_secret(call: Call, webhook: Webhook, quiet: QuietSecret = False) -> None:
    """Give a webhook a new secret. For a day the old one signs, too.

    Example:
      keyturn webhook rotate-secret incidents --quiet > secret
    """
    path = f"{_path(call, webhook)}/rotate-secret"
    made = call.send("POST", path, creates=True).entity
    call.show_secret(made, "secret", _FIELDS, quiet=quiet)


@verb(app, "test")
def send_test(call: Call, webhook: Webhook, quiet: QuietId = False) -> None:
    """Have a webhook told of a test. `keyturn webhook deliveries` shows what came of it.

    Example:
      keyturn webhook test incidents
    """
    sent = call.send("POST", f"{_path(call, webhook)}/test").entity
    call.show(sent, _SENT, quiet=quiet)


@verb(app, "deliveries")
def deliveries(
    call: Call,
    webhook: Webhook,
    state: Annotated[
        str | None, typer.Option("--state", help="Only these: pending, delivered or dead.")
    ] = None,
    limit: Limit = 50,
) -> None:
    """List what a webhook was told, or is to be, the newest first.

    Example:
      keyturn webhook deliveries incidents --state dead
    """
    params = {} if state is None else {"state": state}
    call.list(f"{_path(call, webhook)}/deliveries", _SENT, limit, params=params)


@verb(app, "retry")
def retry(
    call: Call,
    webhook: Webhook,
    delivery: Annotated[
        str | None, typer.Argument(help="Id of a dead delivery; without, all dead ones.")
    ] = None,
) -> None:
    """Have dead deliveries of a webhook tried again: one, or all.

    Of all, the oldest, until 100 are pending: again for the rest.

    Examples:
      keyturn webhook retry incidents
      keyturn webhook retry incidents 01a20259-2241-7725-b8d9-387fb9a38059
    """
    path = f"{_path(call, webhook)}/deliveries"
    if delivery is None:
        call.show(call.send("POST", f"{path}/retry").entity, ("retried",))
    else:
        call.show(call.send("POST", f"{path}/{delivery}/retry").entity, _SENT)


def _path(call: Call, webhook: str) -> str:
    return f"/webhooks/{names.webhook(call.api, call.tenant_id, webhook)}"
