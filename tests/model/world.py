"""Two nodes of one installation in one event loop: each its own pools and Redis connections.

Redis knows each by a user of its own, so one of them can lose Redis while the other keeps it.
"""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import time
from collections.abc import Coroutine
from typing import Any, TypeVar
from unittest.mock import patch
from urllib.parse import urlsplit

import asyncpg
import uvloop
from redis.asyncio import Redis

from keyturn.server.revocation import shared
from keyturn.server.services import recent_keys
from keyturn.server.services.bootstrap import Bootstrapped, bootstrap
from keyturn.server.settings import Settings
from keyturn.server.storage.notifications import Notifications
from tests.model.node import Answer, Node
from tests.unlimited import UNLIMITED

T = TypeVar("T")

NODES = ("A", "B")
#: For how long a spent refresh token gets its successor again. Longer than any example takes: it
#: ends when a session's last step is moved into the past, and never by itself.
GRACE = 300
PAST = 2 * GRACE
#: How long a node that came back may take to trust Redis (seconds).
PATIENCE = 10.0


class World:
    """Both nodes, and what is done to the things they share."""

    def __init__(self, database_url: str, redis_url: str) -> None:
        self._loop = uvloop.new_event_loop()
        self._redis = Redis.from_url(redis_url, protocol=2)
        master_secret, tag = secrets.token_urlsafe(40), secrets.token_hex(4)
        self._password = secrets.token_hex(16)
        self.nodes: dict[str, Node] = {}
        address = urlsplit(redis_url)
        place = address.netloc.rpartition("@")[2]
        for name in NODES:
            user = f"keyturn-model-{tag}-{name}"
            mine = address._replace(netloc=f"{user}:{self._password}@{place}").geturl()
            settings = Settings(
                database_url=database_url,
                redis_url=mine,
                # A busy machine is no fault.
                redis_timeout=2.0,
                database_wait=20.0,
                database_pool_size=5,
                master_secret=master_secret,
                refresh_grace=GRACE,
                access_token_lifetime=7_200,
                refresh_token_lifetime=7_200,
                access_log="off",
                **UNLIMITED,
            )
            self.nodes[name] = Node(name, settings, user)
        self._admin: Bootstrapped | None = None
        self._admin_token = ""
        self._database_url = database_url
        self._database: asyncpg.Connection[asyncpg.Record] | None = None
        self._pause = shared.PAUSE
        self._deaf = patch.object(Notifications, "listen", _hears_nothing)
        # What follows from a record of a second ago has tests of its own (http/test_recent_keys).
        self._anew = patch.object(recent_keys, "GOOD_FOR", 0.0)
        self._sharing: set[str] = set()

    # --- its life --------------------------------------------------------------------------

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What `work` gives. Whatever the nodes do in the background goes on meanwhile."""
        return self._loop.run_until_complete(work)

    def open(self) -> None:
        # Nobody waits longer than necessary for a Redis that came back.
        shared.PAUSE = 0.1
        # With NOTIFY both would know everything at once, and what the other ways lack would hide.
        self._deaf.start()
        self._anew.start()
        self.run(self._open())

    def close(self) -> None:
        self.run(self._close())
        # What was closed without waiting closes in the loop's next steps.
        self.run(asyncio.sleep(0.05))
        self._loop.close()
        shared.PAUSE = self._pause
        self._anew.stop()
        self._deaf.stop()

    async def _open(self) -> None:
        self._database = await asyncpg.connect(self._database_url)
        for node in self.nodes.values():
            await self._admit(node)
            await node.open()
        parts = self.nodes["A"].parts
        self._admin = await bootstrap(parts.store, parts.key_format, username="admin@example.net")

    async def _close(self) -> None:
        for node in self.nodes.values():
            await node.close()
            await self._redis_does("ACL", "DELUSER", node.redis_user)
        await self._redis.aclose()
        if self._database is not None:
            await self._database.close()

    async def restart(self, name: str) -> None:
        self._sharing.discard(name)
        await self.nodes[name].close()
        await self.nodes[name].open()

    def renew(self) -> None:
        """Both nodes anew, with an empty Redis: nothing is left of what was wrong."""

        async def renewed() -> None:
            await self._redis.flushall()
            for name in NODES:
                await self.restart(name)
            await self.settled()

        self.run(renewed())

    # --- Redis -----------------------------------------------------------------------------

    async def _admit(self, node: Node) -> None:
        rules = ("reset", "on", f">{self._password}", "~*", "&*", "+@all")
        await self._redis_does("ACL", "SETUSER", node.redis_user, *rules)

    async def _redis_does(self, *command: str) -> None:
        await self._redis.execute_command(*command)  # type: ignore[no-untyped-call]

    async def lose_redis(self, name: str) -> None:
        """From now on Redis refuses the node, and its connections are gone."""
        user = self.nodes[name].redis_user
        await self._redis_does("ACL", "SETUSER", user, "off")
        await self._redis_does("CLIENT", "KILL", "USER", user)
        await self._notice(name)

    async def regain_redis(self, name: str) -> None:
        await self._admit(self.nodes[name])

    async def flush_redis(self) -> None:
        await self._redis.flushall()
        for name in NODES:
            await self._notice(name)

    async def _notice(self, name: str) -> None:
        """One question that the list must answer: a node then knows what has become of Redis."""
        self._sharing.discard(name)
        answer = await self.nodes[name].call("GET", "/iam/users/me", bearer=await self.admin())
        assert answer.ok

    async def shares(self, name: str) -> bool:
        """Whether what the node revokes now goes to Redis: it says so itself.

        It is asked only after something was done to it or to Redis.
        """
        if name not in self._sharing:
            answer = await self.nodes[name].call("GET", "/health/ready")
            if answer.body["checks"]["revocation_list"] != "ok":
                return False
            self._sharing.add(name)
        return True

    async def settled(self) -> None:
        """Waits until both nodes trust Redis."""
        for name in NODES:
            await self.regain_redis(name)
        end = time.monotonic() + PATIENCE
        while not all([await self.shares(name) for name in NODES]):
            assert time.monotonic() < end, "a node does not find back to Redis"
            await asyncio.sleep(0.01)

    # --- calls -----------------------------------------------------------------------------

    async def admin(self) -> str:
        """A token of the platform's administrator, for all tenants."""
        if not self._admin_token:
            assert self._admin is not None
            answer = await self.nodes["A"].call(
                "POST",
                "/iam/auth/token",
                form={
                    "grant_type": "password",
                    "username": self._admin.user.username,
                    "password": self._admin.key.text,
                },
            )
            self._admin_token = answer.body["access_token"]
        return self._admin_token

    @property
    def root(self) -> str:
        """The id of the root tenant."""
        assert self._admin is not None
        return self._admin.tenant.id

    async def administer(
        self, node: str, method: str, path: str, tenant: str, body: object = None
    ) -> Answer:
        """What the administrator does in a tenant; it must succeed."""
        bearer = await self.admin()
        answer = await self.nodes[node].call(
            method, f"/iam{path}", body=body, bearer=bearer, tenant=tenant
        )
        assert answer.ok, f"{method} {path} at {node}: {answer.status} {answer.error}"
        return answer

    async def token(self, node: str, tenant: str | None = None, **form: str) -> Answer:
        return await self.nodes[node].call("POST", "/iam/auth/token", form=form, tenant=tenant)

    async def refresh(self, node: str, text: str, tenant: str | None = None) -> Answer:
        return await self.token(node, tenant, grant_type="refresh_token", refresh_token=text)

    async def revoke(self, node: str, text: str) -> Answer:
        return await self.nodes[node].call("POST", "/iam/auth/revoke", form={"token": text})

    async def me(self, node: str, text: str) -> Answer:
        return await self.nodes[node].call("GET", "/iam/users/me", bearer=text)

    async def introspect(self, node: str, text: str) -> Answer:
        assert self._admin is not None
        asker = {"client_id": self._admin.user.username, "client_secret": self._admin.key.text}
        form = {"token": text, **asker}
        return await self.nodes[node].call("POST", "/iam/auth/introspect", form=form)

    async def age(self, session_id: str) -> None:
        """Moves a session's last step into the past: its grace is over."""
        statement = (
            "UPDATE sessions SET rotated_at = rotated_at - make_interval(secs => $1) WHERE id = $2"
        )
        assert self._database is not None
        await self._database.execute(statement, float(PAST), session_id)

    async def publish_next_key(self) -> None:
        """The next signing key has been there for long, and both nodes have read it."""
        assert self._database is not None
        await self._database.execute(
            "UPDATE signing_keys SET slot_since = slot_since - interval '1 day' WHERE slot = 'next'"
        )
        for name in NODES:
            await self.restart(name)


async def _hears_nothing(self: Notifications, heard: object) -> None:
    """In place of `Notifications.listen`."""


def claims(token: str) -> dict[str, Any]:
    """What an access token says, unchecked."""
    payload = token.split(".")[1]
    read: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return read
