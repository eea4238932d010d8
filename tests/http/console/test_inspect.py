"""A pasted token is explained, and appears nowhere else."""

from __future__ import annotations

import base64
import json
import logging

import pytest

from keyturn.server.domain.permissions import VIEWER
from tests.http.console.conftest import Console, Enter

AT = "/inspect"


def jwt(**claims: object) -> str:
    """Signed by nobody."""
    parts = ({"alg": "ES256", "kid": "none"}, claims)
    texts = [base64.urlsafe_b64encode(json.dumps(p).encode()).decode().rstrip("=") for p in parts]
    return ".".join([*texts, "AAAA"])


class TestInspect:
    async def test_an_access_token(self, console: Console) -> None:
        service = console.service
        token = (await service.exchange())["access_token"]
        answer = await console.post(AT, {"token": token})
        assert answer.status_code == 200
        text = answer.text
        for said in (
            "It works now.",
            "It was signed by this service.",
            "Demo service",
            "Given out",
        ):
            assert said in text
        assert "&#34;sub&#34;" in text
        assert 'data-label="Roles"' in text
        assert token not in text
        assert token.rpartition(".")[2] not in text

    async def test_one_that_was_revoked_says_why(self, console: Console) -> None:
        service = console.service
        token = (await service.exchange())["access_token"]
        await console.post(
            "/revocations", form=f"/revocations?kind=user_id&subject={service.demo.user.id}"
        )
        text = (await console.post(AT, {"token": token})).text
        assert "not active" in text
        assert "its user, or what its API key may do, has changed since" in text

    async def test_a_refresh_token_is_not_spent(self, console: Console) -> None:
        service = console.service
        tokens = await service.exchange()
        refresh = tokens["refresh_token"]
        for _ in range(2):
            answer = await console.post(AT, {"token": f"  {refresh}\n"})
            assert "A refresh token" in answer.text
            assert "It works now." in answer.text
            assert refresh not in answer.text
        assert (await service.refresh(refresh)).status_code == 200

    async def test_an_api_key(self, console: Console) -> None:
        secret = console.service.api_key
        text = (await console.post(AT, {"token": secret})).text
        assert "An API key" in text
        assert "It works now." in text
        assert secret not in text

    async def test_of_somebody_elsewhere_is_not_told(self, console: Console, enter: Enter) -> None:
        other = await enter(VIEWER, console.service.globex)
        text = (await console.post(AT, {"token": other.rest.token})).text
        assert "not known here" in text
        assert other.user.display_name not in text

    async def test_claims_of_whomever_are_only_text(self, console: Console) -> None:
        forged = jwt(exp=1e300, iat=True, nbf=-1, name="<script>alert(1)</script>")
        answer = await console.post(AT, {"token": forged})
        assert answer.status_code == 200
        assert "<script>alert" not in answer.text
        assert "1969-12-31 23:59:59 UTC" in answer.text
        assert "Good until" not in answer.text

    @pytest.mark.parametrize("text", ["", "hello", "a.b.c", "\U0001f600" * 10])
    async def test_nonsense_is_no_error(self, console: Console, text: str) -> None:
        answer = await console.post(AT, {"token": text})
        assert answer.status_code == (200 if text else 400)

    async def test_big_ones_are_refused_at_the_field(self, console: Console) -> None:
        answer = await console.post(AT, {"token": "x" * 16_385})
        assert answer.status_code == 400
        assert 'id="e-token"' in answer.text
        assert "xxxx" not in answer.text
        assert (await console.post(AT, {"token": "x" * 70_000})).status_code == 413

    async def test_it_stands_in_no_log(
        self, console: Console, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        secret = console.service.api_key
        for text in (secret, f"{secret[:-4]}AAAA", f"{secret}{'x' * 17_000}"):
            await console.post(AT, {"token": text})
        assert secret not in caplog.text
        assert secret[:-4] not in caplog.text

    async def test_it_takes_no_token_from_the_url(self, console: Console) -> None:
        assert "pasted" not in await console.page(f"{AT}?token=pasted")

    async def test_is_for_who_may_see_sessions(self, console: Console, enter: Enter) -> None:
        nobody = await enter(None)
        assert (await nobody.get(f"/console/t/{console.tenant}/inspect")).status_code == 403


class TestDepth:
    async def test_what_is_too_deep_to_be_shown_is_no_token(self, console: Console) -> None:
        def part(document: str) -> str:
            return base64.urlsafe_b64encode(document.encode()).decode().rstrip("=")

        for depth in (33, 300, 1_020):
            claims = '{"a":' * depth + "1" + "}" * depth
            token = f"{part('{}')}.{part(claims)}.x"
            answer = await console.post(AT, {"token": token})
            assert answer.status_code == 200
            told = await console.rest.post("/tokens/inspect", {"token": token})
            assert told.json()["kind"] == "unknown"
