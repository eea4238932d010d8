"""`/users/me/sessions`, `/sessions` and `/revocations`: what goes on, and what ends it."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import StringConstraints
from starlette.responses import Response

from ...domain.errors import invalid_request
from ...domain.model import RevocationKind
from ...domain.permissions import TOKENS_REVOKE
from ...domain.revocations import EVERYTHING
from ...services.callers import Needs
from ...services.management.revocations import RevocationManagement
from ...services.management.sessions import ListedSession, OwnSessions, SessionManagement
from ..fields import Body, Id, PageQuery
from ..operation import Call, Operation, Own, done, listed, part

KeyId = Annotated[str, StringConstraints(min_length=1, max_length=64)]


class OwnSessionQuery(PageQuery):
    """Which of the caller's sessions."""

    live: bool = False


class SessionQuery(OwnSessionQuery):
    """Whose sessions: one of the two."""

    user_id: Id | None = None
    api_key_id: KeyId | None = None


class RevocationBody(Body):
    """What is to end: one of these."""

    user_id: Id | None = None
    api_key_id: KeyId | None = None
    session_id: Id | None = None
    token_id: Id | None = None
    everything: Literal[True] | None = None

    def wanted(self) -> tuple[RevocationKind, str]:
        """What the services are asked for. Raises Refusal unless it is one thing."""
        said = self.given()
        field, subject = next(iter(said.items()), ("", None))
        if len(said) != 1 or subject is None:
            raise invalid_request("Say what is to end: one thing.")
        kind = _KINDS[field]
        return EVERYTHING if kind is RevocationKind.EVERYTHING else (kind, str(subject))


_KINDS = {
    "user_id": RevocationKind.USER,
    "api_key_id": RevocationKind.KEY,
    "session_id": RevocationKind.SESSION,
    "token_id": RevocationKind.TOKEN,
    "everything": RevocationKind.EVERYTHING,
}


def _viewer(base: str) -> Callable[[ListedSession], dict[str, Any]]:
    def view(item: ListedSession) -> dict[str, Any]:
        session = item.session
        return {
            "id": session.id,
            "href": f"{base}/{session.id}",
            "user_id": session.user_id,
            "api_key_id": session.key_id,
            "tenant_id": session.tenant_id,
            "started_at": item.started_at,
            "last_used_at": session.rotated_at,
            "last_used_from": session.last_used_from,
            "expires_at": session.expires_at,
            "live": item.live,
            "ended_at": item.ended_at,
            "end_reason": item.end_reason,
            "current": item.current,
        }

    return view


def own_session_operations(sessions: OwnSessions, base: str) -> list[Operation]:
    """The operations on the caller's own sessions. `base` is what `href` begins with."""
    view = _viewer(f"{base}/users/me/sessions")

    async def list_sessions(call: Call) -> Response:
        query = call.query(OwnSessionQuery)
        page = await sessions.list(call.own, part(query.limit, query.cursor), live=query.live)
        return listed(page, view)

    async def end(call: Call) -> Response:
        await sessions.end(call.own, call.path("session_id"))
        return done()

    async def end_all(call: Call) -> Response:
        await sessions.end_all(call.own)
        return done()

    own, path = Own(), "/users/me/sessions"
    return [
        Operation("listOwnSessions", "GET", path, own, list_sessions, query=OwnSessionQuery),
        Operation("endOwnSessions", "DELETE", path, own, end_all),
        Operation("endOwnSession", "DELETE", f"{path}/{{session_id}}", own, end),
    ]


def session_operations(
    sessions: SessionManagement, revocations: RevocationManagement, base: str
) -> list[Operation]:
    """What administrators do about sessions and tokens. `base` is what `href` begins with."""
    view = _viewer(f"{base}/sessions")

    async def list_sessions(call: Call) -> Response:
        query = call.query(SessionQuery)
        page = await sessions.list(
            call.tenant,
            part(query.limit, query.cursor),
            user_id=query.user_id,
            key_id=query.api_key_id,
            live=query.live,
        )
        return listed(page, view)

    async def end(call: Call) -> Response:
        await sessions.end(call.tenant, call.path("session_id"))
        return done()

    async def revoke(call: Call) -> Response:
        kind, subject = (await call.body(RevocationBody)).wanted()
        await revocations.revoke(call.tenant, kind, subject)
        return done()

    read, end_them = Needs("sessions:read"), Needs(TOKENS_REVOKE, administers=True)
    return [
        Operation("listSessions", "GET", "/sessions", read, list_sessions, query=SessionQuery),
        Operation("endSession", "DELETE", "/sessions/{session_id}", end_them, end),
        Operation("revokeTokens", "POST", "/revocations", end_them, revoke, body=RevocationBody),
    ]
