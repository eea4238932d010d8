"""What tenants are told of by webhooks: the events, and how each is written.

Most events are rows of the audit trail, seen from outside. What time alone does to a key (it is
about to expire, has expired, goes unused) nobody did, so no row tells of it: those events are made
from the key, and have ids that follow from it, so that whoever finds it again tells nothing new.
"""

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from .model import ApiKey
from .trail import AuditEvent, Json

#: How events are written. Fields may be added to it; whatever else changes has another name.
SCHEMA = "keyturn.event.v1"

TEST = "webhook.test"
EXPIRING, EXPIRED, UNUSED = "api_key.expiring", "api_key.expired", "api_key.unused"
#: Events that are actions of the audit trail, by what they are about.
AUDITED: Mapping[str, str] = {
    **dict.fromkeys(
        (
            "api_key.created",
            "api_key.rotated",
            "api_key.revoked",
            "api_key.changed",
            "api_key.leaked",
        ),
        "api_key",
    ),
    "session.reuse_detected": "session",
    **dict.fromkeys(
        (
            "service_user.created",
            "service_user.changed",
            "service_user.disabled",
            "service_user.enabled",
            "service_user.deleted",
        ),
        "service_user",
    ),
}
#: All that a webhook can ask for. A test is told to whoever asks for it.
EVENT_TYPES: tuple[str, ...] = (*AUDITED, EXPIRING, EXPIRED, UNUSED)

#: How long after it came true a key is told to have expired, or to be unused: long enough for a
#: service that was down, and shorter than deliveries are kept, so that nothing is told twice.
LATE = timedelta(days=7)

# Of ids that follow from what they are about (RFC 9562, 5.5).
_NAMESPACE = uuid.UUID("5f0a2a53-6c0e-5c57-9b3b-4b1f0c1d7e60")


@dataclass(frozen=True, slots=True)
class Event:
    """Something that a tenant is told of. `data` never holds a secret, a token or a key."""

    id: str
    type: str
    at: datetime
    tenant_id: str
    data: Mapping[str, Json]

    def written(self) -> str:
        """As JSON."""
        whole = {
            "schema": SCHEMA,
            "id": self.id,
            "type": self.type,
            "at": self.at.isoformat().replace("+00:00", "Z"),
            "tenant_id": self.tenant_id,
            "data": self.data,
        }
        return json.dumps(whole, separators=(",", ":"), ensure_ascii=False)


def audited(row: AuditEvent, at: datetime, subject: Mapping[str, Json]) -> Event:
    """What an audit row tells: of whom, what, and who did it. The row must have tenant and id."""
    assert row.tenant_id is not None  # noqa: S101 - whose webhooks it is told to
    told: dict[str, Json] = {
        AUDITED[row.action]: {"id": row.target, **subject},
        "actor": {"user_id": row.actor.user_id, "api_key_id": row.actor.key_id},
        "details": row.data,
    }
    return Event(row.id, row.action, at, row.tenant_id, told)


def shown_key(key: ApiKey) -> dict[str, Json]:
    """What an event tells of a key."""
    return {
        "id": key.id,
        "name": key.name,
        "user_id": key.user_id,
        "expires_at": None if key.expires_at is None else key.expires_at.isoformat(),
    }


def due_events(
    key: ApiKey, now: datetime, expiring_days: tuple[int, ...], unused_days: int
) -> tuple[Event, ...]:
    """What time has done to a key that was not revoked.

    Of thresholds that passed together, only the last is told; and none that is as long as the
    key's whole life: a key for an hour need not be told to expire within thirty days.
    """
    if key.revoked_at is not None:
        return ()
    end = key.expires_at
    if end is not None and end <= now:
        return (_of_key(key, EXPIRED, end, {}),) if now - end <= LATE else ()
    found = []
    if end is not None:
        lived = end - key.created_at
        passed = [n for n in expiring_days if end - now <= timedelta(days=n) < lived]
        if passed:
            days = min(passed)
            found.append(_of_key(key, EXPIRING, end - timedelta(days=days), {"days": days}))
    times = [key.created_at, key.last_used_at, key.rotation.at if key.rotation else None]
    used = max(at for at in times if at is not None)
    since = now - used - timedelta(days=unused_days)
    if timedelta(0) <= since <= LATE:
        last = None if key.last_used_at is None else key.last_used_at.isoformat()
        told: dict[str, Json] = {"days": unused_days, "last_used_at": last}
        found.append(_of_key(key, UNUSED, used + timedelta(days=unused_days), told))
    return tuple(found)


def _of_key(key: ApiKey, type_: str, at: datetime, details: Mapping[str, Json]) -> Event:
    name = f"{key.id} {type_} {at.isoformat()}"
    data: dict[str, Json] = {
        "api_key": shown_key(key),
        "actor": {"user_id": None, "api_key_id": None},
        "details": details,
    }
    return Event(str(uuid.uuid5(_NAMESPACE, name)), type_, at, key.home_tenant_id, data)
