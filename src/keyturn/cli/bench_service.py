"""The service that `keyturn bench` loads, asked once what it will be asked all the time.

So a refusal is told in the service's own words, before there is any load.
"""

from urllib.parse import urlsplit

import httpx

from .answers import Entity, entity_of
from .api import TIMEOUT
from .load.jobs import Job
from .load.requests import Calls, Request
from .problems import ExitCode, Problem
from .profiles import Profile

#: An access token is not used so shortly before its end, in seconds.
_MARGIN = 15.0
_EXCHANGED = '"access_token"'
_ACTIVE = ('"active":true', '"active": true')


def job_for(user: Profile, call: str, connections: int, seconds: float) -> Job:
    """The load of one call; for a shorter time, where an access token does not live so long.

    Raises Problem when the service refuses the call, or cannot be reached.
    """
    where = urlsplit(user.url)
    tls = where.scheme == "https"
    port = where.port or (443 if tls else 80)
    name = where.hostname or ""
    host = f"[{name}]" if ":" in name else name
    calls = Calls(where.path.removesuffix("/."), user.username, user.api_key)

    def job(request: Request, expect: str = "") -> Job:
        return Job(
            name, port, connections, seconds, (request.wire(port, host),), expect=expect, tls=tls
        )

    with httpx.Client(timeout=TIMEOUT, verify=tls) as client:
        service = _Service(client, user.url)
        tokens, _ = service.ask(calls.exchange())
        access, lifetime = tokens.get("access_token"), tokens.get("expires_in")
        if not isinstance(access, str) or not isinstance(lifetime, int):
            raise Problem(f"{user.url} is not a token service: look at the URL")
        match call:
            case "exchange":
                return job(calls.exchange(), _EXCHANGED)
            case "client_credentials":
                service.ask(calls.client_credentials())
                return job(calls.client_credentials(), _EXCHANGED)
            case "refresh":
                if "refresh_token" not in tokens:
                    raise Problem(f"{user.url} gives no refresh tokens")
                first, head = calls.exchange().wire(port, host), calls.refresh().head(port, host)
                expect = '"refresh_token"'
                return Job(name, port, connections, seconds, (head,), first, expect, tls)
        seconds = min(seconds, max(1.0, lifetime - _MARGIN))
        if call != "introspect":
            request = calls.me(access) if call == "me" else calls.verify(access)
            service.ask(request)
            return job(request)
        _, text = service.ask(calls.introspect(access))
        if not (active := next((said for said in _ACTIVE if said in text), None)):
            raise Problem("introspect tells nothing: the user needs tokens:introspect")
        return job(calls.introspect(access), active)


class _Service:
    def __init__(self, client: httpx.Client, url: str) -> None:
        self._client = client
        self._url = url

    def ask(self, request: Request) -> tuple[Entity, str]:
        """The answer, and its text. Raises Problem."""
        where = urlsplit(self._url)
        try:
            answer = self._client.request(
                request.method,
                f"{where.scheme}://{where.netloc}{request.path}",
                headers=dict(request.headers),
                content=request.body or None,
            )
        except httpx.HTTPError as error:
            why = str(error) or type(error).__name__
            raise Problem(f"{self._url} cannot be asked ({why})", ExitCode.UNAVAILABLE) from None
        try:
            return entity_of(answer), answer.text
        except Problem as error:
            raise Problem(f"{request.path}: {error}", error.code) from None
