import secrets
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from keyturn.server.settings import Settings, SettingsError, describe, load_settings

Config = Callable[[str], Path]

DATABASE = "postgresql://keyturn:not-to-be-shown@db/keyturn"


def strong() -> str:
    return secrets.token_urlsafe(32)


def refused(**given: Any) -> str:
    """The one line that a complete set of settings with `given` is refused with."""
    with pytest.raises(SettingsError) as caught:
        load_settings(None, **{"database_url": DATABASE, "master_secret": strong(), **given})
    line = str(caught.value)
    assert "\n" not in line
    assert "not-to-be-shown" not in line
    assert caught.value.__cause__ is None
    return line


def complete(**given: Any) -> Settings:
    return load_settings(None, **{"database_url": DATABASE, "master_secret": strong(), **given})


class TestDefaults:
    def test_as_documented(self) -> None:
        settings = complete()
        assert settings.public_url == settings.issuer == settings.audience
        assert settings.issuer == "http://127.0.0.1:8080"
        assert settings.base_url == "http://127.0.0.1:8080/iam"
        assert settings.access_token_lifetime == 300
        assert settings.refresh_token_lifetime == 1800
        assert settings.lifetimes.session == settings.session_max_lifetime == 36_000
        assert settings.grants == {
            "password",
            "client_credentials",
            "refresh_token",
            "token_exchange",
        }
        assert settings.redis_url is None
        assert not settings.on_sqlite

    def test_issuer_is_the_public_urls_origin(self) -> None:
        settings = complete(public_url="https://id.example.com/eu/west")
        assert settings.issuer == "https://id.example.com"
        assert settings.base_url == "https://id.example.com/eu/west/iam"

    def test_audience_follows_the_issuer(self) -> None:
        assert complete(issuer="https://id.example.com/x").audience == "https://id.example.com/x"

    def test_public_url_follows_the_port(self) -> None:
        assert complete(port=9000).issuer == "http://127.0.0.1:9000"

    def test_base_path_may_be_empty(self) -> None:
        assert complete(base_path="/").base_path == ""

    def test_frozen(self) -> None:
        with pytest.raises(ValueError, match="frozen"):
            complete().port = 1  # type: ignore[misc]


