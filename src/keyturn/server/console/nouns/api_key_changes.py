"""What becomes of an API key: it is narrowed, renamed, or gets another secret."""

from starlette.responses import Response

from ...domain.errors import Refusal
from ..api import Answer, Document
from ..forms import Form
from ..frame import View
from ..over import Over, need_live
from ..visit import Visit
from . import key_fields, names
from .api_key_making import show_secret
from .api_keys import ONE_KEY

#: Until its first use, in place of a time.
_FIRST_USE = "first_use"
_OVERLAPS = (
    ("0", "Not at all", "it ends at once: for a secret that others may have"),
    ("3600", "1 hour"),
    ("86400", "24 hours"),
    ("604800", "7 days"),
    ("2592000", "30 days"),
    (_FIRST_USE, "Until the new one is used", "at most 30 days"),
)
_SESSIONS = (
    ("", "End them if the old secret ends at once"),
    ("true", "End them"),
    ("false", "Let them go on"),
)


def views() -> list[View]:
    """Their pages."""
    return [
        View("GET", f"{ONE_KEY}/edit", ask_edit, "changeApiKey"),
        View("POST", f"{ONE_KEY}/edit", edit, "changeApiKey", max_form=key_fields.MAX_FORM),
        View("GET", f"{ONE_KEY}/rotate", ask_rotate, "rotateApiKey"),
        View("POST", f"{ONE_KEY}/rotate", rotate, "rotateApiKey"),
    ]


async def ask_edit(visit: Visit) -> Response:
    """The form of its name and of what narrows it."""
    return await _edit_form(visit)


async def edit(visit: Visit) -> Response:
    """Changes it, unless somebody else did meanwhile."""
    form, path = visit.form, {"key_id": visit.path("key_id")}
    if key_fields.is_search(form):
        return await _edit_form(visit)
    key = (await visit.ask("getApiKey", path=path)).data
    try:
        change = _changes(key, form)
        await visit.ask("changeApiKey", path=path, body=change, if_match=form.or_none("etag"))
    except Refusal as refusal:
        visit.refused(refusal)
        return await _edit_form(visit, 400)
    narrower = change.keys() - {"name"}
    return visit.to(f"/api-keys/{key['id']}", "api-key-changed" if narrower else "saved")


async def ask_rotate(visit: Visit) -> Response:
    """Asks how long the old secret is to work."""
    return await _rotate_form(visit)


async def rotate(visit: Visit) -> Response:
    """Gives it another secret, and shows that. The form sent twice gives one, and the same."""
    form, path = visit.form, {"key_id": visit.path("key_id")}
    try:
        body = rotation(form)
        made = await visit.ask(
            "rotateApiKey", path=path, body=body, if_match=form.or_none("etag"), once=True
        )
    except Refusal as refusal:
        visit.refused(refusal)
        return await _rotate_form(visit, 400)
    user = await names.person(visit, made.data["user_id"])
    return show_secret(visit, made.data, user, "The API key has another secret")


def _changes(key: Document, form: Form) -> Document:
    """What the form says otherwise: what is sent anew ends tokens, even if it stays as it was."""
    wanted = {
        "name": form.text("name"),
        "role_ids": key_fields.roles(form),
        "endpoint_ids": key_fields.endpoints(form),
        "networks": key_fields.networks(form),
    }
    return {name: value for name, value in wanted.items() if _other(value, key[name])}


def _other(wanted: object, present: object) -> bool:
    if isinstance(wanted, list) and isinstance(present, list):
        return set(wanted) != set(present)
    return wanted != present


async def _edit_form(visit: Visit, status: int = 200) -> Response:
    answer = await visit.ask("getApiKey", path={"key_id": visit.path("key_id")})
    key = answer.data
    _need_changeable(key)
    user = await names.person(visit, key["user_id"])
    listed = () if visit.form.pairs else key["endpoint_ids"] or ()
    chosen = [f"{i} {name}" for i, name in (await names.endpoints(visit, listed)).items()]
    # A role that was taken from the user narrows still: it is kept until it is unticked.
    held = {role_id: role_id for role_id in key["role_ids"] or ()}
    held |= {role["role_id"]: role["role_name"] for role in user.get("roles", ())}
    return visit.render(
        "api_keys/edit.html",
        status,
        key=key,
        etag=answer.etag,
        roles=list(held.items()),
        choice=await key_fields.choice(visit, chosen),
    )


async def _rotate_form(visit: Visit, status: int = 200) -> Response:
    answer = await visit.ask("getApiKey", path={"key_id": visit.path("key_id")})
    _need_changeable(answer.data)
    return rotation_page(visit, answer, status)


def _need_changeable(key: Document) -> None:
    """Raises Over for a key that has ended, and for a person's."""
    need_live(key, "/api-keys")
    if key["user_kind"] == "human":
        title, back = f"The API key {key['name']} is a person's", f"/api-keys/{key['id']}"
        raise Over(title, "Who has it changes it. Here it can be revoked.", back)


def rotation(form: Form) -> Document:
    """The form as the body of the operation. Raises Refusal for a time that is no number."""
    sessions, waits = form.text("end_sessions"), form.text("overlap_seconds") == _FIRST_USE
    return {
        "overlap_seconds": None if waits else form.number("overlap_seconds"),
        "ends_on_first_use": waits,
        "end_sessions": sessions == "true" if sessions else None,
    }


def rotation_page(visit: Visit, key: Answer, status: int, at: str = "/api-keys") -> Response:
    """The form. `at` is where the key stands among others. Raises Over for one that has ended."""
    need_live(key.data, at)
    return visit.render(
        "api_keys/rotate.html",
        status,
        key=key.data,
        etag=key.etag,
        at=at,
        overlaps=_OVERLAPS,
        sessions=_SESSIONS,
    )
