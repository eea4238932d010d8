"""The import of a service's OpenAPI document into the endpoint catalogue."""

from functools import partial

import orjson
from starlette.responses import Response

from ...domain.errors import Refusal, invalid_request
from ...http.body import in_turn
from ...http.management.endpoints import MAX_IMPORT
from ..forms import Faults, Form
from ..frame import View
from ..visit import Visit
from ..yaml_text import as_json

_PATH = "/t/{tenant_id}/endpoints/import"

#: Bytes of the form: what JSON is full of (quotes, braces, ends of lines) takes three or six there.
_MAX_FORM = 2 * MAX_IMPORT


def views() -> list[View]:
    """Their pages."""
    return [
        View("GET", _PATH, ask, "importEndpoints"),
        View("POST", _PATH, take, "importEndpoints", max_form=_MAX_FORM),
    ]


async def ask(visit: Visit) -> Response:
    """The form."""
    return visit.render("endpoints/import.html")


async def take(visit: Visit) -> Response:
    """Takes the document over, and tells what that changed."""
    try:
        body = {"service": visit.form.text("service"), "document": await _document(visit.form)}
        report = await visit.ask("importEndpoints", body=body)
    except Refusal as refusal:
        visit.refused(refusal)
        visit.faults = _in_the_document(visit.faults)
        return visit.render("endpoints/import.html", 400)
    return visit.render("endpoints/imported.html", report=report.data, service=body["service"])


async def _document(form: Form) -> orjson.Fragment:
    """JSON as it is: the operation reads it. YAML as JSON. Raises Refusal for what is neither."""
    text = form.text("document").removeprefix("\ufeff")
    if not text:
        raise invalid_request("Paste an OpenAPI document, or choose a file.", field="document")
    if not text.startswith(("{", "[")):
        return orjson.Fragment(await in_turn(partial(as_json, text, "document")))
    try:
        await in_turn(partial(orjson.loads, text))
    except orjson.JSONDecodeError as error:
        said = f"This is not JSON: {error.msg} (line {error.lineno}, column {error.colno})."
        raise invalid_request(said, field="document") from None
    return orjson.Fragment(text)


def _in_the_document(faults: Faults) -> Faults:
    """The same, where the operation names a part of the document."""
    fields = {}
    for name, text in faults.fields.items():
        if name in ("service", "document"):
            fields[name] = text
        else:
            fields["document"] = f"{name.removeprefix('document.')}: {text}"
    return Faults(faults.summary, fields)
