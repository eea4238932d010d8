"""The person's own sessions: what came from exchanges of their keys."""

from starlette.responses import Response

from ..cookies import Cookies
from ..frame import SIGN_IN, View
from ..visit import Visit, see_other

_ALL = "/account/sessions"
_ONE = f"{_ALL}/{{session_id}}/end"


def views(cookies: Cookies) -> list[View]:
    """Their pages."""

    async def end_all(visit: Visit) -> Response:
        await visit.ask("endOwnSessions")
        response = see_other(f"{SIGN_IN}?done=tokens-ended")
        cookies.sign_out(response)
        return response

    return [
        View("GET", _ALL, everyone),
        View("GET", f"{_ALL}/end-all", ask_end_all),
        View("POST", f"{_ALL}/end-all", end_all),
        View("GET", _ONE, ask_end),
        View("POST", _ONE, end),
    ]


async def everyone(visit: Visit) -> Response:
    """Those that live, or all that are listed still."""
    ended = bool(visit.asked("ended"))
    query = {"live": not ended, "cursor": visit.asked("cursor")}
    page = await visit.get("listOwnSessions", query=query)
    return visit.render("account/sessions.html", page=page, ended=ended)


async def ask_end(visit: Visit) -> Response:
    """Asks whether to end one."""
    return visit.confirm(
        "End this session?",
        ends=["its access tokens, on every resource server, within a second", "its refresh token"],
        note="The API key that it came from stays good.",
        label="End it",
        action=f"{_ALL}/{visit.path('session_id')}/end",
        back=_ALL,
    )


async def end(visit: Visit) -> Response:
    """Ends it."""
    await visit.ask("endOwnSession", path={"session_id": visit.path("session_id")})
    return visit.to(_ALL, "session-ended")


async def ask_end_all(visit: Visit) -> Response:
    """Asks whether to end all of them."""
    return visit.confirm(
        "End all your sessions?",
        ends=[
            "all sessions and tokens of all your API keys, within a second",
            "this and all other browsers that you are signed in with",
        ],
        note="Your API keys stay good: who holds one exchanges it again.",
        label="End them all",
        action=f"{_ALL}/end-all",
        back=_ALL,
    )
