"""Reports of leaked credentials, as GitHub's secret scanning sends them to partners."""

import hashlib
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.responses import Response

from ..domain.errors import Code, Refusal, invalid_request
from ..domain.trail import Actor
from ..services.leak_reports import LeakReports, Sighting, cleaned, unsigned
from .body import read_raw
from .caller import header
from .errors import NO_STORE, json_response
from .operation import Call, Operation, Public

_MOST_TYPE = 100


def leak_operations(reports: LeakReports | None) -> list[Operation]:
    """The operation that a scanner calls. None: no reports are taken here."""

    async def report(call: Call) -> Response:
        if reports is None:
            raise Refusal(Code.NOT_FOUND, "Reports of leaked credentials are not taken here.")
        key_id = header(call.request, b"github-public-key-identifier")
        signature = header(call.request, b"github-public-key-signature")
        if key_id is None or signature is None:
            raise unsigned("no signature")
        body = await read_raw(call.request, call.max_body)
        aside = call.request.scope.get("keyturn.aside", nullcontext)
        with aside():  # the keys may have to be read first
            await reports.need_signed(body, key_id, signature)
        entries = _entries(body)
        judged = await reports.report(
            [entry.sighting for entry in entries], Actor(address=call.address)
        )
        told = [
            _verdict(entry, judged[entry.sighting.token])
            for entry in entries
            if entry.sighting.token in judged
        ]
        return json_response(told, headers=NO_STORE)

    access = Public("the report is signed by one of the keys in KEYTURN_LEAK_KEYS_URL or _FILE")
    return [
        Operation("reportLeaks", "POST", "/auth/leaked", access, report),
    ]


@dataclass(frozen=True, slots=True)
class _Entry:
    """What was found, and the name that the scanner has for such credentials."""

    sighting: Sighting
    kind: str


def _entries(body: bytes) -> list[_Entry]:
    """The entries of a report whose signature is good. Those without a token are passed over."""
    try:
        items = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise invalid_request("The body is not JSON in UTF-8.") from None
    if not isinstance(items, list):
        raise invalid_request("The body must be an array of reports.")
    return [_entry(item) for item in items if isinstance(item, dict) and _text(item, "token")]


def _entry(item: dict[str, Any]) -> _Entry:
    found = Sighting(_text(item, "token"), _text(item, "url"), _text(item, "source"))
    return _Entry(found, cleaned(_text(item, "type"), _MOST_TYPE))


def _text(item: dict[str, Any], name: str) -> str:
    value = item.get(name)
    return value if isinstance(value, str) else ""


def _verdict(entry: _Entry, genuine: bool) -> dict[str, str]:
    """GitHub's feedback. The token itself is never sent back."""
    return {
        "token_hash": hashlib.sha256(entry.sighting.token.encode()).hexdigest(),
        "token_type": entry.kind,
        "label": "true_positive" if genuine else "false_positive",
    }
