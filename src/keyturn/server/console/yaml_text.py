"""YAML of a stranger, read as JSON would be: bounded, and without what JSON has not."""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

import orjson

from ..domain.errors import Refusal, invalid_request

if TYPE_CHECKING:
    from yaml import Event, ScalarEvent

#: Bytes. It takes many times as long as JSON.
MAX_YAML = 1024 * 1024
#: Mappings and lists, one in the other; a document of OpenAPI has hardly twenty.
MAX_DEPTH = 50
#: Values and keys; a document of that length has half as many. Each costs more the deeper it is.
MAX_NODES = 200_000

# What plain words mean in JSON (the core schema of YAML 1.2). All else is text: dates, too.
_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
# Each directive is held against all before it, in one call that nothing interrupts: megabytes of
# them would stop the process for long. No document of OpenAPI needs one.
_DIRECTIVE = re.compile(r"(?:^|[\r\n\x85\u2028\u2029])\ufeff*%")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})(\.[0-9]{1,18})?")


def as_json(text: str, field: str) -> bytes:
    """A YAML document as JSON. Takes long: to be called in a thread.

    Raises Refusal at `field` for what is no YAML, is longer or deeper than it may be, says a key
    twice, or has aliases (few lines of them stand for gigabytes), tags or directives.
    """
    import yaml

    if len(text) > MAX_YAML or len(text.encode()) > MAX_YAML:
        raise _refused("As YAML it may have 1 MiB. Convert it to JSON.", field)
    if _DIRECTIVE.search(text):
        raise _refused("Lines that begin with % (directives) are not read. Leave them out.", field)
    try:
        return orjson.dumps(_built(yaml.parse(text, Loader=yaml.CSafeLoader), field))
    except (yaml.MarkedYAMLError, yaml.reader.ReaderError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise _refused(f"This is neither JSON nor YAML{place}.", field) from None


def _built(events: "Iterable[Event]", field: str) -> object:
    """What the events say, in one pass: nothing recurses, and it costs what the text is long."""
    from yaml import events as kinds

    whole: list[object] = []
    # What is open, each with the key that waits for its value (a mapping's).
    open_: list[tuple[list[object] | dict[str, object], list[str]]] = [(whole, [])]
    for count, event in enumerate(events):
        if count > MAX_NODES:
            raise _refused("It has too many parts for YAML. Convert it to JSON.", field)
        if isinstance(event, kinds.AliasEvent):
            raise _refused("Aliases (*name) are not read. Write out what they stand for.", field)
        if isinstance(event, kinds.CollectionEndEvent):
            open_.pop()
            continue
        if not isinstance(event, kinds.NodeEvent):
            continue
        if getattr(event, "tag", None) not in (None, "!"):
            raise _refused("Tags (!name) are not read. Leave them out.", field)
        inside, key = open_[-1]
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(inside, dict) and not key:
            if not isinstance(event, kinds.ScalarEvent):
                raise _refused(f"A key is text or a number (line {line}).", field)
            if event.value in inside:
                raise _refused(f"A key stands there twice (line {line}).", field)
            key.append(event.value)
            continue
        value: object
        if isinstance(event, kinds.ScalarEvent):
            value = _meant(event)
        elif len(open_) > MAX_DEPTH:
            raise _refused(f"It has more than {MAX_DEPTH} levels.", field)
        else:
            opened: list[object] | dict[str, object]
            opened = {} if isinstance(event, kinds.MappingStartEvent) else []
            open_.append((opened, []))
            value = opened
        if isinstance(inside, dict):
            inside[key.pop()] = value
        else:
            inside.append(value)
    if len(whole) != 1:
        raise _refused("This is not one document.", field)
    return whole[0]


def _meant(scalar: "ScalarEvent") -> object:
    text: str = scalar.value
    if not scalar.implicit[0]:  # in quotes, or a block of text
        return text
    if text in _WORDS:
        return _WORDS[text]
    if number := _NUMBER.fullmatch(text):
        return float(text) if number[1] else int(text)
    return text


def _refused(public: str, field: str) -> Refusal:
    return invalid_request(public, field=field)
