"""Access tokens as others read them (joserfc, PyJWT), and what they say (promise P2)."""

import base64
import json
from dataclasses import replace
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import KeySet

from keyturn.server.domain.errors import Code, Refusal
from keyturn.server.domain.tokens import AccessToken

from .conftest import AUDIENCE, ISSUER, PROPERTY, Signing

ONE = AccessToken(
    jti="jti-1",
    user_id="user-1",
    key_id="key-1",
    session_id="sid-1",
    epoch=7,
    issued_at=0,
    expires_at=0,
    scope=("assets:read", "assets:write"),
    tenant_id="tenant-a",
    roles={"tenant-a": ("editor", "viewer")},
)
MAP = replace(ONE, tenant_id=None, roles={"tenant-a": ("editor",), "tenant-b": ("viewer", "ü")})
EMPTY = replace(ONE, tenant_id=None, roles={}, scope=())
UNLISTED = replace(ONE, tenant_id=None, roles=None, scope=())


def fresh(signing: Signing, token: AccessToken, life: int = 300) -> AccessToken:
    now = int(signing.clock().timestamp())
    return replace(token, issued_at=now, expires_at=now + life)


def part(text: str, number: int) -> Any:
    segment = text.split(".")[number]
    return json.loads(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))


# joserfc finds EdDSA too broad a name (RFC 9864); many verifiers know no other.
@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
class TestOthersVerifyIt:
    def test_joserfc(self, signing: Signing) -> None:
        text = signing.signer.sign(fresh(signing, MAP))
        keys = KeySet.import_key_set(json.loads(json.dumps(signing.signer.jwks())))
        token = joserfc_jwt.decode(text, keys, algorithms=[signing.alg])
        assert token.claims == part(text, 1)

    @pytest.mark.parametrize("token", [ONE, MAP, UNLISTED])
    def test_pyjwt(self, signing: Signing, token: AccessToken) -> None:
        text = signing.signer.sign(fresh(signing, token))
        published = dict(signing.signer.jwks())
        if signing.alg not in jwt.algorithms.get_default_algorithms():
            # PyJWT does not know RFC 9864's name yet, which is why the setting's default is EdDSA.
            assert signing.alg == "Ed25519"
            published["keys"] = [{**signing.stored.public_jwk, "kid": signing.stored.kid}]
            jwt.PyJWKSet.from_dict(published)
            return
        keys = jwt.PyJWKSet.from_dict(published)
        key = keys[jwt.get_unverified_header(text)["kid"]]
        claims = jwt.decode(text, key, algorithms=[signing.alg], audience=AUDIENCE, issuer=ISSUER)
        assert claims == part(text, 1)

    def test_not_with_the_other_published_key(self, signing: Signing) -> None:
        text = signing.signer.sign(fresh(signing, ONE))
        keys = json.loads(json.dumps(signing.signer.jwks()))["keys"]
        keys[1]["kid"] = keys[0]["kid"]
        with pytest.raises(Exception, match="signature"):
            joserfc_jwt.decode(
                text, KeySet.import_key_set({"keys": keys[1:]}), algorithms=[signing.alg]
            )


class TestHeader:
    def test_is_exactly_alg_kid_and_typ(self, signing: Signing) -> None:
        text = signing.signer.sign(fresh(signing, ONE))
        assert part(text, 0) == {"alg": signing.alg, "kid": signing.stored.kid, "typ": "at+jwt"}


class TestClaims:
    def common(self, token: AccessToken) -> dict[str, object]:
        return {
            "iss": ISSUER,
            "sub": "user-1",
            "aud": AUDIENCE,
            "client_id": "key-1",
            "iat": token.issued_at,
            "exp": token.expires_at,
            "jti": "jti-1",
            "sid": "sid-1",
            "epoch": 7,
        }

    def test_of_one_tenant(self, es256: Signing) -> None:
        token = fresh(es256, ONE)
        assert part(es256.signer.sign(token), 1) == {
            **self.common(token),
            "scope": "assets:read assets:write",
            "tenant_id": "tenant-a",
            "roles": ["editor", "viewer"],
        }

    def test_of_several(self, es256: Signing) -> None:
        token = fresh(es256, MAP)
        assert part(es256.signer.sign(token), 1) == {
            **self.common(token),
            "scope": "assets:read assets:write",
            "tenants": {"tenant-a": ["editor"], "tenant-b": ["viewer", "ü"]},
        }

    def test_of_none(self, es256: Signing) -> None:
        token = fresh(es256, EMPTY)
        assert part(es256.signer.sign(token), 1) == {
            **self.common(token),
            "scope": "",
            "tenants": {},
        }

    def test_of_too_many_to_list(self, es256: Signing) -> None:
        token = fresh(es256, UNLISTED)
        assert part(es256.signer.sign(token), 1) == {
            **self.common(token),
            "scope": "",
            "_claim_names": {"tenants": "me"},
            "_claim_sources": {"me": {"endpoint": f"{ISSUER}/iam/users/me"}},
        }


class TestVerify:
    @pytest.mark.parametrize("token", [ONE, MAP, EMPTY, UNLISTED])
    def test_gives_back_what_was_signed(self, signing: Signing, token: AccessToken) -> None:
        token = fresh(signing, token)
        assert signing.signer.verify(signing.signer.sign(token)) == token

    names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=10)

    @PROPERTY
    @given(
        st.none() | st.dictionaries(names, st.lists(names, max_size=3).map(tuple), max_size=5),
        st.booleans(),
        st.integers(0, 2**53),
    )
    def test_gives_back_any_roles(
        self, es256: Signing, roles: dict[str, tuple[str, ...]] | None, one: bool, epoch: int
    ) -> None:
        tenant_id = next(iter(roles)) if one and roles else None
        if roles and tenant_id is not None:
            roles = {tenant_id: roles[tenant_id]}
        token = replace(fresh(es256, ONE), epoch=epoch, tenant_id=tenant_id, roles=roles)
        assert es256.signer.verify(es256.signer.sign(token)) == token

    def test_of_a_retired_key_still(self, signing: Signing) -> None:
        key = signing.sealer.open(signing.other, signing.eddsa_header)
        ring = type(signing.signer.keyring)([key], key)
        retired = type(signing.signer)(ring, signing.signer._issuing, signing.clock)
        token = fresh(signing, ONE)
        assert signing.signer.verify(retired.sign(token)) == token

    def test_under_either_name_of_ed25519(self, signing: Signing) -> None:
        if signing.stored.algorithm != "Ed25519":
            return
        other_name = "EdDSA" if signing.alg == "Ed25519" else "Ed25519"
        key = signing.sealer.open(signing.stored, other_name)
        ring = type(signing.signer.keyring)([key], key)
        changed = type(signing.signer)(ring, signing.signer._issuing, signing.clock)
        token = fresh(signing, ONE)
        assert changed.verify(signing.signer.sign(token)) == token
        assert signing.signer.verify(changed.sign(token)) == token

    @pytest.mark.parametrize(("late", "live"), [(-1, True), (-0.001, True), (0, False), (1, False)])
    def test_until_the_second_of_exp(self, es256: Signing, late: float, live: bool) -> None:
        es256.clock.now = es256.clock.now.replace(microsecond=0)
        token = fresh(es256, ONE)
        text, before = es256.signer.sign(token), es256.clock.now
        es256.clock.advance(300 + late)
        try:
            if live:
                assert es256.signer.verify(text) == token
            else:
                with pytest.raises(Refusal) as caught:
                    es256.signer.verify(text)
                assert caught.value.code is Code.INVALID_TOKEN
        finally:
            es256.clock.now = before
