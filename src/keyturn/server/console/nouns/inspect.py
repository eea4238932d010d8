"""What a pasted token or API key is. It is looked at, and shown nowhere again."""

from collections.abc import Mapping
from datetime import UTC, datetime

from starlette.responses import Response

from ...domain.errors import Refusal
from ..api import Document
from ..frame import View
from ..visit import Visit

_AT = "/t/{tenant_id}/inspect"

_KINDS = {
    "jwt": "A JWT, as access tokens are",
    "refresh_token": "A refresh token",
    "api_key": "An API key",
    "unknown": "Nothing that this service gives out",
}
_SIGNATURES = {
    "good": ("good", "It was signed by this service."),
    "bad": ("bad", "It is not what this service signed: somebody changed or made it up."),
    "unknown_key": ("bad", "It is signed by none of the keys that this service publishes."),
}
_REASONS = {
    "everything_revoked": "everything was ended after it was given out",
    "expired": "it is past its end",
    "key_expired": "its API key is past its end",
    "key_gone": "its API key is gone",
    "key_idle": "its API key went unused for too long",
    "key_revoked": "its API key is revoked",
    "no_role_left": "its user holds no role any more that it could carry",
    "session_ended": "its session has ended",
    "sessions_ended": "all sessions of its user or API key were ended",
    "signing_key_revoked": "the key that signed it is revoked",
    "spent": "it was used: each refresh token works once",
    "tenant_suspended": "its tenant is suspended",
    "token_revoked": "it is revoked itself",
    "user_changed": "its user, or what its API key may do, has changed since",
    "user_disabled": "its user is disabled",
    "wrong_secret": "there is such a key, and this is not its secret",
}
#: Claims that are times (RFC 7519, 4.1; OpenID Connect Core, 2).
_TIMES = (
    ("iat", "Given out"),
    ("nbf", "Good from"),
    ("exp", "Good until"),
    ("auth_time", "Signed in"),
)


def views() -> list[View]:
    """Its pages."""
    return [
        View("GET", _AT, ask, "inspectToken"),
        View("POST", _AT, inspect, "inspectToken"),
    ]


async def ask(visit: Visit) -> Response:
    """The form."""
    return visit.render("inspect/inspect.html", found={})


async def inspect(visit: Visit) -> Response:
    """Looks at what was pasted. It stands in the body of the request alone, and in no answer."""
    token = visit.form.text("token").removeprefix("Bearer ").strip()
    visit.forget("token")
    try:
        found = (await visit.ask("inspectToken", body={"token": token})).data
    except Refusal as refusal:
        visit.refused(refusal)
        return visit.render("inspect/inspect.html", 400, found={})
    state = found["state"] or {}
    return visit.render(
        "inspect/inspect.html",
        found=found,
        kind=_KINDS.get(found["kind"], found["kind"]),
        signature=_SIGNATURES.get(found["signature"] or ""),
        times=_times(found["claims"] or {}),
        reasons=[_REASONS.get(reason, reason) for reason in state.get("reasons", ())],
    )


def _times(claims: Document) -> list[tuple[str, datetime]]:
    """Those claims that are times, in words. Whoever made the token wrote what they liked."""
    found = []
    for claim, words in _TIMES:
        at = _moment(claims, claim)
        if at is not None:
            found.append((words, at))
    return found


def _moment(claims: Mapping[str, object], claim: str) -> datetime | None:
    value = claims.get(claim)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return datetime.fromtimestamp(value, UTC)
    except (OverflowError, ValueError, OSError):
        return None
