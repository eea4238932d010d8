"""People signed in to the console, and what they sign in with beside their passwords."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

#: When a sign-in ends at the latest, and after how long without use.
LONGEST = timedelta(hours=10)
IDLE = timedelta(minutes=30)
#: Sign-ins of one person: with one more, the oldest ends.
MOST = 20
#: Codes in a row that may be wrong: from then on a generator's are refused, for there are so few
#: of them that whoever knows the password would guess one in the end.
MOST_WRONG = 10


@dataclass(frozen=True, slots=True)
class SignIn:
    """One person in one browser: a key that nothing but the console can use.

    `epoch` is its user's when it began: it is over when sessions of that epoch are. `agent` is
    what the browser calls itself, `address` where it was used last.
    """

    id: str
    user_id: str
    home_tenant_id: str
    created_at: datetime
    expires_at: datetime
    idle_timeout: int
    epoch: int
    agent: str = ""
    address: str | None = None
    last_used_at: datetime | None = None

    def idle(self, now: datetime) -> bool:
        """Whether it went unused for too long."""
        since = max(self.created_at, self.last_used_at or self.created_at)
        return now - since > timedelta(seconds=self.idle_timeout)


@dataclass(frozen=True, slots=True)
class SecondFactor:
    """A person's generator of codes (RFC 6238), confirmed by a first code.

    `sealed` is its secret. `last_step` is the newest step whose code was accepted. `recovery` are
    the hashes of the recovery codes that are left, in hexadecimal. `wrong` is how many codes in
    a row were tried and not right, `MOST_WRONG` at most.
    """

    user_id: str
    sealed: bytes = field(repr=False)
    confirmed_at: datetime
    last_step: int
    recovery: tuple[str, ...] = field(repr=False)
    wrong: int = 0
    version: int = 1
