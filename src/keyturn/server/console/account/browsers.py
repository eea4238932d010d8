"""Where the person is signed in, and how to end that."""

from dataclasses import dataclass

from starlette.responses import Response

from ...domain.errors import not_found
from ...services.callers import Callers, OwnCaller
from ...services.signing_in import ListedSignIn, SigningIn
from ..cookies import Cookies
from ..frame import SIGN_IN, View
from ..visit import Visit, see_other
from .agents import in_words

_ALL = "/account/browsers"
_ONE = f"{_ALL}/{{sign_in_id}}/end"


@dataclass(frozen=True, slots=True)
class Row:
    """A sign-in, and its browser in words."""

    sign_in: ListedSignIn
    browser: str


class BrowserPages:
    """Lists sign-ins and ends them."""

    def __init__(self, signing_in: SigningIn, callers: Callers, cookies: Cookies) -> None:
        self._signing_in = signing_in
        self._callers = callers
        self._cookies = cookies

    def views(self) -> list[View]:
        """Their pages."""
        return [
            View("GET", _ALL, self.everyone),
            View("GET", f"{_ALL}/end-others", self.ask_end_others),
            View("POST", f"{_ALL}/end-others", self.end_others),
            View("GET", f"{_ALL}/end-all", self.ask_end_all),
            View("POST", f"{_ALL}/end-all", self.end_all),
            View("GET", _ONE, self.ask_end),
            View("POST", _ONE, self.end),
        ]

    async def everyone(self, visit: Visit) -> Response:
        """All of them: there are at most 20 of one person."""
        return visit.render("account/browsers.html", rows=await self._rows(visit))

    async def ask_end(self, visit: Visit) -> Response:
        """Asks whether to end one."""
        sign_in_id = visit.path("sign_in_id")
        for row in await self._rows(visit):
            if row.sign_in.id == sign_in_id:
                this = " It is this one: you sign in again." if row.sign_in.current else ""
                return visit.confirm(
                    "Sign this browser out?",
                    ends=[_told(visit, row)],
                    note=f"Your API keys and other browsers stay as they are.{this}",
                    label="Sign it out",
                    action=f"{_ALL}/{sign_in_id}/end",
                    back=_ALL,
                )
        raise not_found("no such sign-in of the caller's")

    async def end(self, visit: Visit) -> Response:
        """Ends it."""
        caller, sign_in_id = await self._caller(visit), visit.path("sign_in_id")
        await self._signing_in.end(caller, sign_in_id)
        if sign_in_id == caller.token.key_id:
            return self._out("signed-out")
        return visit.to(_ALL, "browser-ended")

    async def ask_end_others(self, visit: Visit) -> Response:
        """Asks whether to end all but this one."""
        others = [row for row in await self._rows(visit) if not row.sign_in.current]
        return visit.confirm(
            "Sign out everywhere else?",
            ends=[_told(visit, row) for row in others],
            note="You stay signed in here. Your API keys stay as they are."
            if others
            else "You are signed in nowhere else just now.",
            label="Sign out everywhere else",
            action=f"{_ALL}/end-others",
            back=_ALL,
        )

    async def end_others(self, visit: Visit) -> Response:
        """Ends them."""
        await self._signing_in.end_all(await self._caller(visit), but_current=True)
        return visit.to(_ALL, "browsers-ended")

    async def ask_end_all(self, visit: Visit) -> Response:
        """Asks whether to end all of them."""
        return visit.confirm(
            "Sign out everywhere?",
            ends=[_told(visit, row) for row in await self._rows(visit)],
            note="You sign in again afterwards. Your API keys stay as they are.",
            label="Sign out everywhere",
            action=f"{_ALL}/end-all",
            back=_ALL,
        )

    async def end_all(self, visit: Visit) -> Response:
        """Ends them, and leads out."""
        await self._signing_in.end_all(await self._caller(visit), but_current=False)
        return self._out("signed-out-everywhere")

    async def _rows(self, visit: Visit) -> list[Row]:
        mine = await self._signing_in.mine(await self._caller(visit))
        return [Row(one, in_words(one.agent)) for one in mine]

    async def _caller(self, visit: Visit) -> OwnCaller:
        assert visit.arrival is not None  # noqa: S101 - the frame lets nobody else in
        return await self._callers.own(visit.arrival)

    def _out(self, done: str) -> Response:
        response = see_other(f"{SIGN_IN}?done={done}")
        self._cookies.sign_out(response)
        return response


def _told(visit: Visit, row: Row) -> str:
    one = row.sign_in
    used = visit.ago((one.last_used_at or one.created_at).isoformat())
    where = f" from {one.address}" if one.address else ""
    return f"{row.browser}, last used {used}{where}{' (this one)' if one.current else ''}"
