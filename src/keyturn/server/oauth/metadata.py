"""What the service says of itself (RFC 8414, and OpenID Connect Discovery 1.0)."""

from collections.abc import Collection
from typing import Any

from ..domain.permissions import OWN
from .grants import GRANTS
from .requests import AUTH_METHODS


def metadata(
    *,
    issuer: str,
    public_url: str,
    base_path: str,
    grants: Collection[str],
    signing_algorithms: Collection[str],
) -> dict[str, Any]:
    """The document served at both well-known places. Everything listed in it works.

    There is no authorization endpoint, so no response type is supported. The list of ID token
    algorithms is what some resource-server libraries choose a verifier by; it lists the
    algorithms of the access tokens.
    """
    auth = f"{public_url}{base_path}/auth"
    return {
        "issuer": issuer,
        "token_endpoint": f"{auth}/token",
        "jwks_uri": f"{public_url}/.well-known/jwks.json",
        "revocation_endpoint": f"{auth}/revoke",
        "introspection_endpoint": f"{auth}/introspect",
        "grant_types_supported": sorted(GRANTS[name].GRANT_TYPE for name in grants),
        "response_types_supported": [],
        "subject_types_supported": ["public"],
        "scopes_supported": sorted(OWN),
        "token_endpoint_auth_methods_supported": AUTH_METHODS,
        "revocation_endpoint_auth_methods_supported": AUTH_METHODS,
        "introspection_endpoint_auth_methods_supported": AUTH_METHODS[1:],
        "id_token_signing_alg_values_supported": sorted(signing_algorithms),
    }
