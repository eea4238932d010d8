"""What RFC 8725 warns of, and all else that is no token of ours: always `invalid_token`."""

import base64
import hmac
import json
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import OctKey, import_key

from keyturn.server.domain.errors import Code, Refusal
from keyturn.server.tokens.access import MAX_TEXT

from .conftest import AUDIENCE, ISSUER, ISSUING, PROPERTY, Signing
from .test_access import MAP, ONE, fresh, part


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def encoded(value: object) -> str:
    return b64(json.dumps(value, separators=(",", ":")).encode())


class Forge:
    """A good token in parts, and a key to sign bad ones with: ours, as if it had leaked a use."""

    def __init__(self, signing: Signing) -> None:
        self.signing = signing
        self.text = signing.signer.sign(fresh(signing, ONE))
        self.header, self.payload, self.signature = self.text.split(".")
        self.fields: dict[str, Any] = part(self.text, 0)
        self.claims: dict[str, Any] = part(self.text, 1)

    def ours(self, header: str | None = None, payload: str | None = None) -> str:
        """With a right signature of our own key over whatever header and payload."""
        signed = f"{header or self.header}.{payload or self.payload}"
        return f"{signed}.{b64(self.signing.signer.keyring.signer.sign(signed.encode()))}"

    def with_header(self, **changes: object) -> str:
        """Signed by us, the header changed; None leaves a field out."""
        fields = {**self.fields, **changes}
        return self.ours(encoded({k: v for k, v in fields.items() if v is not None}))

    def hs256(self, secret: bytes, **changes: object) -> str:
        signed = f"{encoded({**self.fields, 'alg': 'HS256', **changes})}.{self.payload}"
        return f"{signed}.{b64(hmac.digest(secret, signed.encode(), 'sha256'))}"

    def pem(self) -> bytes:
        public = import_key(dict(self.signing.stored.public_jwk))
        assert not isinstance(public, OctKey)
        return public.as_pem(private=False)

    def der(self) -> bytes:
        loaded = serialization.load_pem_public_key(self.pem())
        return loaded.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def jwk(self) -> bytes:
        return json.dumps(dict(self.signing.stored.public_jwk)).encode()

    def embedded(self, **changes: object) -> str:
        """Signed by a key of the attacker's, which the header brings along."""
        sealer, now = self.signing.sealer, self.signing.clock()
        own = sealer.new("ES256", "current", now)
        header = {"alg": "ES256", "typ": "at+jwt", "jwk": dict(own.public_jwk), **changes}
        signed = f"{encoded(header)}.{self.payload}"
        return f"{signed}.{b64(sealer.open(own, 'EdDSA').sign(signed.encode()))}"

    def elsewhere(self, issuer: str, audience: str) -> str:
        issuing = replace(ISSUING, issuer=issuer, audience=audience)
        return self.signing.sibling(issuing).sign(fresh(self.signing, ONE))

    def compressed(self) -> str:
        header = encoded({**self.fields, "zip": "DEF"})
        return self.ours(header, b64(zlib.compress(json.dumps(self.claims).encode())))


URL = "https://attacker.example/keys"

