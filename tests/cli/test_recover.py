"""`keyturn recover`: a key for a person who has none, and a password that is forgotten."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest

from keyturn.server.domain.ids import ID_LETTERS, base62, new_id, uuid7_int
from keyturn.server.domain.model import KeyHash, User, UserKind
from keyturn.server.domain.sign_ins import SecondFactor, SignIn
from keyturn.server.parts import open_parts
from keyturn.server.settings import Settings as ServiceSettings
from tests.cli.conftest import Run
from tests.live_server import Demo, prepare, rows

Settings = dict[str, str]


@pytest.fixture
def made(database_url: str) -> tuple[Demo, Settings]:
    demo = prepare(database_url)
    return demo, {"database_url": database_url, "master_secret": demo.master_secret}


def test_0_prints_a_key_once_and_writes_it_down(run: Run, made: tuple[Demo, Settings]) -> None:
    demo, given = made
    done = run("recover", "--username", demo.admin_username.upper(), "--json", **given)
    assert done.returncode == 0
    told = json.loads(done.stdout)
    assert told["api_key"].startswith(f"kt_{told['api_key_id']}_")
    found = rows(given["database_url"], "SELECT id, expires_at, user_id FROM api_keys")
    [key] = [row for row in found if row["id"] == told["api_key_id"]]
    assert key["expires_at"] is not None
    assert str(key["user_id"]) == told["user_id"]
    trail = rows(given["database_url"], "SELECT action, data FROM audit_events")
    [event] = [row for row in trail if row["action"] == "administrator.recovered"]
    assert json.loads(event["data"])["api_key"] == told["api_key_id"]
    assert told["api_key"] not in str(trail)


def test_0_ends_sign_ins_and_removes_a_second_factor_if_told(
    run: Run, made: tuple[Demo, Settings]
) -> None:
    demo, given = made
    user_id, key_id = asyncio.run(signed_in(demo, given))
    kept = json.loads(run("recover", "--username", demo.admin_username, "--json", **given).stdout)
    assert (kept["sign_ins_ended"], kept["second_factor_removed"]) == (1, False)
    url = given["database_url"]
    assert len(rows(url, "SELECT user_id FROM second_factors")) == 1
    ended = rows(url, "SELECT id FROM api_keys WHERE revoked_at IS NOT NULL")
    assert [row["id"] for row in ended] == [key_id]
    entries = rows(url, "SELECT subject FROM revocations")
    assert key_id in {row["subject"] for row in entries}
    done = run("recover", "--username", demo.admin_username, "--second-factor", **given)
    assert done.returncode == 0
    assert "The second factor is removed." in done.stderr
    assert not rows(url, "SELECT user_id FROM second_factors")
    trail = rows(url, "SELECT action, target FROM audit_events")
    [removed] = [row for row in trail if row["action"] == "user.second_factor_removed"]
    assert removed["target"] == user_id
    again = run("recover", "--username", demo.admin_username, "--second-factor", **given)
    assert "There was none." in again.stderr


def test_0_removes_a_password_if_told(run: Run, made: tuple[Demo, Settings]) -> None:
    demo, given = made
    asyncio.run(with_password(demo, given))
    done = run("recover", "--username", demo.admin_username, "--password", **given)
    assert "/console/first-password" in done.stderr
    assert not rows(given["database_url"], "SELECT user_id FROM passwords")
    again = run("recover", "--username", demo.admin_username, "--password", "--json", **given)
    assert json.loads(again.stdout)["password_removed"] is False


async def with_password(demo: Demo, given: Settings) -> None:
    """The administrator, with the hash of one."""
    async with open_parts(ServiceSettings(**given)) as parts, parts.store.transaction() as tx:
        user = await tx.users.by_username(demo.admin_username)
        assert user is not None
        await tx.users.set_password(user.id, "hash", datetime.now(UTC))


async def signed_in(demo: Demo, given: Settings) -> tuple[str, str]:
    """The administrator, signed in, and with a second factor: their id and the sign-in's."""
    now, key_id = datetime.now(UTC), base62(uuid7_int(), ID_LETTERS)
    async with open_parts(ServiceSettings(**given)) as parts, parts.store.transaction() as tx:
        user = await tx.users.by_username(demo.admin_username)
        assert user is not None
        end = now + timedelta(hours=10)
        begun = SignIn(key_id, user.id, user.home_tenant_id, now, end, 1800, user.epoch)
        await tx.sign_ins.add(begun, KeyHash(bytes(32), 0))
        await tx.second_factors.put(SecondFactor(user.id, b"sealed", now, 0, ()))
    return user.id, key_id


def test_0_a_person_who_administers_nothing(run: Run, made: tuple[Demo, Settings]) -> None:
    demo, given = made
    url = given["database_url"]
    user_id, home = asyncio.run(somebody(demo, given))
    done = run("recover", "--username", "ada@example.org", "--password", "--json", **given)
    told = json.loads(done.stdout)
    assert (told["user_id"], told["password_removed"]) == (user_id, True)
    trail = rows(url, "SELECT action, target, tenant_id FROM audit_events")
    [event] = [row for row in trail if row["action"] == "user.recovered"]
    assert (event["target"], str(event["tenant_id"])) == (user_id, home)
    assert not rows(url, "SELECT role_id FROM memberships WHERE user_id = '" + user_id + "'")


async def somebody(demo: Demo, given: Settings) -> tuple[str, str]:
    """A person with a password and no role: their id and where they are at home."""
    now, home = datetime.now(UTC), demo.tenants[0]
    ada = User(new_id(), UserKind.HUMAN, "ada@example.org", "Ada", home, 1, now)
    async with open_parts(ServiceSettings(**given)) as parts, parts.store.transaction() as tx:
        await tx.users.add(ada)
        await tx.users.set_password(ada.id, "hash", now)
    return ada.id, home


def test_1_no_service_user_but_one_that_administers(run: Run, made: tuple[Demo, Settings]) -> None:
    demo, given = made
    before = rows(given["database_url"], "SELECT id FROM api_keys")
    for username in (demo.username, "nobody@example.org"):
        done = run("recover", "--username", username, **given)
        assert (done.returncode, done.stdout) == (1, "")
    assert rows(given["database_url"], "SELECT id FROM api_keys") == before


def test_1_not_without_the_master_secret(run: Run, made: tuple[Demo, Settings]) -> None:
    demo, given = made
    other = {**given, "master_secret": "0123456789abcdefghijklmnopqrstuvwxyz"}
    done = run("recover", "--username", demo.admin_username, **other)
    assert (done.returncode, done.stdout) == (1, "")
    assert "KEYTURN_MASTER_SECRET" in done.stderr