class TestSources:
    def test_environment_beats_file(self, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("KEYTURN_PORT", "9001")
        path = config(f'port = 9000\nworkers = 2\ndatabase_url = "{DATABASE}"')
        settings = load_settings(path, require=())
        assert (settings.port, settings.workers) == (9001, 2)

    def test_arguments_beat_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("KEYTURN_PORT", "9001")
        assert complete(port=9002).port == 9002

    def test_defaults_are_weakest(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("KEYTURN_ACCESS_LOG", "off")
        settings = load_settings(
            require=(), defaults={"access_log": "all", "log_format": "console"}
        )
        assert (settings.access_log, settings.log_format) == ("off", "console")

    def test_file_named_by_the_environment(
        self, config: Config, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("KEYTURN_CONFIG", str(config("port = 9000")))
        assert load_settings(require=()).port == 9000

    def test_empty_variable_is_no_setting(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("KEYTURN_REDIS_URL", "")
        assert complete().redis_url is None

    def test_lists(self, monkeypatch: pytest.MonkeyPatch) -> None:
        first, second = strong(), strong()
        monkeypatch.setenv("KEYTURN_GRANTS", "client_credentials, refresh_token")
        monkeypatch.setenv("KEYTURN_TRUSTED_PROXIES", "10.0.0.0/8,fd00::/8")
        monkeypatch.setenv("KEYTURN_PREVIOUS_MASTER_SECRETS", f"{first}\n{second}\n")
        settings = complete()
        assert settings.grants == {"client_credentials", "refresh_token"}
        assert settings.trusted_proxies == (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
        previous = [secret.get_secret_value() for secret in settings.previous_master_secrets]
        assert previous == [first, second]

    @pytest.mark.parametrize("in_file", [False, True])
    def test_secret_files(
        self, tmp_path: Path, config: Config, monkeypatch: pytest.MonkeyPatch, in_file: bool
    ) -> None:
        secret = strong()
        (tmp_path / "secret").write_text(secret + "\n")
        path = None
        if in_file:
            path = config(f'master_secret_file = "{tmp_path / "secret"}"')
        else:
            monkeypatch.setenv("KEYTURN_MASTER_SECRET_FILE", str(tmp_path / "secret"))
        settings = load_settings(path, database_url=DATABASE)
        assert settings.master_secret.get_secret_value() == secret

    def test_a_plain_object_reads_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("KEYTURN_PORT", "9001")
        assert Settings().port == 8080

    @pytest.mark.parametrize("addresses", ["a,b", "a:5432,b:5433", "[::1]:5432,[::2],c"])
    def test_a_database_may_have_several_addresses(self, addresses: str) -> None:
        url = f"postgresql://keyturn@{addresses}/keyturn?target_session_attrs=read-write"
        assert complete(database_url=url).database_url.get_secret_value() == url

    def test_repr_shows_no_secret(self) -> None:
        secrets_ = [strong() for _ in range(3)]
        settings = complete(
            master_secret=secrets_[0],
            previous_master_secrets=[secrets_[1]],
            redis_url=f"redis://:{secrets_[2]}@redis/0",
        )
        shown = f"{settings!r} {settings}"
        assert not [secret for secret in [*secrets_, "not-to-be-shown"] if secret in shown]


class TestRefused:
    @pytest.mark.parametrize("letter", ["/", "?", "#"])
    def test_a_password_that_is_not_encoded_is_not_shown(self, letter: str) -> None:
        part = secrets.token_urlsafe(12)
        with pytest.raises(SettingsError) as caught:
            load_settings(database_url=f"postgresql://u:{part}{letter}x@127.0.0.1/db", require=())
        assert part not in str(caught.value)
        assert "percent-encode" in str(caught.value)

    def test_without_database(self) -> None:
        assert "KEYTURN_DATABASE_URL (or KEYTURN_DATABASE_URL_FILE) is not set" in refused(
            database_url=""
        )

    def test_without_master_secret(self) -> None:
        assert "KEYTURN_MASTER_SECRET" in refused(master_secret="")

    @pytest.mark.parametrize(
        ("given", "variable", "advice"),
        [
            ({"master_secret": "short"}, "KEYTURN_MASTER_SECRET", "32 characters"),
            ({"master_secret": "ab" * 32}, "KEYTURN_MASTER_SECRET", "openssl rand"),
            (
                {"previous_master_secrets": ["short"]},
                "KEYTURN_PREVIOUS_MASTER_SECRETS",
                "32 characters",
            ),
            ({"issuer": "http://id.example.com"}, "KEYTURN_ISSUER", "KEYTURN_ALLOW_HTTP"),
            ({"public_url": "http://id.example.com"}, "KEYTURN_PUBLIC_URL", "https"),
            ({"issuer": "https://id.example.com/"}, "KEYTURN_ISSUER", "final slash"),
            ({"issuer": "https://id.example.com?x=1"}, "KEYTURN_ISSUER", "query"),
            ({"issuer": "https://id.example.com#x"}, "KEYTURN_ISSUER", "fragment"),
            ({"issuer": "https://ada@id.example.com"}, "KEYTURN_ISSUER", "user"),
            ({"issuer": "https://[::1"}, "KEYTURN_ISSUER", "http(s)://"),
            ({"issuer": "https://id.example.com:99999"}, "KEYTURN_ISSUER", "http(s)://"),
            ({"issuer": "id.example.com"}, "KEYTURN_ISSUER", "http(s)://"),
            ({"workers": 2, "database_url": "sqlite:///x.db"}, "KEYTURN_WORKERS", "PostgreSQL"),
            ({"refresh_token_lifetime": 299}, "KEYTURN_REFRESH_TOKEN_LIFETIME", "below"),
            ({"session_max_lifetime": 299}, "KEYTURN_SESSION_MAX_LIFETIME", "below"),
            ({"access_token_lifetime": 0}, "KEYTURN_ACCESS_TOKEN_LIFETIME", "greater"),
            ({"access_token_lifetime": 86_401}, "KEYTURN_ACCESS_TOKEN_LIFETIME", "less"),
            ({"refresh_grace": -1}, "KEYTURN_REFRESH_GRACE", "greater"),
            ({"grants": "refresh_token"}, "KEYTURN_GRANTS", "client_credentials"),
            ({"grants": "implicit"}, "KEYTURN_GRANTS", "password"),
            ({"port": "http"}, "KEYTURN_PORT", "integer"),
            ({"signing_algorithm": "HS256"}, "KEYTURN_SIGNING_ALGORITHM", "ES256"),
            ({"trusted_proxies": "10.0.0.1/8"}, "KEYTURN_TRUSTED_PROXIES", "10.0.0.0/8"),
            ({"base_path": "iam"}, "KEYTURN_BASE_PATH", "/iam"),
            ({"base_path": "/../x"}, "KEYTURN_BASE_PATH", "/iam"),
            ({"base_path": "/console"}, "KEYTURN_BASE_PATH", "/console"),
            ({"base_path": "/console/iam"}, "KEYTURN_BASE_PATH", "/console"),
            ({"database_url": "mysql://x/y"}, "KEYTURN_DATABASE_URL", "postgresql://"),
            ({"database_url": "sqlite:///:memory:"}, "KEYTURN_DATABASE_URL", "sqlite:///"),
            ({"database_url": "postgresql://u@a:1,b:x/y"}, "KEYTURN_DATABASE_URL", "odd port"),
            ({"database_url": "postgresql://u@a:1,b:0/y"}, "KEYTURN_DATABASE_URL", "odd port"),
            ({"database_url": "postgresql://u@a:1,/y"}, "KEYTURN_DATABASE_URL", "empty address"),
            ({"redis_url": "http://x"}, "KEYTURN_REDIS_URL", "redis://"),
            ({"smtp_url": "https://mail.example"}, "KEYTURN_SMTP_URL", "smtps://"),
            ({"leak_keys_url": "http://keys.example/x"}, "KEYTURN_LEAK_KEYS_URL", "https"),
            ({"leak_keys_url": "keys.example"}, "KEYTURN_LEAK_KEYS_URL", "http(s)"),
            ({"leak_keys_file": "/nowhere/keys.json"}, "KEYTURN_LEAK_KEYS_FILE", "public_keys"),
            ({"smtp_url": "smtp://mail.example:x"}, "KEYTURN_SMTP_URL", "smtps://"),
            ({"smtp_url": "smtp://u@mail.example"}, "KEYTURN_SMTP_URL", "smtps://"),
            ({"smtp_url": "smtp://u:not-to-be-shown/@x"}, "KEYTURN_SMTP_URL", "percent-encoded"),
            ({"smtp_url": "smtp://mail.example"}, "KEYTURN_MAIL_FROM", "sender"),
            ({"mail_from": "Keyturn"}, "KEYTURN_MAIL_FROM", "iam@example.org"),
            ({"mail_from": "a@x.example, b@x.example"}, "KEYTURN_MAIL_FROM", "iam@example.org"),
            ({"mail_from": "K <a@x.example>\nBcc: b"}, "KEYTURN_MAIL_FROM", "iam@example.org"),
            ({"tls_cert_file": "/nowhere/x.pem"}, "KEYTURN_TLS_CERT_FILE", "readable"),
            ({"colour": "red"}, "KEYTURN_COLOUR", "not a setting"),
        ],
    )
    def test_one_line_names_the_variable_and_what_to_do(
        self, given: dict[str, object], variable: str, advice: str
    ) -> None:
        line = refused(**given)
        assert line.startswith(variable)
        assert advice in line

    @pytest.mark.parametrize("sender", ["iam@example.org", "Keyturn IAM <iam@example.org>"])
    @pytest.mark.parametrize(
        "url",
        ["smtp://127.0.0.1:25", "smtps://mail.example", "smtps://u%40x:p%2Fw@mail.example:465/"],
    )
    def test_mail_when_both_are_right(self, url: str, sender: str) -> None:
        settings = complete(smtp_url=url, mail_from=sender)
        assert settings.smtp_url is not None
        assert (settings.smtp_url.get_secret_value(), settings.mail_from) == (url, sender)
        assert "p%2Fw" not in repr(settings)

    def test_http_beyond_loopback_when_allowed(self) -> None:
        assert complete(issuer="http://id.example.com", allow_http=True).allow_http

    def test_half_of_tls(self, tmp_path: Path) -> None:
        (tmp_path / "cert.pem").touch()
        line = refused(tls_cert_file=tmp_path / "cert.pem")
        assert "KEYTURN_TLS_KEY_FILE" in line

    def test_secret_file_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("KEYTURN_DATABASE_URL_FILE", "/nowhere/url")
        line = refused()
        assert line == (
            "KEYTURN_DATABASE_URL_FILE: cannot read /nowhere/url: No such file or directory"
        )

    def test_secret_file_empty(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "empty").write_text("\n")
        monkeypatch.setenv("KEYTURN_MASTER_SECRET_FILE", str(tmp_path / "empty"))
        assert refused().startswith("KEYTURN_MASTER_SECRET_FILE: ")

    def test_secret_and_its_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("KEYTURN_MASTER_SECRET", strong())
        monkeypatch.setenv("KEYTURN_MASTER_SECRET_FILE", str(tmp_path))
        assert "both set" in refused()

    def test_bytes_that_are_not_text(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "secret").write_bytes(b"\xff\xfe" * 32)
        monkeypatch.setenv("KEYTURN_MASTER_SECRET_FILE", str(tmp_path / "secret"))
        assert "UTF-8" in refused()

    def test_port_of_a_kubernetes_service(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("KEYTURN_PORT", "tcp://10.0.0.1:8080")
        assert "enableServiceLinks" in refused()

    def test_unknown_key_in_the_file(self, config: Config) -> None:
        with pytest.raises(SettingsError, match="'prot'; did you mean 'port'"):
            load_settings(config("prot = 1"))

    def test_broken_file(self, config: Config) -> None:
        with pytest.raises(SettingsError, match="TOML") as caught:
            load_settings(config('master_secret = "not-to-be-shown'))
        assert "not-to-be-shown" not in str(caught.value)

    def test_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(SettingsError, match="cannot read"):
            load_settings(tmp_path / "missing.toml")


def test_describe_names_every_setting() -> None:
    names = {row[0] for row in describe()}
    assert {f"KEYTURN_{name.upper()}" for name in Settings.model_fields} <= names
    assert {"KEYTURN_CONFIG", "KEYTURN_MASTER_SECRET_FILE"} <= names
    assert all(kind and text for _, kind, _, text in describe())
