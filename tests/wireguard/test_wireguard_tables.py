"""Allowed IPs, the replay window and the rate limit against naive models."""

import ipaddress
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from wice.datagram import Endpoint
from wice.platform import IPNetwork
from wice.wireguard.allowed_ips import AllowedIPs
from wice.wireguard.load import (
    RATE_ADDRESSES_MAX,
    RATE_BURST,
    RATE_PER_ADDRESS_PER_S,
    AddressRateLimit,
    LoadMeter,
)
from wice.wireguard.replay import REPLAY_WINDOW_SIZE, ReplayWindow

PEERS = ["ann", "ben", "cal"]


def networks() -> st.SearchStrategy[IPNetwork]:
    """Few addresses and every prefix length, so that networks overlap."""
    numbers4 = st.sampled_from([0, 0x0A000001, 0x0A000002, 0x0A800000, 0xFFFFFFFF])
    numbers6 = st.sampled_from([0, 1, 0xFD << 120, (0xFD << 120) | 1, (1 << 128) - 1])
    four = st.tuples(numbers4.map(lambda n: n.to_bytes(4, "big")), st.integers(0, 32))
    six = st.tuples(numbers6.map(lambda n: n.to_bytes(16, "big")), st.integers(0, 128))
    return (four | six).map(lambda pair: ipaddress.ip_network(pair, strict=False))


def longest_match(table: dict[IPNetwork, str], address: bytes) -> str | None:
    one = ipaddress.ip_address(address)
    matches = [net for net in table if net.version == one.version and one in net]
    return table[max(matches, key=lambda net: net.prefixlen)] if matches else None


@given(
    st.lists(st.tuples(networks(), st.sampled_from(PEERS))),
    st.sets(st.sampled_from(PEERS)),
    st.lists(networks()),
)
def test_allowed_ips_match_as_a_search_of_every_network_does(
    inserted: list[tuple[IPNetwork, str]], removed: set[str], probes: list[IPNetwork]
) -> None:
    table: AllowedIPs[str] = AllowedIPs()
    model: dict[IPNetwork, str] = {}
    for network, peer in inserted:
        table.insert(network, peer)
        model[network] = peer
    for peer in removed:
        table.remove(peer)
        model = {network: owner for network, owner in model.items() if owner != peer}
    for network in [*probes, *(network for network, _ in inserted)]:
        for address in (network.network_address, network.broadcast_address):
            assert table.lookup(address.packed) == longest_match(model, address.packed)
    for peer in PEERS:
        expected = {network for network, owner in model.items() if owner == peer}
        assert set(table.networks(peer)) == expected


def counters() -> st.SearchStrategy[list[int]]:
    """Walks that stay near the newest counter, with jumps of about a window."""
    near = st.integers(-70, 70)
    far = st.sampled_from([1, -1]).flatmap(
        lambda sign: st.integers(-3, 3).map(lambda off: sign * (REPLAY_WINDOW_SIZE + off))
    )
    blocks = st.sampled_from([64, 128, 8192, 3 * 8192]).flatmap(
        lambda size: st.integers(size - 1, size + 1)
    )
    return st.lists(near | far | blocks, max_size=60).map(_walk)


def _walk(steps: Iterable[int]) -> list[int]:
    at, visited = 0, []
    for step in steps:
        at = max(0, at + step)
        visited.append(at)
    return visited


@given(counters())
def test_the_replay_window_agrees_with_a_set(sequence: list[int]) -> None:
    window, seen = ReplayWindow(), set[int]()
    for counter in sequence:
        newest = max(seen, default=-1)
        expected = counter not in seen and newest - counter <= REPLAY_WINDOW_SIZE
        assert window.is_fresh(counter) is expected
        if expected:
            window.mark(counter)
            seen.add(counter)


def test_asking_whether_a_counter_is_fresh_does_not_use_it_up() -> None:
    window = ReplayWindow()
    assert window.is_fresh(5) and window.is_fresh(5)
    window.mark(5)
    assert not window.is_fresh(5)


def test_an_address_has_a_burst_and_then_a_rate() -> None:
    limit, source = AddressRateLimit(), Endpoint("192.0.2.1", 5)
    allowed = [limit.allow(source, 100.0) for _ in range(10)]
    assert allowed == [True] * int(RATE_BURST) + [False] * (10 - int(RATE_BURST))
    assert limit.allow(Endpoint("192.0.2.2", 5), 100.0)
    assert not limit.allow(Endpoint("192.0.2.1", 6), 100.0)
    assert limit.allow(source, 100.0 + 1.1 / RATE_PER_ADDRESS_PER_S)
    assert not limit.allow(source, 100.0 + 1.1 / RATE_PER_ADDRESS_PER_S)


def test_an_ipv6_site_shares_one_limit() -> None:
    limit = AddressRateLimit()
    allowed = [limit.allow(Endpoint(f"2001:db8::{n:x}", 5), 0.0) for n in range(10)]
    assert allowed.count(True) == int(RATE_BURST)
    assert limit.allow(Endpoint("2001:db8:0:1::1", 5), 0.0)
    assert limit.allow(Endpoint("fe80::1%3", 5), 0.0)


def test_the_table_of_addresses_is_bounded() -> None:
    limit = AddressRateLimit()
    for number in range(RATE_ADDRESSES_MAX + 10):
        limit.allow(Endpoint(str(ipaddress.IPv4Address(number)), 5), 0.0)
    assert len(limit._buckets) == RATE_ADDRESSES_MAX


def test_load_is_a_rate_and_lasts_a_second() -> None:
    meter = LoadMeter(threshold_per_s=10)
    assert not any(meter.is_under_load(0.1 * n) for n in range(40))
    loaded = [meter.is_under_load(7.0 + 0.01 * n) for n in range(11)]
    assert loaded == [False] * 10 + [True]
    assert meter.is_under_load(7.9)
    assert not meter.is_under_load(9.5)
