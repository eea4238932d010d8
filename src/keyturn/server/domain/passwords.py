"""Which passwords people may choose: long ones, that nobody guesses at once.

As NIST SP 800-63B-4 (3.1.1.2) has it: a length, a list of what is tried first, and no rules about
digits and capitals.
"""

import unicodedata

from .errors import invalid_request

#: Characters (code points) of a password.
MIN_LENGTH = 12
MAX_LENGTH = 256

# Shorter names stand in too many words.
_MIN_NAME = 4

# Long, and yet among the first that are tried. What merely repeats or runs is found without a list.
_COMMON = """
    1a2b3c4d5e6f 1q2w3e4r5t6y 1q2w3e4r5t6y7u8i 1qaz2wsx3edc 1qaz2wsx3edc4rfv 123456789abc
    123qweasdzxc a1b2c3d4e5f6 abc123456789 abcd12345678 abcdefg12345 administrator administrator1
    baseball1234 changeme1234 changemeplease computer1234 correcthorsebatterystaple dragon123456
    football1234 iloveyou1234 iloveyouforever iloveyousomuch internet1234 jesuslovesme
    letmein12345 letmein123456 letmeinplease liverpool123 manchesterunited master123456
    maytheforcebewithyou michaeljordan monkey123456 mypassword12 mypassword123 mypassword1234
    nevergonnagiveyouup opensesame123 p@ssw0rd1234 p@ssword1234 passw0rd1234 password1234
    password12345 password123456 password1234567 password12345678 password123456789 princess1234
    q1w2e3r4t5y6 qazwsxedc123 qazwsxedcrfv qweasdzxc123 qwerty123456 qwerty1234567 qwerty12345678
    qwerty123456789 qwertyuiop12 qwertyuiop123 qwertyuiop1234 starwars1234 sunshine1234
    superman1234 thequickbrownfox thisismypassword tobeornottobe trustno12345 unbelievable
    welcome12345 welcome123456 whatever1234 zaq12wsxcde3 zaq1xsw2cde3
"""
_TRIED_FIRST = frozenset(_COMMON.split())

# Going on from their end at their beginning, as "90123" does.
_RUNS = tuple(
    row * 3
    for line in (
        "1234567890",
        "abcdefghijklmnopqrstuvwxyz",
        "qwertyuiopasdfghjklzxcvbnm",
        "qwertyuiop[]asdfghjkl;'zxcvbnm,./",
        "qwertzuiopasdfghjklyxcvbnm",
        "azertyuiopqsdfghjklmwxcvbn",
    )
    for row in (line, line[::-1])
)


def normalized(password: str) -> str:
    """The form that is hashed (NFKC): keyboards differ in how they send the same letter.

    Only for at most MAX_LENGTH characters: the time it takes can grow with their square.
    """
    return unicodedata.normalize("NFKC", password)


def check_password(password: str, *, names: tuple[str, ...]) -> None:
    """Raises Refusal `invalid_request`, field `password`, for one that nobody should have.

    `names` are what its owner is known by: username, mail address.
    """
    problem = _problem(password, names)
    if problem:
        raise invalid_request(problem, field="password")


def _problem(password: str, names: tuple[str, ...]) -> str | None:
    if len(password) > MAX_LENGTH:
        return "A password has at most 256 characters."
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in password):
        return "A password has no control characters."
    # One letter can stand for many (U+FDFA for eighteen), and many for one.
    if min(len(password), len(normalized(password))) < MIN_LENGTH:
        return "A password has at least 12 characters."
    folded = _folded(password)
    if any(part in folded for name in names for part in _parts(name)):
        return "A password does not contain the name or mail address of its owner."
    # In either form: a piece of eleven letters can be one of twelve when folded.
    if _repeats(password) or _repeats(folded) or any(folded in run for run in _RUNS):
        return "A password is more than a repetition or a run of characters."
    if not _TRIED_FIRST.isdisjoint((folded, "".join(filter(str.isalnum, folded)))):
        return "This password is one of those that are tried first."
    return None


def _folded(text: str) -> str:
    """Without what people vary when they say that they have changed a password."""
    return normalized(normalized(text).casefold())


def _parts(name: str) -> list[str]:
    """The name, and the local part of a mail address, where they are long enough."""
    folded = _folded(name[:MAX_LENGTH])
    return [part for part in {folded, folded.partition("@")[0]} if len(part) >= _MIN_NAME]


def _repeats(text: str) -> bool:
    """Whether `text` is one piece over and over, too short to be a password by itself."""
    return any(
        text[size:] == text[:-size] for size in range(1, MIN_LENGTH) if 2 * size <= len(text)
    )
