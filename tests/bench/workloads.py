"""What the service is asked: one function a figure."""

from __future__ import annotations

from collections.abc import Callable

from tests.bench import bare
from tests.bench.load import Load
from tests.bench.stores import Prepared
from tests.bench.wire import FORM, Request, basic, form

TOKEN = "/iam/auth/token"


def exchange_request(prepared: Prepared) -> Request:
    """The password grant of RFC 6749, 4.3, with an API key for a password."""
    return form(TOKEN, grant_type="password", username=prepared.username, password=prepared.api_key)


def _exchange(prepared: Prepared, _port: int) -> Load:
    return Load(exchange_request(prepared))


def _refresh(prepared: Prepared, _port: int) -> Load:
    # Without a body: the generator adds each connection's own.
    head = Request("POST", TOKEN, {"Content-Type": FORM})
    return Load(head, first=exchange_request(prepared))


def _me(prepared: Prepared, port: int) -> Load:
    token = _access_token(prepared, port)
    return Load(Request("GET", "/iam/users/me", {"Authorization": f"Bearer {token}"}))


def _introspect(prepared: Prepared, port: int) -> Load:
    caller = basic(prepared.admin_username, prepared.admin_api_key)
    return Load(form("/iam/auth/introspect", caller, token=_access_token(prepared, port)))


def _access_token(prepared: Prepared, port: int) -> str:
    return exchange_request(prepared).ask(port)["access_token"]


#: Each makes its load anew before a round: an access token lives 300 s only.
WORKLOADS: dict[str, Callable[[Prepared, int], Load]] = {
    "exchange": _exchange,
    "refresh": _refresh,
    "me": _me,
    "introspect": _introspect,
}


def bare_load() -> Load:
    """An exchange's form, as large as one of the demo's, to the bare route."""
    key = "kt_" + "x" * 73
    username = "demo-service@acme.service.keyturn.internal"
    return Load(form(bare.PATH, grant_type="password", username=username, password=key))
