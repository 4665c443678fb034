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
    64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 64:ff9b::808:808 64:ff9b:1::1 64:ff9b:1:ffff::7f00:1 100::1 2001::1
    2001:0:7f00:1:: 2001:1ff:ffff:: ::ffff:0:127.0.0.1 ::127.0.0.1 ::8.8.8.8 2002:a00:1:: feff::1 3fff:fff::1
    2001:1::1 2001:db8::1 2002:7f00:1:: 2002:808:808::1
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
    assert not Guard().allows(text, 80)


@pytest.mark.parametrize("text", PUBLIC)
def test_what_is_public_is_allowed(text: str) -> None:
    assert Guard().allows(text, 80)


@pytest.mark.parametrize("text", NO_ADDRESS)
def test_what_is_no_numeric_address_is_refused_even_with_all_opened(text: str) -> None:
    assert not Guard(["0.0.0.0/0", "::/0"]).allows(text, 80)


@pytest.mark.parametrize("text", ["fe80::1%eth0", "fe80::1%2", "::1%lo"])
def test_a_scope_id_is_never_public(text: str) -> None:
    assert not Guard().allows(text, 80)


def test_a_scope_id_does_not_make_a_private_address_another() -> None:
    assert Guard(["fe80::/10"]).allows("fe80::1%eth0", 80)


class TestOpened:
    def test_exactly_what_is_named(self) -> None:
        guard = Guard(["10.1.2.0/24"])
        assert guard.allows("10.1.2.0", 80) and guard.allows("10.1.2.255", 80)
        assert not any(guard.allows(text, 80) for text in ("10.1.1.255", "10.1.3.0", "127.0.0.1"))
        assert guard.allows("8.8.8.8", 80)

    def test_one_address(self) -> None:
        guard = Guard(["169.254.169.254"])
        assert guard.allows("169.254.169.254", 80)
        assert not guard.allows("169.254.169.253", 80)

    def test_also_as_mapped_into_ipv6(self) -> None:
        assert Guard(["10.0.0.0/8"]).allows("::ffff:10.0.0.1", 80)
        assert not Guard(["10.0.0.0/8"]).allows("::ffff:127.0.0.1", 80)

    def test_ipv4_opens_no_ipv6_and_back(self) -> None:
        assert not Guard(["0.0.0.0/0"]).allows("::1", 80)
        assert not Guard(["::/0"]).allows("127.0.0.1", 80)
        assert not Guard(["::/0"]).allows("::ffff:127.0.0.1", 80)

    def test_ipv6(self) -> None:
        guard = Guard(["fd00::/8", "64:ff9b::/96"])
        assert guard.allows("fd12::1", 80) and guard.allows("64:ff9b::808:808", 80)
        assert not guard.allows("fc00::1", 80) and not guard.allows("64:ff9b:1::1", 80)

    def test_several_and_host_bits(self) -> None:
        guard = Guard(["127.0.0.5/8", "::1"])
        assert guard.allows("127.0.0.1", 80) and guard.allows("::1", 80) and not guard.allows("10.0.0.1", 80)

    @pytest.mark.parametrize("text", ["localhost", "10.0.0.0/33", "", "10.0.0.0/8/8", "0177.0.0.1"])
    def test_what_is_no_network_is_an_error(self, text: str) -> None:
        with pytest.raises(ValueError):
            parse_networks([text])


class TestOwn:
    """Where our own services listen is shut, whatever is opened."""

    def test_at_their_port_only(self) -> None:
        guard = Guard(["127.0.0.0/8"], [("127.0.0.1", 8001)])
        assert not guard.allows("127.0.0.1", 8001) and not guard.allows("::ffff:127.0.0.1", 8001)
        assert guard.allows("127.0.0.1", 8000) and guard.allows("8.8.8.8", 8001)

    @pytest.mark.parametrize("listening", ["127.0.0.1", "0.0.0.0", "::"])
    def test_on_this_machine_by_all_its_names(self, listening: str) -> None:
        guard = Guard(["127.0.0.0/8", "0.0.0.0", "::1", "::"], [(listening, 8001)])
        for text in ("127.0.0.1", "127.9.9.9", "0.0.0.0", "::1", "::", "::ffff:127.0.0.1"):
            assert not guard.allows(text, 8001)
            assert guard.allows(text, 8002)

    def test_on_another_machine_by_the_name_that_it_has(self) -> None:
        """192.0.2.0/24 is nobody's, so it is not ours either."""
        guard = Guard(["192.0.2.0/24", "127.0.0.0/8"], [("192.0.2.1", 8001), ("192.0.2.2", 8002)])
        assert not guard.allows("192.0.2.1", 8001) and not guard.allows("192.0.2.2", 8002)
        assert guard.allows("192.0.2.2", 8001) and guard.allows("192.0.2.3", 8001) and guard.allows("127.0.0.1", 8001)
        assert guard.allows_proxy("192.0.2.9", 8001) and not guard.allows_proxy("192.0.2.1", 8001)

    def test_what_the_system_cannot_tell_is_taken_for_ours(self) -> None:
        guard = Guard(["fe80::/10"], [("0.0.0.0", 8001)])
        assert not guard.allows("fe80::1%lo", 8001)


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
    assert Guard().allows(f"::ffff:{address}", 80) == Guard().allows(str(address), 80)
