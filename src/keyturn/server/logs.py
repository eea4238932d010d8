"""Structured logs on stderr, in which no secret can stand.

Everything goes through the standard library's root logger and one formatter: our records and those
of uvicorn, SQLAlchemy and the rest alike. Its last step before rendering masks secrets, by field
name and by shape; so neither an exception's text nor a library's message gets around it. Values are
turned to text *before* that step, and cut to a bounded length.

`log.info("event", extra={"fields": {"name": value}})` logs values beside the text. A request's id
stands in `request_id` while it is answered, its trace's in `trace_id`.
"""

import contextlib
import logging
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Literal, TextIO

import orjson

MASK = "***"

#: The id of the request that is being answered.
request_id: ContextVar[str | None] = ContextVar("keyturn_request_id", default=None)

#: The trace that it is part of.
trace_id: ContextVar[str | None] = ContextVar("keyturn_trace_id", default=None)

#: Longest text kept of one value, in characters; exceptions need more.
MAX_TEXT = 4_096
MAX_EXCEPTION = 16_384
_MAX_ITEMS = 100
_MAX_DEPTH = 6

#: Loggers that never go below a level, whatever the settings ask for, because of what they say.
PINNED = {
    "authlib": logging.INFO,  # DEBUG prints requests and whole tokens
    "aiosqlite": logging.INFO,  # DEBUG prints each statement with its parameters
    "sqlalchemy": logging.WARNING,  # INFO prints statements and parameters
    "alembic": logging.WARNING,  # INFO tells of its plugins at every start
    "asyncpg": logging.INFO,
    "httpx": logging.WARNING,  # INFO prints the address of each call
    "httpcore": logging.INFO,  # DEBUG prints headers
    "hpack": logging.INFO,  # the same
    "urllib3": logging.INFO,  # DEBUG tells of each sending of spans
}

# --- what is masked -----------------------------------------------------------------------

_NAMES = (
    r"(?:x[-_])?api[-_]?key|(?:set[-_])?cookie|(?:proxy[-_])?authorization|assertion|credentials?"
    r"|(?:[a-z0-9]+[-_])*(?:password|passwd|pwd|secrets?|token|pepper)|private[-_]?(?:key|jwk)"
)
_SECRET_NAME = re.compile(_NAMES, re.IGNORECASE)

# The quick look that spares nearly all texts the full one: each shape below needs one of these.
_SUSPICIOUS = re.compile(
    r"kt_|ktr_|kti_|ktc_|whsec_|eyJ|[\"']\s*:|basic|bearer|PRIVATE|://|key|cookie|authoriz|assertion"
    r"|credential|passw|pwd|secret|token|pepper",
    re.IGNORECASE,
)
# The shapes are loose on purpose: half a token, or one with a typo, is masked as well. Each
# leaves its own result alone, so masking twice does no harm. None can backtrack far.
_SHAPES: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*-----|\Z)", re.DOTALL),
        "-----PRIVATE KEY " + MASK,
    ),
    # An API key: its id is public and says in the log which key it was.
    (
        re.compile(r"kt_([0-9A-Za-z]{22})_(?:[0-9A-Za-z]{43}_[0-9A-Za-z]{6}(?!\w)|\*\*\*)"),
        rf"kt_\1_{MASK}",
    ),
    (re.compile(r"kt_(?![0-9A-Za-z]{22}_\*\*\*)[\w-]{10,}"), f"kt_{MASK}"),
    (re.compile(r"ktr_[\w.-]{4,}"), f"ktr_{MASK}"),
    (re.compile(r"kti_[\w-]{4,}"), f"kti_{MASK}"),
    (re.compile(r"ktc_[\w-]{4,}"), f"ktc_{MASK}"),
    # Base64, which may stand in a URL or in JSON with its signs escaped.
    (re.compile(r"whsec_(?:[\w+/=-]|\\/|%[0-9A-Fa-f]{2}){4,}"), f"whsec_{MASK}"),
    # A JWT, or a JWE; also without its signature.
    (re.compile(r"eyJ[\w-]{5,}(?:\.[\w-]*)*"), f"eyJ{MASK}"),
    (re.compile(r"\b(basic|bearer)(\s+|%20|\+)[\w.~+/=:-]{4,}", re.IGNORECASE), rf"\1\2{MASK}"),
    # The password of a URL, which itself may hold an unescaped "@".
    (re.compile(r"(://[^\s/:@?#\"']*):[^\s/\"']+@"), rf"\1:{MASK}@"),
    # The private members of a JWK (RFC 7518, 6.2 to 6.4), also in JSON inside a JSON string.
    (
        re.compile(r"(\\?[\"'](?:d|p|q|dp|dq|qi|k)\\?[\"']\s*:\s*)b?\\?[\"'][\w-]{16,}\\?[\"']?"),
        rf"\1{MASK}",
    ),
    # name=value, "name": "value", 'name': 'value' in forms, JSON and reprs.
    (
        re.compile(
            rf"(?<![\w-])((?:{_NAMES})[\"']?\s*[=:]\s*)"
            r"(?:SecretStr\()?"
            r"(?:b?\"(?:[^\"\\]|\\.)*\"?|b?'(?:[^'\\]|\\.)*'?|(?!(?:basic|bearer)\b)[^\s,;&\"')}\]]+)",
            re.IGNORECASE,
        ),
        rf"\1{MASK}",
    ),
)


