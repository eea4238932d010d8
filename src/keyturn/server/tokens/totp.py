"""One-time codes of people's generators (RFC 6238), by pyotp."""

import hmac
from datetime import datetime

import pyotp

#: Who asks for the code, as generators show it.
ISSUER = "Keyturn"
_SECONDS = 30
#: Steps around the present one whose codes count: clocks differ, and typing takes a while.
_AROUND = (-1, 0, 1)


class TotpCodes:
    """Implements the port `OneTimeCodes`."""

    def new_secret(self) -> str:
        """160 random bits, as RFC 4226 (4) has it."""
        return pyotp.random_base32(32)

    def uri(self, secret: str, username: str) -> str:
        """The key URI format that all generators read."""
        return pyotp.TOTP(secret).provisioning_uri(name=username, issuer_name=ISSUER)

    def step_of(self, secret: str, code: str, now: datetime) -> int | None:
        """All three are compared, each in constant time; of several the newest."""
        generator = pyotp.TOTP(secret, interval=_SECONDS)
        given = code.encode("utf-8", "surrogatepass")
        present = int(now.timestamp()) // _SECONDS
        found = None
        for step in (present + shift for shift in _AROUND):
            if step >= 0 and hmac.compare_digest(generator.generate_otp(step).encode(), given):
                found = step
        return found
