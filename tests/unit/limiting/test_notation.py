"""Rates as settings have them."""

import pytest

from keyturn.server.limiting import read_rate
from keyturn.server.limiting.redis import limits_uri
from keyturn.server.services.ports import Rate
from keyturn.server.settings import SettingsError, load_settings


class TestRate:
    @pytest.mark.parametrize(
        ("text", "rate"),
        [
            ("60/minute", Rate(60, 60)),
            ("1000 per 5 minutes", Rate(1000, 300)),
            ("10/second", Rate(10, 1)),
            ("1/day", Rate(1, 86_400)),
        ],
    )
    def test_read(self, text: str, rate: Rate) -> None:
        assert read_rate(text) == rate

    @pytest.mark.parametrize("text", ["", "  "])
    def test_empty_is_no_limit(self, text: str) -> None:
        assert read_rate(text) is None

    @pytest.mark.parametrize(
        "text",
        [
            *("60", "sixty/minute", "-1/minute", "0/minute", "1/month", "2/2 days"),
            *("60/minute;1000/hour", "60/minute, 5/second", "60/minutely!", "99999999999/minute"),
        ],
    )
    def test_anything_else_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match="60/minute"):
            read_rate(text)


class TestSettings:
    def given(self, monkeypatch: pytest.MonkeyPatch, **settings: str) -> None:
        monkeypatch.setenv("KEYTURN_DATABASE_URL", "sqlite:////tmp/none.db")
        monkeypatch.setenv("KEYTURN_MASTER_SECRET", "0123456789-abcdefghij-ABCDEFGHIJ")
        for name, value in settings.items():
            monkeypatch.setenv(f"KEYTURN_{name.upper()}", value)

    def test_an_empty_variable_switches_a_limit_off(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.given(monkeypatch, limit_exchanges_per_key="")
        rates = load_settings().rates
        assert rates["exchanges_per_key"] is None
        assert rates["exchanges_per_tenant"] == Rate(10_000, 60)

    def test_a_rate_that_is_none_stops_the_start_in_one_line(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.given(monkeypatch, limit_exchanges_per_key="lots")
        with pytest.raises(SettingsError, match="KEYTURN_LIMIT_EXCHANGES_PER_KEY: must be such"):
            load_settings()

    def test_counting_in_redis_needs_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.given(monkeypatch, limits_in="redis")
        with pytest.raises(SettingsError, match="KEYTURN_REDIS_URL"):
            load_settings()


class TestUri:
    @pytest.mark.parametrize(
        ("url", "uri", "options"),
        [
            ("redis://r", "async+redis://r:6379", {}),
            ("valkeys://u:p%40@r:1/2", "async+rediss://u:p%40@r:1/2", {}),
            ("redis://[::1]/0", "async+redis://[::1]:6379/0", {}),
            ("unix:///run/r.sock?db=1", "async+redis+unix:///run/r.sock?db=1", {}),
            (
                "rediss+cluster://:p%40w@a,b:7001",
                "async+redis+cluster://a:6379,b:7001/",
                {"username": None, "password": "p@w", "ssl": True},
            ),
            (
                "redis+sentinel://a,b:26380/main/3",
                "async+redis+sentinel://a:26379,b:26380/main",
                {"db": 3},
            ),
        ],
    )
    def test_of(self, url: str, uri: str, options: dict[str, object]) -> None:
        assert limits_uri(url) == (uri, options)
