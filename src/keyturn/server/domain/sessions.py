"""How a session lives: a presented refresh token is live, a retry, or reuse (RFC 9700, 4.14)."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from .authority import Authority
from .model import KeyRecord, Session
from .records import transient

#: What verifiers allow for clocks that differ, and for a node that has heard late; in seconds.
_LEEWAY = 60


@transient
class RefreshState:
    """What a refresh token says, sealed. Generation 0 comes from the exchange itself.

    Times are Unix seconds. `session_ends_at` is the absolute end of the session. Two tokens
    of equal state are equal to the letter: that is how a retry gets the same successor.
    `epoch` is the user's at the exchange: a session that lists nothing has no other ceiling,
    and sessions of earlier epochs can be ended together. `audiences` are as in the tokens.
    """

    session_id: str
    generation: int
    key_id: str
    expires_at: int
    session_ends_at: int
    ceiling: Authority
    epoch: int
    audiences: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long things live, in seconds."""

    access_token: int = 300
    refresh_token: int = 1800
    session: int = 36_000
    refresh_grace: int = 10

    @property
    def leeway(self) -> timedelta:
        """How much longer than its tokens a revocation is kept."""
        return timedelta(seconds=_LEEWAY)

    @property
    def longest_access(self) -> timedelta:
        """How long a revocation must last to outlive every access token."""
        return timedelta(seconds=self.access_token) + self.leeway


def successor(state: RefreshState, rotated_at: datetime, lifetimes: Lifetimes) -> RefreshState:
    """The next generation's state. It follows from the session's row (`rotated_at`) alone."""
    expires_at = int(rotated_at.timestamp()) + lifetimes.refresh_token
    return replace(
        state,
        generation=state.generation + 1,
        expires_at=min(expires_at, state.session_ends_at),
    )


def outdated(state: RefreshState, record: KeyRecord) -> str:
    """Why a session that began in an earlier epoch of its user is over; empty when it goes on."""
    if state.epoch < record.sessions_epoch:
        return "the sessions of that time were ended"
    if state.ceiling.tenants is None and record.epoch != state.epoch:
        return "what was first granted is not known any more"
    return ""


def is_current(session: Session | None, generation: int) -> bool:
    """Whether a refresh token of `generation` is yet to be spent. None: a session without a row."""
    if session is None:
        return generation == 0
    return session.ended_at is None and session.generation == generation


def is_retry(session: Session, generation: int, now: datetime, grace: int) -> bool:
    """Whether `generation`, already spent, may be answered once more with its successor.

    Only for the immediate predecessor, while the successor is unused (else the live
    generation would have moved on), and within `grace` seconds of the step.
    """
    return (
        session.ended_at is None
        and session.generation == generation + 1
        and now < session.rotated_at + timedelta(seconds=grace)
    )
