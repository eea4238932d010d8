"""The console, put together: its views, what they load, and what is shown when something fails."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from ..http.assets import Assets
from ..http.doors import Doors
from ..http.errors import Fault
from ..http.limits import Limits
from ..http.operation import Operation
from ..http.protection import OWN_POLICY
from ..http.routes import Page
from ..services.callers import Callers
from ..services.entrance import Entrance
from ..services.ports import Clock
from .account import account_views
from .api import Operations
from .cookies import Cookies
from .frame import POLICY, Frame, View
from .nouns import noun_views
from .signing import SigningPages
from .templates import Templates
from .visit import NO_STORE, ROOT, see_other


def console_pages(
    *,
    operations: Sequence[Operation],
    doors: Doors,
    callers: Callers,
    entrance: Entrance,
    limits: Limits,
    clock: Clock,
    base_path: str,
    origin: str,
    base_url: str,
) -> list[Page]:
    """All pages of the console, and what they load.

    `origin` is the public URL's; `base_url` is where clients find the REST API.
    """
    cookies = Cookies(https=origin.startswith("https:"))
    frame = Frame(
        signing_in=entrance.signing_in,
        callers=callers,
        operations=Operations(operations, doors, base_path, base_url),
        templates=Templates(_assets().url, clock),
        limits=limits,
        cookies=cookies,
        origin=origin,
    )
    home = Page("/", {"GET": _to_console})
    return [*frame.pages(all_views(entrance, cookies, callers)), _assets().page, home]


def all_views(entrance: Entrance, cookies: Cookies, callers: Callers) -> list[View]:
    """Every address of the console."""
    return [
        *SigningPages(entrance.signing_in, cookies).views(),
        *account_views(entrance, cookies, callers),
        *noun_views(),
    ]


def fault_page(request: Request, fault: Fault) -> Response | None:
    """What a browser is shown in the console when something failed; None elsewhere."""
    path = request.url.path
    if path != ROOT and not path.startswith(f"{ROOT}/"):
        return None
    request.scope[OWN_POLICY] = True
    retry = fault.headers.get("Retry-After")
    html = _plain_templates().render(
        "fault.html",
        {
            "title": _TITLES.get(fault.status, "That did not work"),
            "text": fault.text,
            "retry": _wait(int(retry)) if retry else "",
            "again": path if retry and request.method == "GET" else ROOT,
            "request_id": request.scope.get("keyturn.request_id", ""),
        },
    )
    headers = {**fault.headers, **NO_STORE, "Content-Security-Policy": POLICY}
    headers.pop("WWW-Authenticate", None)  # browsers would ask for a password of their own
    return Response(html, fault.status, headers, "text/html")


def _wait(seconds: int) -> str:
    """In words; never less than it is."""
    if seconds <= 90:
        return f"{seconds} second{'' if seconds == 1 else 's'}"
    return f"{-(-seconds // 60)} minutes"


_TITLES = {
    401: "Sign in again",
    403: "You may not do that here",
    404: "There is no such page",
    429: "Too often",
    500: "Something failed on our side",
    503: "Not available right now",
}


@cache
def _assets() -> Assets:
    return Assets(Path(__file__).parent / "assets")


@cache
def _plain_templates() -> Templates:
    def now() -> datetime:
        return datetime.now(UTC)

    return Templates(_assets().url, now)


async def _to_console(_: Request) -> Response:
    return see_other(ROOT)
