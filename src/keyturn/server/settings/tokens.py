"""What tokens are made of, and how long they live."""

from typing import Annotated, Literal

from pydantic import SecretStr, field_validator

from .checks import check_strength
from .fields import BY_COMMAS, SettingsGroup, setting

Grant = Literal["password", "client_credentials", "refresh_token", "token_exchange"]


class Tokens(SettingsGroup):
    """Secrets, signing keys, lifetimes and grants."""

    master_secret: SecretStr = setting(
        "secret", SecretStr(""), "What all keys derive from: 32 characters or more. Required."
    )
    previous_master_secrets: tuple[SecretStr, ...] = setting(
        "secrets, one a line", (), "Earlier master secrets, newest first: still read, never used."
    )
    signing_algorithm: Literal["ES256", "RS256", "Ed25519"] = setting(
        "ES256, RS256, Ed25519", "ES256", "How access tokens are signed."
    )
    eddsa_header: Literal["EdDSA", "Ed25519"] = setting(
        "EdDSA, Ed25519", "EdDSA", "The `alg` of Ed25519: the name that all know, or RFC 9864's."
    )
    signing_key_max_age: int = setting(
        "seconds", 2_592_000, "How old a signing key gets before the next one signs; 0: any age.",
        ge=0, le=315_360_000,
    )  # fmt: skip
    access_token_lifetime: int = setting(
        "seconds", 300, "Life of an access token.", ge=1, le=86_400
    )
    refresh_token_lifetime: int = setting(
        "seconds", 1_800, "Life of each refresh token.", ge=1, le=31_536_000
    )
    session_max_lifetime: int = setting(
        "seconds", 36_000, "Absolute end of a session, however often refreshed.",
        ge=1, le=31_536_000,
    )  # fmt: skip
    refresh_grace: int = setting(
        "seconds", 10, "How long a spent refresh token gets the same successor; 0 is strict.",
        ge=0, le=300,
    )  # fmt: skip
    grants: Annotated[frozenset[Grant], BY_COMMAS] = setting(
        "list",
        frozenset({"password", "client_credentials", "refresh_token", "token_exchange"}),
        "Grants that are answered, separated by commas.",
        shown="password,client_credentials,refresh_token,token_exchange",
    )

    @field_validator("previous_master_secrets", mode="before")
    @classmethod
    def _lines(cls, value: object) -> object:
        if isinstance(value, str):
            return [line.strip() for line in value.splitlines() if line.strip()]
        return value

    @field_validator("master_secret")
    @classmethod
    def _strong(cls, value: SecretStr) -> SecretStr:
        if value:
            check_strength(value)
        return value

    @field_validator("previous_master_secrets")
    @classmethod
    def _all_strong(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for secret in value:
            check_strength(secret)
        return value
