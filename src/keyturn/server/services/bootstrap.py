"""The first start: who administers the platform, and a demo to look at.

Both verbs make a root tenant, so both refuse when there is one: an installation is set up once.
Each is one transaction with its audit rows; nobody is left half made.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from ..domain.errors import Code, Refusal, invalid_request
from ..domain.ids import new_id
from ..domain.model import ApiKey, Membership, Permission, Role, Tenant, User, UserKind
from ..domain.permissions import OWN, TENANT_ADMIN, TENANTS_READ, VIEWER
from ..domain.trail import AuditEvent, Json
from .ports import ApiKeyFormat, NewKey, Store, Transaction

#: Usernames stand in Basic credentials (RFC 7617: no colon) and in logs.
_USERNAME = re.compile(r"[^\s:\x00-\x1f\x7f]{1,128}")

#: The demo's roles, put together from Cisco Edge Intelligence's five permissions (C6). The
#: operator may also read its tenant from Keyturn itself, so `/tenants/current` answers it.
DEMO_ROLES: dict[str, frozenset[str]] = {
    "operator": frozenset({"assets:manage", "data:manage", "operations:manage", TENANTS_READ}),
    "asset-manager": frozenset({"assets:manage"}),
    "developer": frozenset({"data:manage", "logics:manage"}),
    "system-manager": frozenset({"system:manage"}),
}
_MEMBER = "member@keyturn.internal"


@dataclass(frozen=True, slots=True)
class Bootstrapped:
    """The platform's root, its administrator and the administrator's key."""

    tenant: Tenant
    user: User
    key: NewKey


@dataclass(frozen=True, slots=True)
class Demo:
    """What the demo made. `tenants` are acme and globex, in this order.

    `member` is a person who may look at acme, made if people are to sign in.
    """

    platform: Bootstrapped
    tenants: tuple[Tenant, ...]
    user: User
    key: NewKey
    member: User | None = None


def service_username(name: str, tenant_name: str) -> str:
    """The generated, mail-like username of a service user. Nothing is ever sent to it.

    `.internal` is reserved for private use, so the address can belong to nobody.
    """
    return f"{_slug(name)}@{_slug(tenant_name)}.service.keyturn.internal"


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:63] or "x"


async def bootstrap(
    store: Store,
    key_format: ApiKeyFormat,
    *,
    username: str,
    organisation: str = "platform",
) -> Bootstrapped:
    """Makes the root tenant `organisation` and its first administrator, with an API key.

    Raises Refusal `conflict` when there is a root tenant, `invalid_request` for a bad name.
    """
    async with store.transaction() as tx:
        return await _platform(await _Maker.begin(tx, key_format), organisation, username)


async def make_demo(
    store: Store,
    key_format: ApiKeyFormat,
    *,
    admin_username: str = "admin@keyturn.internal",
    password_hashes: tuple[str, str] | None = None,
    before_commit: Callable[[Demo], None] | None = None,
) -> Demo:
    """Makes a platform with two tenants and a service user who may do different things in each.

    With `password_hashes`, of the administrator and of a plain member of acme who is made then,
    both can sign in to the console.

    `before_commit` may keep the keys' texts somewhere: they are shown only once, so keeping
    them must not fail after the commit. What it raises rolls everything back.

    Raises Refusal `conflict` when there is a root tenant.
    """
    async with store.transaction() as tx:
        make = await _Maker.begin(tx, key_format)
        platform = await _platform(make, "platform", admin_username)
        acme = await make.tenant("acme", platform.tenant.id)
        globex = await make.tenant("globex", platform.tenant.id)
        for tenant in (acme, globex):
            await make.permissions(tenant.id)
        roles = {
            tenant.id: {
                name: await make.role(name, permissions, tenant.id)
                for name, permissions in DEMO_ROLES.items()
            }
            for tenant in (acme, globex)
        }
        user = await make.user(
            UserKind.SERVICE,
            service_username("demo-service", acme.name),
            "Demo service",
            home=acme.id,
            roles=((acme.id, roles[acme.id]["operator"]), (globex.id, VIEWER)),
        )
        key, member = await make.key(user, "demo"), None
        if password_hashes is not None:
            member = await make.user(
                UserKind.HUMAN, _MEMBER, "Demo member", home=acme.id, roles=((acme.id, VIEWER),)
            )
            for person, hashed in zip((platform.user, member), password_hashes, strict=True):
                await tx.users.set_password(person.id, hashed, make.now)
        demo = Demo(platform, (acme, globex), user, key, member)
        await make.write_audit()
        if before_commit is not None:
            before_commit(demo)
        return demo


async def _platform(make: "_Maker", organisation: str, username: str) -> Bootstrapped:
    if not organisation.strip() or len(organisation) > 128 or not organisation.isprintable():
        raise invalid_request("The organisation's name must be 1 to 128 printable characters.")
    if not _USERNAME.fullmatch(username):
        raise invalid_request(
            "A username is 1 to 128 characters without spaces, colons and control characters."
        )
    if await make.tx.tenants.root() is not None:
        raise Refusal(Code.CONFLICT, "This installation is set up already.")
    tenant = await make.tenant(organisation, None)
    user = await make.user(
        UserKind.HUMAN,
        username,
        "Administrator",
        home=tenant.id,
        roles=((tenant.id, TENANT_ADMIN),),
    )
    key = await make.key(user, "first key")
    await make.write_audit()
    return Bootstrapped(tenant, user, key)


@dataclass(slots=True)
class _Maker:
    """Makes records within one transaction, and collects the audit rows they owe."""

    tx: Transaction
    key_format: ApiKeyFormat
    now: datetime
    events: list[AuditEvent]

    @classmethod
    async def begin(cls, tx: Transaction, key_format: ApiKeyFormat) -> "_Maker":
        return cls(tx, key_format, await tx.now(), [])

    async def tenant(self, name: str, parent_id: str | None) -> Tenant:
        tenant = Tenant(new_id(), parent_id, name, self.now)
        await self.tx.tenants.add(tenant)
        self._note("tenant.created", tenant.id, tenant.id, {"name": name})
        return tenant

    async def permissions(self, tenant_id: str) -> None:
        names = sorted(frozenset().union(*DEMO_ROLES.values()) - OWN)
        await self.tx.permissions.add([Permission(tenant_id, n, "", self.now) for n in names])
        self._note("permissions.registered", tenant_id, tenant_id, {"names": names})

    async def role(self, name: str, permissions: frozenset[str], tenant_id: str) -> Role:
        role = Role(new_id(), name, permissions, tenant_id)
        await self.tx.roles.add(role)
        self._note("role.created", tenant_id, role.id, {"name": name})
        return role

    async def user(
        self,
        kind: UserKind,
        username: str,
        display_name: str,
        *,
        home: str,
        roles: Iterable[tuple[str, Role]],
    ) -> User:
        user = User(new_id(), kind, username, display_name, home, 1, self.now)
        await self.tx.users.add(user)
        self._note("user.created", home, user.id, {"username": username, "kind": kind.value})
        for tenant_id, role in roles:
            await self.tx.memberships.add(Membership(user.id, tenant_id, role.id, self.now))
            self._note("membership.created", tenant_id, user.id, {"role": role.name})
        return user

    async def key(self, user: User, name: str) -> NewKey:
        new = self.key_format.new()
        key = ApiKey(new.key_id, user.id, user.home_tenant_id, name, self.now)
        await self.tx.api_keys.add(key, new.hash)
        self._note("api_key.created", user.home_tenant_id, new.key_id, {"user": user.username})
        return new

    async def write_audit(self) -> None:
        await self.tx.audit.add(self.events)
        self.events.clear()

    def _note(self, action: str, tenant_id: str, target: str, data: dict[str, Json]) -> None:
        self.events.append(
            AuditEvent(action, "done", tenant_id=tenant_id, target=target, data=data)
        )
