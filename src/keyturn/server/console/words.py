"""What the API says of a request, in words for a person at a form.

The API's texts name its fields and types, for those who write programs. A form says the same at its
own field, which has a label: so its texts need no name, and say what to do.
"""

import re

_TABLE = tuple(
    (re.compile(pattern), words)
    for pattern, words in (
        ("is required", "Fill this in."),
        ("String should have at least 1 character", "Fill this in."),
        (r"String should have at least (\d+) characters", r"Write at least \1 characters."),
        (r"String should have at most (\d+) characters", r"Write at most \1 characters."),
        ("List should have at least 1 item .*", "Name at least one."),
        (r"List should have at most (\d+) items? .*", r"Name at most \1."),
        (r"Input should be greater than or equal to (-?\d+)", r"Give a number from \1 on."),
        (r"Input should be less than or equal to (-?\d+)", r"Give a number up to \1."),
        ("Input should be a valid integer.*", "Give a whole number."),
        ("Input should be a valid (?!integer).*", "This can't be read."),
        ("Input should be '.*", "Choose one of these."),
        ("must be an id", "Choose one."),
        ("Say role_id or memberships.", "Choose one."),
        ("must be a mail address", "Write a mail address, as in ada@example.com."),
        ("must be a permission, as in (.*)", r"Write a permission, as in \1."),
        (
            "must be printable, without spaces at its beginning and end",
            "Use letters, numbers and signs that can be seen, without spaces at either end.",
        ),
        ("must be printable", "Use letters, numbers and signs that can be seen."),
        ("must be a time .*", "Choose a date and a time."),
        ("until must be later than since.", "Choose a time later than the one before it."),
        (
            "It was changed since you read it. Read it again.",
            "Somebody changed this while you had it open. Load the page again to see it as it is.",
        ),
        (
            "This Idempotency-Key was sent with another request.",
            "This form was sent before, with something else in it. Load the page again.",
        ),
        (
            "An earlier secret still works: .*",
            "An earlier secret still works. Wait until it ends, or choose “Not at all”, which ends"
            " both.",
        ),
        ("For a key without expiry, leave it out.", "Choose “Never” for a key without expiry."),
        ("The expiry has passed.", "This time has passed. Choose a later one."),
    )
)


def in_words(text: str) -> str:
    """The text for a form; as it is where the API speaks to people already."""
    for pattern, words in _TABLE:
        if found := pattern.fullmatch(text):
            return found.expand(words)
    return text
