"""The records of the design's word list. All frozen; times are aware datetimes in UTC."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from .policy import NOTHING_SETTLED, Policy


class UserKind(StrEnum):
    """Who a user is: a person, or a program that never logs in."""

    HUMAN = "human"
    SERVICE = "service"


class InvitationState(StrEnum):
    """An invitation gives nothing; accepting it makes a membership."""

    PENDING = "pending"
    ACCEPTED = "accepted"
    DECLINED = "declined"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class Tenant:
    """An isolated customer space. The root tenant (no parent) is the platform itself."""

    id: str
    parent_id: str | None
    name: str
    created_at: datetime
    suspended_at: datetime | None = None
    policy: Policy = NOTHING_SETTLED
    version: int = 1


@dataclass(frozen=True, slots=True)
class User:
    """Who a token speaks for. `epoch` rises with every change of what the user may do.

    A human's username is the mail address, a service user's is generated. `created_by` is the
    id of the user who made it, who may be gone. `single_token`: a new token ends the one before,
    whatever the tenant's policy says.
    """

    id: str
    kind: UserKind
    username: str
    display_name: str
    home_tenant_id: str
    epoch: int
    created_at: datetime
    disabled_at: datetime | None = None
    description: str = ""
    created_by: str | None = None
    single_token: bool | None = None
    version: int = 1


@dataclass(frozen=True, slots=True)
class Role:
    """A named set of permissions. `tenant_id` is None for the built-in roles.

    A tenant's role can be given in that tenant and in those below it.
    """

    id: str
    name: str
    permissions: frozenset[str]
    tenant_id: str | None = None
    description: str = ""
    version: int = 1


@dataclass(frozen=True, slots=True)
class Membership:
    """A user's role in a tenant. It reaches the tenants below."""

    user_id: str
    tenant_id: str
    role_id: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Member:
    """A user in a tenant, with the roles held there itself (not above it)."""

    user: User
    roles: tuple[Role, ...]


@dataclass(frozen=True, slots=True)
class Invitation:
    """A role in a tenant, offered to whoever `email` is, user or not (yet)."""

    id: str
    tenant_id: str
    role_id: str
    email: str
    state: InvitationState
    created_at: datetime
    expires_at: datetime
    created_by: str | None = None
    answered_at: datetime | None = None

    def pending(self, now: datetime) -> bool:
        """Whether it can still be answered."""
        return self.state is InvitationState.PENDING and now < self.expires_at


@dataclass(frozen=True, slots=True)
class Permission:
    """A permission that a tenant registered; it can be given there and below."""

    tenant_id: str
    name: str
    description: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class TenantRole:
    """One role that a user effectively has in one tenant, held there or above."""

    tenant_id: str
    tenant_name: str
    role: Role


@dataclass(frozen=True, slots=True)
class Rotation:
    """The latest change of a key's secret: how long the one before it still works.

    Until `old_until`, or (`ends_on_use`) the new secret's first use, if that comes before.
    """

    at: datetime
    old_until: datetime
    ends_on_use: bool


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A credential of one user, as it is listed: without its secret.

    It belongs where its user does (`home_tenant_id`). What narrows it is None when it does
    not: `tenant_id` (the only tenant it works in), `role_ids`, `endpoint_ids`, `networks`
    (CIDR) it may be used from, `idle_timeout` (seconds without use that end it).
    `for_console`: it is no API key, but a person's sign-in, which bounds what they call with.
    """

    id: str
    user_id: str
    home_tenant_id: str
    name: str
    created_at: datetime
    created_by: str | None = None
    tenant_id: str | None = None
    role_ids: tuple[str, ...] | None = None
    endpoint_ids: tuple[str, ...] | None = None
    networks: tuple[str, ...] | None = None
    expires_at: datetime | None = None
    idle_timeout: int | None = None
    revoked_at: datetime | None = None
    revoked_reason: str | None = None
    rotation: Rotation | None = None
    last_used_at: datetime | None = None
    last_used_from: str | None = None
    use_count: int = 0
    for_console: bool = False
    version: int = 1


@dataclass(frozen=True, slots=True)
class KeyHash:
    """What is stored of a key's secret: HMAC-SHA256 under the pepper of that version."""

    digest: bytes
    pepper_version: int


