"""From a request's headers to a `Caller` or to an answer: what ASGI and WSGI share."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from .callers import Caller
from .errors import Answer, InvalidRequest, InvalidToken, MissingToken
from .verifier import TokenVerifier

_WELL_KNOWN = "/.well-known/oauth-protected-resource"
_TENANT = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
# Where servers and frameworks could see another path, a path is none of those let through.
_UNCLEAR = re.compile(r"//|/\.|\\|%|[\x00-\x1f]")


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request: `path` as it is routed, `raw_path` as it was sent (percent-encoded, no query).

    `authorization` and `tenant` are all values of these headers.
    """

    method: str
    path: str
    raw_path: str
    authorization: Sequence[str]
    tenant: Sequence[str]

    def __str__(self) -> str:
        """For the log: method, path, and which tenant was named."""
        tenant = f" in {self.tenant[0][:36]}" if self.tenant else ""
        return ascii(f"{self.method[:16]} {self.raw_path[:200]}{tenant}")[1:-1]


class Paths:
    """Paths, each exact or, ending in `/*`, with all below it."""

    def __init__(self, given: Iterable[str]) -> None:
        self._exact = frozenset(path for path in given if not path.endswith("/*"))
        self._below = tuple(path[:-1] for path in given if path.endswith("/*"))
        for path in (*self._exact, *self._below):
            if isinstance(given, str) or not path.startswith("/") or "*" in path:
                raise ValueError(
                    "paths come in a list, each as in /health, or /docs/* with all below"
                )

    def __contains__(self, path: str) -> bool:
        if path not in self._exact and not path.startswith(self._below):
            return False
        return not _UNCLEAR.search(path)


class Gate:
    """Lets requests through, each with who calls.

    `public` paths are let through without looking at them, `uncatalogued` ones without asking the
    catalogue. `optional`: so are calls without a token. `resource` is this resource server's
    identifier (RFC 9728), by default its audience, if that is a URL, and not that of the issuer.
    """

    def __init__(
        self,
        verifier: TokenVerifier,
        *,
        public: Sequence[str] = (),
        uncatalogued: Sequence[str] = (),
        tenant_required: bool = True,
        optional: bool = False,
        resource: str | None = None,
    ) -> None:
        self.verifier = verifier
        self._public = Paths(public)
        self._uncatalogued = Paths(uncatalogued)
        self._tenant_required = tenant_required
        self._optional = optional
        own = verifier.audience if verifier.audience != verifier.issuer else ""
        identifier = resource or own
        parts = urlsplit(identifier)
        #: Where clients find how to get a token (RFC 9728, 3.1); None without an identifier.
        self.resource_metadata: str | None = None
        self._metadata: Mapping[str, bytes] = {}
        if parts.scheme in {"https", "http"} and parts.netloc and not set('"\\ ') & set(identifier):
            own_place = _WELL_KNOWN + parts.path.rstrip("/")
            self.resource_metadata = f"{parts.scheme}://{parts.netloc}{own_place}"
            document = {
                "resource": identifier,
                "authorization_servers": [verifier.issuer],
                "bearer_methods_supported": ["header"],
            }
            self._metadata = dict.fromkeys((_WELL_KNOWN, own_place), json.dumps(document).encode())

    def published(self, method: str, path: str) -> Answer | None:
        """The metadata of this resource server (RFC 9728), if that is what is asked for."""
        body = self._metadata.get(path) if method in {"GET", "HEAD"} else None
        if body is None:
            return None
        headers = (
            ("Content-Type", "application/json"),
            ("Cache-Control", "public, max-age=3600"),
            ("Content-Length", str(len(body))),
        )
        return Answer(200, headers, b"" if method == "HEAD" else body)

    async def admit(self, arrival: Arrival) -> Caller | None:
        """Who calls; None for nobody in particular. Raises the errors of this package."""
        if arrival.path in self._public:
            return None
        if self._optional and not arrival.authorization:
            return None
        text = _bearer(arrival.authorization)
        tenant_id = _tenant(arrival.tenant)
        if tenant_id is None and self._tenant_required:
            # Who shows no good token is not told what else is missing.
            await self.verifier.verify(text)
            raise InvalidRequest("This call needs the header x-tenant-id.")
        return await self.verifier.caller(
            text,
            tenant_id,
            method=arrival.method,
            path=arrival.raw_path,
            uncatalogued=arrival.path in self._uncatalogued,
        )


def _bearer(values: Sequence[str]) -> str:
    """The token (RFC 6750, 2.1). One header only: two readers might choose differently."""
    if not values:
        raise MissingToken("no Authorization header")
    if len(values) > 1:
        raise InvalidRequest("The header Authorization is repeated.")
    scheme, _, token = values[0].strip(" ").partition(" ")
    if scheme.lower() != "bearer":
        # RFC 6750, 3.1: no error code for who tried an unsupported method.
        raise MissingToken("another authentication scheme")
    token = token.strip(" ")
    if not token:
        raise InvalidToken("empty")
    return token


def _tenant(values: Sequence[str]) -> str | None:
    if not values:
        return None
    if len(values) > 1:
        raise InvalidRequest("The header x-tenant-id is repeated.")
    tenant_id = values[0].strip(" ").lower()
    if not _TENANT.fullmatch(tenant_id):
        raise InvalidRequest("x-tenant-id must be one tenant id.")
    return tenant_id
