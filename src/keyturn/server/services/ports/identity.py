"""Who there is: tenants, users, roles, memberships, invitations."""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Protocol

from ...domain.model import (
    Invitation,
    InvitationState,
    Member,
    Membership,
    Role,
    Tenant,
    User,
    UserKind,
)
from ...domain.policy import Policy
from .pages import Page, Slice


class Tenants(Protocol):
    """Tenants and their tree."""

    async def add(self, tenant: Tenant) -> None:
        """Raises Refusal `conflict` when a sibling has the name, or there is a root already."""
        ...

    async def get(self, tenant_id: str) -> Tenant | None: ...

    async def root(self) -> Tenant | None: ...

    async def lock(self, tenant_id: str) -> bool:
        """Makes every other change of this tenant wait for this transaction's end.

        False when there is no such tenant (any more).
        """
        ...

    async def below(self, tenant_id: str) -> tuple[str, ...]:
        """The tenant itself and all below it."""
        ...

    async def above(self, tenant_id: str) -> tuple[str, ...]:
        """All above the tenant, the nearest first."""
        ...

    async def reaches(self, above: str, tenant_id: str) -> bool:
        """Whether `tenant_id` is `above` itself or below it."""
        ...

    async def policies(self, tenant_id: str) -> tuple[Policy, ...]:
        """The tenant's policy and those of all its ancestors."""
        ...

    async def children(self, tenant_id: str, part: Slice, *, name: str = "") -> Page[Tenant]:
        """The tenants right below, by name; with `name`, those whose names begin so.

        Keys: the folded name.
        """
        ...

    async def descendants(self, tenant_id: str, part: Slice, *, name: str = "") -> Page[Tenant]:
        """All tenants below, by id; with `name`, by name and id.

        Keys: the id; with `name` the folded name and the id.
        """
        ...

    async def save(self, tenant: Tenant) -> Tenant:
        """Writes name and policy; gives the tenant with its next version.

        Raises Refusal `conflict` when a sibling has the name.
        """
        ...

    async def set_suspended(self, tenant_id: str, at: datetime | None) -> bool:
        """False when there is no such tenant. None resumes it. It is another version then."""
        ...

    async def active(self, tenant_id: str) -> tuple[str, ...]:
        """Of the tenant and all below it, those that no suspension reaches, from above either."""
        ...

    async def suspended(self, tenant_id: str) -> bool:
        """Whether the tenant is suspended, or one above it."""
        ...

    async def occupied(self, tenant_id: str) -> bool:
        """Whether tenants stand below, service users are at home, or live keys are bound to it."""
        ...

    async def remove(self, tenant_id: str) -> None:
        """Deletes an unoccupied tenant with all that belongs to it, but its audit trail.

        Humans at home there are at home in the tenant above from then on, with their keys.
        """
        ...


class Users(Protocol):
    """Users and their passwords."""

    async def add(self, user: User) -> None:
        """Raises Refusal `conflict` when the username is taken, in whatever case."""
        ...

    async def get(self, user_id: str) -> User | None: ...

    async def by_username(self, username: str) -> User | None: ...

    async def named(self, tenant_id: str, kind: UserKind, name: str) -> User | None:
        """Somebody at home in the tenant with that display name, in whatever case."""
        ...

    async def at_home(
        self,
        tenant_id: str,
        kind: UserKind,
        part: Slice,
        *,
        below: bool = False,
        query: str = "",
    ) -> Page[User]:
        """The users whose home the tenant is, by id; with `below`, by tenant and id.

        With `query`, those whose name or username has it in it, in whatever case.

        Keys: the id; with `below` the home tenant's id and the id.
        """
        ...

    async def count_at_home(self, tenant_id: str, kind: UserKind, at_most: int) -> int:
        """How many there are, counted up to `at_most`."""
        ...

    async def made_by(self, user_id: str, tenant_id: str) -> tuple[User, ...]:
        """The service users at home in the tenant or below that this user made."""
        ...

    async def raise_epochs(
        self, user_ids: Collection[str], *, end_sessions: bool = False
    ) -> Mapping[str, int]:
        """The new epochs by user id, of those that there are. Concurrent raises all count.

        `end_sessions`: no session of theirs that began before can be refreshed any more.
        """
        ...

    async def raise_floor(self, *, above: int = 0, ahead: timedelta = timedelta(0)) -> int:
        """Raises the epoch of every user there is, and ends all sessions; gives the new one.

        It is above every epoch that was ever given out until now, or until `ahead` of now, also
        of a time that this database has forgotten; and above `above`.
        """
        ...

    async def set_disabled(self, user_id: str, at: datetime | None) -> bool:
        """False when there is no such user. None enables it again."""
        ...

    async def many(self, user_ids: Collection[str]) -> Mapping[str, User]:
        """Those of them that there are, by id."""
        ...

    async def save(self, user: User) -> User:
        """Writes display name, description and `single_token`; the user with its next version."""
        ...

    async def remove(self, user_id: str) -> None:
        """Deletes the user with its keys, sessions, memberships and password."""
        ...

    async def password(self, user_id: str) -> str | None:
        """The hash of a human's password; None without one."""
        ...

    async def set_password(self, user_id: str, password_hash: str, at: datetime) -> None: ...


