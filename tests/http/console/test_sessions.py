"""Sessions are seen and ended."""

from __future__ import annotations

from tests.http.console.conftest import Console


class TestSessions:
    async def test_of_a_user_are_listed_and_ended(self, console: Console) -> None:
        service = console.service
        tokens = await service.exchange()
        await service.refresh(tokens["refresh_token"])
        assert "Demo service" in await console.page("/sessions?query=demo")
        text = await console.page(f"/sessions?user_id={service.demo.user.id}")
        assert "live" in text
        session = text.partition("/sessions/")[2].partition("/end")[0]
        assert "within a second" in await console.page(f"/sessions/{session}/end")
        await console.done(f"/sessions/{session}/end")
        text = await console.page(f"/sessions?user_id={service.demo.user.id}")
        assert "revoked" in text

    async def test_all_of_a_user_end_at_once(self, console: Console) -> None:
        service = console.service
        tokens = await service.exchange()
        form = f"/revocations?kind=user_id&subject={service.demo.user.id}"
        assert "has ended" in await console.done("/revocations", form=form)
        answer = await service.get("/iam/users/me", tokens["access_token"])
        assert answer.status_code == 401

    async def test_everything_ends_ones_own_too(self, console: Console) -> None:
        answer = await console.post("/revocations", form="/revocations?kind=everything")
        assert answer.status_code == 303
        assert (await console.get("/sessions")).status_code == 303
