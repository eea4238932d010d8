"""Calls to a service's REST interface in the name of a profile, and what its errors say."""

import contextlib
import functools
import json
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .. import __version__
from .answers import Entity, entity_of, inner_list, knows_no_role
from .problems import ExitCode, Problem
from .profiles import Profile, forget_token, keep_token, kept_token

if TYPE_CHECKING:
    import httpx

#: Longest wait for a connection, and for each part of an answer, in seconds.
TIMEOUT = 10.0
#: Rows on a page: the most that a service gives.
PAGE = 200
Value = str | int | bool | None


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: the JSON object, empty for 204, and the version it was of."""

    entity: Entity
    etag: str | None = None


class Api:
    """A service, called as a profile's user. Every call raises Problem when it is refused.

    `token_is_kept` tells of the access token in use that an earlier command got it: it does not
    know what was made since. `named` is what the ids are called that were looked up by name.
    """

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.token_is_kept = False
        self.named: dict[str, str] = {}
        self._token: str | None = None

    @functools.cached_property
    def _client(self) -> "httpx.Client":
        import httpx

        return httpx.Client(
            timeout=TIMEOUT,
            headers={"User-Agent": f"keyturn/{__version__}"},
            # Plain http has no certificates, and to load the trusted ones takes long.
            verify=self.profile.url.startswith("https:"),
        )

    def close(self) -> None:
        """Ends the connections."""
        if "_client" in self.__dict__:
            self._client.close()

    def token(self, tenant_id: str | None = None, resources: Sequence[str] = ()) -> str:
        """An access token: for all tenants and Keyturn itself, kept for the next command.

        For one tenant, or for resource servers (by their identifiers), it is made anew.
        """
        if tenant_id is not None or resources:
            headers = {"x-tenant-id": tenant_id} if tenant_id else {}
            return self._exchange(headers, resources)[0]
        if self._token is None:
            kept = kept_token(self.profile)
            self.token_is_kept = kept is not None
            self._token = kept or self._new_token()
        return self._token

    def forget_token(self) -> None:
        """Lets the next call, of this command or a later one, use a new access token."""
        forget_token(self.profile)
        self._token, self.token_is_kept = None, False

    def _new_token(self) -> str:
        asked = time.time()
        token, lifetime = self._exchange({})
        keep_token(self.profile, token, asked + lifetime)
        return token

    def _exchange(
        self, headers: Mapping[str, str], resources: Sequence[str] = ()
    ) -> tuple[str, float]:
        body: dict[str, object] = {
            "username": self.profile.username,
            "password": self.profile.api_key,
        }
        if resources:
            body["resource"] = list(resources)
        response = self._send("POST", "/auth/token", headers=headers, body=body)
        try:
            tokens = entity_of(response)
        except Problem as error:
            who = f"{self.profile.username} ({self.profile})"
            raise Problem(
                f"{self.profile.url} gives no token to {who}: {error}", error.code
            ) from None
        token, lifetime = tokens.get("access_token"), tokens.get("expires_in")
        if not isinstance(token, str) or not isinstance(lifetime, int):
            raise Problem(f"{self.profile.url} is not a token service: look at --url")
        return token, lifetime

    def revoke(self, token: str) -> None:
        """Ends an access token of the profile (RFC 7009)."""
        entity_of(self._send("POST", "/auth/revoke", headers={}, body={"token": token}))

    def call(
        self,
        method: str,
        path: str,
        *,
        tenant_id: str | None = None,
        body: Mapping[str, object] | None = None,
        params: Mapping[str, Value] | None = None,
        creates: bool = False,
        etag: str | None = None,
        anonymous: bool = False,
    ) -> Answer:
        """One call. `creates`: what is made is made once, also when the answer gets lost."""
        headers = {"x-tenant-id": tenant_id} if tenant_id else {}
        if creates:
            headers["Idempotency-Key"] = str(uuid.uuid4())
        if etag is not None:
            headers["If-Match"] = etag
        again = creates or method == "GET"
        for last in (anonymous, True):
            if not anonymous:
                headers["Authorization"] = f"Bearer {self.token()}"
            response = self._send(
                method, path, headers=headers, body=body, params=params, again=again
            )
            if last or not self._stale(response):
                break
        return Answer(entity_of(response), response.headers.get("etag"))

    def pages(
        self,
        path: str,
        *,
        limit: int,
        tenant_id: str | None = None,
        params: Mapping[str, Value] | None = None,
    ) -> tuple[list[Entity], bool]:
        """The first `limit` items of a list, and whether there are more."""
        items: list[Entity] = []
        wanted: dict[str, Value] = {**(params or {}), "limit": min(limit, PAGE)}
        while True:
            page = self.call("GET", path, tenant_id=tenant_id, params=wanted).entity
            found = page.get("items")
            items += found if isinstance(found, list) else []
            cursor = page.get("next_cursor")
            if not isinstance(cursor, str) or len(items) >= limit:
                return items[:limit], isinstance(cursor, str) or len(items) > limit
            wanted["cursor"] = cursor

    def me(self, limit: int = 1000) -> tuple[Entity, bool]:
        """Who the caller is, with the first `limit` of its roles; and whether there are more."""
        me = dict(self.call("GET", "/users/me").entity)
        roles = list(inner_list(me, "roles"))
        while (after := me.pop("next_after", None)) and len(roles) < limit:
            page = self.call("GET", "/users/me", params={"after": str(after)}).entity
            roles += inner_list(page, "roles")
            me["next_after"] = page.get("next_after")
        return {**me, "roles": roles[:limit]}, bool(after) or len(roles) > limit

    @contextlib.contextmanager
    def lines(
        self, path: str, *, tenant_id: str, params: Mapping[str, Value]
    ) -> Iterator[Iterator[bytes]]:
        """An answer of any size, part by part. Raises Problem, also in its middle."""
        import httpx

        try:
            for last in (False, True):
                headers = {"x-tenant-id": tenant_id, "Authorization": f"Bearer {self.token()}"}
                with self._client.stream(
                    "GET", self._url(path), headers=headers, params=_given(params)
                ) as response:
                    if not response.is_success:
                        response.read()
                        if not last and self._stale(response):
                            continue
                        entity_of(response)
                    yield response.iter_bytes()
                    return
        except httpx.HTTPError as error:
            raise self._unreachable(error) from None

    def _stale(self, response: "httpx.Response") -> bool:
        """Whether a newer token may be better than this one; if so, the next one will be new.

        What the caller may do has changed, a newer token has ended this one, or it was kept since
        before the tenant was there.
        """
        if response.status_code != 401 and not (self.token_is_kept and knows_no_role(response)):
            return False
        self.forget_token()
        return True

    def _send(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str],
        body: Mapping[str, object] | None = None,
        params: Mapping[str, Value] | None = None,
        again: bool = False,
    ) -> "httpx.Response":
        import httpx

        given = dict(headers)
        try:
            content = None if body is None else json.dumps(body, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise Problem("an argument is not UTF-8 text", ExitCode.USAGE) from None
        if content is not None:
            given["Content-Type"] = "application/json"
        request = functools.partial(
            self._client.request,
            method,
            self._url(path),
            headers=given,
            params=_given(params),
            content=content,
        )
        try:
            try:
                return request()
            except (httpx.NetworkError, httpx.RemoteProtocolError) as error:
                if not again or isinstance(error, httpx.ConnectError):
                    raise
                return request()
        except httpx.HTTPError as error:
            raise self._unreachable(error) from None

    def _url(self, path: str) -> str:
        return self.profile.url.removesuffix("/.") + path

    def _unreachable(self, error: "httpx.HTTPError") -> Problem:
        import httpx

        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            why = f"cannot be reached ({str(error) or 'no answer'})"
        elif isinstance(error, httpx.TimeoutException):
            why = f"did not answer within {TIMEOUT:.0f} s; it may have done what was asked"
        else:
            why = "broke the connection; it may have done what was asked"
        return Problem(f"{self.profile.url} {why}", ExitCode.UNAVAILABLE)


def _given(params: Mapping[str, Value] | None) -> dict[str, Value]:
    return {name: value for name, value in (params or {}).items() if value is not None}