class Roles(Protocol):
    """Built-in roles (no tenant) and custom ones."""

    async def add(self, role: Role) -> None:
        """Raises Refusal `conflict` when the name is taken in the tenant, above or below it."""
        ...

    async def get(self, role_id: str) -> Role | None: ...

    async def lock(self, role_id: str) -> Role | None:
        """The role. Until the transaction ends, whoever gives it to somebody waits."""
        ...

    async def many(self, role_ids: Collection[str]) -> tuple[Role, ...]:
        """Those that there are."""
        ...

    async def any_has(self, permission: str, tenant_id: str) -> bool:
        """Whether a role of the tenant or of one below it has the permission."""
        ...

    async def in_tenant(self, tenant_id: str) -> tuple[Role, ...]:
        """The roles that can be given in a tenant: the built-in ones, its own, those above."""
        ...

    async def save(self, role: Role) -> Role:
        """Writes name, description and permissions; gives the role with its next version.

        Raises Refusal `conflict` as `add` does.
        """
        ...

    async def in_use(self, role_id: str) -> bool:
        """Whether somebody holds it or is invited into it, or a key is narrowed to it."""
        ...

    async def remove(self, role_id: str) -> None:
        """Deletes the role, the memberships and the invitations into it."""
        ...


class Memberships(Protocol):
    """Who holds which role where."""

    async def add(self, membership: Membership) -> None:
        """Raises Refusal `conflict` when the user has that role there."""
        ...

    async def remove(self, membership: Membership) -> bool:
        """False when there was none."""
        ...

    async def of_user(self, user_id: str) -> tuple[tuple[Membership, Role], ...]:
        """All roles of a user, wherever they are held."""
        ...

    async def members(self, tenant_id: str, part: Slice, *, query: str = "") -> Page[Member]:
        """Who holds roles in the tenant itself, by user id; `query` as in `Users.at_home`.

        Keys: the user's id.
        """
        ...

    async def member(self, tenant_id: str, user_id: str) -> Member | None:
        """None for somebody who holds no role in the tenant itself."""
        ...

    async def user_ids(self, tenant_id: str) -> tuple[str, ...]:
        """The ids of all who hold a role in the tenant itself."""
        ...

    async def holders(self, role_id: str) -> tuple[str, ...]:
        """The ids of all users who hold the role somewhere."""
        ...

    async def administrators(self, tenant_id: str) -> tuple[str, ...]:
        """Who holds tenant-admin in the tenant itself and is not disabled: ids, at most 10.

        Service users only where the tenant's effective policy lets them administer.
        """
        ...


class Invitations(Protocol):
    """Roles offered, and what became of the offers."""

    async def add(self, invitation: Invitation, code_hash: bytes) -> None:
        """Raises Refusal `conflict` while the same offer is pending."""
        ...

    async def get(self, invitation_id: str) -> Invitation | None: ...

    async def by_code(self, code_hash: bytes) -> Invitation | None: ...

    async def is_code(self, invitation_id: str, code_hash: bytes) -> bool:
        """Whether it is the hash of that invitation's code."""
        ...

    async def in_tenant(
        self,
        tenant_id: str,
        part: Slice,
        *,
        state: InvitationState | None = None,
        query: str = "",
    ) -> Page[Invitation]:
        """What the tenant offered, by id; with `query`, to addresses with it in them.

        Keys: the id.
        """
        ...

    async def count_pending(self, tenant_id: str, at_most: int) -> int:
        """How many wait for an answer, expired or not, counted up to `at_most`."""
        ...

    async def pending_for(self, email: str, now: datetime) -> tuple[Invitation, ...]:
        """What can be answered by whoever has that address; at most 200."""
        ...

    async def answer(self, invitation_id: str, state: InvitationState, at: datetime) -> bool:
        """Takes a pending invitation into its last state. False: it was not pending."""
        ...

    async def withdraw_expired(self, tenant_id: str, now: datetime) -> None:
        """So that what nobody answered in time can be offered again."""
        ...
