"""How the client of a call names itself, and what a parameter may hold."""

import base64
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyturn.server.domain.errors import Code, Refusal
from keyturn.server.oauth.calls import OAuthCall, clean, read_client
from keyturn.server.services.credentials import ClientCredentials

PROPERTY = settings(max_examples=100, deadline=None)

#: What form-encoding leaves alone; a password made of it needs no encoding at all.
plain = st.text("ABCxyz019-._~", min_size=1)
printable = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1)


def basic(text: str | bytes, scheme: str = "Basic") -> str:
    raw = text if isinstance(text, bytes) else text.encode()
    return f"{scheme} {base64.b64encode(raw).decode()}"


def read(header: str | None, **params: str) -> ClientCredentials:
    return read_client(header, params)


def assert_refused(code: Code, header: str | None, params: Mapping[str, str]) -> None:
    with pytest.raises(Refusal) as caught:
        read_client(header, params)
    assert caught.value.code is code
    sent = [*(header or "").split(" "), params.get("client_secret", "")]
    for value in filter(None, sent):
        assert value.lower() == "basic" or value not in str(caught.value)


class TestBasic:
    def test_id_and_secret(self) -> None:
        assert read(basic("id:pass")) == ClientCredentials("client_secret_basic", "id", "pass")

    @pytest.mark.parametrize("scheme", ["Basic", "basic", "BASIC", "bAsIc"])
    def test_the_scheme_in_any_case(self, scheme: str) -> None:
        assert read(basic("id:pass", scheme)).secret == "pass"

    def test_more_spaces_behind_the_scheme(self) -> None:
        assert read(basic("id:pass").replace(" ", "   ")).secret == "pass"

    @pytest.mark.parametrize("params", [{}, {"client_id": "id"}])
    def test_an_empty_secret_is_none(self, params: dict[str, str]) -> None:
        assert read_client(basic("id:"), params) == ClientCredentials("none", "id", "")

    def test_nothing_but_a_colon(self) -> None:
        assert read(basic(":")) == ClientCredentials("none", None, "")

    @pytest.mark.parametrize(
        ("sent", "meant"),
        [
            ("a+b:c+d", ("a b", "c d")),
            ("a%2Bb:c%2bd", ("a+b", "c+d")),
            ("a%3Ab:c%3Ad", ("a:b", "c:d")),
            ("id:a:b::c", ("id", "a:b::c")),
            ("%C3%BC:%C3%9F", ("ü", "ß")),
            ("ü:ß", ("ü", "ß")),
            ("ada%40example.com:x", ("ada@example.com", "x")),
            ("ada@example.com:x", ("ada@example.com", "x")),
            ("id:100%", ("id", "100%")),
            ("id:%zz", ("id", "%zz")),
        ],
    )
    def test_both_parts_are_form_decoded(self, sent: str, meant: tuple[str, str]) -> None:
        client = read(basic(sent))
        assert (client.client_id, client.secret) == meant

    @PROPERTY
    @given(plain, plain)
    def test_plain_letters_mean_themselves(self, name: str, secret: str) -> None:
        client = read(basic(f"{name}:{secret}"))
        assert (client.client_id, client.secret) == (name, secret)

    @pytest.mark.parametrize(
        "header",
        [
            "",
            " ",
            "Basic",
            "Basic ",
            "Basic  ",
            "Basic !!!!",
            "Basic aWQ6cGFzcw",  # without its padding
            "Basic aWQ6cGFz cw==",
            "Basic aWQ6cGFzcw==, Basic aWQ6cGFzcw==",
            "Basic aWQ6cGFzcw==\n",
            "Basic\taWQ6cGFzcw==",
            "Basic é",
            "Basic \ud800",
            "BasicaWQ6cGFzcw==",
            "Bearer aWQ6cGFzcw==",
            "Digest username=id",
            "Negotiate aWQ6cGFzcw==",
            "aWQ6cGFzcw==",
            basic("no colon"),
            basic(""),
            basic(b"\xff:\xfe"),
            basic(b"id:\xc3"),
            basic("%ff:x"),
            basic("id:%c3"),
            basic("id:%ed%a0%80"),  # a surrogate, encoded
            basic("id:a\0b"),
            basic("i\0d:ab"),
            basic("id:%00"),
            basic("id%0a:x"),
            basic("id:x\x7f"),
            basic("id:x\n"),
        ],
    )
    def test_anything_else_is_invalid_client(self, header: str) -> None:
        assert_refused(Code.INVALID_CLIENT, header, {})

    @PROPERTY
    @given(st.text() | st.text().map("Basic ".__add__) | st.binary().map(basic))
    def test_any_header_is_credentials_or_invalid_client(self, header: str) -> None:
        try:
            client = read(header)
        except Refusal as refusal:
            outcome: object = refusal.code
        else:
            outcome = client.method
            (client.client_id or "").encode()
            client.secret.encode()
        assert outcome in (Code.INVALID_CLIENT, "client_secret_basic", "none")


