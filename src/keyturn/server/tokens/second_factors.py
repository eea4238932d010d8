"""The secrets of people's second factors, sealed: they must be known to be compared with."""

from ..domain.errors import StorageNotReady
from ..domain.sign_ins import SecondFactor
from .answers import SealedAnswers
from .secrets import DerivedKeys


class SealedFactors:
    """Implements the port `FactorSecrets`."""

    def __init__(self, keys: DerivedKeys) -> None:
        """`keys` of 64 bytes."""
        self._version = keys.version.to_bytes(4, "big")
        self._seals = SealedAnswers(keys)

    def seal(self, user_id: str, secret: str) -> bytes:
        """It opens for that user alone."""
        return self._seals.seal(secret.encode("ascii"), user_id.encode())

    def open(self, factor: SecondFactor) -> str | None:
        """None for what no master secret in force opens."""
        secret = self._seals.open(factor.sealed, factor.user_id.encode())
        return None if secret is None else secret.decode("ascii")

    def resealed(self, factor: SecondFactor) -> bytes | None:
        """See `ports.FactorSecrets`."""
        if factor.sealed[:4] == self._version:
            return None
        secret = self.open(factor)
        if secret is None:
            raise StorageNotReady(
                f"The second factor of the user {factor.user_id} was sealed under a master secret"
                " that is not in the settings: add that to KEYTURN_PREVIOUS_MASTER_SECRETS."
            )
        return self.seal(factor.user_id, secret)
