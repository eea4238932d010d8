"""What a browser sends by a form, and what to say at its fields."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from urllib.parse import parse_qsl

from starlette.requests import Request

from ..domain.errors import Code, Refusal, invalid_request
from ..http.body import FORM, LARGE, Malformed, in_turn, read_raw
from .words import in_words

#: Fields of one form: the longest have a box for each of many endpoints.
MAX_FIELDS = 2_000

#: The hidden fields of every form.
CSRF, ONCE = "csrf", "once"

_NUMBER = re.compile(r"-?[0-9]{1,11}")


@dataclass(frozen=True, slots=True)
class Form:
    """The fields of a form, in their order; a name may stand several times."""

    pairs: Sequence[tuple[str, str]] = field(default=(), repr=False)

    def text(self, name: str) -> str:
        """One value, without spaces around it; empty when the form has none."""
        return self.exact(name).strip()

    def exact(self, name: str) -> str:
        """One value to the letter: passwords may begin with a space."""
        return next((value for key, value in self.pairs if key == name), "")

    def has(self, name: str) -> bool:
        """Whether it was sent with such a field, empty or not."""
        return any(key == name for key, _ in self.pairs)

    def or_none(self, name: str) -> str | None:
        """One value; None for an empty one."""
        return self.text(name) or None

    def texts(self, name: str) -> list[str]:
        """All values that are not empty."""
        return [value.strip() for key, value in self.pairs if key == name and value.strip()]

    def lines(self, name: str) -> list[str]:
        """The lines of a text that are not empty; commas part, too."""
        return [part for part in self.exact(name).replace(",", "\n").split() if part]

    def flag(self, name: str) -> bool:
        """Whether a box was ticked."""
        return bool(self.text(name))

    def number(self, name: str) -> int | None:
        """A whole number; None for an empty field. Raises Refusal for what is none."""
        text = self.text(name)
        if not text:
            return None
        if not _NUMBER.fullmatch(text):
            raise invalid_request("Give a whole number.", field=name)
        return int(text)

    def moment(self, name: str) -> str:
        """A date and time, in UTC where no zone is said. Raises Refusal for none and odd ones."""
        return moment_of(self.text(name), name)


def moment_of(text: str, name: str) -> str:
    """What a browser's `datetime-local` gives, as the API takes it. Raises Refusal at the field."""
    if not text:
        raise invalid_request("Choose a date and a time.", field=name)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        odd = "This is no date and time. Write it as in 2030-12-31T18:00."
        raise invalid_request(odd, field=name) from None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).isoformat()


async def read_form(request: Request, max_body: int) -> Form:
    """The form in a request's body, of at most `max_body` bytes.

    Raises Refusal `body_too_large`, `unsupported_media_type`, or `invalid_request`;
    Unavailable when too many large ones are being parsed.
    """
    body = await read_raw(request, max_body, FORM)
    parse = partial(_parsed, body)
    return parse() if len(body) <= LARGE else await in_turn(parse)


def _parsed(body: bytes) -> Form:
    try:
        pairs = parse_qsl(
            body.decode(),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=MAX_FIELDS,
        )
    except ValueError:
        raise invalid_request("The form is malformed, or has too many fields.") from None
    # Browsers end the lines of a text by CR LF.
    return Form([(name, value.replace("\r\n", "\n")) for name, value in pairs])


@dataclass(frozen=True, slots=True)
class Placed:
    """A fault as the list above a form has it.

    `name` is the field that mends it and `label` what that is called, both empty for a fault of no
    field of the form; `number` says which of several values it is, 0 where there is one.
    """

    text: str
    name: str = ""
    label: str = ""
    number: int = 0


@dataclass(frozen=True, slots=True)
class Faults:
    """What was wrong with a form: a text for all of it, and texts for its fields."""

    summary: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.summary)

    def at(self, name: str) -> str:
        """What is wrong at a field, or a part of it (`networks.0` at `networks`)."""
        for at, text in self.fields.items():
            if at == name or at.startswith(f"{name}."):
                return text
        return ""

    def placed(self, labels: Mapping[str, str]) -> list[Placed]:
        """Each fault at the field of the form that it is of. `labels` are the fields' by name."""
        return [_placed(at, text, labels) for at, text in self.fields.items()]


def _placed(at: str, text: str, labels: Mapping[str, str]) -> Placed:
    name, part = at, ""
    while name:
        if name in labels:
            return Placed(text, name, labels[name], int(part) + 1 if part.isdecimal() else 0)
        name, _, part = name.rpartition(".")
    return Placed(text)


#: What is shown at the form. All else has a page of its own: nobody mends it by another input.
AT_THE_FORM = frozenset(
    {Code.INVALID_REQUEST, Code.CONFLICT, Code.STALE, Code.KEY_REUSED, Code.INSUFFICIENT_SCOPE}
)


def faults_of(refusal: Refusal) -> Faults:
    """A refusal in the words of a form."""
    found = list(refusal.faults) if isinstance(refusal, Malformed) else []
    if refusal.field is not None:
        found = [(refusal.field, refusal.public)]
    if not found:
        return Faults(in_words(refusal.public))
    return Faults("Something is not right yet.", {at: in_words(text) for at, text in found})
