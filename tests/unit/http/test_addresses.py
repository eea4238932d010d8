"""Where a call comes from: the rightmost hop that no trusted proxy wrote."""

import ipaddress
import logging

import pytest
from starlette.requests import Request

from keyturn.server.http.addresses import ENOUGH, Addresses
from keyturn.server.services.throttling import Source

TRUSTED = tuple(ipaddress.ip_network(n) for n in ("10.0.0.0/8", "2001:db8:ffff::/48"))


def request(peer: str | None, *forwarded: str, **others: str) -> Request:
    headers = [(b"x-forwarded-for", value.encode("latin-1")) for value in forwarded]
    headers += [(name.encode(), value.encode()) for name, value in others.items()]
    client = None if peer is None else (peer, 1234)
    return Request({"type": "http", "client": client, "headers": headers})


def address(peer: str | None, *forwarded: str, **others: str) -> str | None:
    return Addresses(TRUSTED).of(request(peer, *forwarded, **others))


class TestBehindTrustedProxies:
    @pytest.mark.parametrize(
        ("forwarded", "expected"),
        [
            (["192.0.2.1"], "192.0.2.1"),
            (["203.0.113.9, 192.0.2.1"], "192.0.2.1"),
            (["203.0.113.9, 192.0.2.1, 10.1.1.1"], "192.0.2.1"),
            (["203.0.113.9", "192.0.2.1"], "192.0.2.1"),
            (["192.0.2.1", "10.1.1.1"], "192.0.2.1"),
            (["192.0.2.1:4711"], "192.0.2.1"),
            (["2001:db8::7"], "2001:db8::7"),
            (["[2001:db8::7]:443"], "2001:db8::7"),
            (["[2001:db8::7]"], "2001:db8::7"),
            (["2001:db8::7, 2001:db8:ffff::1"], "2001:db8::7"),
            (["::ffff:192.0.2.1"], "192.0.2.1"),
            (["192.0.2.1, ::ffff:10.1.1.1"], "192.0.2.1"),
            (["10.2.2.2"], "10.2.2.2"),
            (["192.0.2.1, "], "192.0.2.1"),
            (["192.0.2.1, unknown"], "10.0.0.1"),
            (["unknown, 10.1.1.1"], "10.1.1.1"),
            (["fe80::1%eth0"], "10.0.0.1"),
            (["192.0.2.1:"], "10.0.0.1"),
            (["192.0.2.1 192.0.2.2"], "10.0.0.1"),
            (["[192.0.2.1"], "10.0.0.1"),
            (["1" * 4_000], "10.0.0.1"),
            ([""], "10.0.0.1"),
            ([], "10.0.0.1"),
        ],
    )
    def test_the_last_hop_that_is_not_trusted(self, forwarded: list[str], expected: str) -> None:
        assert address("10.0.0.1", *forwarded) == expected

    def test_a_proxy_that_came_in_as_ipv6_is_trusted(self) -> None:
        assert address("::ffff:10.0.0.1", "192.0.2.1") == "192.0.2.1"

    def test_no_more_hops_than_some_are_looked_at(self) -> None:
        assert address("10.0.0.1", ",".join(["192.0.2.1", *["10.1.1.1"] * 5_000])) == "10.1.1.1"

    def test_forwarded_and_x_real_ip_are_not_read(self) -> None:
        others = {"forwarded": "for=192.0.2.1", "x-real-ip": "192.0.2.1"}
        assert address("10.0.0.1", **others) == "10.0.0.1"

    def test_failures_count_for_the_client_alone(self) -> None:
        source = Addresses(TRUSTED).source(request("10.0.0.1", "192.0.2.1"))
        assert source == Source("192.0.2.1", "", "192.0.2.1")


class TestOthers:
    def test_nobody_else_is_believed(self) -> None:
        assert address("192.0.2.9", "203.0.113.1") == "192.0.2.9"

    def test_a_unix_socket_has_no_address(self) -> None:
        assert Addresses(TRUSTED).source(request(None, "203.0.113.1")) == Source("", "", None)

    def test_an_ipv6_subscriber_counts_as_one(self) -> None:
        addresses = Addresses(())
        one = addresses.source(request("2001:db8:1:2::1"))
        other = addresses.source(request("2001:db8:1:2:ffff::2"))
        assert one.name == other.name == "2001:db8:1:2::/64"
        assert (one.address, other.address) == ("2001:db8:1:2::1", "2001:db8:1:2:ffff::2")
        assert addresses.source(request("2001:db8:1:3::1")).name != one.name

    def test_an_ipv4_address_as_ipv6_counts_as_itself(self) -> None:
        assert Addresses(()).source(request("::ffff:192.0.2.1")).name == "192.0.2.1"

    def test_who_forwards_undeclared_is_told_apart_by_hop_and_counted_together(self) -> None:
        addresses = Addresses(())
        one = addresses.source(request("192.0.2.9", "203.0.113.1"))
        other = addresses.source(request("192.0.2.9", "spoofed, 203.0.113.2"))
        assert one.name != other.name
        assert one.proxy == other.proxy == "192.0.2.9"
        assert one.name != addresses.source(request("203.0.113.1")).name

    def test_a_hop_that_is_no_address_counts_as_the_peer(self) -> None:
        assert Addresses(()).source(request("192.0.2.9", "x" * 900)).name == "192.0.2.9"

    def test_what_is_remembered_is_bounded(self) -> None:
        addresses = Addresses(())
        for number in range(10_000):
            addresses.source(request(str(ipaddress.ip_address(number))))
        assert len(addresses._direct) <= 4_096


class TestWarning:
    def test_once_when_most_come_through_an_undeclared_proxy(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        addresses = Addresses(())
        for _ in range(5 * ENOUGH):
            addresses.source(request("192.0.2.9", "203.0.113.1"))
        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        assert "192.0.2.9" in record.getMessage()
        assert "KEYTURN_TRUSTED_PROXIES" in record.getMessage()

    def test_not_for_a_few_among_many(self, caplog: pytest.LogCaptureFixture) -> None:
        addresses = Addresses(())
        for _ in range(3 * ENOUGH):
            addresses.source(request("192.0.2.8"))
            addresses.source(request("192.0.2.8"))
            addresses.source(request("192.0.2.9", "203.0.113.1"))
        assert caplog.records == []

    def test_not_for_a_trusted_one(self, caplog: pytest.LogCaptureFixture) -> None:
        addresses = Addresses(TRUSTED)
        for _ in range(3 * ENOUGH):
            addresses.source(request("10.0.0.1", "203.0.113.1"))
        assert caplog.records == []
