"""Where webhooks may be: nothing inside a network is called for somebody outside."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from keyturn.server.domain.errors import Code, Refusal
from keyturn.server.domain.webhook_addresses import MAX_URL, Target, need_reachable, target_of

LOOPBACK = [ip_network("127.0.0.0/8"), ip_network("::1/128")]
HTTPS, HTTP = Target(True, "x", 443, "x"), Target(False, "x", 80, "x")


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://hooks.example", Target(True, "hooks.example", 443, "hooks.example")),
        (
            "https://h.example:8443/a?b=c%20d",
            Target(True, "h.example", 8443, "h.example:8443"),
        ),
        ("HTTPS://Hooks.Example/", Target(True, "hooks.example", 443, "Hooks.Example")),
        ("https://[2001:db8::1]:444/", Target(True, "2001:db8::1", 444, "[2001:db8::1]:444")),
        ("http://127.0.0.1/?x", Target(False, "127.0.0.1", 80, "127.0.0.1")),
    ],
)
def test_leads_there(url: str, target: Target) -> None:
    assert target_of(url) == target


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hooks.example",
        "ftp://hooks.example/",
        "https:///x",
        "https://",
        "https://user@hooks.example/",
        "https://user:password@hooks.example/",
        "https://hooks.example/#x",
        "https://hooks.example/ x",
        "https://hooks.example\\@10.0.0.1/",
        "https://hooks.example\n/",
        "https://hooks.example:0/",
        "https://hooks.example:65536/",
        "https://hooks.example:x/",
        "https://hööks.example/",
        "https://ⓔxample.com/",
        "https://[fe80::1%25eth0]/",
        "https://[::1/",
        "https://-x/",
        "https://hooks.example/%zz",
        "https://hooks.example/" + "x" * MAX_URL,
    ],
    ids=lambda url: ascii(url)[:40],
)
def test_refused(url: str) -> None:
    with pytest.raises(Refusal) as refused:
        target_of(url)
    assert (refused.value.code, refused.value.field) == (Code.INVALID_REQUEST, "url")


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_the_public_internet(address: str) -> None:
    need_reachable(HTTPS, [address], ())
    with pytest.raises(Refusal):
        need_reachable(HTTP, [address], LOOPBACK)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.255.255.254",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "100.64.0.1",
        "169.254.169.254",
        "168.63.129.16",
        "192.0.0.8",
        "192.0.2.1",
        "192.88.99.1",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::10.0.0.1",
        "64:ff9b:1::10.0.0.1",
        "2001::1",
        "2001:db8::1",
        "2002:a00:1::1",
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "ff02::1",
        "0177.0.0.1",
        "2130706433",
        "x",
        "",
    ],
)
def test_nothing_else(address: str) -> None:
    for addresses in ([address], ["8.8.8.8", address]):
        with pytest.raises(Refusal):
            need_reachable(HTTPS, addresses, ())


def test_no_address_at_all() -> None:
    with pytest.raises(Refusal, match="no address"):
        need_reachable(HTTPS, [], LOOPBACK)


@pytest.mark.parametrize(
    ("target", "addresses"), [(HTTP, ["8.8.8.8"]), (HTTP, []), (HTTPS, ["10.0.0.1"])]
)
def test_what_is_refused_says_how_it_is_allowed(target: Target, addresses: list[str]) -> None:
    with pytest.raises(Refusal, match="KEYTURN_WEBHOOK_NETWORKS"):
        need_reachable(target, addresses, ())


def test_networks_that_are_named() -> None:
    inner = [ip_network("10.1.0.0/16")]
    need_reachable(HTTPS, ["10.1.2.3", "::ffff:10.1.2.4", "8.8.8.8"], inner)
    for address in ("10.2.0.1", "127.0.0.1"):
        with pytest.raises(Refusal):
            need_reachable(HTTPS, [address], inner)
    with pytest.raises(Refusal):
        need_reachable(HTTP, ["10.1.2.3"], inner)


def test_http_on_this_machine_alone() -> None:
    need_reachable(HTTP, ["127.0.0.1", "::1"], LOOPBACK)
    for networks in ((), LOOPBACK[1:]):
        with pytest.raises(Refusal):
            need_reachable(HTTP, ["127.0.0.1"], networks)