ATTACKS: dict[str, Callable[[Forge], str]] = {
    "alg none, no signature": lambda f: encoded({**f.fields, "alg": "none"}) + f".{f.payload}.",
    "alg NONE": lambda f: encoded({**f.fields, "alg": "NONE"}) + f".{f.payload}.",
    "alg none, our signature": lambda f: f.with_header(alg="none"),
    "alg missing": lambda f: f.with_header(alg=None),
    "alg empty": lambda f: f.with_header(alg=""),
    "alg a list": lambda f: f.with_header(alg=[f.fields["alg"]]),
    "alg a number": lambda f: f.with_header(alg=1),
    "alg in lower case": lambda f: f.with_header(alg=f.signing.alg.lower()),
    "alg of another key type": lambda f: f.with_header(
        alg="RS256" if f.signing.alg != "RS256" else "ES256"
    ),
    "alg ES512": lambda f: f.with_header(alg="ES512"),
    "HS256 with the public PEM": lambda f: f.hs256(f.pem()),
    "HS256 with the public PEM, stripped": lambda f: f.hs256(f.pem().strip()),
    "HS256 with the public DER": lambda f: f.hs256(f.der()),
    "HS256 with the public JWK": lambda f: f.hs256(f.jwk()),
    "HS256 with the kid": lambda f: f.hs256(f.signing.stored.kid.encode()),
    "HS256 with an empty key": lambda f: f.hs256(b""),
    "embedded jwk": lambda f: f.embedded(),
    "embedded jwk under our kid": lambda f: f.embedded(kid=f.signing.stored.kid),
    "embedded jwk, our signature": lambda f: f.with_header(jwk=dict(f.signing.stored.public_jwk)),
    "jku": lambda f: f.with_header(jku=URL),
    "jku without kid": lambda f: f.with_header(jku=URL, kid=None),
    "x5u": lambda f: f.with_header(x5u=URL),
    "x5c": lambda f: f.with_header(x5c=[base64.b64encode(f.der()).decode()]),
    "x5t": lambda f: f.with_header(x5t="x"),
    "unknown crit": lambda f: f.with_header(crit=["exp2"], exp2=1),
    "empty crit": lambda f: f.with_header(crit=[]),
    "b64 false": lambda f: f.with_header(crit=["b64"], b64=False),
    "compressed": lambda f: f.compressed(),
    "typ missing": lambda f: f.with_header(typ=None),
    "typ JWT": lambda f: f.with_header(typ="JWT"),
    "typ logout": lambda f: f.with_header(typ="logout+jwt"),
    "typ with a prefix": lambda f: f.with_header(typ="application/at+jwt"),
    "typ in upper case": lambda f: f.with_header(typ="AT+JWT"),
    "cty": lambda f: f.with_header(cty="JWT"),
    "kid missing": lambda f: f.with_header(kid=None),
    "kid of the other published key": lambda f: f.with_header(kid=f.signing.other.kid),
    "kid unknown": lambda f: f.with_header(kid="unknown"),
    "kid as a path": lambda f: f.with_header(kid="../../dev/null"),
    "kid as SQL": lambda f: f.with_header(kid="' OR 1=1 --"),
    "kid a list": lambda f: f.with_header(kid=[f.fields["kid"]]),
    "header with other spaces": lambda f: f.ours(b64(json.dumps(f.fields).encode())),
    "header in another order": lambda f: f.ours(encoded(dict(reversed(f.fields.items())))),
    "header with a repeated field": lambda f: f.ours(
        b64(json.dumps(f.fields).replace("{", '{"alg":"none",', 1).encode())
    ),
    "header no object": lambda f: f.ours(encoded([])),
    "header no JSON": lambda f: f.ours(b64(b"{")),
    "header deeply nested": lambda f: f.ours(b64(b"[" * 5000)),
    "payload swapped": lambda f: f"{f.header}.{encoded({**f.claims, 'sub': 'root'})}.{f.signature}",
    "payload of another token": lambda f: (
        f"{f.header}.{f.signing.signer.sign(fresh(f.signing, MAP)).split('.')[1]}.{f.signature}"
    ),
    "payload empty": lambda f: f"{f.header}..{f.signature}",
    "signature empty": lambda f: f"{f.header}.{f.payload}.",
    "signature cut": lambda f: f"{f.header}.{f.payload}.{f.signature[:-4]}",
    "signature longer": lambda f: f"{f.text}AAAA",
    "signature all zero": lambda f: (
        f"{f.header}.{f.payload}.{b64(bytes(len(f.signature) * 3 // 4))}"
    ),
    "signature of the other key": lambda f: (
        f"{f.header}.{f.payload}."
        + b64(
            f.signing.sealer.open(f.signing.other, f.signing.eddsa_header).sign(
                f"{f.header}.{f.payload}".encode()
            )
        )
    ),
    "of another issuer": lambda f: f.elsewhere("https://other.example", AUDIENCE),
    "issuer with a slash": lambda f: f.elsewhere(f"{ISSUER}/", AUDIENCE),
    "for another audience": lambda f: f.elsewhere(ISSUER, "https://other.example"),
    "expired": lambda f: f.signing.signer.sign(fresh(f.signing, ONE, life=-1)),
    "expired this second": lambda f: f.signing.signer.sign(fresh(f.signing, ONE, life=0)),
    "oversize": lambda f: f"{f.header}.{'A' * MAX_TEXT}.{f.signature}",
    "oversize, dots only": lambda f: "." * (MAX_TEXT + 1),
    "not base64url: =": lambda f: f"{f.header}.{f.payload}.{f.signature}====",
    "not base64url: + and /": lambda f: f"{f.header}.{f.payload}.++//{f.signature[4:]}",
    "not base64url: %": lambda f: f"{f.header}.%{f.payload[1:]}.{f.signature}",
    "not base64url: one letter": lambda f: f"{f.header}.{f.payload}.A",
    "whitespace before": lambda f: f" {f.text}",
    "whitespace behind": lambda f: f"{f.text} ",
    "line break behind": lambda f: f"{f.text}\n",
    "line break inside": lambda f: f"{f.header}.{f.payload[:8]}\r\n{f.payload[8:]}.{f.signature}",
    "NUL behind": lambda f: f"{f.text}\0",
    "Bearer before": lambda f: f"Bearer {f.text}",
    "one part": lambda f: f.payload,
    "two parts": lambda f: f"{f.header}.{f.payload}",
    "four parts": lambda f: f"{f.text}.{f.signature}",
    "five parts, like a JWE": lambda f: f"{f.header}..{f.payload}.{f.signature}.{f.signature}",
    "only dots": lambda f: "..",
    "empty": lambda f: "",
    "header only": lambda f: f"{f.header}..",
    "JSON of a JWS": lambda f: json.dumps(
        {"protected": f.header, "payload": f.payload, "signature": f.signature}
    ),
    "general JSON of a JWS": lambda f: json.dumps(
        {"payload": f.payload, "signatures": [{"protected": f.header, "signature": f.signature}]}
    ),
    "non-ASCII in the header": lambda f: f"é{f.text}",
    "non-ASCII in the payload": lambda f: f"{f.header}.é{f.payload}.{f.signature}",
    "non-ASCII in the signature": lambda f: f"{f.text}é",
    "a dot that is none": lambda f: f.text.replace(".", "\uff0e"),
    "lone surrogate in the header": lambda f: f"\ud800{f.text}",
    "lone surrogate in the payload": lambda f: f"{f.header}.{f.payload}\ud800.{f.signature}",
    "lone surrogate in the signature": lambda f: f"{f.text}\udfff",
}


