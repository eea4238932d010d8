"""A large installation, as rows for COPY; some of its keys are genuine.

A root, organisations, their products and the teams of those; service users at home in all of
them, who hold one to three roles there and elsewhere; ten keys each. A sample of the keys, spread
evenly over all, can be exchanged; the others have random hashes. Beside them are two special
users: one who holds three roles in each of 500 tenants, and one whose keys list 2,000 endpoints.

Sizes share their proportions: a key on a large installation reaches as many tenants, by as many
roles, as one on a small installation does.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TypeAlias

from keyturn.server.domain.ids import ID_LETTERS, base62, new_id, uuid7_int
from keyturn.server.domain.permissions import AUDITOR, EDITOR, VIEWER
from keyturn.server.services.ports import ApiKeyFormat, NewKey

#: What a custom role permits, and which of it the special key's endpoints need.
CUSTOM = ("assets:read", "assets:write", "tenants:read", "users:read")
LISTED = "assets:read"

#: Keys that get one time and share random bytes: what each costs alone is most of the work.
_BATCH = 10_000
#: Letters of a key's id that tell its time, to about a millisecond.
_TIME_LETTERS = 8
_NULL = r"\N"


@dataclass(frozen=True)
class Size:
    """How large an installation is. `wide` is in tenants, `listed` in endpoints."""

    keys: int
    users: int
    tenants: int
    genuine: int = 20_000
    #: Keys of each special user.
    special: int = 1_000
    wide: int = 500
    listed: int = 2_000

    def scaled(self, keys: int) -> Size:
        """One with so many keys and as many of all else for each; without special users."""
        users, tenants = self.users * keys // self.keys, self.tenants * keys // self.keys
        return replace(self, keys=keys, users=max(1, users), tenants=max(10, tenants), special=0)

    @property
    def all_keys(self) -> int:
        """The special ones, too."""
        return self.keys + 2 * self.special

    @property
    def bytes(self) -> int:
        """What the database takes on the disk at most, logs and sorting included."""
        lists = self.special * self.listed * 100
        return 900 * self.keys + 2_500 * self.users + 3_000 * self.tenants + lists + 2_000_000_000


@dataclass(frozen=True)
class Login:
    """A key that can be exchanged. Its text is a secret."""

    username: str
    key: str = field(repr=False)


@dataclass
class Filled:
    """What can be exchanged: `plain` spread evenly over all keys, and the special users'.

    `chosen` is one of the tenants of the user who has many.
    """

    plain: list[Login] = field(default_factory=list)
    wide: list[Login] = field(default_factory=list)
    listed: list[Login] = field(default_factory=list)
    chosen: str = ""


class Shape:
    """Who is where, by numbers: tenant 0 is the root; a user's home is any tenant but that."""

    def __init__(self, size: Size) -> None:
        self.size = size
        self.organisations = max(1, size.tenants // 100)
        self.products = max(1, size.tenants // 10)
        self.first_team = 1 + self.organisations + self.products
        if size.tenants <= self.first_team or not size.users <= size.keys:
            raise ValueError("too few tenants, or fewer keys than users")
        # In order: a tenant is younger than those above it.
        self.tenants = sorted(new_id() for _ in range(size.tenants))
        self.custom = {n: new_id() for n in range(1, self.organisations + 1)}
        self.endpoints = [new_id() for _ in range(size.listed if size.special else 0)]
        #: The special users come last.
        specials = 2 if size.special else 0
        self.users = [new_id() for _ in range(size.users + specials)]

    def line(self, tenant: int) -> list[int]:
        """The tenant and all above it, the root last."""
        if tenant == 0:
            return [0]
        if tenant <= self.organisations:
            return [tenant, 0]
        if tenant < self.first_team:
            return [tenant, 1 + (tenant - 1) % self.organisations, 0]
        product = 1 + self.organisations + (tenant - self.first_team) % self.products
        return [tenant, *self.line(product)]

    def home(self, user: int) -> int:
        """Where the user is at home; both special ones in the first team."""
        if user >= self.size.users:
            return self.first_team
        return 1 + user % (self.size.tenants - 1)

    def custom_role(self, tenant: int) -> str:
        """The role of the tenant's organisation."""
        return self.custom[self.line(tenant)[-2]]

    def wide_tenants(self) -> list[int]:
        """Those of the user who has many: teams, spread evenly."""
        teams = self.size.tenants - self.first_team
        wide = min(self.size.wide, teams)
        return [self.first_team + i * teams // wide for i in range(wide)]

    def memberships(self, user: int) -> list[tuple[int, str]]:
        """The roles the user holds, and where: one to three, but for the special ones."""
        home = self.home(user)
        if user == self.size.users:
            roles = (VIEWER.id, EDITOR.id)
            return [
                (n, role) for n in self.wide_tenants() for role in (*roles, self.custom_role(n))
            ]
        held = [(home, VIEWER.id), (home, self.custom_role(home))]
        if user > self.size.users:
            return held
        # A prime: those with a third role hold it in tenants all over the tree.
        elsewhere = 1 + user * 7_919 % (self.size.tenants - 1)
        return [*held, (elsewhere, AUDITOR.id)][: 1 + user % 3]

    def username(self, user: int) -> str:
        """Unique."""
        return f"service-{user}@team-{self.home(user)}.service.keyturn.internal"


Table: TypeAlias = tuple[str, str, Iterable[str], int]


def tables(shape: Shape, key_format: ApiKeyFormat, filled: Filled) -> Iterator[Table]:
    """Each table's name, columns, rows as COPY reads them, and how many they are (about)."""
    size, now = shape.size, datetime.now(UTC).isoformat()
    yield (
        *("tenants", "id parent_id root name name_folded created_at version"),
        *(_tenants(shape, now), size.tenants),
    )
    yield (
        *("tenant_tree", "ancestor_id descendant_id depth name_folded"),
        *(_tree(shape), 4 * size.tenants),
    )
    yield (
        *("roles", "id tenant_id name name_folded description permissions version"),
        *(_roles(shape), shape.organisations),
    )
    yield (
        *("permissions", "tenant_id name description created_at"),
        (
            _row(shape.tenants[n], name, "", now)
            for n in shape.custom
            for name in ("assets:read", "assets:write")
        ),
        2 * shape.organisations,
    )
    yield (
        "endpoints",
        "id tenant_id service method path shape segments name opened_by deprecated experimental"
        " administrative created_at updated_at version",
        *(_endpoints(shape, now), len(shape.endpoints)),
    )
    yield (
        "users",
        "id kind username username_folded display_name display_name_folded description tenant_id"
        " epoch created_at created_by version",
        *(_users(shape, now), len(shape.users)),
    )
    yield (
        *("memberships", "user_id tenant_id role_id created_at"),
        *(_memberships(shape, now), 2 * size.users + (3 * size.wide if size.special else 0)),
    )
    yield (
        "api_keys",
        "id user_id home_tenant_id name hash pepper_version endpoint_ids created_at created_by"
        " use_count version",
        *(_keys(shape, key_format, filled, now), size.all_keys),
    )


def _row(*fields: object) -> str:
    """A line of COPY's text format; nothing here needs escapes."""
    return "\t".join(_NULL if f is None else str(f) for f in fields) + "\n"


def _tenants(shape: Shape, now: str) -> Iterator[str]:
    for n, tenant in enumerate(shape.tenants):
        parent = shape.tenants[shape.line(n)[1]] if n else None
        yield _row(tenant, parent, None if n else 1, f"Tenant {n}", f"tenant {n}", now, 1)


def _tree(shape: Shape) -> Iterator[str]:
    for n, tenant in enumerate(shape.tenants):
        for depth, above in enumerate(shape.line(n)):
            yield _row(shape.tenants[above], tenant, depth, f"tenant {n}")


def _roles(shape: Shape) -> Iterator[str]:
    permissions = json.dumps(CUSTOM)
    for n, role in shape.custom.items():
        yield _row(role, shape.tenants[n], "operator", "operator", "", permissions, 1)


def _endpoints(shape: Shape, now: str) -> Iterator[str]:
    organisation = shape.tenants[shape.line(shape.first_team)[-2]]
    for i, endpoint in enumerate(shape.endpoints):
        # Half of them need what its user has, the others what is given to nobody.
        opened_by = json.dumps([[LISTED if i % 2 == 0 else f"resource{i % 100:02}:read"]])
        path = f"/v1/resource{i}"
        yield _row(
            *(endpoint, organisation, "catalogue", "GET", path, path, 2, f"Endpoint {i}"),
            *(opened_by, "f", "f", "f", now, now, 1),
        )


def _users(shape: Shape, now: str) -> Iterator[str]:
    for i, user in enumerate(shape.users):
        home, name = shape.tenants[shape.home(i)], shape.username(i)
        yield _row(
            *(user, "service", name, name, f"Service {i}", f"service {i}", "", home, 1, now),
            *(shape.users[0], 1),
        )


def _memberships(shape: Shape, now: str) -> Iterator[str]:
    for i, user in enumerate(shape.users):
        for tenant, role in shape.memberships(i):
            yield f"{user}\t{shape.tenants[tenant]}\t{role}\t{now}\n"


def _keys(shape: Shape, key_format: ApiKeyFormat, filled: Filled, now: str) -> Iterator[str]:
    size, maker = shape.size, shape.users[0]
    pepper = key_format.new().hash.pepper_version
    every = max(1, size.keys // size.genuine)

    def genuine(user: int, logins: list[Login], listed: str = _NULL) -> str:
        new: NewKey = key_format.new()
        logins.append(Login(shape.username(user), new.text))
        home = shape.tenants[shape.home(user)]
        digest, version = new.hash.digest.hex(), new.hash.pepper_version
        return (
            f"{new.key_id}\t{shape.users[user]}\t{home}\tkey\t\\\\x{digest}\t{version}\t{listed}"
            f"\t{now}\t{maker}\t0\t1\n"
        )

    for begin in range(0, size.keys, _BATCH):
        # One time for all of a batch, as far as the ids tell it; hex digits are base62's, too.
        time = base62(uuid7_int(), ID_LETTERS)[:_TIME_LETTERS]
        random = os.urandom(39 * _BATCH).hex()
        for k in range(begin, min(begin + _BATCH, size.keys)):
            user = k * size.users // size.keys
            if k % every == 0 and len(filled.plain) < size.genuine:
                yield genuine(user, filled.plain)
                continue
            at = (k - begin) * 78
            yield (
                f"{time}{random[at : at + 14]}\t{shape.users[user]}\t"
                f"{shape.tenants[1 + user % (size.tenants - 1)]}\tkey {k}\t"
                f"\\\\x{random[at + 14 : at + 78]}\t{pepper}\t{_NULL}\t{now}\t{maker}\t0\t1\n"
            )
    if size.special:
        filled.chosen = shape.tenants[shape.wide_tenants()[0]]
        listed = json.dumps(shape.endpoints)
        for _ in range(size.special):
            yield genuine(size.users, filled.wide)
            yield genuine(size.users + 1, filled.listed, listed)
