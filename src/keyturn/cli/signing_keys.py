"""`keyturn signing-key …`"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from . import tables
from .answers import Entity, Refused, inner_list
from .commands import Call, Yes, ask, group, verb
from .problems import ExitCode, Problem, say

app = group("signing-key")

_COLUMNS = ("kid", "algorithm", "slot", "slot_since", "ready_at", "signs_from", "removed_at")
_FIELDS = ("kid", "algorithm", "slot", "created_at", *_COLUMNS[3:], "public_jwk")
_NOT_FOUND = 404
_MOST = 16_384  # bytes; larger than any key


@verb(app, "list")
def list_keys(call: Call) -> None:
    """List the signing keys, and what happens to each when.

    Example:
      keyturn signing-key list --tenant platform
    """
    call.list_whole("/signing-keys", _COLUMNS)


@verb(app, "rotate")
def rotate(
    call: Call,
    algorithm: Annotated[
        str | None, typer.Option(help="ES256, RS256 or Ed25519; else the setting's.")
    ] = None,
) -> None:
    """Have the next key sign from now on. Refused while verifiers may not know it yet.

    Keys rotate by themselves as they get old; this is for sooner. Nobody notices.

    Example:
      keyturn signing-key rotate --tenant platform
    """
    body = {} if algorithm is None else {"algorithm": algorithm}
    call.show(call.send("POST", "/signing-keys/rotate", body=body).entity, _FIELDS)


@verb(app, "revoke")
def revoke(
    call: Call,
    kid: Annotated[str, typer.Argument(help="As `list` shows it; one with a - first, after --.")],
    yes: Yes = False,
) -> None:
    """Take a key away at once: somebody else has it. All tokens that it signed are dead.

    The next key signs from now on; clients go on with their refresh tokens. It cannot be undone.

    Examples:
      keyturn signing-key revoke NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs --tenant platform
      keyturn signing-key revoke --tenant platform -- -bsLXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs
    """
    ask(f"End the signing key {kid!r} and all tokens that it signed?", yes=yes)
    before = _keys(call)
    try:
        call.send("POST", f"/signing-keys/{quote(kid, safe='')}/revoke")
    except Refused as error:
        if error.status != _NOT_FOUND:
            raise
        raise Problem(f"no signing key is called {kid!r}") from None
    say(f"keyturn: {_revoked(kid, before, _keys(call))}")


@verb(app, "import")
def import_key(
    call: Call, source: Annotated[str, typer.Argument(metavar="FILE", help="- is stdin.")]
) -> None:
    """Bring a private key along (PEM or JWK, not encrypted): it becomes the next one to sign.

    RSA of 2048 to 4096 bits, P-256, or Ed25519: an algorithm that KEYTURN_SIGNING_ALGORITHM or a
    resource server asks for. It takes the place of the next key that was waiting, which is deleted.

    Example:
      openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 |
        keyturn signing-key import - --tenant platform
    """
    call.show(call.send("POST", "/signing-keys", body=_material(source)).entity, _FIELDS)


def _keys(call: Call) -> dict[str, Entity]:
    """The signing keys, by their ids; none for who may not list them, for all else must go on."""
    try:
        items = inner_list(call.send("GET", "/signing-keys").entity, "items")
    except Problem:
        return {}
    return {str(item.get("kid")): item for item in items}


def _revoked(kid: str, before: Mapping[str, Entity], after: Mapping[str, Entity]) -> str:
    """What was done: the key that signs instead, and until when verifiers may not know it."""
    line = f"revoked {kid}"
    revoked = before.get(kid, {})
    if revoked.get("slot") != "current":
        return line
    of_kind = [key for key in after.values() if key.get("algorithm") == revoked.get("algorithm")]
    signing = next((key for key in of_kind if key.get("slot") == "current"), None)
    if signing is None:
        return line
    # One that was published before is known when it would have been ready; one made just now,
    # as late as the next one made with it.
    known = before.get(str(signing["kid"])) or next(
        (key for key in of_kind if key.get("slot") == "next"), {}
    )
    line += f"; {signing['kid']} signs now"
    if until := tables.text(known.get("ready_at")):
        line += f"; verifiers that cache the keys may refuse its tokens until {until}"
    return line


def _material(source: str) -> dict[str, object]:
    """What the file holds. No error quotes it."""
    try:
        if source == "-":
            data = sys.stdin.buffer.read(_MOST + 1)
        else:
            with Path(source).open("rb") as file:
                data = file.read(_MOST + 1)
        text = data.decode()
    except OSError as error:
        raise Problem(f"cannot read {source}: {error.strerror}", ExitCode.USAGE) from None
    except UnicodeDecodeError:
        raise Problem(f"{source} is neither PEM nor JWK", ExitCode.USAGE) from None
    if len(data) > _MOST:
        raise Problem(f"{source} is too large for a key", ExitCode.USAGE)
    if not text.lstrip().startswith("{"):
        return {"pem": text}
    try:
        return {"jwk": json.loads(text)}
    except ValueError:
        raise Problem(f"{source} is neither PEM nor JWK", ExitCode.USAGE) from None
