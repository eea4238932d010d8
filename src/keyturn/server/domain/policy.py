"""A tenant's policy: what its administrators settle, and how policies along the tree add up."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum


class Offboarding(StrEnum):
    """What becomes of a departing person's service users and keys, mildest first."""

    KEEP = "keep"
    DISABLE = "disable"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Policy:
    """What one tenant settles; None leaves it to the tenants above, or to the default.

    Lifetimes are in seconds. `max_api_keys` and `max_service_users` count what is at home in
    one tenant, each. `max_delegations` bounds the chain of those who act for a user of the
    tenant, one behind the other (RFC 8693, 4.1); 0 lets nobody.
    """

    single_token: bool | None = None
    max_api_key_lifetime: int | None = None
    api_key_idle_timeout: int | None = None
    service_users_administer: bool | None = None
    offboarding: Offboarding | None = None
    max_api_keys: int | None = None
    max_service_users: int | None = None
    max_delegations: int | None = None


#: The policy of a tenant that leaves everything to those above.
NOTHING_SETTLED = Policy()

#: What holds where nobody settled anything.
DEFAULTS = Policy(
    single_token=False,
    service_users_administer=False,
    offboarding=Offboarding.KEEP,
    max_api_keys=10_000,
    max_service_users=10_000,
    max_delegations=2,
)


def effective(chain: Iterable[Policy]) -> Policy:
    """What holds in a tenant, of its own policy and those of all its ancestors.

    The strictest of what was settled wins, so a tenant never gets out of what one above it
    demands. Only the two lifetimes can be None in it: no limit.
    """
    policies = tuple(chain)
    settled = {
        name: strictest([getattr(p, name) for p in policies if getattr(p, name) is not None])
        for name, strictest in _STRICTEST.items()
    }
    kept = {name: value for name, value in settled.items() if value is not None}
    return Policy(**{**{f.name: getattr(DEFAULTS, f.name) for f in fields(Policy)}, **kept})


def settled_by(chain: Sequence[Policy]) -> dict[str, int | None]:
    """Whose rules hold, of a tenant's own policy and those of its ancestors, the root's last.

    The place in `chain` of the policy that settled what holds; None: the default does. Where
    several settled it alike it is the highest one: while it stands nobody below gets out of it.
    """
    holds = effective(chain)
    return {
        rule.name: max(
            (
                place
                for place, policy in enumerate(chain)
                if getattr(policy, rule.name) is not None
                and getattr(policy, rule.name) == getattr(holds, rule.name)
            ),
            default=None,
        )
        for rule in fields(Policy)
    }


def _order(value: Offboarding) -> int:
    return list(Offboarding).index(value)


def _smallest(values: list[int]) -> int | None:
    return min(values, default=None)


_STRICTEST = {
    "single_token": lambda values: max(values, default=None),
    "max_api_key_lifetime": _smallest,
    "api_key_idle_timeout": _smallest,
    "service_users_administer": lambda values: min(values, default=None),
    "offboarding": lambda values: max(values, key=_order, default=None),
    "max_api_keys": _smallest,
    "max_service_users": _smallest,
    "max_delegations": _smallest,
}
