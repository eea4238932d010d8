"""The master secret and the database belong together; so do a key's two halves."""

import secrets
from typing import Any

import pytest

from keyturn.server.domain.errors import StorageNotReady
from tests.http.conftest import Running


class TestAnotherMasterSecret:
    @pytest.mark.parametrize("algorithm", ["ES256", "Ed25519"])
    async def test_stops_the_start_and_leaves_the_right_one_good(
        self, start: Any, algorithm: str
    ) -> None:
        with pytest.raises(StorageNotReady, match="KEYTURN_MASTER_SECRET"):
            await start(master_secret=secrets.token_urlsafe(40), signing_algorithm=algorithm)
        service: Running = await start()
        await service.exchange()

    async def test_the_previous_one_still_opens_all(self, start: Any, worlds: Any) -> None:
        first: Running = await start()
        body = await first.exchange()
        old = first.settings.master_secret.get_secret_value()
        second: Running = await start(
            master_secret=secrets.token_urlsafe(40), previous_master_secrets=old
        )
        assert (await second.get("/iam/users/me", body["access_token"])).status_code == 200
        assert (await second.refresh(body["refresh_token"])).status_code == 200
        await second.exchange()


class TestLowerLifetime:
    async def test_a_revoked_token_stays_dead_after_its_entry_is_gone(self, start: Any) -> None:
        from datetime import timedelta

        long: Running = await start(access_token_lifetime=600)
        body = await long.exchange()
        short: Running = await start(access_token_lifetime=10)
        assert (await short.get("/iam/users/me", body["access_token"])).status_code == 200
        # Entries are now kept for 70 seconds; so long is a token accepted.
        short.clock.shift = timedelta(seconds=75)
        assert (await short.get("/iam/users/me", body["access_token"])).status_code == 401
