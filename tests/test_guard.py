from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.guard import Guard, is_public, parse_networks

CLOSED = """
    0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.127.255.255 127.0.0.1 127.255.255.254 169.254.169.254
    168.63.129.16 172.16.0.1 172.31.255.255 192.0.0.1 192.0.2.1 192.88.99.1 192.168.1.1 198.18.0.1 198.19.255.255
    198.51.100.7 203.0.113.9 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255
    :: ::1 ::7f00:1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 0:0:0:0:0:ffff:c0a8:1
    64:ff9b::7f00:1 64:ff9b::808:808 64:ff9b:1::1 100::1 2001::1 2001:1::1 2001:db8::1 2002:7f00:1:: 2002:808:808::1
    3fff::1 4000::1 5f00::1 fc00::1 fd00:ec2::254 fe80::1 fec0::1 ff02::1
""".split()
PUBLIC = """
    1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.1 169.253.0.1 169.255.0.1
    168.63.129.15 168.63.129.17 172.15.255.255 172.32.0.0 191.255.255.255 192.167.0.1 192.169.0.1 198.17.255.255
    198.20.0.0 223.255.255.255 ::ffff:8.8.8.8 2606:4700::1111 2a00:1450:4001::1 2001:4860:4860::8888 2001:200::1
    2003::1 2400::1
""".split()
#: Text that libc might resolve to an address but that names none itself: the guard is shown what was resolved.
NO_ADDRESS = [
    *"0177.0.0.1 0x7f.1 2130706433 127.1 localhost example.com 1.2.3 1.2.3.4.5 [::1] 10.0.0.1/8".split(),
    "",
    " 8.8.8.8",
    "8.8.8.8\n",
    "%eth0",
]


@pytest.mark.parametrize("text", CLOSED)
def test_what_is_not_public_is_refused(text: str) -> None:
    assert not Guard().allows(text)


@pytest.mark.parametrize("text", PUBLIC)
def test_what_is_public_is_allowed(text: str) -> None:
    assert Guard().allows(text)


@pytest.mark.parametrize("text", NO_ADDRESS)
def test_what_is_no_numeric_address_is_refused_even_with_all_opened(text: str) -> None:
    assert not Guard(["0.0.0.0/0", "::/0"]).allows(text)


@pytest.mark.parametrize("text", ["fe80::1%eth0", "fe80::1%2", "::1%lo"])
def test_a_scope_id_is_never_public(text: str) -> None:
    assert not Guard().allows(text)


def test_a_scope_id_does_not_make_a_private_address_another() -> None:
    assert Guard(["fe80::/10"]).allows("fe80::1%eth0")


class TestOpened:
    def test_exactly_what_is_named(self) -> None:
        guard = Guard(["10.1.2.0/24"])
        assert guard.allows("10.1.2.0") and guard.allows("10.1.2.255")
        assert not guard.allows("10.1.1.255") and not guard.allows("10.1.3.0") and not guard.allows("127.0.0.1")
        assert guard.allows("8.8.8.8")

    def test_one_address(self) -> None:
        guard = Guard(["169.254.169.254"])
        assert guard.allows("169.254.169.254")
        assert not guard.allows("169.254.169.253")

    def test_also_as_mapped_into_ipv6(self) -> None:
        assert Guard(["10.0.0.0/8"]).allows("::ffff:10.0.0.1")
        assert not Guard(["10.0.0.0/8"]).allows("::ffff:127.0.0.1")

    def test_ipv4_opens_no_ipv6_and_back(self) -> None:
        assert not Guard(["0.0.0.0/0"]).allows("::1")
        assert not Guard(["::/0"]).allows("127.0.0.1")
        assert not Guard(["::/0"]).allows("::ffff:127.0.0.1")

    def test_ipv6(self) -> None:
        guard = Guard(["fd00::/8", "64:ff9b::/96"])
        assert guard.allows("fd12::1") and guard.allows("64:ff9b::808:808")
        assert not guard.allows("fc00::1") and not guard.allows("64:ff9b:1::1")

    def test_several_and_host_bits(self) -> None:
        guard = Guard(["127.0.0.5/8", "::1"])
        assert guard.allows("127.0.0.1") and guard.allows("::1") and not guard.allows("10.0.0.1")

    @pytest.mark.parametrize("text", ["localhost", "10.0.0.0/33", "", "10.0.0.0/8/8", "0177.0.0.1"])
    def test_what_is_no_network_is_an_error(self, text: str) -> None:
        with pytest.raises(ValueError):
            parse_networks([text])


@given(st.ip_addresses())
def test_nothing_public_is_private_for_the_standard_library(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    """Ours is the stricter list; it may refuse more, never less."""
    if is_public(address):
        assert not (address.is_private or address.is_loopback or address.is_link_local or address.is_multicast)
        assert not address.is_reserved and not address.is_unspecified


@given(st.ip_addresses(v=4))
def test_a_mapped_address_has_the_verdict_of_what_it_maps(address: ipaddress.IPv4Address) -> None:
    assert Guard().allows(f"::ffff:{address}") == Guard().allows(str(address))
