"""Around every page: who is there, whether the form is the console's own, and what went wrong."""

import hmac
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

from starlette.requests import Request
from starlette.responses import Response

from ..domain.errors import Code, Refusal, invalid_request
from ..domain.ids import parse_id
from ..http.limits import Limits
from ..http.protection import OWN_POLICY
from ..http.routes import Page
from ..services.callers import Arrival, Callers, Needs
from ..services.signing_in import SigningIn
from .api import Operations
from .cookies import Cookies
from .forms import CSRF, read_form
from .over import Over
from .templates import Templates
from .visit import NO_STORE, ROOT, Visit, see_other

#: What pages may load and do: their own files, and nothing that stands in the page itself.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
#: Longest form, in bytes: an imported OpenAPI document has a bound of its own.
MAX_FORM = 64 * 1024
#: Where a person is sent who is not signed in.
SIGN_IN = f"{ROOT}/sign-in"

Show = Callable[[Visit], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class View:
    """One method on one address of the console.

    `path` stands below `/console`; with `{tenant_id}` in it, it is of a tenant where the person
    must hold a role. `opens` is the operation whose access opens it: who is not let in there is not
    let in here. None: any person who signed in. `public`: anybody. `max_form` in bytes.
    `root_only`: it is the platform's, and refused in all other tenants.
    """

    method: str
    path: str
    show: Show
    opens: str | None = None
    public: bool = False
    max_form: int = MAX_FORM
    root_only: bool = False


class Frame:
    """Makes routes of views."""

    def __init__(
        self,
        *,
        signing_in: SigningIn,
        callers: Callers,
        operations: Operations,
        templates: Templates,
        limits: Limits,
        cookies: Cookies,
        origin: str,
    ) -> None:
        """`origin` is the public URL's: where forms come from, but for other names of it."""
        self._signing_in = signing_in
        self._callers = callers
        self._operations = operations
        self._templates = templates
        self._limits = limits
        self._cookies = cookies
        self._origin = origin
        self._root_id: str | None = None

    def pages(self, views: Sequence[View]) -> list[Page]:
        """One page for each address."""
        by_path: dict[str, dict[str, View]] = {}
        for view in views:
            by_path.setdefault(ROOT + view.path, {})[view.method] = view
        return [
            Page(path, {method: self._endpoint(view) for method, view in found.items()})
            for path, found in by_path.items()
        ]

    def _endpoint(self, view: View) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request, address: str | None) -> Response:
            request.scope[OWN_POLICY] = True
            visit = Visit(request, address, self._operations, self._templates, self._origin)
            response = await self._shown(view, visit)
            response.headers["Content-Security-Policy"] = POLICY
            return response

        return self._limits.around(endpoint)

    async def _shown(self, view: View, visit: Visit) -> Response:
        posted = view.method == "POST"
        if posted:
            self._need_own_origin(visit.request)
        visit.cookie = self._cookies.read(visit.request)
        arrival = await self._arrival(visit)
        if arrival is None and not view.public:
            response = self._to_sign_in(visit.request)
            if self._cookies.read(visit.request):  # it is over: to show it again leads nowhere
                self._cookies.sign_out(response)
            return response
        visit.arrival = arrival
        visit.csrf = self._csrf(visit)
        # First, as by REST: whoever may not do it has nothing read, which may be megabytes.
        await self._enter(view, visit)
        if posted:
            visit.form = await read_form(visit.request, view.max_form)
            if not hmac.compare_digest(visit.form.text(CSRF).encode(), visit.csrf.encode()):
                raise Refusal(
                    Code.ACCESS_DENIED,
                    "The form is too old, or not of this console. Go back, load the page and send"
                    " it again.",
                    detail="csrf",
                )
        try:
            response = await view.show(visit)
        except Over as over:
            back = visit.url(over.back)
            response = visit.render("over.html", 409, title=over.title, text=over.text, back=back)
        if not visit.cookie and not self._cookies.has_visitor(visit.request):
            self._cookies.set_visitor(response, visit.csrf)
        return response

    async def _arrival(self, visit: Visit) -> Arrival | None:
        """Who signed in; None: nobody, or it has ended."""
        if not visit.cookie:
            return None
        here = (visit.request.method, visit.request.url.path)
        try:
            return await self._signing_in.arrive(
                visit.cookie, visit.address, here, used=not _by_itself(visit.request)
            )
        except Refusal as refusal:
            if refusal.code is not Code.INVALID_TOKEN:
                raise
            # It counts as no failure: nobody guesses 256 bits, and a forgotten tab's cookie would
            # shut out all who share its address.
            visit.cookie = ""
            return None

    def _csrf(self, visit: Visit) -> str:
        """What this browser's forms carry, signed in or not yet."""
        if visit.cookie:
            return self._signing_in.csrf(visit.cookie)
        return self._cookies.visitor(visit.request)

    async def _enter(self, view: View, visit: Visit) -> None:
        """Chooses the tenant in the address, and has the operation's access open the view."""
        tenant_id = visit.request.path_params.get("tenant_id")
        if tenant_id is None or visit.arrival is None:
            return
        chosen = parse_id(tenant_id)
        if chosen is None:
            raise invalid_request("There is no such tenant.")
        access = None if view.opens is None else self._operations[view.opens].access
        needs = access if isinstance(access, Needs) else None
        visit.here = await self._callers.in_tenant(visit.arrival, chosen, needs)
        if self._root_id is None:  # it is the same for ever
            self._root_id = await self._callers.root()
        visit.is_root = chosen == self._root_id
        if view.root_only and not visit.is_root:
            raise Refusal(
                Code.INSUFFICIENT_SCOPE, "This is the platform's: choose the root tenant."
            )

    def _need_own_origin(self, request: Request) -> None:
        """Raises Refusal for a form that another site's page sent, whatever it holds.

        Browsers say so by Fetch Metadata, or by `Origin` (`null` where no referrer is to be told).
        """
        headers = request.headers
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        scheme = urlsplit(self._origin).scheme
        ours = (None, "null", self._origin, f"{scheme}://{headers.get('host')}")
        if site not in (None, "same-origin", "none") or (site is None and origin not in ours):
            raise Refusal(
                Code.ACCESS_DENIED, "Forms are taken from this console alone.", detail="origin"
            )

    def _to_sign_in(self, request: Request) -> Response:
        """To the page to sign in at, and from there to where the person wanted to go."""
        wanted = request.url.path
        if request.url.query:
            wanted += f"?{request.url.query}"
        back = wanted if request.method in ("GET", "HEAD") else ROOT
        if request.headers.get("hx-request"):
            # The script would put the page to sign in into a part of this one.
            return Response(status_code=204, headers={**NO_STORE, "HX-Redirect": SIGN_IN})
        return see_other(f"{SIGN_IN}?next={quote(back, safe='')}")


def _by_itself(request: Request) -> bool:
    """Whether a page asks for what is new, and nobody need sit before it."""
    return "hx-request" in request.headers and request.query_params.get("live") == "1"


def safe_next(wanted: str) -> str:
    """Where to go after signing in: an address of the console alone, never of another site."""
    inside = wanted == ROOT or wanted.startswith((f"{ROOT}/", f"{ROOT}?"))
    plain = wanted.isascii() and wanted.isprintable() and "\\" not in wanted
    if not inside or not plain or len(wanted) > 1024 or wanted.startswith(f"{ROOT}/sign-"):
        return ROOT
    # Browsers go up by dots before they ask (RFC 3986, 5.2.4), however those are written.
    upward = {".", ".."} & set(unquote(urlsplit(wanted).path).split("/"))
    return ROOT if upward else wanted
