"""Files of secrets that everybody may read are told of; the service starts all the same."""

from pathlib import Path

import pytest

from keyturn.server.settings import open_to_all


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text("x")
    path.chmod(0o600)
    return path


@pytest.mark.parametrize(
    "variable",
    [
        *("KEYTURN_MASTER_SECRET_FILE", "KEYTURN_TLS_KEY_FILE", "KEYTURN_DATABASE_URL_FILE"),
        *("KEYTURN_PREVIOUS_MASTER_SECRETS_FILE", "KEYTURN_REDIS_URL_FILE"),
    ],
)
@pytest.mark.parametrize(("mode", "told"), [(0o600, False), (0o640, False), (0o644, True)])
def test_by_variable(
    secret: Path, monkeypatch: pytest.MonkeyPatch, variable: str, mode: int, told: bool
) -> None:
    secret.chmod(mode)
    monkeypatch.setenv(variable, str(secret))
    assert open_to_all() == ([variable] if told else [])


def test_what_a_link_leads_to(secret: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = secret.with_name("link")
    link.symlink_to(secret)
    monkeypatch.setenv("KEYTURN_MASTER_SECRET_FILE", str(link))
    assert open_to_all() == []
    secret.chmod(0o604)
    assert open_to_all() == ["KEYTURN_MASTER_SECRET_FILE"]


def test_named_in_the_toml_file(secret: Path, tmp_path: Path) -> None:
    config = tmp_path / "keyturn.toml"
    config.write_text(f'tls_key_file = "{secret}"\n')
    secret.chmod(0o644)
    assert open_to_all(config) == ["KEYTURN_TLS_KEY_FILE"]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("port = 9", False),
        ('master_secret = "s"', True),
        ('database_url = "sqlite:////x.db"', False),
        ('database_url = "postgresql://keyturn@db/keyturn"', False),
        ('database_url = "postgresql://keyturn:secret@db/keyturn"', True),
        ('database_url = "postgresql://keyturn@db/keyturn?password=secret"', True),
        ('redis_url = "redis://:secret@cache"', True),
    ],
)
def test_the_toml_file_when_a_secret_stands_in_it(tmp_path: Path, line: str, told: bool) -> None:
    config = tmp_path / "keyturn.toml"
    config.write_text(line)
    config.chmod(0o644)
    assert open_to_all(config) == (["KEYTURN_CONFIG"] if told else [])


def test_what_is_not_there_is_for_others_to_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEYTURN_MASTER_SECRET_FILE", str(tmp_path / "none"))
    assert open_to_all(tmp_path / "none.toml") == []
