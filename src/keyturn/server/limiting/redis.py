"""The service's Redis (`revocation.redis_addresses` has its URLs), by `limits`' storage for it."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from limits.aio.storage import RedisStorage
from limits.storage import storage_from_string

_PORTS = {"": 6379, "cluster": 6379, "sentinel": 26379}

Options = Mapping[str, float | str | bool | None]


@contextlib.asynccontextmanager
async def open_storage(url: str, timeout: float) -> AsyncIterator[RedisStorage]:
    """Where counts are kept. Connects with the first of them; `timeout` in seconds."""
    uri, beside = limits_uri(url)
    waits = {"socket_timeout": timeout, "socket_connect_timeout": timeout}
    options: dict[str, Any] = {
        "implementation": "redispy",
        "key_prefix": "keyturn:limits",
        "wrap_exceptions": True,
        **waits,
        **beside,
    }
    if "+sentinel:" in uri:
        # Sentinels have no user; and a replica does not know the newest counts.
        options["sentinel_kwargs"] = {"username": None, "password": None, **waits}
        options["use_replicas"] = False
    storage = storage_from_string(uri, **options)
    assert isinstance(storage, RedisStorage)  # noqa: S101 - for mypy: an asynchronous one
    bridge: Any = storage.bridge
    try:
        yield storage
    finally:
        clients = [bridge.storage]
        if storage.MODE == "SENTINEL":
            clients += [bridge.storage_replica, *bridge.sentinel.sentinels]
        for client in clients:
            with contextlib.suppress(bridge.base_exceptions, OSError):
                await client.aclose()


def limits_uri(url: str) -> tuple[str, Options]:
    """The URI, and what goes beside it: user, password, database and TLS, where it has no word.

    A Sentinel's user and password are the primary's. Raises ValueError for an odd port.
    """
    scheme, _, rest = url.partition(":")
    scheme, _, kind = scheme.partition("+")
    scheme = scheme.replace("valkey", "redis")
    if scheme == "unix":
        return f"async+redis+unix:{rest}", {}
    parts = urlsplit(f"{scheme}:{rest}")
    credentials, at, addresses = parts.netloc.rpartition("@")
    located = ",".join(_with_port(one, _PORTS[kind]) for one in addresses.split(","))
    if not kind:
        plain = urlunsplit(parts._replace(netloc=f"{credentials}{at}{located}"))
        return f"async+{plain}", {}
    options: dict[str, float | str | bool | None] = {}
    if at:
        user, _, password = credentials.partition(":")
        options = {"username": unquote(user) or None, "password": unquote(password) or None}
    if scheme == "rediss":
        options["ssl"] = True
    name, _, database = parts.path.strip("/").partition("/")
    if kind == "sentinel" and database:
        options["db"] = int(database)
    return f"async+redis+{kind}://{located}/{name if kind == 'sentinel' else ''}", options


def _with_port(address: str, port: int) -> str:
    return address if urlsplit(f"//{address}").port else f"{address}:{port}"