@dataclass(frozen=True, slots=True)
class OldSecret:
    """The hash of a rotated key's secret before, and how long it may be used."""

    hash: KeyHash
    until: datetime
    ends_on_use: bool


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """Everything one exchange needs, fetched by one statement.

    `roles` are the effective ones, already narrowed by the key (its tenant, its roles); only
    tenants that are active with all their ancestors are in it. `more_tenants` says that there
    were more tenants than a token may list (`authority.MAX_LISTED_TENANTS`); the first ones
    are in `roles` all the same. `endpoint_ids` is the key's allow-list, `opened` what may be
    needed to call the endpoints on it: no permission outside is carried. `idle_since` is when
    the key was made or last used, `idle_timeout` (seconds) the shorter of its own and the
    policy's of its user's home tenant. Sessions that began in an epoch before `sessions_epoch`
    are over. `single_token`: a new token of the user ends the one before. `for_console`: a
    person's sign-in, which is no API key.
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
    home_tenant_id: str = ""
    old_secret: OldSecret | None = None
    networks: tuple[str, ...] | None = None
    endpoint_ids: tuple[str, ...] | None = None
    opened: frozenset[str] | None = None
    idle_since: datetime | None = None
    idle_timeout: int | None = None
    sessions_epoch: int = 0
    single_token: bool = False
    for_console: bool = False

    def live(self, now: datetime) -> bool:
        """Whether key and user may be used at `now`."""
        return (
            self.revoked_at is None
            and self.user_disabled_at is None
            and (self.expires_at is None or now < self.expires_at)
            and not self.idle(now)
        )

    def idle(self, now: datetime) -> bool:
        """Whether the key went unused for too long."""
        return (
            self.idle_timeout is not None
            and self.idle_since is not None
            and now - self.idle_since > timedelta(seconds=self.idle_timeout)
        )


class RevocationKind(StrEnum):
    """What a revocation kills: one token, those of a session, a key, a user's or everybody's
    earlier epochs, a suspended tenant, or a signing key.

    `policy` kills no token, but what resource servers keep of a tenant's roles and endpoints.
    """

    TOKEN = "token"  # noqa: S105 - a kind, not a secret
    SESSION = "session"
    KEY = "key"
    USER = "user"
    TENANT = "tenant"
    SIGNING_KEY = "signing_key"
    EVERYTHING = "everything"
    POLICY = "policy"


@dataclass(frozen=True, slots=True)
class Revocation:
    """An entry that kills tokens until `expires_at`, when none is left that it could hit.

    `subject` is the jti, sid, key id, user id, tenant id or kid, for kind `everything` a `*`.
    `epoch` is set for the kinds `user` and `everything`: tokens with a smaller epoch are dead.
    A tenant's entry lasts while it is suspended.
    """

    kind: RevocationKind
    subject: str
    expires_at: datetime
    epoch: int | None = None


@dataclass(frozen=True, slots=True)
class Session:
    """All tokens of one exchange, once refreshed or ended: `generation` is the live one.

    `epoch` is its user's when it began, `tenant_id` the one tenant that it was begun for,
    `last_used_from` the address of its latest refresh. `superseded`: sessions of that epoch were
    ended, all together.
    """

    id: str
    key_id: str
    user_id: str
    generation: int
    rotated_at: datetime
    expires_at: datetime
    ended_at: datetime | None = None
    end_reason: str | None = None
    tenant_id: str | None = None
    last_used_from: str | None = None
    epoch: int = 0
    superseded: bool = False


@dataclass(frozen=True, slots=True)
class StoredSigningKey:
    """A signing key at rest. `sealed_private` is the private JWK, encrypted.

    `slot` is `next`, `current` or `retired`, `slot_since` when it came into it.
    """

    kid: str
    algorithm: str
    slot: str
    public_jwk: Mapping[str, str]
    sealed_private: bytes
    created_at: datetime
    slot_since: datetime