class TestBody:
    def test_nothing(self) -> None:
        assert read(None) == ClientCredentials("none", None, "")

    def test_an_id_alone(self) -> None:
        assert read(None, client_id="id") == ClientCredentials("none", "id", "")

    @PROPERTY
    @given(printable, printable)
    def test_id_and_secret_as_they_are(self, name: str, secret: str) -> None:
        client = read(None, client_id=name, client_secret=secret)
        assert client == ClientCredentials("client_secret_post", name, secret)

    def test_a_secret_without_an_id(self) -> None:
        client = read(None, client_secret="pass")
        assert client == ClientCredentials("client_secret_post", None, "pass")


class TestBothWays:
    @pytest.mark.parametrize("header", [basic("id:pass"), basic("id:"), basic(":")])
    def test_a_header_and_a_secret_in_the_body_are_invalid_request(self, header: str) -> None:
        for params in ({"client_secret": "pw-1"}, {"client_id": "id", "client_secret": "pw-1"}):
            assert_refused(Code.INVALID_REQUEST, header, params)

    def test_two_ids_are_invalid_request(self) -> None:
        assert_refused(Code.INVALID_REQUEST, basic("one:pass"), {"client_id": "two"})
        assert_refused(Code.INVALID_REQUEST, basic("one:"), {"client_id": "two"})

    def test_the_same_id_twice_is_one_way(self) -> None:
        client = read(basic("id:pass"), client_id="id")
        assert client == ClientCredentials("client_secret_basic", "id", "pass")

    def test_a_broken_header_is_invalid_client_whatever_the_body_says(self) -> None:
        assert_refused(Code.INVALID_CLIENT, "Basic !!", {"client_id": "x", "client_secret": "y"})


class TestClean:
    def test_empty_values_count_as_omitted(self) -> None:
        assert clean({"scope": "", "username": "ada", "password": " "}) == {
            "username": "ada",
            "password": " ",
        }

    @pytest.mark.parametrize("letter", [chr(n) for n in (*range(0x20), 0x7F, 0xD800, 0xDFFF)])
    @pytest.mark.parametrize("around", ["{}", "a{}b"])
    def test_control_characters_are_invalid_request(self, letter: str, around: str) -> None:
        value = around.format(letter)
        with pytest.raises(Refusal) as caught:
            clean({"username": "ada", "password": value})
        assert caught.value.code is Code.INVALID_REQUEST
        assert "ada" not in str(caught.value)

    @PROPERTY
    @given(st.dictionaries(printable, printable | st.just("")))
    def test_all_else_stays_as_it_is(self, params: dict[str, str]) -> None:
        assert clean(params) == {name: value for name, value in params.items() if value}


class TestOAuthCall:
    def test_shows_no_value_in_its_repr(self) -> None:
        client = ClientCredentials("client_secret_post", "id", "hunter2")
        call = OAuthCall({"password": "hunter2", "client_id": "id"}, client, None, "192.0.2.1")
        assert "hunter2" not in f"{call!r} {call} {client!r} {client}"
        assert call.actor.address == "192.0.2.1"
