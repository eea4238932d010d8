"""Identifiers: UUIDv7 (RFC 9562, section 5.7), and base62 for those that stand inside a key."""

import os
import time
import uuid
from datetime import UTC, datetime, timedelta

# In ASCII order, so that fixed-width base62 sorts as the numbers it stands for.
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_PAIRS = [a + b for a in ALPHABET for b in ALPHABET]
_VALUES = {letter: value for value, letter in enumerate(ALPHABET)}

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

#: Letters that 128 bits (an id) and 256 bits (a secret) take in base62.
ID_LETTERS = 22
SECRET_LETTERS = 43


def new_id() -> str:
    """A new UUIDv7 in its usual text form (36 letters): 48 bits of Unix milliseconds, the version,
    12 random bits, the variant and 62 random bits.
    """
    millis = f"{time.time_ns() // 1_000_000:012x}"
    rand = os.urandom(10)
    text = rand.hex()
    variant = "89ab"[rand[9] & 3]
    return f"{millis[:8]}-{millis[8:]}-7{text[:3]}-{variant}{text[3:6]}-{text[6:18]}"


def uuid7_int() -> int:
    """A new UUIDv7 as an integer."""
    return int(new_id().replace("-", ""), 16)


def parse_id(text: str) -> str | None:
    """`text` in canonical form if it is a UUID written as 36 letters, else None."""
    if len(text) != 36:
        return None
    try:
        canonical = str(uuid.UUID(text))
    except ValueError:
        return None
    return canonical if canonical == text.lower() else None


def made_at(uuid7: str) -> datetime:
    """When a UUIDv7 was made, to the millisecond, by the clock of who made it."""
    millis = uuid.UUID(uuid7).int >> 80
    return datetime.fromtimestamp(millis / 1000, UTC)


def least_id(at: datetime) -> str:
    """The least id that can be made in the millisecond of `at`."""
    millis = f"{(at - _EPOCH) // timedelta(milliseconds=1):012x}"
    return f"{millis[:8]}-{millis[8:]}-7000-8000-000000000000"


def base62(number: int, letters: int) -> str:
    """`number` in base62, zero-padded to `letters` letters.

    Raises OverflowError when it does not fit.
    """
    pairs: list[str] = []
    for _ in range((letters + 1) // 2):
        number, rest = divmod(number, 3844)
        pairs.append(_PAIRS[rest])
    text = "".join(reversed(pairs))
    if number or (letters % 2 and text[0] != "0"):
        raise OverflowError("number does not fit")
    return text[-letters:]


def from_base62(text: str) -> int | None:
    """The number written in base62, or None when a letter is not of the alphabet."""
    number = 0
    for letter in text:
        value = _VALUES.get(letter)
        if value is None:
            return None
        number = number * 62 + value
    return number
