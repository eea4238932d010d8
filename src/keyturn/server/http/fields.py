"""The types of fields in requests: what is well-formed, before anything is looked up.

Every model forbids unknown fields and takes no type for another (`strict`). An omitted field
and `null` are different things: `given` tells which were there.
"""

import re
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
)
from pydantic_core import PydanticCustomError

from ..domain.errors import Refusal
from ..domain.ids import parse_id
from ..domain.permissions import check_permission

#: Rows on a page, when nothing is asked for, and at most.
PAGE, MAX_PAGE = 50, 200
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d", re.ASCII)
# RFC 5322, 3.2.3: dot-atoms; a mail program reads `=?` as the beginning of other letters.
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_EMAIL = re.compile(
    rf"(?!.*=\?)(?=[^@]{{1,64}}@){_ATOM}(?:\.{_ATOM})*"
    r"@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,187}[A-Za-z0-9])?"
)


class Body(BaseModel):
    """A JSON body."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)

    def given(self) -> dict[str, Any]:
        """The fields that were sent, also those sent as null."""
        return {name: getattr(self, name) for name in self.model_fields_set}


class Query(BaseModel):
    """Parameters in the URL: text, read as the types say."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class PageQuery(Query):
    """Which page of a list."""

    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = PAGE
    cursor: Annotated[str, StringConstraints(max_length=1024)] | None = None


def _printable(text: str) -> str:
    if not text.isprintable() or text != text.strip():
        raise PydanticCustomError(
            "text", "must be printable, without spaces at its beginning and end"
        )
    return text


def _lines(text: str) -> str:
    if not all(letter.isprintable() or letter == "\n" for letter in text):
        raise PydanticCustomError("text", "must be printable")
    return text


def _id(text: str) -> str:
    canonical = parse_id(text)
    if canonical is None:
        raise PydanticCustomError("id", "must be an id")
    return canonical


def _permission(text: str) -> str:
    try:
        check_permission(text, "")
    except Refusal as refusal:
        raise PydanticCustomError(
            "permission", "must be a permission, as in assets:read"
        ) from refusal
    return text


def _email(text: str) -> str:
    if not _EMAIL.fullmatch(text) or ".." in text:
        raise PydanticCustomError("email", "must be a mail address")
    return text


def _storable_time(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise PydanticCustomError("time", "must be a time between the years 1 and 9999") from None


def _time(value: Any) -> Any:
    # What else pydantic takes for a time: numbers, also written as text.
    if isinstance(value, str) and _RFC3339.match(value):
        return value
    raise PydanticCustomError("time", "must be a time with its zone (RFC 3339)")


Name = Annotated[str, StringConstraints(min_length=1, max_length=128), AfterValidator(_printable)]
Description = Annotated[str, StringConstraints(max_length=1000), AfterValidator(_lines)]
Id = Annotated[str, StringConstraints(max_length=36), AfterValidator(_id)]
PermissionName = Annotated[str, StringConstraints(max_length=100), AfterValidator(_permission)]
Email = Annotated[str, StringConstraints(max_length=254), AfterValidator(_email)]
# Behind a validator it is no JSON any more, where strictness would still let a text be a time.
Moment = Annotated[
    AwareDatetime, Field(strict=False), BeforeValidator(_time), AfterValidator(_storable_time)
]
#: A day at least would forbid tests and short jobs; ten years are for ever.
Seconds = Annotated[int, Field(ge=1, le=315_360_000)]
