"""`keyturn restored`: a database made safe that was restored from a copy."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .commands import Yes, ask
from .problems import ExitCode, Problem, reported, say
from .store import ConfigOption, settings_of

if TYPE_CHECKING:
    from ..server.domain.model import Revocation
    from ..server.services.restoring import Done, Past
    from ..server.settings import Settings

#: The transaction may take so long, in seconds: no node serves meanwhile.
PATIENCE = 600.0


def restored(
    keep_keys: Annotated[
        bool, typer.Option("--keep-keys", help="Keep the API keys as the copy has them.")
    ] = False,
    keep_keys_unless: Annotated[
        Path | None,
        typer.Option(
            "--keep-keys-unless",
            metavar="FILE",
            help="Keep them, and do again what this copy of the audit trail tells.",
        ),
    ] = None,
    retire_signing_keys: Annotated[
        bool, typer.Option("--retire-signing-keys", help="Leave the copy's published for a while.")
    ] = False,
    without_redis: Annotated[
        bool, typer.Option("--without-redis", help="Go on although Redis cannot be asked.")
    ] = False,
    yes: Yes = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    config: ConfigOption = None,
) -> None:
    """End what works again in a restored copy though it was revoked. Before a node starts.

    A copy does not know what was revoked after it was made. So all tokens and sessions end, new
    signing keys are made, invitations are withdrawn, passwords are forgotten, webhooks disabled;
    and all API keys are revoked, unless they are kept. What Redis knows of revocations is written
    into the database. Afterwards `keyturn recover` makes a key for an administrator.

    What cannot be known without a trail: memberships, roles and users that were taken away after
    the copy was made are back. The file is what `keyturn backup trail` wrote, or `keyturn audit
    export` printed of one tenant after the other; what it tells of and this cannot do again is
    counted at the end. Safe to repeat.

    \b
    Examples:
      keyturn restored
      keyturn restored --keep-keys-unless trail.jsonl --yes
    """  # noqa: D301 - \b keeps the examples' lines
    with reported():
        import asyncio

        settings = settings_of(config)
        trail = _read(keep_keys_unless) if keep_keys_unless else []
        kept = keep_keys or keep_keys_unless is not None
        what = "all tokens and sessions" if kept else "all tokens, sessions and API keys"
        ask(f"End {what}, of everybody?", yes=yes)
        done = asyncio.run(_restored(settings, kept, retire_signing_keys, without_redis, trail))
        if as_json:
            print(json.dumps(_told(done)))
        else:
            _tell(done, kept)


async def _restored(
    settings: "Settings", kept: bool, retire: bool, without_redis: bool, trail: "Sequence[Past]"
) -> "Done":
    from ..server.domain.errors import Unavailable
    from ..server.parts import open_memory, open_parts
    from ..server.services.restoring import Keys, Restoring
    from ..server.storage import held

    memory = open_memory(settings)
    with held(settings.database_url.get_secret_value()):
        async with open_parts(settings, patience=PATIENCE) as parts:
            known: Sequence[Revocation] = ()
            if memory is not None:
                try:
                    known = await memory.entries()
                except Unavailable as error:
                    if not without_redis:
                        raise Problem(
                            f"{error.detail}; what it knows of revocations would be lost: bring it"
                            " back, or add --without-redis",
                            ExitCode.UNAVAILABLE,
                        ) from None
                    memory = None
            work = Restoring(parts.store, parts.signing_keys, settings.lifetimes)
            done = await work.restore(
                keys=Keys.KEEP if kept else Keys.REVOKE,
                retire=retire,
                known=known,
                trail=trail,
            )
            if memory is not None:
                await memory.forget(done.installation)
            return done


def _read(path: Path) -> "list[Past]":
    """The events of an export, the oldest first. Raises Problem for what is none."""
    from ..server.services.restoring import Past

    events = []
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                event = json.loads(line)
                before = (event.get("data") or {}).get("before")
                role = before.get("role") if isinstance(before, dict) else None
                past = Past(
                    str(event["id"]),
                    str(event["action"]),
                    str(event.get("target") or ""),
                    event.get("tenant_id"),
                    str(role or ""),
                )
                events.append((str(event["at"]), number, past))
    except OSError as error:
        raise Problem(f"cannot read {path}: {error.strerror}", ExitCode.USAGE) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        line = f"{path} is no export of the audit trail: line {len(events) + 1}"
        raise Problem(line, ExitCode.USAGE) from None
    return [past for _, _, past in sorted(events, key=lambda event: event[:2])]


def _told(done: "Done") -> dict[str, object]:
    return {
        "epoch": done.epoch,
        "api_keys_revoked": done.keys,
        "invitations_withdrawn": done.invitations,
        "passwords_forgotten": done.passwords,
        "second_factors_forgotten": done.second_factors,
        "sign_ins_ended": done.sign_ins,
        "webhooks_disabled": done.webhooks,
        "deliveries_given_up": done.deliveries,
        "signing_keys_removed": list(done.signing_keys),
        "merged_from_redis": done.merged,
        "applied": dict(done.applied),
        "not_applied": dict(done.left),
    }


def _tell(done: "Done", kept: bool) -> None:
    print("tokens and sessions        ended, all")
    print(f"API keys revoked           {'none: kept' if kept else done.keys}")
    print(f"invitations withdrawn      {done.invitations}")
    print(f"passwords forgotten        {done.passwords}")
    print(f"second factors forgotten   {done.second_factors}")
    print(f"sign-ins ended             {done.sign_ins}")
    print(f"webhooks disabled          {done.webhooks}")
    print(f"deliveries given up        {done.deliveries}")
    print(f"signing keys removed       {len(done.signing_keys)}")
    print(f"revocations from Redis     {done.merged}")
    print(f"done again of the trail    {_amounts(done.applied)}")
    if done.left:
        print(f"not done again, look there {_amounts(done.left)}")
    say(
        "keyturn: the nodes may start. Memberships, roles and users that were taken away after the"
        " copy was made may be back: compare with a trail, if there is one."
    )
    if not kept:
        say("keyturn: keyturn recover --username … makes an administrator a key")


def _amounts(counted: Mapping[str, int]) -> str:
    told = ", ".join(f"{count} {action}" for action, count in sorted(counted.items()))
    return told or "nothing"
