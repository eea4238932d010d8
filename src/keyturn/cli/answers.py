"""What a service answered: JSON objects, and refusals as one line that says what is wrong."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from .problems import ExitCode, Problem

if TYPE_CHECKING:
    import httpx

#: One thing as JSON.
Entity = Mapping[str, object]

#: Refused now, perhaps not later.
_LATER = (429, 502, 503, 504)


class Refused(Problem):
    """The service said no, and will say so again. `status` is that of its answer."""

    def __init__(self, line: str, status: int) -> None:
        super().__init__(line)
        self.status = status


def inner(entity: Entity, name: str) -> Entity:
    """An object inside another; empty when there is none."""
    found = entity.get(name)
    return found if isinstance(found, dict) else {}


def inner_list(entity: Entity, name: str) -> list[Entity]:
    """A list of objects inside another; empty when there is none."""
    found = entity.get(name)
    return found if isinstance(found, list) else []


def entity_of(response: "httpx.Response") -> Entity:
    """The JSON object in a good answer. Raises Problem for any other."""
    try:
        found = response.json() if response.content else {}
    except ValueError:
        found = None
    entity: Entity = found if isinstance(found, dict) else {}
    if response.is_success and isinstance(found, dict):
        return entity
    status = response.status_code
    line = _said(entity) or f"{response.url} answered {status}, not as Keyturn does: look at --url"
    if status >= 500 and (request_id := entity.get("request_id")):
        line += f" (request {request_id})"
    if status not in _LATER:
        raise Refused(line, status)
    if wait := response.headers.get("retry-after"):
        line += f" Retry after {wait} s."
    raise Problem(line, ExitCode.UNAVAILABLE)


def knows_no_role(response: "httpx.Response") -> bool:
    """Whether it refuses because the token or its user has no role in the tenant at all."""
    if response.status_code != 403:
        return False
    try:
        problem = response.json()
    except ValueError:
        return False
    return isinstance(problem, dict) and problem.get("type") == "urn:keyturn:error:access_denied"


def _said(problem: Entity) -> str:
    """A problem (RFC 9457) or an OAuth error (RFC 6749) in one line that names the fields."""
    text = str(problem.get("detail") or problem.get("error_description") or "")
    text = text.removesuffix(": see errors.")
    faults = [(str(e.get("field")), str(e.get("detail"))) for e in inner_list(problem, "errors")]
    if not faults:
        return text
    fields = "; ".join(f"{name}: {detail}" for name, detail in faults)
    # A single refusal says the same twice.
    return fields if [text] == [detail for _, detail in faults] else f"{text.rstrip('.')}: {fields}"
