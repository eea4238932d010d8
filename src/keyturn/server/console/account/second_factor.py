"""The second factor: set up, given new recovery codes, removed."""

from starlette.responses import Response

from ...domain.errors import Code, Refusal
from ...services.callers import Callers, OwnCaller
from ...services.second_factor import Enrolment, SecondFactorService
from ..frame import View
from ..visit import Visit
from .qr import picture

_AT = "/account/second-factor"


class SecondFactorPages:
    """What people do about their generators of codes."""

    def __init__(self, second_factor: SecondFactorService, callers: Callers) -> None:
        self._second_factor = second_factor
        self._callers = callers

    def views(self) -> list[View]:
        """Their pages."""
        return [
            View("GET", _AT, self.state),
            View("GET", f"{_AT}/set-up", self.begin),
            View("POST", f"{_AT}/set-up", self.confirm),
            View("GET", f"{_AT}/recovery-codes", self.ask_codes),
            View("POST", f"{_AT}/recovery-codes", self.new_codes),
            View("GET", f"{_AT}/remove", self.ask_remove),
            View("POST", f"{_AT}/remove", self.remove),
        ]

    async def state(self, visit: Visit) -> Response:
        """Whether there is one, and how many recovery codes are left."""
        state = await self._second_factor.state(await self._caller(visit))
        return visit.render("account/second_factor.html", state=state)

    async def begin(self, visit: Visit) -> Response:
        """A new secret to bring into a generator: nothing is kept of it yet."""
        try:
            enrolment = await self._second_factor.begin(await self._caller(visit))
        except Refusal as refusal:
            return _there_is_one(visit, refusal)
        return _set_up(visit, enrolment)

    async def confirm(self, visit: Visit) -> Response:
        """Judges password and first code; then there is a second factor. Shows its codes."""
        caller = await self._caller(visit)
        sealed, code = visit.form.text("sealed"), visit.form.text("code")
        password = self._password(visit)
        visit.forget("code")
        try:
            codes = await self._second_factor.confirm(caller, sealed, code, password)
        except Refusal as refusal:
            if refusal.code is Code.CONFLICT:
                return _there_is_one(visit, refusal)
            visit.refused(refusal)
            if refusal.field == "sealed":
                return _set_up(visit, await self._second_factor.begin(caller), 400)
            return _set_up(visit, self._second_factor.again(caller, sealed), 400)
        return _show_codes(visit, codes, "Your second factor is set up")

    async def ask_codes(self, visit: Visit) -> Response:
        """Asks for the password before new recovery codes."""
        return visit.render("account/recovery_codes_new.html")

    async def new_codes(self, visit: Visit) -> Response:
        """Gives them in place of the old ones."""
        caller, password = await self._caller(visit), self._password(visit)
        try:
            codes = await self._second_factor.new_codes(caller, password)
        except Refusal as refusal:
            visit.refused(refusal)
            return visit.render("account/recovery_codes_new.html", 400)
        return _show_codes(visit, codes, "Your new recovery codes")

    async def ask_remove(self, visit: Visit) -> Response:
        """Asks, and for the password."""
        return visit.render("account/second_factor_remove.html")

    async def remove(self, visit: Visit) -> Response:
        """Removes it: the password alone signs in from then on."""
        caller, password = await self._caller(visit), self._password(visit)
        try:
            await self._second_factor.remove(caller, password)
        except Refusal as refusal:
            visit.refused(refusal)
            return visit.render("account/second_factor_remove.html", 400)
        return visit.to(_AT, "second-factor-removed")

    async def _caller(self, visit: Visit) -> OwnCaller:
        assert visit.arrival is not None  # noqa: S101 - the frame lets nobody else in
        return await self._callers.own(visit.arrival)

    def _password(self, visit: Visit) -> str:
        password = visit.form.exact("password")
        visit.forget("password")
        return password


def _set_up(visit: Visit, enrolment: Enrolment, status: int = 200) -> Response:
    secret = enrolment.secret
    return visit.render(
        "account/second_factor_set_up.html",
        status,
        sealed=enrolment.sealed,
        picture=picture(enrolment.uri),
        groups=" ".join(secret[at : at + 4] for at in range(0, len(secret), 4)),
    )


def _show_codes(visit: Visit, codes: tuple[str, ...], title: str) -> Response:
    return visit.render("account/recovery_codes.html", title=title, codes=codes)


def _there_is_one(visit: Visit, refusal: Refusal) -> Response:
    """To the page that says so: another tab was quicker, or the form was sent twice."""
    if refusal.code is not Code.CONFLICT:
        raise refusal
    return visit.to(_AT)
