"""The records of the design's word list. All frozen; times are aware datetimes in UTC."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class UserKind(StrEnum):
    """Who a user is: a person, or a program that never logs in."""

    HUMAN = "human"
    SERVICE = "service"


class MembershipState(StrEnum):
    """An invited membership gives nothing until it is accepted."""

    INVITED = "invited"
    ACCEPTED = "accepted"
    DECLINED = "declined"


@dataclass(frozen=True, slots=True)
class Tenant:
    """An isolated customer space. The root tenant (no parent) is the platform itself."""

    id: str
    parent_id: str | None
    name: str
    created_at: datetime
    suspended_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class User:
    """Who a token speaks for. `epoch` rises with every change of what the user may do."""

    id: str
    kind: UserKind
    username: str
    display_name: str
    home_tenant_id: str
    epoch: int
    created_at: datetime
    disabled_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Role:
    """A named set of permissions. `tenant_id` is None for the built-in roles."""

    id: str
    name: str
    permissions: frozenset[str]
    tenant_id: str | None = None


@dataclass(frozen=True, slots=True)
class Membership:
    """A user's role in a tenant. It reaches the tenants below."""

    user_id: str
    tenant_id: str
    role_id: str
    state: MembershipState
    created_at: datetime


@dataclass(frozen=True, slots=True)
class TenantRole:
    """One role that a user effectively has in one tenant, held there or above."""

    tenant_id: str
    tenant_name: str
    role: Role


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A credential of one user, as it is listed: without its secret."""

    id: str
    user_id: str
    name: str
    created_at: datetime
    tenant_id: str | None = None
    role_ids: tuple[str, ...] | None = None
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None
    last_used_from: str | None = None
    use_count: int = 0


@dataclass(frozen=True, slots=True)
class KeyHash:
    """What is stored of a key's secret: HMAC-SHA256 under the pepper of that version."""

    digest: bytes
    pepper_version: int


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """Everything one exchange needs, fetched by one statement.

    `roles` are the effective ones, already narrowed by the key (its tenant, its roles); only
    tenants that are active with all their ancestors are in it. `more_tenants` says that there
    were more tenants than a token may list (`authority.MAX_LISTED_TENANTS`); the first ones
    are in `roles` all the same.
    """

    key_id: str
    hash: KeyHash
    expires_at: datetime | None
    revoked_at: datetime | None
    key_tenant_id: str | None
    user_id: str
    username: str
    user_kind: UserKind
    user_disabled_at: datetime | None
    epoch: int
    roles: tuple[TenantRole, ...]
    more_tenants: bool = False

    def live(self, now: datetime) -> bool:
        """Whether key and user may be used at `now`."""
        return (
            self.revoked_at is None
            and self.user_disabled_at is None
            and (self.expires_at is None or now < self.expires_at)
        )


class RevocationKind(StrEnum):
    """What a revocation kills: one token, a session's, a key's, a user's older ones, a tenant's."""

    TOKEN = "token"  # noqa: S105 - a kind, not a secret
    SESSION = "session"
    KEY = "key"
    USER = "user"
    TENANT = "tenant"


@dataclass(frozen=True, slots=True)
class Revocation:
    """An entry that kills tokens until `expires_at`, when none is left that it could hit.

    `subject` is the jti, sid, key id, user id or tenant id. `epoch` is set for kind `user`:
    tokens with a smaller epoch are dead. A tenant's entry lasts while it is suspended.
    """

    kind: RevocationKind
    subject: str
    expires_at: datetime
    epoch: int | None = None


@dataclass(frozen=True, slots=True)
class Session:
    """All tokens of one exchange, once refreshed or ended: `generation` is the live one."""

    id: str
    key_id: str
    user_id: str
    generation: int
    rotated_at: datetime
    expires_at: datetime
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class StoredSigningKey:
    """A signing key at rest. `sealed_private` is the private JWK, encrypted."""

    kid: str
    algorithm: str
    slot: str
    public_jwk: Mapping[str, str]
    sealed_private: bytes
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does something, for the audit trail. All None: the system itself."""

    user_id: str | None = None
    key_id: str | None = None
    session_id: str | None = None
    address: str | None = None


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One thing that happened. `data` never holds a secret, a token or a key."""

    action: str
    outcome: str
    actor: Actor = Actor()
    tenant_id: str | None = None
    target: str | None = None
    data: Mapping[str, str | int | None] = field(default_factory=dict)
    at: datetime | None = None
    id: str = ""
