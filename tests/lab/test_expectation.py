"""What NAT theory says about pairs: the textbook's matrix."""

from itertools import combinations_with_replacement

import pytest

from sims.lab.grid import can_be_direct, expected_of
from sims.lab.nat import NAT_KINDS
from sims.lab.topology import IpVersions
from sims.many.grid import DIRECT, NO_PATH, RELAYED

PUNCHABLE = ("none", "full-cone", "address-restricted", "port-restricted", "cgnat", "hairpin")
LOOSE = ("none", "full-cone", "address-restricted", "hairpin")
"""Kinds that let in a port they have not contacted, of an address they have."""


def is_direct(one: str, other: str, ip: IpVersions = IpVersions.V4) -> bool:
    return can_be_direct(NAT_KINDS[one], NAT_KINDS[other], ip)


def test_every_pair_with_endpoint_independent_mapping_can_be_punched() -> None:
    for one, other in combinations_with_replacement(PUNCHABLE, 2):
        assert is_direct(one, other)


def test_a_symmetric_nat_needs_a_loose_one_on_the_other_side() -> None:
    direct = {kind for kind in NAT_KINDS if is_direct("symmetric", kind)}
    assert direct == set(LOOSE)


def test_without_udp_nothing_is_direct() -> None:
    for ip in IpVersions:
        assert not any(is_direct("udp-blocked", kind, ip) for kind in NAT_KINDS)


def test_where_nobody_translates_only_udp_counts() -> None:
    for ip in (IpVersions.V6, IpVersions.DUAL):
        assert is_direct("symmetric", "symmetric", ip)
        assert is_direct("port-restricted", "none", ip)


@pytest.mark.parametrize(
    ("kinds", "with_relay", "without"),
    [
        (("symmetric", "symmetric"), RELAYED, NO_PATH),
        (("symmetric", "cgnat"), RELAYED, NO_PATH),
        (("symmetric", "full-cone"), DIRECT, DIRECT),
        (("symmetric", "udp-blocked"), NO_PATH, NO_PATH),
        (("udp-blocked", "none"), NO_PATH, NO_PATH),
    ],
)
def test_a_relay_carries_whoever_passes_udp_and_cannot_be_direct(
    kinds: tuple[str, str], with_relay: str, without: str
) -> None:
    nats = [NAT_KINDS[kind] for kind in kinds]
    assert expected_of(*nats, IpVersions.V4, has_relay=True) == with_relay
    assert expected_of(*nats, IpVersions.V4, has_relay=False) == without


def test_the_order_does_not_matter() -> None:
    for one in NAT_KINDS:
        for other in NAT_KINDS:
            assert is_direct(one, other) is is_direct(other, one)
