"""Before anybody is known: to sign in, to set a first password, to accept an invitation."""

from starlette.responses import Response

from ..domain.errors import Refusal, Throttled
from ..http.limits import FAILED
from ..services.signing_in import Browser, CodeNeeded, SignedIn, SigningIn
from .cookies import Cookies
from .forms import Faults, Form
from .frame import SIGN_IN, View, safe_next
from .visit import ROOT, Visit, see_other


class SigningPages:
    """Lets people in and out."""

    def __init__(self, signing_in: SigningIn, cookies: Cookies) -> None:
        self._signing_in = signing_in
        self._cookies = cookies

    def views(self) -> list[View]:
        """The pages that nobody needs to be signed in for."""
        return [
            View("GET", "/sign-in", self.ask, public=True),
            View("POST", "/sign-in", self.sign_in, public=True),
            View("GET", "/sign-in/code", self.again, public=True),
            View("POST", "/sign-in/code", self.code, public=True),
            View("GET", "/first-password", self.ask_first, public=True),
            View("POST", "/first-password", self.first_password, public=True),
            View("GET", "/invitation", self.ask_invitation, public=True),
            View("POST", "/invitation", self.accept, public=True),
            View("POST", "/sign-out", self.sign_out),
        ]

    async def ask(self, visit: Visit) -> Response:
        """The page to sign in; who is signed in goes on."""
        wanted = safe_next(visit.asked("next"))
        if visit.arrival is not None:
            return see_other(wanted)
        return visit.render("sign_in.html", next=wanted)

    async def sign_in(self, visit: Visit) -> Response:
        """Judges a password."""
        form = visit.form
        wanted = safe_next(form.text("next"))
        try:
            result = await self._signing_in.by_password(
                form.text("username"), form.exact("password"), _browser(visit)
            )
        except Refusal as refusal:
            visit.refused(refusal)
            return visit.render("sign_in.html", 401, next=wanted)
        except Throttled:
            visit.request.scope[FAILED] = True
            raise
        return self._go_on(visit, result, wanted)

    async def again(self, visit: Visit) -> Response:
        """Who loads the page of the code anew begins anew: its step went with a form."""
        return see_other(SIGN_IN)

    async def code(self, visit: Visit) -> Response:
        """Judges a second factor."""
        form = visit.form
        step, wanted = form.text("step"), safe_next(form.text("next"))
        visit.forget("code")
        try:
            result = await self._signing_in.by_code(step, form.text("code"), _browser(visit))
        except Refusal as refusal:
            visit.refused(refusal)
            if refusal.field == "step":  # too late: from the beginning
                return visit.render("sign_in.html", 401, next=wanted)
            return visit.render("sign_in_code.html", 401, step=step, next=wanted)
        return self._go_on(visit, result, wanted)

    async def ask_first(self, visit: Visit) -> Response:
        """The page for who has an API key and no password yet."""
        return visit.render("first_password.html")

    async def first_password(self, visit: Visit) -> Response:
        """Gives a person a first password, and lets them in."""
        form = visit.form
        if form.exact("new_password") != form.exact("again"):
            visit.faults = Faults("The passwords differ.", {"again": "It differs from the first."})
            return visit.render("first_password.html", 400)
        try:
            result = await self._signing_in.first_password(
                form.text("username"),
                form.text("api_key"),
                form.exact("new_password"),
                _browser(visit),
            )
        except Refusal as refusal:
            visit.refused(refusal)
            return visit.render("first_password.html", 400)
        except Throttled:
            visit.request.scope[FAILED] = True
            raise
        return self._go_on(visit, result, ROOT)

    async def ask_invitation(self, visit: Visit) -> Response:
        """The page to accept an invitation at: it asks for the code first.

        The link has the code behind a `#`, which no server sees; a script puts it into the form.
        """
        return visit.render("invitation.html")

    async def accept(self, visit: Visit) -> Response:
        """Says what the code offers; once that was seen, accepts it with a password.

        Whoever has an account gives its password, all others choose one.
        """
        form = visit.form
        code = _code(visit)
        if not form.has("password"):
            return await _offered(visit, code)
        is_new = form.text("account") != "known"
        body: dict[str, str] = {"code": code, "password": form.exact("password")}
        if is_new and form.text("name"):
            body["name"] = form.text("name")
        if is_new and form.exact("again") != form.exact("password"):
            visit.faults = Faults("The passwords differ.", {"again": "It differs from the first."})
            return await _offered(visit, code)
        try:
            joined = (await visit.ask("acceptInvitation", body=body)).data
        except Refusal as refusal:
            visit.refused(refusal)
            return await _offered(visit, code)
        here = None if visit.arrival is None else visit.arrival.token.user_id
        return visit.render(
            "invitation_accepted.html",
            joined=joined,
            to=f"{ROOT}/t/{joined['invitation']['tenant_id']}",
            is_here=here == joined["user"]["id"],
            other_is_here=here not in (None, joined["user"]["id"]),
        )

    async def sign_out(self, visit: Visit) -> Response:
        """Ends the sign-in, here and on the server."""
        await self._signing_in.sign_out(visit.cookie, visit.address)
        response = see_other(f"{SIGN_IN}?done=signed-out")
        self._cookies.sign_out(response)
        return response

    def _go_on(self, visit: Visit, result: SignedIn | CodeNeeded, wanted: str) -> Response:
        if isinstance(result, CodeNeeded):
            return visit.render("sign_in_code.html", step=result.step, next=wanted)
        # A new cookie each time: one that somebody planted before is worth nothing.
        response = see_other(wanted)
        self._cookies.sign_in(response, result.cookie)
        return response


async def _offered(visit: Visit, code: str) -> Response:
    """What the code offers, with the form that accepts it; for a bad one the form of the code."""
    try:
        offer = (await visit.ask("previewInvitation", body={"code": code})).data
    except Refusal as refusal:
        visit.refused(refusal)
        return visit.render("invitation.html", 400)
    if not visit.form.has("password"):
        visit.form = Form()  # that of the code: this one begins anew
    status = 400 if visit.faults else 200
    return visit.render("invitation_offer.html", status, offer=offer, code=code)


def _code(visit: Visit) -> str:
    """Without the script the link is pasted, and some paste all of it."""
    return visit.form.text("code").rpartition("code=")[2]


def _browser(visit: Visit) -> Browser:
    return Browser(visit.address, visit.request.headers.get("user-agent", ""))
