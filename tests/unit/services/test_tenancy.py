"""Whose work is done for a key: known once its record was read."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from keyturn.server.services import tenancy
from keyturn.server.services.ports.turns import UNKNOWN, group
from keyturn.server.services.tenancy import Tenancy


class Lookup:
    """Finds keys whose ids begin with `k`, at home in a tenant of that id."""

    async def find(self, key_id: str, **_: Any) -> Any:
        return SimpleNamespace(home_tenant_id=f"home of {key_id}") if key_id[0] == "k" else None


async def test_a_key_s_home_is_learnt_by_reading_it() -> None:
    keys = Tenancy(Lookup())
    assert keys.home_of("k1") == UNKNOWN
    await keys.find("k1")
    assert (keys.home_of("k1"), group.get()) == ("home of k1", "home of k1")


async def test_invented_keys_stay_unknown_and_are_not_remembered() -> None:
    keys = Tenancy(Lookup())
    await keys.find("x")
    assert (keys.home_of("x"), group.get(), keys._homes) == (UNKNOWN, UNKNOWN, {})


async def test_the_first_are_forgotten_when_there_are_too_many(monkeypatch: Any) -> None:
    monkeypatch.setattr(tenancy, "MOST", 2)
    keys = Tenancy(Lookup())
    for number in range(3):
        await keys.find(f"k{number}")
    assert [keys.home_of(f"k{number}") for number in range(3)] == [
        UNKNOWN,
        "home of k1",
        "home of k2",
    ]