def redact(text: str, limit: int = MAX_TEXT) -> str:
    """`text` with every secret masked, and not much longer than `limit` characters."""
    # The slack lets a text that was cut before pass unchanged.
    cut = len(text) - limit if len(text) > limit + 64 else 0
    if cut:
        text = text[:limit]
        # Half a word might be half a secret that its shape no longer gives away.
        space = re.search(r"\s\S{0,300}\Z", text)
        text = text[: space.start()] if space else text
    if _SUSPICIOUS.search(text):
        for shape, mask in _SHAPES:
            text = shape.sub(mask, text)
    return f"{text}… ({cut} characters more)" if cut else text


def _clean(name: str, value: object, depth: int = 0) -> object:
    """`value` as plain data without secrets. Never calls what might answer with one unmasked."""
    if value is None or isinstance(value, bool):
        return value
    if _SECRET_NAME.fullmatch(name):
        return MASK if value not in ("", b"") else ""
    if isinstance(value, (int, float)):
        # Beyond 64 bits the renderer fails.
        return value if abs(value) < 2**53 else str(value)[:40]
    if isinstance(value, str):
        return redact(value, MAX_EXCEPTION if name in ("exception", "stack") else MAX_TEXT)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return redact(bytes(value[: 2 * MAX_TEXT]).decode(errors="backslashreplace"))
    if depth >= _MAX_DEPTH:
        return "…"
    if isinstance(value, Mapping):
        items = list(value.items())[:_MAX_ITEMS]
        return {redact(str(key), 200): _clean(str(key), item, depth + 1) for key, item in items}
    if isinstance(value, (Sequence, set, frozenset)):
        return [_clean("", item, depth + 1) for item in list(value)[:_MAX_ITEMS]]
    return redact(str(value))


def redact_event(event: Mapping[str, object]) -> dict[str, object]:
    """All names and values, masked: the last step before rendering."""
    return {redact(str(name), 200): _clean(str(name), value) for name, value in event.items()}


# --- how it is put together ---------------------------------------------------------------

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

Render = Callable[[dict[str, object]], str]


class _Formatter(logging.Formatter):
    """A record as one event: its text, its fields, and where, when and how grave it was."""

    def __init__(self, render: Render) -> None:
        super().__init__()
        self._render = render

    def format(self, record: logging.LogRecord) -> str:
        event: dict[str, object] = {"event": record.getMessage(), **getattr(record, "fields", {})}
        if (text := request_id.get()) is not None:
            event["request_id"] = text
        if (text := trace_id.get()) is not None:
            event["trace_id"] = text
        event["logger"] = record.name
        event["level"] = record.levelname.lower()
        at = datetime.fromtimestamp(record.created, UTC).replace(tzinfo=None)
        event["timestamp"] = at.isoformat(timespec="microseconds") + "Z"
        if record.exc_info and record.exc_info[0]:
            event["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            event["stack"] = record.stack_info
        return self._render(redact_event(event))


def _as_json(event: dict[str, object]) -> str:
    try:
        return orjson.dumps(event).decode()
    except (TypeError, ValueError):  # surrogates, for one: nothing is lost but their form
        return orjson.dumps(
            {k: str(v).encode("utf-8", "replace").decode() for k, v in event.items()}
        ).decode()


def _as_text(event: dict[str, object]) -> str:
    """For people: a line, and tracebacks below it."""
    below = [str(event.pop(name)) for name in ("stack", "exception") if name in event]
    head = f"{event.pop('timestamp')} [{event.pop('level'):<8}] {event.pop('event')}"
    where = f"[{event.pop('logger')}]"
    fields = (f"{name}={value}" for name, value in event.items())
    line = " ".join([f"{head:<70}", where, *fields])
    # What a request says must not look like a line of its own, nor move the cursor.
    return "\n".join([_CONTROL.sub(lambda found: repr(found[0])[1:-1], line), *below])


class _Handler(logging.StreamHandler[TextIO]):
    """Writes to whatever `sys.stderr` is now, and never repeats a record it cannot write."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, value: TextIO) -> None:
        """Ignored: there is but one stream."""

    def handleError(self, record: logging.LogRecord) -> None:
        """The library would print the record's message and arguments, unmasked."""
        kind = getattr(sys.exc_info()[0], "__name__", "an error")
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(f"keyturn: a record of {record.name} could not be logged ({kind})\n")


def configure(
    level: Literal["debug", "info", "warning", "error"] = "info",
    form: Literal["json", "console"] = "json",
    *,
    pins: Mapping[str, int] | None = None,
) -> None:
    """Sends all logs of this process to stderr, as said above. May be called again.

    `pins` adds loggers that never go below a level.
    """
    handler = _Handler()
    handler.setFormatter(_Formatter(_as_text if form == "console" else _as_json))
    root = logging.getLogger()
    for old in [h for h in root.handlers if isinstance(h, _Handler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    logging.captureWarnings(True)
    for name, least in {**PINNED, **(pins or {})}.items():
        logging.getLogger(name).setLevel(max(least, root.level))