def assert_refused(signing: Signing, text: str) -> None:
    with pytest.raises(Refusal) as caught:
        signing.signer.verify(text)
    assert caught.value.code is Code.INVALID_TOKEN
    # One public text for all of them: an attacker learns nothing of why.
    assert caught.value.public == "The access token is not valid."
    assert len(text) < 20 or text not in str(caught.value)  # short ones may stand there by chance


class TestAttacks:
    def test_the_good_one_is_good(self, signing: Signing) -> None:
        forge = Forge(signing)
        assert signing.signer.verify(forge.text).user_id == "user-1"
        assert signing.signer.verify(forge.ours()).user_id == "user-1"

    @pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
    def test_is_invalid_token(self, signing: Signing, attack: Callable[[Forge], str]) -> None:
        assert_refused(signing, attack(Forge(signing)))

    def test_another_spelling_of_the_signature_is_invalid_token(self, signing: Signing) -> None:
        forge = Forge(signing)
        padding = "=" * (-len(forge.signature) % 4)
        assert padding
        assert_refused(signing, f"{forge.text}{padding}")

    def test_every_other_letter_of_header_and_payload(self, es256: Signing) -> None:
        forge = Forge(es256)
        for place in range(len(forge.header) + 1 + len(forge.payload)):
            letter = "A" if forge.text[place] != "A" else "B"
            assert_refused(es256, forge.text[:place] + letter + forge.text[place + 1 :])


class TestRandomText:
    @PROPERTY
    @given(st.text() | st.lists(st.text(), min_size=3, max_size=3).map(".".join))
    def test_is_invalid_token(self, es256: Signing, text: str) -> None:
        assert_refused(es256, text)

    @PROPERTY
    @given(st.text(), st.text())
    def test_behind_our_header_is_invalid_token(self, es256: Signing, one: str, two: str) -> None:
        assert_refused(es256, f"{Forge(es256).header}.{one}.{two}")

    @PROPERTY
    @given(st.binary(), st.binary())
    def test_bytes_behind_our_header(self, es256: Signing, one: bytes, two: bytes) -> None:
        assert_refused(es256, f"{Forge(es256).header}.{b64(one)}.{b64(two)}")

    @PROPERTY
    @given(st.recursive(st.none() | st.text() | st.integers(), st.lists, max_leaves=5))
    def test_any_json_as_a_header(self, es256: Signing, header: object) -> None:
        assert_refused(es256, Forge(es256).ours(encoded(header)))
