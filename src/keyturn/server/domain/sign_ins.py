"""People signed in to the console, and what they sign in with beside their passwords."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

#: When a sign-in ends at the latest, and after how long without use.
LONGEST = timedelta(hours=10)
IDLE = timedelta(minutes=30)
#: Sign-ins of one person: with one more, the oldest ends.
MOST = 20


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


#: Wrong codes in a row after which only a recovery code is taken: who has the password
#: guesses one of some in a million each time.
MOST_WRONG = 10


@dataclass(frozen=True, slots=True)
class SecondFactor:
    """A person's generator of codes (RFC 6238), confirmed by a first code.

    `sealed` is its secret. `last_step` is the newest step whose code was accepted. `recovery` are
    the hashes of the recovery codes that are left, in hexadecimal. `wrong` codes came in a row.
    """

    user_id: str
    sealed: bytes = field(repr=False)
    confirmed_at: datetime
    last_step: int
    recovery: tuple[str, ...] = field(repr=False)
    version: int = 1
    wrong: int = 0

    @property
    def locked(self) -> bool:
        """Whether somebody guesses: only a recovery code does then."""
        return self.wrong >= MOST_WRONG
