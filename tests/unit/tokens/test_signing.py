"""Signing keys: their thumbprint, what is published, and that only their own seal opens them."""

import base64
import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from joserfc.jwk import OKPKey

from keyturn.server.tokens.signing import Keyring, KeySealer, UnreadableSigningKey

from .conftest import Signing, derived, master_secret

NOW = datetime.now(UTC)
REQUIRED = {  # RFC 7638, 3.2, and RFC 8037, 2
    "ES256": ("crv", "kty", "x", "y"),
    "RS256": ("e", "kty", "n"),
    "Ed25519": ("crv", "kty", "x"),
}
PRIVATE = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}


def thumbprint(algorithm: str, jwk: dict[str, str]) -> str:
    """RFC 7638, without a library."""
    members = {name: jwk[name] for name in REQUIRED[algorithm]}
    text = json.dumps(members, separators=(",", ":"), sort_keys=True)
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


class TestNew:
    def test_kid_is_the_rfc_7638_thumbprint(self, signing: Signing) -> None:
        public = dict(signing.stored.public_jwk)
        assert signing.stored.kid == thumbprint(signing.stored.algorithm, public)

    def test_nothing_private_is_public(self, signing: Signing) -> None:
        assert not PRIVATE & signing.stored.public_jwk.keys()

    def test_the_private_part_cannot_be_read(self, signing: Signing) -> None:
        assert b'"d"' not in signing.stored.sealed_private
        assert signing.stored.kid.encode() not in signing.stored.sealed_private

    def test_each_is_another(self, signing: Signing) -> None:
        assert signing.stored.kid != signing.other.kid

    @pytest.mark.parametrize("algorithm", ["HS256", "none", "ES384", "EdDSA", "es256", ""])
    def test_other_algorithms_are_refused(self, algorithm: str) -> None:
        with pytest.raises(ValueError, match="not a signing algorithm"):
            KeySealer(derived()).new(algorithm, "current", NOW)


class TestOpen:
    def test_opens_under_its_own_kid_and_secret(self, signing: Signing) -> None:
        opened = signing.sealer.open(signing.stored, signing.eddsa_header)
        assert opened.kid == signing.stored.kid
        assert opened.verify(b"data", opened.sign(b"data"))
        assert not opened.verify(b"date", opened.sign(b"data"))

    def test_another_kid_does_not_open_it(self, signing: Signing) -> None:
        moved = replace(signing.stored, kid=signing.other.kid)
        with pytest.raises(UnreadableSigningKey):
            signing.sealer.open(moved, signing.eddsa_header)

    def test_another_keys_seal_does_not_open(self, signing: Signing) -> None:
        swapped = replace(signing.stored, sealed_private=signing.other.sealed_private)
        with pytest.raises(UnreadableSigningKey):
            signing.sealer.open(swapped, signing.eddsa_header)

    def test_another_secret_does_not_open_it(self, signing: Signing) -> None:
        with pytest.raises(UnreadableSigningKey):
            KeySealer(derived()).open(signing.stored, signing.eddsa_header)

    def test_another_secret_under_the_same_version_does_not_open_it(self) -> None:
        mine, theirs = derived(), derived()
        sealed = KeySealer(theirs).new("ES256", "current", NOW)
        relabelled = mine.version.to_bytes(4, "big") + sealed.sealed_private[4:]
        with pytest.raises(UnreadableSigningKey):
            KeySealer(mine).open(replace(sealed, sealed_private=relabelled), "EdDSA")

    def test_a_previous_secret_still_opens_it(self) -> None:
        old, new = master_secret(), master_secret()
        stored = KeySealer(derived(old)).new("Ed25519", "current", NOW)
        opened = KeySealer(derived(new, old)).open(stored, "EdDSA")
        assert opened.kid == stored.kid

    def test_every_flipped_byte_is_refused(self, es256: Signing) -> None:
        for place in range(len(es256.stored.sealed_private)):
            flipped = bytearray(es256.stored.sealed_private)
            flipped[place] ^= 1
            with pytest.raises(UnreadableSigningKey):
                es256.sealer.open(replace(es256.stored, sealed_private=bytes(flipped)), "EdDSA")

    @pytest.mark.parametrize("length", [0, 3, 4, 19, 20])
    def test_a_truncated_one_is_refused(self, es256: Signing, length: int) -> None:
        cut = replace(es256.stored, sealed_private=es256.stored.sealed_private[:length])
        with pytest.raises(UnreadableSigningKey):
            es256.sealer.open(cut, "EdDSA")

    @pytest.mark.parametrize("algorithm", ["HS256", "none", "ES384", ""])
    def test_an_unknown_algorithm_in_the_row_is_refused(
        self, es256: Signing, algorithm: str
    ) -> None:
        with pytest.raises(UnreadableSigningKey):
            es256.sealer.open(replace(es256.stored, algorithm=algorithm), "EdDSA")

    @pytest.mark.parametrize("algorithm", ["RS256", "Ed25519"])
    def test_another_algorithm_in_the_row_is_refused(self, es256: Signing, algorithm: str) -> None:
        with pytest.raises(UnreadableSigningKey):
            es256.sealer.open(replace(es256.stored, algorithm=algorithm), "EdDSA")

    def test_no_private_part_stands_in_a_repr(self, signing: Signing) -> None:
        opened = signing.sealer.open(signing.stored, signing.eddsa_header)
        for shown in (repr(opened), repr(signing.sealer), repr(signing.signer.keyring)):
            assert "'d'" not in shown
            assert '"d"' not in shown


class TestKeyring:
    def test_publishes_every_key_once_without_private_members(self, signing: Signing) -> None:
        published = signing.signer.keyring.jwks["keys"]
        assert isinstance(published, list)
        assert [key["kid"] for key in published] == [signing.stored.kid, signing.other.kid]
        for key in published:
            assert not PRIVATE & key.keys()
            assert key["use"] == "sig"
            assert key["alg"] == signing.alg

    def test_verifies_under_both_names_of_ed25519(self) -> None:
        sealer = KeySealer(derived())
        stored = sealer.new("Ed25519", "current", NOW)
        before, after = (sealer.open(stored, name) for name in ("EdDSA", "Ed25519"))
        assert before.header != after.header
        for ring in (Keyring([before], before), Keyring([after], after)):
            assert set(ring.by_header) == {before.header, after.header}

    def test_other_algorithms_have_one_header(self, es256: Signing) -> None:
        assert len(es256.signer.keyring.by_header) == 2

    def test_joserfc_reads_what_is_published_of_ed25519(self) -> None:
        stored = KeySealer(derived()).new("Ed25519", "current", NOW)
        assert OKPKey.import_key(dict(stored.public_jwk)).thumbprint() == stored.kid
