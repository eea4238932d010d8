"""What a browser sends by a form, and what to say at its fields."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from urllib.parse import parse_qsl

from starlette.requests import Request

from ..domain.errors import Code, Refusal, invalid_request
from ..http.body import FORM, LARGE, Malformed, in_turn, read_raw

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
            raise invalid_request("must be a whole number", field=name)
        return int(text)


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


#: What is shown at the form. All else has a page of its own: nobody mends it by another input.
AT_THE_FORM = frozenset(
    {Code.INVALID_REQUEST, Code.CONFLICT, Code.STALE, Code.KEY_REUSED, Code.INSUFFICIENT_SCOPE}
)


def faults_of(refusal: Refusal) -> Faults:
    """A refusal in the words of a form."""
    if isinstance(refusal, Malformed):
        return Faults("Something is not right yet.", dict(refusal.faults))
    if refusal.field is None:
        return Faults(refusal.public)
    return Faults(refusal.public, {refusal.field: refusal.public})
