"""The oracle: textbook tables, made by hand, and what stands between sites."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sims.model.link import LineModel, LinkModel
from sims.model.nat import NAT_KINDS, PORT_RESTRICTED, Filtering, Firewall, Mapping, NatModel
from sims.model.scenario import Machine, Scenario, Site
from sims.oracle import (
    DIRECT,
    RELAYED,
    ROUNDS_MAX,
    Level,
    Side,
    best_path,
    can_be_direct,
    can_punch,
    can_sites_be_direct,
    why,
)

ROOT = Path(__file__).parent.parent.parent
LINE = LineModel(LinkModel(), LinkModel())


def site(name: str, kind: str = "none", behind: str | None = None, **fields: object) -> Site:
    """A site of this kind with machines ``NAME-1`` and ``NAME-2``."""
    nat = NAT_KINDS[kind]
    plain = Site(
        name=name,
        line=LINE,
        nats=nat.nats,
        firewall=nat.firewall,
        behind=behind,
        machines=(Machine(name=f"{name}-1"), Machine(name=f"{name}-2")),
    )
    return replace(plain, **fields)  # type: ignore[arg-type]


def scenario(*sites: Site, ip_versions: tuple[int, ...] = (4,), bootstraps: int = 1) -> Scenario:
    return Scenario(
        name="test", duration_s=10, sites=sites, ip_versions=ip_versions, bootstraps=bootstraps
    )


def is_direct(one: Site, other: Site, *more: Site, ip_versions: tuple[int, ...] = (4,)) -> bool:
    """Between the first machines of both; either may ask."""
    told = scenario(one, other, *more, ip_versions=ip_versions)
    names = one.machines[0].name, other.machines[0].name
    assert can_be_direct(told, *names) is can_be_direct(told, *reversed(names))
    return can_be_direct(told, *names)


KINDS = (
    "none",
    "one-to-one",
    "full-cone",
    "address-restricted",
    "port-restricted",
    "cgnat",
    "hairpin",
    "symmetric",
    "symmetric-contiguous",
    "address-dependent",
    "udp-blocked",
    "tcp-443-only",
)
TABLE = """
none                  + + + + + + + + + + - -
one-to-one            + + + + + + + + + + - -
full-cone             + + + + + + + + + + - -
address-restricted    + + + + + + + + + + - -
port-restricted       + + + + + + + - - - - -
cgnat                 + + + + + + + - - - - -
hairpin               + + + + + + + + + + - -
symmetric             + + + + - - + - - - - -
symmetric-contiguous  + + + + - - + - - - - -
address-dependent     + + + + - - + - - - - -
udp-blocked           - - - - - - - - - - - -
tcp-443-only          - - - - - - - - - - - -
"""
"""RFC 5128 section 3.3 and 3.4, and the well-known table of NAT compatibility: whatever keeps
one port for all destinations can be punched, a symmetric NAT only reaches those that admit a
port which they were not told."""


def table() -> Iterator[tuple[str, str, bool]]:
    for row in TABLE.strip().splitlines():
        kind, *marks = row.split()
        for other, mark in zip(KINDS, marks, strict=True):
            yield kind, other, mark == "+"


@pytest.mark.parametrize(("one", "other", "expected"), list(table()))
def test_the_textbook_table(one: str, other: str, expected: bool) -> None:
    assert is_direct(site("one", one), site("other", other)) is expected


def test_the_table_has_every_kind() -> None:
    assert sorted(KINDS) == sorted(NAT_KINDS)


def test_without_translation_only_udp_counts() -> None:
    for one, other in product(KINDS, repeat=2):
        expected = {"udp-blocked", "tcp-443-only"}.isdisjoint({one, other})
        for ip_versions in ((6,), (4, 6)):
            homes = site("one", one), site("other", other)
            assert is_direct(*homes, ip_versions=ip_versions) is expected


def test_public_machines_behind_stateful_firewalls_punch() -> None:
    guarded = site("one", firewall=Firewall.STATEFUL)
    assert is_direct(guarded, site("other", firewall=Firewall.STATEFUL))
    assert is_direct(guarded, site("other", "port-restricted"))
    # The firewall waits for the port that it has contacted, and the NAT sends from another.
    assert not is_direct(guarded, site("other", "symmetric"))
    assert not is_direct(guarded, site("other", firewall=Firewall.UDP_BLOCKED))


def test_a_firewall_leaves_to_the_nat_what_that_translates() -> None:
    assert is_direct(
        site("one", "full-cone", firewall=Firewall.STATEFUL), site("other", "symmetric")
    )


def test_machines_on_one_lan_need_nothing_else() -> None:
    for kind in KINDS:
        told = scenario(site("home", kind))
        assert can_be_direct(told, "home-1", "home-2")
        assert "LAN of home" in why(told, "home-1", "home-2")


@pytest.mark.parametrize("kind", KINDS)
def test_machines_that_are_kept_apart_need_a_nat_that_hairpins(kind: str) -> None:
    cafe = site("cafe", kind, is_isolating=True)
    for ip_versions in ((4,), (4, 6)):
        assert can_be_direct(scenario(cafe, ip_versions=ip_versions), "cafe-1", "cafe-2") is (
            kind == "hairpin"
        )
    assert not can_be_direct(scenario(cafe, ip_versions=(6,)), "cafe-1", "cafe-2")


def test_hairpinning_filters_as_it_does_from_outside() -> None:
    for mapping, expected in (
        (Mapping.ENDPOINT_INDEPENDENT, True),
        (Mapping.ADDRESS_AND_PORT_DEPENDENT, False),
    ):
        nat = NatModel(mapping=mapping, hairpins=True)
        cafe = site("cafe", nats=(nat,), is_isolating=True)
        assert can_be_direct(scenario(cafe), "cafe-1", "cafe-2") is expected


def test_only_the_nat_with_the_public_address_can_turn_packets_round() -> None:
    hairpins = replace(PORT_RESTRICTED, hairpins=True)
    inner = site("cafe", nats=(hairpins, PORT_RESTRICTED), is_isolating=True)
    assert not can_be_direct(scenario(inner), "cafe-1", "cafe-2")
    outer = site("cafe", nats=(PORT_RESTRICTED, hairpins), is_isolating=True)
    assert can_be_direct(scenario(outer), "cafe-1", "cafe-2")


def test_homes_behind_one_carrier_need_it_to_hairpin() -> None:
    homes = [site(name, "full-cone", behind="carrier") for name in ("one", "other")]
    assert not is_direct(*homes, site("carrier", "full-cone"))
    assert is_direct(*homes, site("carrier", "hairpin"))
    # Without a NAT the carrier's LAN is as good as the internet.
    assert is_direct(*homes, site("carrier", "none"))


def test_a_carrier_that_translates_does_not_part_machines_on_its_lan() -> None:
    phones = site("phones", behind="carrier")
    carrier = site("carrier", "port-restricted")
    assert is_direct(phones, site("more", behind="carrier"), carrier)
    assert is_direct(phones, carrier)
    # One address that is known is enough, if what is behind the other NAT sends there first.
    assert is_direct(phones, site("home", "symmetric", behind="carrier"), carrier)
    isolating = replace(carrier, is_isolating=True)
    assert not is_direct(phones, site("more", behind="carrier"), isolating)


def test_a_carrier_counts_towards_the_rest_of_the_world() -> None:
    home = site("home", "full-cone", behind="carrier")
    for kind in ("symmetric", "port-restricted", "full-cone", "udp-blocked"):
        for other in KINDS:
            expected = is_direct(site("alone", kind), site("other", other))
            assert is_direct(home, site("other", other), site("carrier", kind)) is expected
    strict = site("home", "symmetric", behind="carrier")
    assert not is_direct(strict, site("other", "port-restricted"), site("carrier", "full-cone"))


def test_each_router_of_a_stack_filters_by_what_it_has_seen() -> None:
    """The outer one gives the peer another port and admits it at the old one, too; the inner one
    has seen one port all the while."""
    symmetric_open = NatModel(
        mapping=Mapping.ADDRESS_AND_PORT_DEPENDENT, filtering=Filtering.ENDPOINT_INDEPENDENT
    )
    stacked = site("one", nats=(PORT_RESTRICTED, symmetric_open))
    assert is_direct(stacked, site("other", "address-restricted"))
    assert not is_direct(stacked, site("other", "port-restricted"))


def test_the_inner_router_admits_what_it_has_contacted_whatever_the_outer_made_of_it() -> None:
    inner = NatModel(filtering=Filtering.ADDRESS_DEPENDENT)
    outer = NatModel(
        mapping=Mapping.ADDRESS_AND_PORT_DEPENDENT, filtering=Filtering.ENDPOINT_INDEPENDENT
    )
    other = site("other", "address-dependent")
    assert is_direct(site("one", nats=(inner, outer)), other)
    assert not is_direct(site("one", nats=(replace(outer, filtering=inner.filtering),)), other)


def test_more_rounds_find_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    every_level = [Level(*kind) for kind in product(Mapping, Filtering)]
    stacks = [(), *product(every_level), *product(every_level[::2], every_level[::2])]
    every_side = [Side(stack, is_told) for stack in stacks for is_told in (True, False)]

    def found(rounds: int) -> list[bool]:
        monkeypatch.setattr("sims.oracle.ROUNDS_MAX", rounds)
        return [can_punch(one, other) for one, other in product(every_side, repeat=2)]

    assert found(ROUNDS_MAX) == found(ROUNDS_MAX + 2)
    assert found(ROUNDS_MAX) != found(ROUNDS_MAX - 1)


def test_either_family_is_enough() -> None:
    symmetric = site("one", "symmetric"), site("other", "symmetric")
    told = scenario(*symmetric, ip_versions=(4, 6))
    assert can_be_direct(told, "one-1", "other-1")
    assert why(told, "one-1", "other-1") == "IPv6: their packets meet at the internet"


def test_a_line_that_is_dead_one_way_parts_a_site_from_all_but_itself() -> None:
    for line in (LineModel(LINE.up, None), LineModel(None, LINE.down)):
        cut = site("cut", line=line)
        assert not is_direct(cut, site("other"))
        assert can_be_direct(scenario(cut), "cut-1", "cut-2")
        # What stays below the dead line does not miss it, unless it needs a server beyond.
        homes = [site(name, behind="cut") for name in ("one", "other")]
        assert is_direct(*homes, cut)
        told = [site(name, "port-restricted", behind="cut") for name in ("one", "other")]
        assert not is_direct(*told, cut)


def test_without_bootstrap_nobody_is_told_a_mapped_port() -> None:
    homes = site("one", "full-cone"), site("other", "full-cone"), site("server")
    alone = scenario(*homes, bootstraps=0)
    assert not can_be_direct(alone, "one-1", "other-1")
    assert can_be_direct(alone, "one-1", "server-1")


def test_a_machine_that_moved_is_where_it_is_now() -> None:
    told = scenario(site("home", "udp-blocked"), site("cafe", "full-cone"), site("other"))
    assert can_sites_be_direct(told, "cafe", "other")
    assert not can_sites_be_direct(told, "home", "other")


def test_why_names_what_is_in_the_way() -> None:
    told = scenario(
        site("office", "udp-blocked"),
        site("home", "port-restricted"),
        site("phone", "symmetric"),
        site("cafe", "full-cone", is_isolating=True),
        ip_versions=(4,),
    )
    assert why(told, "office-1", "home-1") == "IPv4: office lets no UDP through"
    assert why(told, "cafe-1", "cafe-2") == (
        "IPv4: the NAT of cafe, which they share, does not hairpin"
    )
    assert why(told, "phone-1", "home-1") == (
        "IPv4: no packet gets in first at the internet: address-and-port-dependent mapping with "
        "address-and-port-dependent filtering against endpoint-independent mapping with "
        "address-and-port-dependent filtering"
    )
    with pytest.raises(KeyError, match="nobody"):
        why(told, "nobody", "home-1")


levels = st.builds(Level, st.sampled_from(Mapping), st.sampled_from(Filtering))
sides = st.builds(Side, st.lists(levels, max_size=3).map(tuple), is_announced=st.booleans())


@given(one=sides, other=sides)
def test_the_order_does_not_matter(one: Side, other: Side) -> None:
    assert can_punch(one, other) is can_punch(other, one)


@given(one=sides, other=sides, data=st.data())
def test_looser_filtering_never_hurts(one: Side, other: Side, data: st.DataObject) -> None:
    if not one.levels or not can_punch(one, other):
        return
    at = data.draw(st.integers(0, len(one.levels) - 1))
    looser = list(one.levels)
    looser[at] = Level(looser[at].mapping, Filtering.ENDPOINT_INDEPENDENT)
    assert can_punch(Side(tuple(looser), one.is_announced), other)


def test_the_oracle_is_independent_of_what_it_judges() -> None:
    program = (
        "import sys, sims.oracle;"
        "print([name for name in sys.modules if name.split('.')[0] in ('wice', 'p2p', 'trio')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("kinds", "has_relay", "expected"),
    [
        (("none", "symmetric"), True, DIRECT),
        (("symmetric", "symmetric"), True, RELAYED),
        (("symmetric", "symmetric"), False, None),
        (("symmetric", "udp-blocked"), True, None),
        (("tcp-443-only", "none"), True, None),
    ],
)
def test_a_relay_helps_whoever_can_reach_it(
    kinds: tuple[str, str], has_relay: bool, expected: str | None
) -> None:
    told = replace(scenario(site("one", kinds[0]), site("other", kinds[1])), has_relay=has_relay)
    assert best_path(told, "one-1", "other-1") == expected
    assert best_path(told, "other-1", "one-1") == expected


def test_guests_who_are_kept_apart_meet_at_a_relay() -> None:
    told = scenario(site("cafe", "port-restricted", is_isolating=True))
    assert best_path(told, "cafe-1", "cafe-2") == RELAYED
