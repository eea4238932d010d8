"""Codes beside the password: a generator's, each step's once, and recovery codes, each once."""

import hashlib
import re
import secrets
from datetime import datetime
from enum import StrEnum

from ...domain.errors import Unavailable
from ...domain.sign_ins import SecondFactor
from ..ports import FactorSecrets, OneTimeCodes, Transaction

#: Recovery codes that one gets.
CODES = 10
# Without letters that look like others.
_LETTERS = "23456789abcdefghijkmnpqrstuvwxyz"
_GROUPS, _GROUP = 4, 5
_ONE_TIME = re.compile(r"[0-9]{6}")
#: Longest text that is looked at.
_LONGEST = 64


class Taken(StrEnum):
    """What a code was."""

    CODE = "code"
    RECOVERY_CODE = "recovery_code"


def new_codes() -> tuple[str, ...]:
    """Recovery codes, each of 100 random bits in groups of five letters."""
    return tuple(
        "-".join("".join(secrets.choice(_LETTERS) for _ in range(_GROUP)) for _ in range(_GROUPS))
        for _ in range(CODES)
    )


def code_hash(user_id: str, code: str) -> str:
    """What is stored of a recovery code. It is random, so a quick hash will do."""
    return hashlib.sha256(f"{user_id} {_plain(code)}".encode()).hexdigest()


class Codes:
    """Judges codes."""

    def __init__(self, generators: OneTimeCodes, secrets: FactorSecrets) -> None:
        self._generators = generators
        self._secrets = secrets

    async def take(
        self,
        tx: Transaction,
        factor: SecondFactor,
        code: str,
        now: datetime,
        *,
        locked: bool = False,
    ) -> Taken | None:
        """Accepts a code of the factor, which is worth nothing from then on; None: it is none.

        `locked`: too many were wrong, and only a recovery code will do.
        Raises Unavailable when the factor's secret cannot be read.
        """
        plain = _plain(code)
        if _ONE_TIME.fullmatch(plain) is None:
            hashed = code_hash(factor.user_id, plain)
            taken = await tx.second_factors.take_code(factor.user_id, hashed)
            return Taken.RECOVERY_CODE if taken else None
        if locked:
            return None
        secret = self._secrets.open(factor)
        if secret is None:
            raise Unavailable("a second factor is sealed under a master secret that is not here")
        step = self._generators.step_of(secret, plain, now)
        if step is None or not await tx.second_factors.take_step(factor.user_id, step):
            return None
        return Taken.CODE

    def first_step(self, secret: str, code: str, now: datetime) -> int | None:
        """The step of a first code, by which somebody shows that their generator has the secret."""
        return self._generators.step_of(secret, _plain(code), now)


def _plain(code: str) -> str:
    """As people may type it: in groups, or in one."""
    kept = code[:_LONGEST].encode("ascii", "ignore").decode()
    return re.sub(r"[\s-]+", "", kept).lower()
