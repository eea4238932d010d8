"""`keyturn audit …`"""

import sys
from typing import Annotated

import typer

from .commands import Call, Limit, Since, Until, group, verb

app = group("audit")

_COLUMNS = ("at", "action", "outcome", "actor.user_id", "actor.address", "target")

Actor = Annotated[str | None, typer.Option(help="By this user: an id.")]
Action = Annotated[str | None, typer.Option(help="As in api_key.created.")]
Target = Annotated[str | None, typer.Option(help="Done to this: an id.")]


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
    """List what happened, newest first.

    Examples:
      keyturn audit list --since 24h
      keyturn audit list --action api_key.created --since 2026-03-01 --json
    """
    params = {"since": since, "until": until, "actor": actor, "action": action, "target": target}
    call.list("/audit-events", _COLUMNS, limit, params=params)


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
    params = {"since": since, "until": until, "actor": actor, "action": action, "target": target}
    with call.api.lines("/audit-events/export", tenant_id=call.tenant_id, params=params) as parts:
        for part in parts:
            sys.stdout.buffer.write(part)
        sys.stdout.buffer.flush()
