"""Another password."""

from starlette.responses import Response

from ...domain.errors import Refusal
from ..forms import Faults
from ..frame import View
from ..visit import Visit

_AT = "/account/password"


def views() -> list[View]:
    """Its pages."""
    return [View("GET", _AT, ask), View("POST", _AT, change)]


async def ask(visit: Visit) -> Response:
    """The form."""
    return visit.render("account/password.html")


async def change(visit: Visit) -> Response:
    """Changes it. Nothing that was typed is shown again."""
    form = visit.form
    current, new, again = (form.exact(name) for name in ("current", "new", "again"))
    for name in ("current", "new", "again"):
        visit.forget(name)
    if new != again:
        visit.faults = Faults("The passwords differ.", {"again": "It differs from the new one."})
        return visit.render("account/password.html", 400)
    try:
        await visit.ask("changePassword", body={"current": current, "new": new})
    except Refusal as refusal:
        visit.refused(refusal)
        return visit.render("account/password.html", 400)
    return visit.to("/account", "password-changed")
