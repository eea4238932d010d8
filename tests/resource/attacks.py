"""What RFC 8725 warns of, as tokens: whoever verifies must refuse every one of them.

Independent of who verifies. `forged` are tokens that the issuer never made; a few are signed by its
own key over a header that it never writes, as if the key had leaked one use. `misissued` have a
right header and signature, and claims that no access token has.
"""

import base64
import hmac
import json
import time
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import utils
from joserfc import jwe
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

MAX_TEXT = 16_384
URL = "https://attacker.example/keys"
#: The order of P-256.
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551

Claims = Mapping[str, Any]


class Attack(NamedTuple):
    """A token to be refused."""

    name: str
    text: str


def b64(data: bytes) -> str:
    """Base64url without padding (RFC 7515, 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def encoded(value: object) -> str:
    """JSON as a segment."""
    return b64(json.dumps(value, separators=(",", ":")).encode())


def alg_of(key: Key) -> str:
    """The algorithm that Keyturn signs by with such a key."""
    if isinstance(key, ECKey):
        return "ES256"
    return "RS256" if isinstance(key, RSAKey) else "EdDSA"


def signature_of(key: Key, signed: str, alg: str | None = None) -> bytes:
    """A signature by joserfc, whatever the header says."""
    name = alg or alg_of(key)
    model = JWSRegistry.algorithms["Ed25519" if name == "EdDSA" else name]
    return model.sign(signed.encode(), key)


def compact(key: Key, header: str, payload: str) -> str:
    """Both segments with a right signature."""
    return f"{header}.{payload}.{b64(signature_of(key, f'{header}.{payload}'))}"


def header_of(key: Key, **changes: object) -> dict[str, object]:
    """The header that Keyturn writes; None leaves a member out."""
    members = {"alg": alg_of(key), "typ": "at+jwt", "kid": key.kid, **changes}
    return {name: value for name, value in members.items() if value is not None}


def token(key: Key, claims: Claims, **changes: object) -> str:
    """A token as Keyturn signs it, or with another header."""
    return compact(key, encoded(header_of(key, **changes)), encoded(claims))


def other_s(text: str) -> str:
    """The same ES256 token with the other of its two signatures (high S): no attack."""
    signed, _, signature = text.rpartition(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    s = ORDER - int.from_bytes(raw[32:], "big")
    return f"{signed}.{b64(raw[:32] + s.to_bytes(32, 'big'))}"


def attacks(
    key: Key, *, issuer: str, audience: str, claims: Claims, other_kid: str = "unknown"
) -> Iterator[Attack]:
    """All of them. `claims` are those of a token of `issuer` for `audience` that is valid now,
    `other_kid` that of another published key.
    """
    yield from forged(key, claims=claims, other_kid=other_kid)
    yield from misissued(key, issuer=issuer, audience=audience, claims=claims)


def forged(key: Key, *, claims: Claims, other_kid: str = "unknown") -> Iterator[Attack]:
    """Tokens that the issuer never made."""
    good = token(key, claims)
    header, payload, signature = good.split(".")

    def ours(name: str, **changes: object) -> Attack:
        return Attack(name, token(key, claims, **changes))

    for none in ("none", "None", "NONE", "nOnE"):
        unsigned = encoded(header_of(key, alg=none))
        yield Attack(f"alg {none}, no signature", f"{unsigned}.{payload}.")
        yield Attack(f"alg {none}, the old signature", f"{unsigned}.{payload}.{signature}")
        yield ours(f"alg {none}, signed", alg=none)
    algs: dict[str, object] = {
        "missing": None,
        "empty": "",
        "null": "null",
        "a list": [alg_of(key)],
        "a number": 1,
        "an object": {},
        "in lower case": alg_of(key).lower(),
        "with a NUL": f"{alg_of(key)}\0",
        "of another key type": "ES256" if isinstance(key, RSAKey) else "RS256",
        "of another curve": "ES384" if not isinstance(key, RSAKey) else "PS256",
        "not listed": "RS1",
    }
    for name, alg in algs.items():
        yield ours(f"alg {name}", alg=alg)
    yield from _symmetric(key, payload)
    yield from _embedded(key, claims)
    yield from _key_ids(key, claims, other_kid)
    yield ours("unknown crit", crit=["exp2"], exp2=1)
    yield ours("empty crit", crit=[])
    yield ours("crit that is no list", crit="exp")
    yield ours("b64 true in crit", crit=["b64"], b64=True)
    yield Attack(
        "b64 false",
        compact(
            key,
            encoded(header_of(key, b64=False, crit=["b64"])),
            json.dumps(claims, separators=(",", ":")),
        ),
    )
    packed = b64(zlib.compress(json.dumps(claims).encode())[2:-4])
    yield Attack("compressed", compact(key, encoded(header_of(key, zip="DEF")), packed))
    yield ours("zip without compression", zip="DEF")
    for name, typ in {
        "missing": None,
        "empty": "",
        "JWT": "JWT",
        "of an ID token": "id+jwt",
        "of a logout token": "logout+jwt",
        "longer": "at+jwtx",
        "with a parameter": "at+jwt; a=b",
        "a list": ["at+jwt"],
        "of another tree": "text/at+jwt",
    }.items():
        yield ours(f"typ {name}", typ=typ)
    yield Attack("nested", compact(key, encoded(header_of(key, cty="JWT")), b64(good.encode())))
    yield from _encrypted(key, good)
    yield from _signatures(key, header, payload, signature, claims)
    yield from _spellings(key, header, payload, signature, claims)


def _symmetric(key: Key, payload: str) -> Iterator[Attack]:
    """HMAC keyed with what everybody knows (RFC 8725, 2.1)."""
    pem = key.as_pem(private=False) if not isinstance(key, OctKey) else b""
    der = serialization.load_pem_public_key(pem).public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    jwk = key.as_dict(private=False)
    secrets = {
        "the PEM": pem,
        "the PEM, stripped": pem.strip(),
        "the DER": der,
        "the JWK": json.dumps(jwk).encode(),
        "the JWK, compact": json.dumps(jwk, separators=(",", ":")).encode(),
        "the kid": str(key.kid).encode(),
        "a coordinate or modulus": str(jwk.get("x") or jwk.get("n")).encode(),
        "nothing": b"",
    }
    for name, secret in secrets.items():
        for alg in ("HS256", "HS384", "HS512"):
            signed = f"{encoded(header_of(key, alg=alg))}.{payload}"
            mac = hmac.digest(secret, signed.encode(), f"sha{alg[2:]}")
            yield Attack(f"{alg} keyed with {name}", f"{signed}.{b64(mac)}")


def _embedded(key: Key, claims: Claims) -> Iterator[Attack]:
    """A key, or where to get one, in the header (RFC 8725, 2.9 and 3.10)."""
    own = ECKey.generate_key("P-256")
    own.ensure_kid()
    jwk = own.as_dict(private=False)
    x5c = [base64.b64encode(b"0\x82\x01\x00" + b"\0" * 64).decode()]
    brought: dict[str, dict[str, object]] = {
        "jwk": {"jwk": jwk},
        "jku": {"jku": URL},
        "x5u": {"x5u": URL},
        "x5c": {"x5c": x5c},
        "jku to this machine": {"jku": "http://127.0.0.1:1/keys"},
        "jku to a file": {"jku": "file:///dev/zero"},
    }
    for name, member in brought.items():
        yield Attack(f"{name}, the attacker's kid", token(own, claims, **member))
        yield Attack(f"{name}, the issuer's kid", token(own, claims, kid=key.kid, **member))
        yield Attack(f"{name}, no kid", token(own, claims, kid=None, **member))
        yield Attack(f"{name}, signed by the issuer", token(key, claims, **member))
    yield Attack("the issuer's own jwk", token(key, claims, jwk=key.as_dict(private=False)))
    yield Attack("x5t", token(key, claims, x5t="x"))
    yield Attack("the attacker's key, the issuer's kid", token(own, claims, kid=key.kid))


def _key_ids(key: Key, claims: Claims, other_kid: str) -> Iterator[Attack]:
    for name, kid in {
        "missing": None,
        "empty": "",
        "unknown": "unknown",
        "of another key": other_kid,
        "a path": "../../../../../../dev/null",
        "SQL": "x' UNION SELECT 'AA==' --",
        "a command": "/dev/null; id",
        "a URL": URL,
        "with a NUL": f"{key.kid}\0",
        "with spaces": f" {key.kid} ",
        "in another case": str(key.kid).swapcase(),
        "long": "k" * 600,
        "a list": [key.kid],
        "a number": 0,
        "an object": {"kid": key.kid},
    }.items():
        yield Attack(f"kid {name}", token(key, claims, kid=kid))


def _encrypted(key: Key, good: str) -> Iterator[Attack]:
    """Encrypted tokens: everybody can make one for a public key (RFC 8725, 2.3)."""
    header, payload, signature = good.split(".")
    yield Attack("five parts, like a JWE", f"{header}..{payload}.{signature}.{signature}")
    if isinstance(key, OKPKey):
        return
    alg = "RSA-OAEP" if isinstance(key, RSAKey) else "ECDH-ES"
    public = type(key).import_key(key.as_dict(private=False))
    protected = {"alg": alg, "enc": "A128GCM", "typ": "at+jwt", "kid": key.kid, "cty": "JWT"}
    yield Attack(
        "encrypted to the issuer's key",
        jwe.encrypt_compact(protected, good, public, algorithms=[alg, "A128GCM"]),
    )


def _signatures(
    key: Key, header: str, payload: str, signature: str, claims: Claims
) -> Iterator[Attack]:
    signed = f"{header}.{payload}"
    raw = signature_of(key, signed)
    changed = encoded({**claims, "sub": "root"})
    yield Attack("payload swapped", f"{header}.{changed}.{signature}")
    yield Attack("payload cut", f"{header}.{payload[:-4]}.{signature}")
    yield Attack("payload empty", f"{header}..{signature}")
    yield Attack("signature empty", f"{signed}.")
    yield Attack("signature cut", f"{signed}.{b64(raw[:-1])}")
    yield Attack("signature longer", f"{signed}.{b64(raw + b'0')}")
    yield Attack("signature twice", f"{signed}.{b64(raw + raw)}")
    yield Attack("signature all zero", f"{signed}.{b64(bytes(len(raw)))}")
    yield Attack("signature all ones", f"{signed}.{b64(bytes([255]) * len(raw))}")
    yield Attack("one bit of the signature", f"{signed}.{b64(bytes([raw[0] ^ 1]) + raw[1:])}")
    yield Attack("signature of another text", f"{signed}.{b64(signature_of(key, 'x.y'))}")
    if isinstance(key, ECKey):
        half = len(raw) // 2
        r, s = (int.from_bytes(part, "big") for part in (raw[:half], raw[half:]))
        yield Attack("DER signature", f"{signed}.{b64(utils.encode_dss_signature(r, s))}")
        yield Attack("signature halves swapped", f"{signed}.{b64(raw[half:] + raw[:half])}")
    if isinstance(key, RSAKey):
        other = b64(signature_of(key, signed, "RS512"))
        yield Attack("signature by another hash", f"{signed}.{other}")


def _spellings(
    key: Key, header: str, payload: str, signature: str, claims: Claims
) -> Iterator[Attack]:
    """One token has one spelling; nothing else may pass for it, or take long to refuse."""
    good, members = f"{header}.{payload}.{signature}", header_of(key)
    plain = json.dumps(members)

    def ours(name: str, first: bytes | None = None, second: bytes | None = None) -> Attack:
        one = header if first is None else b64(first)
        two = payload if second is None else b64(second)
        return Attack(name, compact(key, one, two))

    yield ours("header with alg twice", plain.replace("{", '{"alg":"none",', 1).encode())
    yield ours("header with kid twice", plain.replace("}", ',"kid":"x"}').encode())
    yield ours("header no object", b"[]")
    yield ours("header no JSON", b"{")
    yield ours("header empty object", b"{}")
    yield ours("header in UTF-16", plain.encode("utf-16"))
    yield ours("header with a BOM", b"\xef\xbb\xbf" + plain.encode())
    yield ours("header no UTF-8", b"\xff\xfe")
    yield ours("header deeply nested", b'{"alg":' + b"[" * 5_000)
    yield ours("header very long", json.dumps({**members, "x": "y" * 9_000}).encode())
    text = json.dumps(claims)
    yield ours("claims with exp twice", None, text.replace("{", '{"exp":9999999999,', 1).encode())
    yield ours("claims with sub twice", None, (text[:-1] + ',"sub":"root"}').encode())
    yield ours("act with sub twice", None, (text[:-1] + ',"act":{"sub":"a","sub":"b"}}').encode())
    yield ours("claims no object", None, b"[]")
    yield ours("claims no JSON", None, text[:-1].encode())
    yield ours("claims empty object", None, b"{}")
    yield ours("claims a text", None, b'"claims"')
    yield ours("claims with more behind", None, text.encode() + b"{}")
    yield ours("claims with a NUL behind", None, text.encode() + b"\0")
    yield ours("claims no UTF-8", None, text.encode()[:-1] + b',"x":"\xff"}')
    yield ours("claims deeply nested", None, text.encode()[:-1] + b',"x":' + b"[" * 9_000)
    yield ours(
        "claims deeply nested, whole",
        None,
        text.encode()[:-1] + b',"x":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
    )
    yield Attack("oversize", compact(key, header, encoded({**claims, "x": "y" * MAX_TEXT})))
    yield Attack("oversize, dots only", "." * (MAX_TEXT + 1))
    yield Attack("oversize, no dots", "A" * (MAX_TEXT * 4))
    padding = "=" * (-len(signature) % 4 or 4)
    yield Attack("padding", f"{good}{padding}")
    yield Attack("padding in the header", f"{header}=.{payload}.{signature}")
    yield Attack("base64, not base64url", f"{header}.{payload}.++//{signature[4:]}")
    yield Attack("percent", f"{header}.%{payload[1:]}.{signature}")
    yield Attack("one letter", f"{header}.{payload}.A")
    yield from _loose_ends(header, payload, signature)
    for name, white in {"space": " ", "tab": "\t", "line break": "\r\n", "NUL": "\0"}.items():
        yield Attack(f"{name} before", white + good)
        yield Attack(f"{name} behind", good + white)
        yield Attack(f"{name} inside", f"{header}.{payload[:8]}{white}{payload[8:]}.{signature}")
    yield Attack("Bearer before", f"Bearer {good}")
    yield Attack("one part", payload)
    yield Attack("two parts", f"{header}.{payload}")
    yield Attack("four parts", f"{good}.{signature}")
    yield Attack("only dots", "..")
    yield Attack("one dot", ".")
    yield Attack("empty", "")
    yield Attack("header only", f"{header}..")
    yield Attack("no header", f".{payload}.{signature}")
    yield Attack(
        "JSON of a JWS",
        json.dumps({"protected": header, "payload": payload, "signature": signature}),
    )
    yield Attack(
        "general JSON of a JWS",
        json.dumps(
            {"payload": payload, "signatures": [{"protected": header, "signature": signature}]}
        ),
    )
    yield Attack("unicode before", f"é{good}")
    yield Attack("unicode inside", f"{header}.é{payload}.{signature}")
    yield Attack("unicode behind", f"{good}é")
    yield Attack("a dot that is none", good.replace(".", "\uff0e"))
    yield Attack("lone surrogate", f"{good}\udfff")
    yield Attack("lone surrogate inside", f"{header}.{payload}\ud800.{signature}")


def _loose_ends(header: str, payload: str, signature: str) -> Iterator[Attack]:
    """Bits that no byte needs, in the last letter: another text for the same bytes."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    if len(signature) % 4:
        last = letters[letters.index(signature[-1]) + 1]
        yield Attack("loose end of the signature", f"{header}.{payload}.{signature[:-1]}{last}")


