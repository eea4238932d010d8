"""An operator's day: nobody is answered wrongly, and 503 only when it was said before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.deploy.gateway import nginx

from .day import play
from .timeline import summary

#: Calls without which a day has shown little.
LEAST = 1_000


@pytest.mark.day
def test_nobody_is_answered_wrongly(
    tmp_path: Path, log_dir: Path, measured: Callable[[str], None]
) -> None:
    if nginx() is None:
        pytest.skip("NGINX IS NOT INSTALLED: the day was not played")
    timeline = play(tmp_path, log_dir, print)
    wrong = timeline.wrong()
    measured(f"{summary(timeline.answers)}; answered wrongly: {len(wrong)}")
    assert [(answer.call, answer.verdict, answer.said) for answer in wrong[:20]] == []
    assert len(timeline.answers) > LEAST
