"""What the service is asked: one function a figure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from keyturn.cli.load.requests import Calls, Request, form
from tests.bench import bare
from tests.bench.stores import Prepared
from tests.bench.wire import ask

BASE = "/iam"


@dataclass(frozen=True)
class Load:
    """What is sent, in turn. With `first`, each connection walks its own chain of refresh tokens.

    A good answer has `expect` in it.
    """

    requests: tuple[Request, ...] = field(repr=False)
    first: Request | None = field(default=None, repr=False)
    expect: str = ""


def _user(prepared: Prepared) -> Calls:
    return Calls(BASE, prepared.username, prepared.api_key)


def _exchange(prepared: Prepared, _port: int) -> Load:
    return Load((_user(prepared).exchange(),), expect='"access_token"')


def _exchange_many(prepared: Prepared, _port: int) -> Load:
    keys = (Calls(BASE, prepared.username, key) for key in prepared.many_keys)
    return Load(tuple(calls.exchange() for calls in keys), expect='"access_token"')


def _client_credentials(prepared: Prepared, _port: int) -> Load:
    return Load((_user(prepared).client_credentials(),), expect='"access_token"')


def _refresh(prepared: Prepared, _port: int) -> Load:
    calls = _user(prepared)
    return Load((calls.refresh(),), calls.exchange(), expect='"refresh_token"')


def _me(prepared: Prepared, port: int) -> Load:
    return Load((_user(prepared).me(_access_token(prepared, port)),))


def _introspect(prepared: Prepared, port: int) -> Load:
    caller = Calls(BASE, prepared.admin_username, prepared.admin_api_key)
    return Load((caller.introspect(_access_token(prepared, port)),), expect='"active":true')


def _verify(prepared: Prepared, port: int) -> Load:
    return Load((_user(prepared).verify(_access_token(prepared, port)),))


def _access_token(prepared: Prepared, port: int) -> str:
    return ask(_user(prepared).exchange(), port)["access_token"]


#: Each makes its load anew before a round: an access token lives 300 s only.
WORKLOADS: dict[str, Callable[[Prepared, int], Load]] = {
    "exchange": _exchange,
    "exchange-many": _exchange_many,
    "client_credentials": _client_credentials,
    "refresh": _refresh,
    "me": _me,
    "introspect": _introspect,
    "verify": _verify,
}
#: Those whose answer has a new signature in it.
SIGNING = ("exchange", "exchange-many", "client_credentials", "refresh")


def bare_load() -> Load:
    """An exchange's form, as large as one of the demo's, to the bare route."""
    key = "kt_" + "x" * 73
    username = "demo-service@acme.service.keyturn.internal"
    request = form(bare.PATH, grant_type="password", username=username, password=key)
    return Load((request,))
