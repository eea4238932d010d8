"""What must be accepted: promises P2 to P4 and P7 once more, as simply as they can be said.

Nothing here asks a node. The machine does the same to this model and to the nodes, and compares.
What a token is worth has two sources, and so has its verdict:

* `row_admits`: what stands in the rows of key and user. Both nodes read them with every question,
  so a change counts everywhere at once.
* `list_admits`: what only the revocation list knows. It counts at once where it was revoked and,
  over Redis, on the other node; a revoker without Redis is heard within a second.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

#: Refusals, by the code that is answered.
INVALID_GRANT, INVALID_CLIENT = "invalid_grant", "invalid_client"
INVALID_SCOPE, ACCESS_DENIED = "invalid_scope", "access_denied"


@dataclass(eq=False)
class Tenant:
    """Active with all that stand above it, or not at all."""

    name: str
    id: str
    above: Tenant | None = None
    suspended: bool = False

    @property
    def line(self) -> Iterator[Tenant]:
        """The tenant and those above it."""
        yield self
        if self.above is not None:
            yield from self.above.line

    @property
    def active(self) -> bool:
        return not any(tenant.suspended for tenant in self.line)

    def __repr__(self) -> str:
        return self.name


@dataclass(eq=False)
class Role:
    """What it permits may change while it is held."""

    name: str
    id: str
    permissions: frozenset[str]

    def __repr__(self) -> str:
        return self.name


@dataclass(eq=False)
class User:
    """`epoch` rises with every change of what the user may do. Sessions from an epoch before
    `sessions_epoch` are over.
    """

    name: str
    username: str
    id: str
    held: set[tuple[Tenant, Role]] = field(default_factory=set)
    epoch: int = 1
    sessions_epoch: int = 0
    disabled: bool = False
    deleted: bool = False

    def roles_in(self, tenant: Tenant) -> set[Role]:
        """A role reaches the tenants below the one where it is held, while they are active."""
        if not tenant.active:
            return set()
        return {role for place, role in self.held if place in tenant.line}

    def __repr__(self) -> str:
        return self.name


@dataclass(eq=False)
class Key:
    """`former` is the secret before, while it still works. `only`: the tenant it is bound to.
    `sessions_epoch` is as the user's, for the key's sessions alone.
    """

    name: str
    id: str
    user: User
    secret: str = field(repr=False)
    only: Tenant | None = None
    former: str | None = field(default=None, repr=False)
    revoked: bool = False
    sessions_epoch: int = 0

    @property
    def live(self) -> bool:
        return not (self.revoked or self.user.disabled or self.user.deleted)

    def __repr__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Carried:
    """What a token carries in one tenant: roles by name, and permissions."""

    roles: frozenset[str]
    permissions: frozenset[str]


@dataclass(frozen=True)
class Grant:
    """What a token carries: in one chosen tenant, or in all that it names."""

    chosen: Tenant | None
    carried: Mapping[Tenant, Carried]

    @property
    def scope(self) -> frozenset[str]:
        """The permissions that hold in every tenant named."""
        sets = [carried.permissions for carried in self.carried.values()]
        return frozenset.intersection(*sets) if sets else frozenset()


@dataclass(eq=False)
class Session:
    """What comes from one exchange. `texts` are its refresh tokens by generation; `live` is the
    one that was not spent. `in_grace`: the last step was not long ago. `epoch` is the user's at
    the exchange.
    """

    id: str
    key: Key
    first: Grant
    texts: list[str]
    epoch: int
    live: int = 0
    in_grace: bool = True
    ended: bool = False

    @property
    def standing(self) -> bool:
        """Whether its key may be used, and no other end than its own has come over it."""
        key = self.key
        return key.live and self.epoch >= max(key.sessions_epoch, key.user.sessions_epoch)


@dataclass(eq=False)
class Token:
    """An access token."""

    name: str
    text: str
    session: Session
    grant: Grant
    epoch: int
    revoked: bool = False

    def __repr__(self) -> str:
        return self.name


def carried(user: User, tenant: Tenant, bound: frozenset[str] | None = None) -> Carried:
    """What the user has in the tenant, within `bound`.

    A role is named only if all of its permissions are carried.
    """
    roles = user.roles_in(tenant)
    permissions = frozenset[str]().union(*(role.permissions for role in roles))
    if bound is not None:
        permissions &= bound
    named = frozenset(role.name for role in roles if role.permissions <= permissions)
    return Carried(named, permissions)


class Model:
    """All that was made in one example, and what must be answered about it."""

    def __init__(self) -> None:
        self.tenants: dict[str, Tenant] = {}
        self.roles: dict[str, Role] = {}
        self.users: dict[str, User] = {}
        self.tokens: list[Token] = []

    # --- what a token may carry ------------------------------------------------------------

    def granted(self, key: Key, tenant: Tenant | None, scope: str | None) -> Grant | str:
        """What an exchange gives: all that the key has, or what was asked for of it."""
        if key.only is not None and tenant not in (None, key.only):
            return ACCESS_DENIED
        chosen = tenant or key.only
        places = [chosen] if chosen else list(self.tenants.values())
        held = {place: carried(key.user, place) for place in places if key.user.roles_in(place)}
        if chosen is not None and not held:
            return ACCESS_DENIED
        if scope is None:
            return Grant(chosen, held)
        asked = frozenset({scope})
        cut = {
            place: carried(key.user, place, asked)
            for place, here in held.items()
            if asked <= here.permissions
        }
        return Grant(chosen, cut) if cut else INVALID_SCOPE

    def regranted(self, session: Session, tenant: Tenant | None) -> Grant | str:
        """What a refresh gives: what the user has now, never more than was first granted."""
        first, user = session.first, session.key.user
        if tenant is not None and tenant not in first.carried:
            return ACCESS_DENIED
        chosen = tenant or first.chosen
        kept: dict[Tenant, Carried] = {}
        for place in [chosen] if chosen else first.carried:
            if user.roles_in(place):
                before = first.carried[place]
                now = carried(user, place, before.permissions)
                kept[place] = Carried(now.roles & before.roles, now.permissions)
        if chosen is not None and not kept:
            return INVALID_GRANT
        return Grant(chosen, kept)

    # --- verbs -----------------------------------------------------------------------------

    def exchange(
        self, key: Key, tenant: Tenant | None, scope: str | None, *, old: bool = False
    ) -> Grant | str:
        """With the secret of now, or with the one before."""
        if not key.live or (old and key.former is None):
            return INVALID_GRANT
        return self.granted(key, tenant, scope)

    def refresh(self, session: Session, generation: int, tenant: Tenant | None) -> Grant | str:
        """Spends the live generation; gives the same again to a retry; all else ends the session.

        A key or session that is over is refused before anything else; a tenant where nothing is
        left before anything is spent.
        """
        if not session.standing or session.ended:
            return INVALID_GRANT
        is_live = generation == session.live
        if not is_live and not (generation == session.live - 1 and session.in_grace):
            session.ended = True
            return INVALID_GRANT
        grant = self.regranted(session, tenant)
        if is_live and not isinstance(grant, str):
            session.live += 1
            session.in_grace = True
        return grant

    def give_out(self, text: str, session: Session, grant: Grant) -> Token:
        """Notes a token that is given out now."""
        epoch = session.key.user.epoch
        token = Token(f"tokens_{len(self.tokens)}", text, session, grant, epoch)
        self.tokens.append(token)
        return token

    def permit(self, role: Role, permissions: frozenset[str]) -> None:
        """Whoever holds the role may do other things from now on."""
        if permissions == role.permissions:
            return
        role.permissions = permissions
        for user in self.users.values():
            if any(held is role for _, held in user.held):
                user.epoch += 1

    # --- verdicts --------------------------------------------------------------------------

    def row_admits(self, token: Token) -> bool:
        """Whether key and user still stand as they did when the token was given out."""
        key = token.session.key
        return key.live and token.epoch == key.user.epoch

    def list_admits(self, token: Token) -> bool:
        """Whether neither the token, nor its session, nor its one tenant has been ended."""
        chosen = token.grant.chosen
        stopped = chosen is not None and not chosen.active
        return not (token.revoked or token.session.ended or stopped)

    def accepts(self, token: Token) -> bool:
        """Whether both nodes must accept it."""
        return self.row_admits(token) and self.list_admits(token)

    def listing(self, token: Token) -> tuple[bool, frozenset[str]]:
        """All that the list says of a token: whether it is good, and in which tenants."""
        active = frozenset(tenant.id for tenant in token.grant.carried if tenant.active)
        return self.list_admits(token), active

    def named(self, token: Token) -> dict[str, frozenset[str]]:
        """The roles that an accepted token gives now, by the ids of its active tenants."""
        carried = token.grant.carried
        return {tenant.id: here.roles for tenant, here in carried.items() if tenant.active}

    def refreshable(self, session: Session, generation: int) -> bool:
        """Whether introspection calls that refresh token active."""
        user = session.key.user
        left = any(user.roles_in(place) for place in session.first.carried)
        return session.standing and not session.ended and generation == session.live and left

    def why(self, token: Token) -> str:
        """Why a token must be refused, or accepted; for the story."""
        key = token.session.key
        chosen = token.grant.chosen
        reasons = {
            "it was revoked": token.revoked,
            "its session has ended": token.session.ended,
            f"{key} was revoked": key.revoked,
            f"{key.user} was deleted": key.user.deleted,
            f"{key.user} is disabled": key.user.disabled,
            f"what {key.user} may do has changed": token.epoch != key.user.epoch,
            f"{chosen} is suspended": chosen is not None and not chosen.active,
        }
        return " and ".join(why for why, holds in reasons.items() if holds) or "nothing ended it"
