"""Who calls, in which tenant, with which roles and permissions (promise P7)."""

from dataclasses import dataclass, field

from .errors import InsufficientScope
from .policy import Endpoint
from .tokens import Acting, VerifiedToken


@dataclass(frozen=True, slots=True)
class Caller:
    """A caller whose token is good now.

    `permissions` are those in the chosen tenant. Without one (`tenant_id` is None) they are what
    the token carries in every tenant that it names, and `roles` is empty. `endpoint` is what the
    call hits in the tenant's catalogue, where the verifier goes by that.
    """

    token: VerifiedToken = field(repr=False)
    tenant_id: str | None
    roles: tuple[str, ...]
    permissions: frozenset[str]
    endpoint: Endpoint | None = None

    @property
    def user_id(self) -> str:
        """Whose token it is."""
        return self.token.user_id

    @property
    def key_id(self) -> str:
        """The API key that the token came from (`client_id`)."""
        return self.token.key_id

    @property
    def session_id(self) -> str:
        """All tokens of one exchange of the key share it."""
        return self.token.session_id

    @property
    def actor(self) -> Acting | None:
        """Who acts for the user now (RFC 8693, 4.1), if somebody does."""
        return self.token.actor

    def need(self, permission: str) -> None:
        """Raises InsufficientScope without that permission."""
        self.need_any(permission)

    def need_any(self, *permissions: str) -> None:
        """Raises InsufficientScope without one of these."""
        if self.permissions.isdisjoint(permissions):
            # RFC 6750, 3: a scope that would do. One of them does.
            raise InsufficientScope(f"missing {' or '.join(permissions)}", scope=permissions[:1])
