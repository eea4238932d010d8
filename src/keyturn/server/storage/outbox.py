"""Audit rows become deliveries where they are written, in the same transaction: no event without
its change, and no change without its event.
"""

from collections.abc import Mapping, Sequence

from sqlalchemy import select

from ..domain.events import AUDITED, audited, shown_key
from ..domain.trail import AuditEvent, Json
from ..domain.webhooks import Delivery
from .deliveries import DeliveryRepository
from .keys import ApiKeyRepository
from .tables import audit_events, users, webhooks
from .unit import Unit
from .webhooks import webhook_of

#: Rows that are told at once: what a change of many things does is written bit by bit.
BATCH = 500


async def tell(unit: Unit, rows: Sequence[AuditEvent]) -> None:
    """Adds what the audit rows, just written, have to tell to their tenants' webhooks.

    Rows that are no event cost nothing, others one read of an index where nobody wants to know.
    """
    told = [row for row in rows if row.action in AUDITED and row.tenant_id is not None]
    for first in range(0, len(told), BATCH):
        await _tell(unit, told[first : first + BATCH])


async def _tell(unit: Unit, told: Sequence[AuditEvent]) -> None:
    statement = select(webhooks).where(
        webhooks.c.tenant_id.in_({row.tenant_id for row in told}), webhooks.c.disabled_at.is_(None)
    )
    found = [webhook_of(row) for row in await unit.run(statement)]
    pairs = [
        (webhook, row)
        for row in told
        for webhook in found
        if webhook.tenant_id == row.tenant_id and webhook.wants(row.action)
    ]
    if not pairs:
        return
    wanted = list({row.id: row for _, row in pairs}.values())
    subjects = await _subjects(unit, wanted)
    ids = [row.id for row in wanted]
    times = select(audit_events.c.id, audit_events.c.at).where(audit_events.c.id.in_(ids))
    at = {row.id: row.at for row in await unit.run(times)}
    events = {row.id: audited(row, at[row.id], subjects.get(row.id, {})) for row in wanted}
    await DeliveryRepository(unit).add(
        [Delivery.of(events[row.id], webhook, at[row.id]) for webhook, row in pairs]
    )


async def _subjects(unit: Unit, rows: Sequence[AuditEvent]) -> dict[str, Mapping[str, Json]]:
    """What the rows are about, by their ids: as it is now, at the end of the change."""
    about = {row.id: (AUDITED[row.action], row.target or "") for row in rows}
    wanted = [target for noun, target in about.values() if noun == "api_key"]
    keys = {key.id: key for key in await ApiKeyRepository(unit).many(wanted)} if wanted else {}
    ids = [target for noun, target in about.values() if noun == "service_user"]
    names: dict[str, Mapping[str, Json]] = {}
    if ids:
        statement = select(users.c.id, users.c.display_name, users.c.username)
        for user in await unit.run(statement.where(users.c.id.in_(ids))):
            names[user.id] = {"name": user.display_name, "email": user.username}
    found: dict[str, Mapping[str, Json]] = {}
    for row in rows:
        noun, target = about[row.id]
        if noun == "api_key" and target in keys:
            found[row.id] = shown_key(keys[target])
        elif noun == "service_user":
            found[row.id] = names.get(target) or _before(row)
        elif noun == "session":
            found[row.id] = {"user_id": row.actor.user_id, "api_key_id": row.actor.key_id}
    return found


def _before(row: AuditEvent) -> Mapping[str, Json]:
    """Of what is gone the row itself tells the name."""
    before = row.data.get("before")
    if not isinstance(before, Mapping):
        return {}
    return {name: before.get(name) for name in ("name", "email")}
