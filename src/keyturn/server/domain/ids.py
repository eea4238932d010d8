"""Identifiers: UUIDv7 (RFC 9562, section 5.7), and base62 for those that stand inside a key."""

import os
import time
import uuid

# In ASCII order, so that fixed-width base62 sorts as the numbers it stands for.
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_PAIRS = [a + b for a in ALPHABET for b in ALPHABET]
_VALUES = {letter: value for value, letter in enumerate(ALPHABET)}

#: Letters that 128 bits (an id) and 256 bits (a secret) take in base62.
ID_LETTERS = 22
SECRET_LETTERS = 43


def uuid7_int() -> int:
    """A new UUIDv7 as an integer: 48 bits of Unix milliseconds, then 74 random bits."""
    millis = time.time_ns() // 1_000_000
    rand = int.from_bytes(os.urandom(10), "big")
    high = (rand >> 64) & 0x0FFF
    low = rand & 0x3FFF_FFFF_FFFF_FFFF
    return (millis & 0xFFFF_FFFF_FFFF) << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | low


def new_id() -> str:
    """A new UUIDv7 in its usual text form (36 letters)."""
    text = f"{uuid7_int():032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def parse_id(text: str) -> str | None:
    """`text` in canonical form if it is a UUID written as 36 letters, else None."""
    if len(text) != 36:
        return None
    try:
        canonical = str(uuid.UUID(text))
    except ValueError:
        return None
    return canonical if canonical == text.lower() else None


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
