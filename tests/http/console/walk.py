"""All views of the console, asked for by anybody, and the database's rows before and after."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from urllib.parse import quote

import httpx

from keyturn.server.console.console import all_views
from keyturn.server.console.cookies import Cookies
from keyturn.server.console.frame import View
from keyturn.server.domain.ids import new_id
from keyturn.server.http.operation import Operation
from tests.http.conftest import Running
from tests.http.console.conftest import SAME_ORIGIN, Console

#: The first part of the path of everything that is a tenant's.
IN_TENANT = "/t/{tenant_id}"
#: What is written down of whoever looks: how often, when and from where.
_USAGE = {"last_used_at", "last_used_from", "use_count"}
#: What deliveries to webhooks write down of their tries, in their own time.
_TRIES = {"attempts", "due_at", "status", "error"}
#: What the service gathers by itself, in its own time.
_OWN = {"activity", "activity_cursor", "alembic_version", "sqlite_sequence"}


def views(service: Running) -> list[View]:
    """Every address of the console."""
    callers = service.service.surface.doors._callers
    return all_views(service.service.entrance, Cookies(https=False), callers)


def operations(service: Running) -> dict[str, Operation]:
    """What views may name."""
    return {operation.id: operation for operation in service.service.surface.operations}


def address(view: View, tenant_id: str = "", **named: str) -> str:
    """Where a view stands, in a tenant; ids that are not named are of nothing."""
    values = {"tenant_id": tenant_id, **named}
    path = re.sub(r"{(\w+)}", lambda m: quote(values.get(m[1]) or new_id(), safe=""), view.path)
    return f"/console{path}"


def cookie_of(client: httpx.AsyncClient) -> str:
    """Of the sign-in; empty without one."""
    return client.cookies.get("keyturn") or client.cookies.get("__Host-keyturn") or ""


def token_of(console: Console) -> str:
    """What the forms of this person's pages carry."""
    signing_in = console.service.service.entrance.signing_in
    return signing_in.csrf(cookie_of(console.client))


async def ask(console: Console, view: View, path: str, /, **fields: str) -> httpx.Response:
    """Looks at a view, or sends its form with hardly anything in it."""
    if view.method == "GET":
        return await console.client.get(path)
    data = {"csrf": token_of(console), **fields}
    return await console.client.post(path, data=data, headers=SAME_ORIGIN)


def to_sign_in(answer: httpx.Response) -> bool:
    """Whether nobody was let in, and is asked who they are."""
    return answer.status_code == 303 and answer.headers["location"].startswith("/console/sign-in")


async def rows(service: Running, but: Iterable[str] = ()) -> dict[str, list[tuple[object, ...]]]:
    """Every row of the database, by table, without what counts use. SQLite's.

    Refusals in the audit trail are no change: they say that there was none.
    """
    await service.service.usage.flush()
    path = service.settings.database_url.get_secret_value().partition("///")[2]
    found: dict[str, list[tuple[object, ...]]] = {}
    with closing(sqlite3.connect(path)) as connection:
        tables = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table'"
        ).fetchall()
        for (table,) in tables:
            if table in _OWN or table in but:
                continue
            columns = [
                row[1]
                for row in connection.execute(f'PRAGMA table_info("{table}")')
                if row[1] not in _USAGE | _TRIES
            ]
            where = " WHERE outcome <> 'refused'" if table == "audit_events" else ""
            chosen = ", ".join(f'"{column}"' for column in columns)
            found[table] = sorted(
                connection.execute(f'SELECT {chosen} FROM "{table}"{where}').fetchall(), key=repr
            )
    return found
