"""What is this token? Whatever is pasted is looked at, never used: nothing is spent or noted.

What a JWT says everybody can read, and who signed it. What became of it, and what it may do now,
is for who looks after its user: whoever calls in the user's home tenant or above it, or the user.
"""

import base64
import binascii
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import orjson

from ..domain import revocations as rules
from ..domain.authority import granted, regranted
from ..domain.errors import Refusal
from ..domain.exchange import gives
from ..domain.model import KeyRecord, RevocationKind, User
from ..domain.sessions import RefreshState, is_current, outdated
from ..domain.tokens import AccessToken
from .callers import TenantCaller
from .credentials import Credentials
from .ports import (
    AccessTokens,
    ApiKeyFormat,
    Clock,
    KeyLookup,
    RefreshTokens,
    RevocationList,
    Store,
    Transaction,
)
from .ports.tokens import Signature

#: Longest text that is looked at, in characters.
MAX_TEXT = 16_384
#: Lists and objects in each other: a token of ours has three, and JSON has a bound to be written.
MAX_DEPTH = 32
_KEY, _REFRESH = "kt_", "ktr_"
#: Keys' and others' ends, as reasons.
_ENDED_BY: Mapping[RevocationKind, str] = {
    RevocationKind.TOKEN: "token_revoked",
    RevocationKind.SESSION: "session_ended",
    RevocationKind.KEY: "key_revoked",
    RevocationKind.USER: "user_changed",
    RevocationKind.TENANT: "tenant_suspended",
    RevocationKind.SIGNING_KEY: "signing_key_revoked",
    RevocationKind.EVERYTHING: "everything_revoked",
}


class TokenKind(StrEnum):
    """What a text is, by its form."""

    JWT = "jwt"
    REFRESH_TOKEN = "refresh_token"  # noqa: S105 - a kind, not a secret
    API_KEY = "api_key"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class MayIn:
    """What is carried in one tenant at this moment."""

    tenant_id: str
    tenant_name: str
    roles: tuple[str, ...]
    permissions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TokenState:
    """What became of it. `reasons`: why it is no good; none: it is.

    `expires_at` is its own end, `may` tells of tenants that the asker looks after, too.
    """

    user: User
    key_id: str
    session_id: str | None
    expires_at: datetime | None
    reasons: tuple[str, ...]
    may: tuple[MayIn, ...]


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a text is. `state` None: it is not known, or not for the asker.

    `guessed`: it looks like a credential of this service, and never was one.
    """

    kind: TokenKind
    header: Mapping[str, object] | None = None
    claims: Mapping[str, object] | None = None
    signature: Signature | None = None
    state: TokenState | None = None
    guessed: bool = False


class Inspecting:
    """Looks at tokens and keys."""

    def __init__(
        self,
        store: Store,
        lookup: KeyLookup,
        credentials: Credentials,
        key_format: ApiKeyFormat,
        access: AccessTokens,
        refresh: RefreshTokens,
        revocations: RevocationList,
        clock: Clock,
    ) -> None:
        self._store = store
        self._lookup = lookup
        self._credentials = credentials
        self._format = key_format
        self._access = access
        self._refresh = refresh
        self._revocations = revocations
        self._clock = clock

    async def inspect(self, caller: TenantCaller, text: str) -> Inspection:
        """What `text` is. Raises Unavailable, and no Refusal for whatever it is."""
        if text.startswith(_REFRESH):
            return await self._refresh_token(caller, text)
        if text.startswith(_KEY):
            return await self._api_key(caller, text)
        decoded = _decoded(text)
        if decoded is None:
            return Inspection(TokenKind.UNKNOWN)
        header, claims = decoded
        examined = self._access.examine(text)
        state = None
        if examined.token is not None:
            state = await self._access_token(caller, examined.token)
        guessed = examined.signature is Signature.BAD
        return Inspection(TokenKind.JWT, header, claims, examined.signature, state, guessed)

    async def _access_token(self, caller: TenantCaller, token: AccessToken) -> TokenState | None:
        user, seen = await self._seen(caller, token.user_id, token.roles)
        if user is None:
            return None
        now = self._clock()
        found = await self._revocations.find(rules.subjects(token))
        ends = [_ENDED_BY[entry.kind] for entry in found if rules.kills([entry], token)]
        if token.expires_at <= now.timestamp():
            ends.insert(0, "expired")
        tenants = None if token.roles is None else sorted(token.roles)
        record = await self._lookup.find(token.key_id, tenants=tenants)
        ends += _ends(record, now)
        if record is not None and record.epoch > token.epoch:
            ends.append("user_changed")
        may = []
        if record is not None and not ends:
            gone = rules.suspended(found)
            if token.roles is None:
                seen = await self._within(caller, user, _tenants(record))
            for tenant_id in sorted(seen - gone):
                held = [item for item in record.roles if item.tenant_id == tenant_id]
                named = None if token.roles is None else frozenset(token.roles[tenant_id])
                now_ = gives(token, tenant_id, named, held, record.opened)
                if held:
                    name = held[0].tenant_name
                    permissions = tuple(sorted(now_.permissions))
                    may.append(MayIn(tenant_id, name, now_.roles, permissions))
        ends_at = datetime.fromtimestamp(token.expires_at, now.tzinfo)
        return TokenState(user, token.key_id, token.session_id, ends_at, _once(ends), tuple(may))

    async def _refresh_token(self, caller: TenantCaller, text: str) -> Inspection:
        state = self._refresh.open(text)
        if state is None:
            return Inspection(TokenKind.REFRESH_TOKEN, guessed=True)
        tenants = None if state.ceiling.tenants is None else sorted(state.ceiling.tenants)
        record = await self._lookup.find(state.key_id, tenants=tenants)
        user, _ = await self._seen(caller, record.user_id if record else "", None)
        if record is None or user is None:
            return Inspection(TokenKind.REFRESH_TOKEN)
        now = self._clock()
        ends = ["expired"] if state.expires_at <= now.timestamp() else []
        ends += _ends(record, now)
        if outdated(state, record):
            ends.append("sessions_ended")
        async with self._store.transaction() as tx:
            session = await tx.sessions.get(state.session_id)
        if not is_current(session, state.generation):
            over = session is not None and session.ended_at is not None
            ends.append("session_ended" if over else "spent")
        if not record.roles:
            ends.append("no_role_left")
        may = () if ends else await self._may(caller, user, record, state)
        ends_at = datetime.fromtimestamp(state.expires_at, now.tzinfo)
        told = TokenState(user, state.key_id, state.session_id, ends_at, _once(ends), may)
        return Inspection(TokenKind.REFRESH_TOKEN, state=told)

    async def _api_key(self, caller: TenantCaller, text: str) -> Inspection:
        presented = self._format.parse(text)
        if presented is None:
            return Inspection(TokenKind.API_KEY, guessed=True)
        record = await self._lookup.find(presented.key_id)
        # From nowhere: what counts here is the secret. Where it may be used from is the key's.
        evidence = self._credentials.judge(presented, record, None)
        user, _ = await self._seen(caller, record.user_id if record else "", None)
        if record is None or user is None:
            return Inspection(TokenKind.API_KEY, guessed=evidence.guessed)
        now = self._clock()
        ends = [] if evidence.proven else ["wrong_secret"]
        ends += _ends(record, now)
        may = () if ends else await self._may(caller, user, record, None)
        told = TokenState(user, record.key_id, None, record.expires_at, _once(ends), may)
        return Inspection(TokenKind.API_KEY, state=told, guessed=evidence.guessed)

    async def _may(
        self, caller: TenantCaller, user: User, record: KeyRecord, state: RefreshState | None
    ) -> tuple[MayIn, ...]:
        """What a new token would carry. Above the limit of a token's tenants, nothing is told."""
        try:
            if state is not None:
                authority = regranted(record, state.ceiling, scope=None)
            else:
                authority = granted(record, tenant_id=None, scope=None)
        except Refusal:
            return ()
        carried = authority.tenants or {}
        names = {item.tenant_id: item.tenant_name for item in record.roles}
        seen = await self._within(caller, user, carried)
        return tuple(
            MayIn(t, names[t], carried[t].roles, tuple(sorted(carried[t].permissions)))
            for t in sorted(seen)
        )

    async def _seen(
        self, caller: TenantCaller, user_id: str, tenants: Iterable[str] | None
    ) -> tuple[User | None, frozenset[str]]:
        """The user, if it is the asker's to know of, and which of the tenants are."""
        async with self._store.transaction() as tx:
            user = await tx.users.get(user_id)
            if user is None or not await _looks_after(tx, caller, user):
                return None, frozenset()
        return user, await self._within(caller, user, tenants or ())

    async def _within(
        self, caller: TenantCaller, user: User, tenants: Iterable[str]
    ) -> frozenset[str]:
        if user.id == caller.user_id:
            return frozenset(tenants)
        async with self._store.transaction() as tx:
            reached = [t for t in tenants if await tx.tenants.reaches(caller.tenant_id, t)]
        return frozenset(reached)


