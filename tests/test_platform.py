"""Words that all rooms have for networks."""

from ipaddress import IPv4Network, IPv6Network, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wice.platform import is_within


@pytest.mark.parametrize(
    ("inner", "outer", "expected"),
    [
        ("10.0.1.0/24", "10.0.0.0/16", True),
        ("10.0.1.0/24", "10.0.1.0/24", True),
        ("10.0.0.0/16", "10.0.0.0/24", False),
        ("10.1.0.0/24", "10.0.0.0/16", False),
        ("10.0.0.1/32", "0.0.0.0/0", True),
        ("fd00:1::/64", "fd00::/8", True),
        ("fd00::/8", "fd00::/64", False),
        ("::/96", "0.0.0.0/0", False),
        ("0.0.0.0/0", "::/0", False),
    ],
)
def test_a_network_is_within_one_that_has_all_its_addresses(
    inner: str, outer: str, expected: bool
) -> None:
    assert is_within(ip_network(inner), ip_network(outer)) is expected


def networks(bits: int) -> st.SearchStrategy[tuple[int, int]]:
    """Addresses that differ in few bits, so that many of them are in one another."""
    addresses = st.integers(0, 15).map(lambda low: low << (bits - 4))
    return st.tuples(addresses, st.integers(0, 6))


@given(inner=networks(32), outer=networks(32))
def test_it_is_what_the_library_says_of_one_ip_version(
    inner: tuple[int, int], outer: tuple[int, int]
) -> None:
    one, other = (IPv4Network(network, strict=False) for network in (inner, outer))
    assert is_within(one, other) is one.subnet_of(other)


@given(inner=networks(128), outer=networks(128))
def test_so_it_is_of_ipv6(inner: tuple[int, int], outer: tuple[int, int]) -> None:
    one, other = (IPv6Network(network, strict=False) for network in (inner, outer))
    assert is_within(one, other) is one.subnet_of(other)
