"""The fields of the forms that make and change API keys, as the bodies of operations."""

from collections.abc import Sequence
from dataclasses import dataclass

from ...domain.errors import invalid_request
from ..api import Document
from ..forms import Faults, Form
from ..visit import Visit
from .names import called

#: Expiries to choose from, in seconds from now. `AT` is a time of the person's own.
AT = "at"
EXPIRIES = (
    ("86400", "24 hours"),
    ("604800", "7 days"),
    ("2592000", "30 days"),
    ("7776000", "90 days"),
    ("31536000", "1 year"),
    (AT, "At a date and time"),
    ("", "Never", "or as late as the tenant's policy lets it"),
)
#: How long it may go unused, in seconds.
IDLE = (
    ("", "As long as the tenant's policy lets it"),
    ("86400", "1 day"),
    ("604800", "7 days"),
    ("2592000", "30 days"),
    ("7776000", "90 days"),
)
#: Radio buttons of the endpoints.
ALL, LISTED = "all", "listed"
#: What stands before the names of the fields of a key that is made together with its user.
FIRST = "api_key."
_OWN = frozenset({"networks", "expires_at", "expires_in"})
#: Endpoints that one search lists.
_FOUND = 50
#: Longest form, in bytes: a box for each of 500 endpoints, which has its path in it.
MAX_FORM = 512 * 1024


def expiring(form: Form, prefix: str = "") -> Document:
    """`expires_in` or `expires_at`, which is in UTC. Raises Refusal for what is neither."""
    if form.text(f"{prefix}expires_in") != AT:
        return {"expires_in": form.number(f"{prefix}expires_in")}
    return {"expires_at": form.moment(f"{prefix}expires_at")}


def networks(form: Form, prefix: str = "") -> list[str] | None:
    """None without any: from everywhere."""
    return form.lines(f"{prefix}networks") or None


def roles(form: Form) -> list[str] | None:
    """None unless it was said that only some are given: to untick the last one widens nothing.

    Raises Refusal when none of them is ticked.
    """
    if form.text("roles") != LISTED:
        return None
    ticked = form.texts("role_ids")
    if not ticked:
        raise invalid_request("Tick at least one role.", field="role_ids")
    return ticked


def endpoints(form: Form) -> list[str] | None:
    """None unless only some may be called; an empty list is for the operation to refuse."""
    if form.text("endpoints") != LISTED:
        return None
    return [value.partition(" ")[0] for value in form.texts("endpoint_ids")]


def is_search(form: Form) -> bool:
    """Whether the form came to search the catalogue, and is not to do anything yet.

    Enter in the field for the search sends the form, too, by a button without a name.
    """
    if form.flag("find"):
        return True
    return not form.flag("go") and form.text("endpoint_query") != form.text("endpoint_shown")


def first_key(form: Form) -> Document | None:
    """The key that is made together with its user; None without. Raises as `expiring`."""
    if not form.flag("with_key"):
        return None
    return {
        "name": form.text(f"{FIRST}name"),
        "networks": networks(form, FIRST),
        **expiring(form, FIRST),
    }


def of_first_key(faults: Faults) -> Faults:
    """Faults of a key that was asked for inside something else, at the fields of that form.

    The services name a key's fields as if it were asked for alone.
    """
    named = {
        FIRST + at if at.partition(".")[0] in _OWN else at: t for at, t in faults.fields.items()
    }
    return Faults(faults.summary, named)


@dataclass(frozen=True, slots=True)
class Choice:
    """What the form offers of the catalogue.

    Values of boxes are the id, and behind a space what the endpoint is called: so those that are
    chosen keep their names while others are searched for. `chosen` are such values, `found` too,
    each with a note; `barred` were found and may stand on no list; `count` were found in all.
    """

    query: str = ""
    chosen: Sequence[str] = ()
    found: Sequence[tuple[str, str]] = ()
    barred: Sequence[str] = ()
    count: int = 0


async def choice(visit: Visit, chosen: Sequence[str] = ()) -> Choice:
    """What to offer. `chosen` are the values that stand there before the form is sent."""
    form = visit.form
    values = list(dict.fromkeys(form.texts("endpoint_ids") if form.pairs else chosen))
    known = frozenset(value.partition(" ")[0] for value in values)
    query = form.text("endpoint_query")[:512]
    page = await visit.get_if("searchEndpoints", query={"q": query, "limit": _FOUND})
    others = [one for one in page.get("items", ()) if one["id"] not in known]
    return Choice(
        query,
        values,
        [
            (f"{one['id']} {called(one)}", "deprecated" if one["deprecated"] else "")
            for one in others
            if one["listable"]
        ],
        [called(one) for one in others if not one["listable"]],
        page.get("meta", {}).get("count", 0),
    )
