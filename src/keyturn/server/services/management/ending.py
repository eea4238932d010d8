"""How sessions and tokens end by force. Each function is a part of one change.

An access token dies by a revocation, a refresh token by its session's end. Most sessions have no
row that could say so: they were not refreshed yet. What ends all of a user or of a key therefore
raises the user's epoch, and says that sessions of earlier ones are over.
"""

from collections.abc import Collection
from datetime import datetime

from ...domain.model import ApiKey, Revocation, RevocationKind, Session
from .changes import Change

#: Why a session ended, as it is stored: by its user's or by an administrator's wish. (Refreshing
#: writes another, `reuse`.)
ENDED, REVOKED = "ended", "revoked"


async def end_session(
    change: Change, session: Session, last_token_ends: datetime, reason: str = REVOKED
) -> bool:
    """Ends one session with its tokens. False when it had ended before."""
    if not await change.tx.sessions.end(session, reason):
        return False
    change.revoke(Revocation(RevocationKind.SESSION, session.id, last_token_ends))
    return True


async def end_sessions_of_users(
    change: Change, user_ids: Collection[str], last_token_ends: datetime
) -> None:
    """Ends all sessions and tokens that these users have by now. Their keys stay good."""
    epochs = await change.tx.users.raise_epochs(user_ids, end_sessions=True)
    _outdate(change, epochs.items(), last_token_ends)


async def end_sign_ins(
    change: Change,
    user_id: str,
    last_token_ends: datetime,
    *,
    only: str | None = None,
    but: str | None = None,
) -> int:
    """Ends a person's sign-ins to the console, `only` that one or all `but` one; how many."""
    live = {one.id for one in await change.tx.sign_ins.live_of(user_id, change.now)}
    ending = sorted((live & {only} if only is not None else live) - {but})
    for key_id in ending:
        await change.tx.api_keys.revoke(key_id, change.now, ENDED)
        change.revoke(Revocation(RevocationKind.KEY, key_id, last_token_ends))
    return len(ending)


async def end_sessions_of_key(change: Change, key: ApiKey, last_token_ends: datetime) -> None:
    """Ends all sessions and tokens that the key gave until now. The key stays good.

    Access tokens that its user has by other keys end with them; those keys' sessions go on and
    give new ones.
    """
    # The key's row before the user's, as in every other change of a key: no crosswise locks.
    await change.tx.api_keys.hold(key.id)
    epochs = await change.tx.users.raise_epochs([key.user_id])
    for epoch in epochs.values():
        await change.tx.api_keys.end_sessions(key.id, epoch)
    _outdate(change, epochs.items(), last_token_ends)


def _outdate(change: Change, epochs: Collection[tuple[str, int]], ends: datetime) -> None:
    change.revoke(
        *(Revocation(RevocationKind.USER, user_id, ends, epoch) for user_id, epoch in epochs)
    )
