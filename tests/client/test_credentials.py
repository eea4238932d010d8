"""Where credentials come from."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from keyturn.cli import profiles
from keyturn.client import Credentials, NoCredentials
from tests.client.conftest import API_KEY, TENANT, URL, USERNAME


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    given = {"KEYTURN_URL": URL, "KEYTURN_USERNAME": USERNAME, "KEYTURN_API_KEY": f"{API_KEY}\n"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    return given


def logged_in(name: str = "default", tenant: str | None = TENANT, username: str = USERNAME) -> Path:
    """As `keyturn login` does."""
    profiles.keep(profiles.Profile(name, profiles.base_url(URL), username, API_KEY, tenant))
    return profiles._file()


class TestFromEnvironment:
    @pytest.mark.usefixtures("environment")
    def test_all_of_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert Credentials.from_environment() == Credentials(URL, USERNAME, API_KEY)
        monkeypatch.setenv("KEYTURN_TENANT", TENANT)
        assert Credentials.from_environment().tenant == TENANT

    @pytest.mark.usefixtures("environment")
    def test_half_of_it_is_an_error_that_names_what_is_missing(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("KEYTURN_API_KEY")
        for find in (Credentials.from_environment, Credentials.find):
            with pytest.raises(NoCredentials, match="KEYTURN_API_KEY"):
                find()

    @pytest.mark.usefixtures("environment")
    def test_a_tenants_name_is_told_from_its_id(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("KEYTURN_TENANT", "acme")
        with pytest.raises(NoCredentials, match="id"):
            Credentials.from_environment()


class TestFromProfile:
    def test_what_a_login_wrote(self) -> None:
        logged_in()
        logged_in("ci", None, "ci@acme")
        assert Credentials.from_profile() == Credentials(f"{URL}/iam", USERNAME, API_KEY, TENANT)
        assert Credentials.from_profile("ci").username == "ci@acme"

    def test_keyturn_profile_names_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        logged_in("ci", None, "ci@acme")
        monkeypatch.setenv("KEYTURN_PROFILE", "ci")
        assert Credentials.from_profile().username == "ci@acme"

    def test_none_says_how_to_get_one(self) -> None:
        with pytest.raises(NoCredentials, match="keyturn login --profile default"):
            Credentials.from_profile()

    def test_a_file_that_others_may_read_is_warned_of(self) -> None:
        path = logged_in()
        path.chmod(0o640)
        with pytest.warns(UserWarning, match="others may read"):
            Credentials.from_profile()

    def test_a_private_file_is_not_warned_of(self) -> None:
        logged_in()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            Credentials.from_profile()

    @pytest.mark.parametrize(
        "text",
        [
            "default = 1",
            "[default]\nurl = 'https://iam.example'\nusername = 'a'",
            "[default]\nurl = 'https://iam.example'\nusername = 'a'\napi_key = 1",
            "[default]\nurl = 'https://iam.example'\nusername = 'a'\napi_key = 'SECRET'\nb = 'c'",
            "[default]\napi_key = 'SECRET",
            "[default]\napi_key = 'SECRET\udcff'",
        ],
    )
    def test_a_broken_file_is_told_without_its_text(self, text: str) -> None:
        path = logged_in()
        path.write_bytes(text.encode(errors="surrogateescape"))
        with pytest.raises(NoCredentials) as raised:
            Credentials.from_profile()
        assert "SECRET" not in f"{raised.value!r} {raised.value.__context__!r}"
        assert raised.value.__context__ is None

    def test_a_file_that_cannot_be_read_is_told(self) -> None:
        path = logged_in()
        path.unlink()
        path.mkdir()
        with pytest.raises(NoCredentials):
            Credentials.from_profile()


class TestFind:
    @pytest.mark.usefixtures("environment")
    def test_the_environment_comes_before_the_default_profile(self) -> None:
        logged_in(username="somebody@else")
        assert Credentials.find().username == USERNAME

    @pytest.mark.usefixtures("environment")
    def test_a_named_profile_comes_before_the_environment(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        logged_in("ci", None, "ci@acme")
        monkeypatch.setenv("KEYTURN_PROFILE", "ci")
        assert Credentials.find().username == "ci@acme"
        assert profiles.chosen().username == "ci@acme"

    def test_without_an_environment_it_is_the_profile(self) -> None:
        logged_in()
        assert Credentials.find().tenant == TENANT

    def test_the_environments_tenant_comes_before_the_profiles(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        logged_in()
        other = TENANT.replace("1", "2")
        monkeypatch.setenv("KEYTURN_TENANT", other)
        assert Credentials.find().tenant == other


class TestCredentials:
    def test_hide_the_key(self) -> None:
        assert API_KEY not in repr(Credentials(URL, USERNAME, API_KEY))

    @pytest.mark.parametrize("url", ["", "iam.example", "https://a@b", "https://iam.example?x"])
    def test_refuse_what_is_no_url(self, url: str) -> None:
        with pytest.raises(ValueError):
            Credentials(url, USERNAME, API_KEY)
