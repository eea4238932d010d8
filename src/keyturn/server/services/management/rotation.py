"""How a key gets a new secret, and how it ends."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ...domain.errors import conflict
from ...domain.model import ApiKey, Revocation, RevocationKind, Rotation
from ..ports import ApiKeyFormat
from .changes import Change, Versions, need_version
from .ending import end_sessions_of_key
from .key_states import REVOKED, KeyState, listed

#: How long an old secret may work beside the new one, in seconds.
MAX_OVERLAP = 30 * 86_400


@dataclass(frozen=True, slots=True)
class WantedRotation:
    """How long the old secret still works: `overlap` seconds, and with `ends_on_use` only until
    the new one is used, if that comes before.

    `end_sessions`: what the key gave until now ends. None: without an overlap it does. Who ends a
    secret at once fears that others have it, and sessions begun with it.
    """

    overlap: int = 0
    ends_on_use: bool = False
    end_sessions: bool | None = None

    @property
    def ends_sessions(self) -> bool:
        """Whether sessions end, said or not."""
        return self.overlap == 0 if self.end_sessions is None else self.end_sessions


async def rotate_key(
    change: Change,
    key_format: ApiKeyFormat,
    key: ApiKey,
    wanted: WantedRotation,
    seen: Versions,
    last_token_ends: datetime,
) -> tuple[ApiKey, str]:
    """The key with a new secret, and the secret. Whether the caller may do that, the caller has
    found out.

    There is one old secret at a time: one that still works keeps its promised time, unless the
    overlap is 0, which ends all but the new one. Sessions begun with the key go on or end, as
    `WantedRotation` says. Raises Refusal `stale`, and `conflict` for a key that is dead or has
    such a secret.
    """
    need_version(seen, key.version)
    state = (await listed(change.tx, key)).state
    if state not in (KeyState.ACTIVE, KeyState.USER_DISABLED):
        raise conflict("The API key has ended: make a new one.")
    if wanted.overlap and key.rotation is not None and key.rotation.old_until > change.now:
        raise conflict(
            "An earlier secret still works: wait until it ends (old_secret_until), or rotate with"
            " overlap_seconds 0 to end it.",
            field="overlap_seconds",
        )
    new = key_format.new(key.id)
    until = change.now + timedelta(seconds=wanted.overlap)
    rotation = Rotation(change.now, until, wanted.ends_on_use)
    await change.tx.api_keys.rotate(key.id, new.hash, rotation)
    change.note(
        "api_key.rotated",
        key.id,
        tenant_id=key.home_tenant_id,
        after={"old_secret_until": until.isoformat(), "ends_on_first_use": wanted.ends_on_use},
        sessions_ended=wanted.ends_sessions,
    )
    if wanted.ends_sessions:
        await end_sessions_of_key(change, key, last_token_ends)
    return replace(key, rotation=rotation, version=key.version + 1), new.text


async def revoke_key(
    change: Change, key: ApiKey, last_token_ends: datetime, reason: str = REVOKED
) -> ApiKey:
    """The key, revoked with all that was issued for it; as it is when it was before."""
    if not await change.tx.api_keys.revoke(key.id, change.now, reason):
        return key
    change.revoke(Revocation(RevocationKind.KEY, key.id, last_token_ends))
    change.note("api_key.revoked", key.id, tenant_id=key.home_tenant_id, reason=reason)
    return replace(key, revoked_at=change.now, revoked_reason=reason, version=key.version + 1)