async def _looks_after(tx: Transaction, caller: TenantCaller, user: User) -> bool:
    return user.id == caller.user_id or await tx.tenants.reaches(
        caller.tenant_id, user.home_tenant_id
    )


def _ends(record: KeyRecord | None, now: datetime) -> list[str]:
    """Why the key, or its user, may not be used: as `KeyRecord.live`."""
    if record is None:
        return ["key_gone"]
    found = {
        "key_revoked": record.revoked_at is not None,
        "user_disabled": record.user_disabled_at is not None,
        "key_expired": record.expires_at is not None and now >= record.expires_at,
        "key_idle": record.idle(now),
    }
    return [reason for reason, holds in found.items() if holds]


def _tenants(record: KeyRecord) -> frozenset[str]:
    return frozenset(item.tenant_id for item in record.roles)


def _once(reasons: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(reasons))


def _decoded(text: str) -> tuple[Mapping[str, object], Mapping[str, object]] | None:
    """Header and claims of a JWT, whoever made it (RFC 7519, 7.2); None for anything else."""
    parts = text.split(".")
    if len(text) > MAX_TEXT or len(parts) != 3:
        return None
    header, claims = (_object(part) for part in parts[:2])
    return None if header is None or claims is None else (header, claims)


def _object(part: str) -> Mapping[str, object] | None:
    try:
        padded = part + "=" * (-len(part) % 4)
        read = orjson.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError):
        return None
    return read if isinstance(read, dict) and not _is_deep(read, MAX_DEPTH) else None


def _is_deep(value: object, left: int) -> bool:
    """Whether lists and objects stand in each other more than `left` times."""
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list):
        return False
    return left == 0 or any(_is_deep(part, left - 1) for part in value)
