"""What the services need to write to people."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail to one person. Its text may hold a code, and is never shown."""

    to: str
    subject: str
    text: str

    def __repr__(self) -> str:
        return f"Mail(to={self.to!r}, subject={self.subject!r})"


class Mailer(Protocol):
    """Hands mails over to whoever delivers them."""

    async def send(self, mail: Mail) -> bool:
        """True when it was handed over, False when it could not be. Raises nothing for a fault."""
        ...
