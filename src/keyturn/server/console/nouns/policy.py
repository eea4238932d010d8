"""The tenant's policy: what it settles, and what holds together with the tenants above."""

from starlette.responses import Response

from ...domain.errors import Refusal, invalid_request
from ...domain.policy import Offboarding
from ..api import Document
from ..forms import Form
from ..frame import View
from ..templates import span
from ..visit import Visit

_PATH = "/t/{tenant_id}/policy"

_UNITS = {"days": 86_400, "hours": 3_600, "minutes": 60, "seconds": 1}
#: Each rule, by the API's name, in the order of the page.
_RULES = {
    "max_api_key_lifetime": "Longest life of an API key",
    "api_key_idle_timeout": "API keys end when unused for",
    "max_api_keys": "API keys at home here, at most",
    "max_service_users": "Service users at home here, at most",
    "single_token": "One token at a time",
    "service_users_administer": "Service users administer",
    "max_delegations": "How many may act for a user, one behind the other",
    "offboarding": "Service users and keys of who leaves",
}
_SPANS = frozenset({"max_api_key_lifetime", "api_key_idle_timeout"})
_SWITCHES = frozenset({"single_token", "service_users_administer"})
_LEAVERS = {
    Offboarding.KEEP: "are kept",
    Offboarding.DISABLE: "are disabled",
    Offboarding.DELETE: "are deleted",
}


def views() -> list[View]:
    """Its pages."""
    return [
        View("GET", _PATH, shown, "getTenantPolicy"),
        View("GET", f"{_PATH}/edit", ask_edit, "setTenantPolicy"),
        View("POST", f"{_PATH}/edit", edit, "setTenantPolicy"),
    ]


async def shown(visit: Visit) -> Response:
    """Each rule: its value here, what holds, and whose rule that is."""
    found = await visit.get("getTenantPolicy", tenant_id=visit.tenant.tenant_id)
    own, holds = found["policy"], found["effective"]
    rules = [
        {
            "label": label,
            "own": None if own[name] is None else _in_words(name, own[name]),
            "holds": "no limit" if holds[name] is None else _in_words(name, holds[name]),
            "by": found["settled_by"][name],
        }
        for name, label in _RULES.items()
    ]
    return visit.render("policy/one.html", rules=rules)


async def ask_edit(visit: Visit) -> Response:
    """The form of all rules."""
    return await _edit_form(visit)


async def edit(visit: Visit) -> Response:
    """Settles the policy anew, unless somebody else did meanwhile."""
    try:
        await visit.ask(
            "setTenantPolicy",
            path={"tenant_id": visit.tenant.tenant_id},
            body=_said(visit.form),
            if_match=visit.form.or_none("etag"),
        )
    except Refusal as refusal:
        visit.refused(refusal)
        return await _edit_form(visit, 400)
    return visit.to("/policy", "saved")


async def _edit_form(visit: Visit, status: int = 200) -> Response:
    answer = await visit.ask("getTenantPolicy", path={"tenant_id": visit.tenant.tenant_id})
    own = answer.data["policy"]
    values = {name: _shown(name, own[name]) for name in _RULES}
    return visit.render(
        "policy/edit.html",
        status,
        rules=_RULES,
        values=values,
        units=[(unit, unit) for unit in _UNITS],
        unit={name: _unit(own[name]) for name in _SPANS},
        leavers=list(_LEAVERS.items()),
        etag=answer.etag,
    )


def _said(form: Form) -> Document:
    """The policy of the form. Raises Refusal at the field."""
    said: Document = {"offboarding": form.or_none("offboarding")}
    for name in _RULES:
        if name in _SWITCHES:
            said[name] = {"yes": True, "no": False}.get(form.text(name))
        elif name != "offboarding":
            said[name] = form.number(name)
    for name in _SPANS:
        unit = form.text(f"{name}_unit")
        if said[name] is not None:
            said[name] *= _UNITS.get(unit, 1)
            if not 0 < said[name] <= 3_650 * _UNITS["days"]:
                raise invalid_request("Give more than nothing, and at most 3,650 days.", field=name)
    return said


def _shown(name: str, value: object) -> str:
    """A value as its input has it."""
    if value is None:
        return ""
    if name in _SWITCHES:
        return "yes" if value else "no"
    if name in _SPANS:
        return str(int(str(value)) // _UNITS[_unit(value)])
    return str(value)


def _unit(seconds: object) -> str:
    """The largest unit that a duration is a whole number of; days for none."""
    if seconds is None:
        return "days"
    return next(unit for unit, size in _UNITS.items() if int(str(seconds)) % size == 0)


def _in_words(name: str, value: object) -> str:
    if name in _SPANS:
        count = int(str(value)) // _UNITS[_unit(value)]
        return span(int(str(value))) if count == 1 else f"{count:,} {_unit(value)}"
    if name in _SWITCHES:
        return "yes" if value else "no"
    if name == "offboarding":
        return _LEAVERS[Offboarding(str(value))]
    return f"{int(str(value)):,}"
