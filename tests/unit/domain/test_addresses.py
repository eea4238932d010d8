"""Mail addresses: which of them are one, and which are generated."""

import pytest

from keyturn.server.domain.addresses import folded_address, is_generated


class TestFoldedAddress:
    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("Ada@Example.ORG", "ada@example.org"),
            ("zoe\u0308@e.org", "zoë@e.org"),
            ("ZOË@e.org", "zoe\u0308@E.org"),
        ],
    )
    def test_one_address(self, one: str, other: str) -> None:
        assert folded_address(one) == folded_address(other)

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("straße@e.org", "strasse@e.org"),
            ("ﬁn@e.org", "fin@e.org"),
            ("ſam@e.org", "sam@e.org"),
            ("ada@e.org", "аda@e.org"),
            ("zoe@e.org", "zoë@e.org"),
            ("ada@e.org", "ada@e.org "),
        ],
    )
    def test_two_people(self, one: str, other: str) -> None:
        assert folded_address(one) != folded_address(other)


class TestIsGenerated:
    @pytest.mark.parametrize(
        "address",
        [
            "x@acme.service.keyturn.internal",
            "x@ACME.Service.Keyturn.INTERNAL",
            "x@a.b.service.keyturn.internal",
        ],
    )
    def test_yes(self, address: str) -> None:
        assert is_generated(address)

    @pytest.mark.parametrize(
        "address", ["x@example.org", "x@keyturn.internal", "x@acme.service.keyturn.internal.org"]
    )
    def test_no(self, address: str) -> None:
        assert not is_generated(address)
