"""Webhooks: where the tenant is told of events."""

from starlette.responses import Response

from ...domain.errors import Refusal, invalid_request
from ...domain.events import EVENT_TYPES
from ..api import Document
from ..forms import Form
from ..frame import View
from ..over import Over
from ..visit import Visit

_ALL, _ONE = "/t/{tenant_id}/webhooks", "/t/{tenant_id}/webhooks/{webhook_id}"


def views() -> list[View]:
    """Their pages."""
    return [
        View("GET", _ALL, everyone, "listWebhooks"),
        View("GET", f"{_ALL}/new", ask_new, "createWebhook"),
        View("POST", f"{_ALL}/new", create, "createWebhook"),
        View("GET", f"{_ONE}/edit", ask_edit, "changeWebhook"),
        View("POST", f"{_ONE}/edit", edit, "changeWebhook"),
        View("GET", f"{_ONE}/disable", ask_disable, "changeWebhook"),
        View("POST", f"{_ONE}/disable", disable, "changeWebhook"),
        View("POST", f"{_ONE}/enable", enable, "changeWebhook"),
        View("GET", f"{_ONE}/rotate", ask_rotate, "rotateWebhookSecret"),
        View("POST", f"{_ONE}/rotate", rotate, "rotateWebhookSecret"),
        View("GET", f"{_ONE}/delete", ask_delete, "deleteWebhook"),
        View("POST", f"{_ONE}/delete", delete, "deleteWebhook"),
    ]


async def everyone(visit: Visit) -> Response:
    """The tenant's webhooks."""
    page = await visit.get("listWebhooks", query={"cursor": visit.asked("cursor")})
    return visit.render("webhooks/all.html", page=page)


async def ask_new(visit: Visit) -> Response:
    """The form of a new one."""
    return visit.render("webhooks/new.html", event_types=EVENT_TYPES)


async def create(visit: Visit) -> Response:
    """Makes it, and shows its secret this once."""
    try:
        made = await visit.ask("createWebhook", body=_body(visit.form), once=True)
    except Refusal as refusal:
        visit.refused(refusal)
        return visit.render("webhooks/new.html", 400, event_types=EVENT_TYPES)
    return visit.render("webhooks/secret.html", webhook=made.data, rotated=False)


async def ask_edit(visit: Visit) -> Response:
    """The form of what may be changed."""
    return await _edit_form(visit)


async def edit(visit: Visit) -> Response:
    """Changes it, unless somebody else did meanwhile."""
    form, path = visit.form, {"webhook_id": visit.path("webhook_id")}
    try:
        body = _body(form)
        await visit.ask("changeWebhook", path=path, body=body, if_match=form.or_none("etag"))
    except Refusal as refusal:
        visit.refused(refusal)
        return await _edit_form(visit, 400)
    return visit.to(_at(visit), "saved")


async def ask_disable(visit: Visit) -> Response:
    """Asks, and says what it ends."""
    webhook = await _webhook(visit)
    if not webhook["enabled"]:
        raise Over(f"{webhook['name']} is disabled", "It is told of nothing.", _at(visit))
    return visit.confirm(
        f"Disable “{webhook['name']}”?",
        ends=["the tries of deliveries that wait: they go on when it is enabled again"],
        note="What happens while it is disabled is never told to it.",
        label="Disable",
        action=f"{_at(visit)}/disable",
        back=_at(visit),
    )


async def disable(visit: Visit) -> Response:
    """Disables it."""
    path = {"webhook_id": visit.path("webhook_id")}
    await visit.ask("changeWebhook", path=path, body={"enabled": False})
    return visit.to(_at(visit), "webhook-disabled")


async def enable(visit: Visit) -> Response:
    """Enables it again."""
    path = {"webhook_id": visit.path("webhook_id")}
    await visit.ask("changeWebhook", path=path, body={"enabled": True})
    return visit.to(_at(visit), "webhook-enabled")


async def ask_rotate(visit: Visit) -> Response:
    """Asks, and says what becomes of the secret that there is."""
    webhook = await _webhook(visit)
    ends = ["the secret before the present one"] if webhook["old_secret_until"] else []
    return visit.confirm(
        f"Give “{webhook['name']}” a new secret?",
        ends=ends,
        note="For a day deliveries are signed with both, the new one and the present one: time to"
        " change it at the receiver.",
        label="Make a new secret",
        action=f"{_at(visit)}/rotate",
        back=_at(visit),
    )


async def rotate(visit: Visit) -> Response:
    """Gives it a new secret, and shows that this once."""
    path = {"webhook_id": visit.path("webhook_id")}
    made = await visit.ask("rotateWebhookSecret", path=path, once=True)
    return visit.render("webhooks/secret.html", webhook=made.data, rotated=True)


async def ask_delete(visit: Visit) -> Response:
    """Asks, and says what it ends."""
    webhook = await _webhook(visit)
    return visit.confirm(
        f"Delete “{webhook['name']}”?",
        ends=[
            f"what is told to {webhook['url']}",
            "its deliveries, also those that wait, and what is known of earlier ones",
            "its secret",
        ],
        note="It cannot be undone.",
        label="Delete",
        action=f"{_at(visit)}/delete",
        back=_at(visit),
    )


async def delete(visit: Visit) -> Response:
    """Deletes it."""
    await visit.ask("deleteWebhook", path={"webhook_id": visit.path("webhook_id")})
    return visit.to("/webhooks", "webhook-deleted")


def _at(visit: Visit) -> str:
    return f"/webhooks/{visit.path('webhook_id')}"


async def _webhook(visit: Visit) -> Document:
    return await visit.get("getWebhook", webhook_id=visit.path("webhook_id"))


async def _edit_form(visit: Visit, status: int = 200) -> Response:
    answer = await visit.ask("getWebhook", path={"webhook_id": visit.path("webhook_id")})
    return visit.render(
        "webhooks/edit.html",
        status,
        webhook=answer.data,
        etag=answer.etag,
        event_types=EVENT_TYPES,
    )


def _body(form: Form) -> Document:
    """What both forms say. Raises Refusal at the field."""
    is_all, events = form.flag("all_events"), form.texts("events")
    if is_all and events:
        raise invalid_request("Untick “all events” to choose some of them.", field="events")
    if not is_all and not events:
        raise invalid_request("Choose at least one event, or all of them.", field="events")
    return {
        "name": form.text("name"),
        "url": form.text("url"),
        "events": None if is_all else events,
        # What is no number goes on as it is: the operation says so, at its place.
        "expiring_days": [
            int(day) if day.isascii() and day.isdecimal() and len(day) < 10 else day
            for day in form.lines("expiring_days")
        ],
        "unused_days": form.number("unused_days"),
    }