def misissued(key: Key, *, issuer: str, audience: str, claims: Claims) -> Iterator[Attack]:
    """Well signed, under a good header, with claims that must not do."""
    now = int(time.time())

    def having(name: str, **changes: object) -> Attack:
        return Attack(name, token(key, {**claims, **changes}))

    for name in ("iss", "aud", "exp", "iat", "sub", "client_id", "jti"):
        yield Attack(f"no {name}", token(key, {n: v for n, v in claims.items() if n != name}))
        yield having(f"{name} null", **{name: None})
        yield having(f"{name} an object", **{name: {"a": 1}})
        yield having(f"{name} true", **{name: True})
    for name in ("iss", "sub", "client_id", "jti"):
        yield having(f"{name} a number", **{name: 7})
        yield having(f"{name} a list", **{name: [claims[name]]})
        yield having(f"{name} empty", **{name: ""})
        yield having(f"{name} a lone surrogate", **{name: "\ud800"})
    for name in ("exp", "iat"):
        yield having(f"{name} a text", **{name: str(claims[name])})
        yield having(f"{name} a list", **{name: [claims[name]]})
        yield having(f"{name} negative", **{name: -1})
        text = json.dumps({**claims, name: 0}).replace(f'"{name}": 0', f'"{name}": %s')
        for odd in ("NaN", "Infinity", "-Infinity", "1e999", "9" * 400):
            payload = b64((text % odd).encode())
            yield Attack(f"{name} {odd[:9]}", compact(key, encoded(header_of(key)), payload))
    yield having("of another issuer", iss="https://other.example")
    yield having("issuer with a slash", iss=f"{issuer}/")
    yield having("issuer in another case", iss=issuer.upper())
    yield having("issuer longer", iss=f"{issuer}.attacker.example")
    yield having("for another audience", aud="https://other.example")
    yield having("for other audiences", aud=["https://other.example", f"{audience}/x"])
    yield having("audience longer", aud=f"{audience}.attacker.example")
    yield having("no audience in a list", aud=[])
    yield having("audience a number", aud=7)
    yield having("audiences one of them no text", aud=[audience, 7])
    yield having("expired", iat=now - 900, exp=now - 600)
    yield having("expired long ago", iat=0, exp=1)
    yield having("issued in the future", iat=now + 3_600, exp=now + 3_900)
    yield having("not before an hour from now", nbf=now + 3_600)
    yield having("not before a text", nbf="0")
    yield having("scope a list", scope=["a:b"])
    yield having("act no object", act="root")
