"""One-time codes, held against RFC 6238's own examples."""

import base64
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from keyturn.server.domain.errors import StorageNotReady
from keyturn.server.domain.sign_ins import SecondFactor
from keyturn.server.tokens.second_factors import SealedFactors
from keyturn.server.tokens.secrets import DerivedKeys
from keyturn.server.tokens.totp import TotpCodes

#: RFC 6238, appendix B, SHA-1; of its eight digits the last six.
SECRET = base64.b32encode(b"12345678901234567890").decode()
EXAMPLES = {59: "287082", 1111111109: "081804", 1234567890: "005924", 20000000000: "353130"}
STEP = timedelta(seconds=30)


@pytest.mark.parametrize(("seconds", "code"), EXAMPLES.items())
def test_as_the_rfc_has_them(seconds: int, code: str) -> None:
    now = datetime.fromtimestamp(seconds, UTC)
    codes, step = TotpCodes(), seconds // 30
    assert codes.step_of(SECRET, code, now) == step
    # A clock may be one step behind or ahead, and no further.
    for shift, found in ((-2, None), (-1, step), (1, step), (2, None)):
        assert codes.step_of(SECRET, code, now + shift * STEP) == found


@pytest.mark.parametrize("code", ["", "28708", "2870820", "２８７０８２", "\ud800", "287 082"])
def test_nothing_else(code: str) -> None:
    assert TotpCodes().step_of(SECRET, code, datetime.fromtimestamp(59, UTC)) is None


def test_a_secret_as_generators_take_it() -> None:
    codes = TotpCodes()
    secret = codes.new_secret()
    assert len(base64.b32decode(secret)) == 20
    assert secret != codes.new_secret()
    uri = urlsplit(codes.uri(secret, "ada+é@example.org"))
    assert (uri.scheme, uri.netloc) == ("otpauth", "totp")
    assert unquote(uri.path) == "/Keyturn:ada+é@example.org"
    assert parse_qs(uri.query) == {"secret": [secret], "issuer": ["Keyturn"]}


class TestSealed:
    NOW = datetime(2026, 3, 4, tzinfo=UTC)

    def test_for_its_user_alone(self) -> None:
        ours = SealedFactors(DerivedKeys(["one"], "second factors", 64))
        sealed = ours.seal("ada", SECRET)
        assert SECRET.encode() not in sealed
        assert ours.open(self.factor("ada", sealed)) == SECRET
        assert ours.open(self.factor("bob", sealed)) is None
        assert ours.resealed(self.factor("ada", sealed)) is None

    def test_anew_under_another_master_secret(self) -> None:
        old = SealedFactors(DerivedKeys(["old"], "second factors", 64))
        both = SealedFactors(DerivedKeys(["new", "old"], "second factors", 64))
        new = SealedFactors(DerivedKeys(["new"], "second factors", 64))
        factor = self.factor("ada", old.seal("ada", SECRET))
        anew = both.resealed(factor)
        assert anew is not None
        assert new.open(self.factor("ada", anew)) == SECRET
        assert new.open(factor) is None
        with pytest.raises(StorageNotReady, match="KEYTURN_PREVIOUS_MASTER_SECRETS"):
            new.resealed(factor)

    def factor(self, user_id: str, sealed: bytes) -> SecondFactor:
        return SecondFactor(user_id, sealed, self.NOW, 0, ())
