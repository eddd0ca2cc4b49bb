"""A scenario's sites become routers with networks that the others can reach."""

from dataclasses import replace
from ipaddress import IPv4Network, ip_address

from sims import LINE_PRESETS, Machine, Scenario, Site
from sims.kernel.layout import CORE, CORE_NETWORKS, Layout
from sims.kernel.refusals import ADDRESS_CHANGES_MAX, MACHINES_MAX, SITES_MAX
from sims.model.faults import Move
from sims.model.nat import NAT_KINDS
from sims.model.scenario import BOOTSTRAPS_MAX
from sims.model.scenario_check import NAME

FIBRE = LINE_PRESETS["fibre"]


def layout(*sites: Site, ip_versions: tuple[int, ...] = (4, 6), **more: object) -> Layout:
    return Layout(
        Scenario(name="s", duration_s=60, sites=sites, ip_versions=ip_versions, **more)  # type: ignore[arg-type]
    )


def site(name: str, kind: str = "port-restricted", behind: str | None = None) -> Site:
    machine = Machine(name=f"{name}-pc")
    return Site(
        name=name, line=FIBRE, nats=NAT_KINDS[kind].nats, machines=(machine,), behind=behind
    )


def test_each_nat_is_a_router_with_the_innermost_nearest_to_the_machines() -> None:
    made = layout(site("home", "cgnat"))
    inner, outer = made.by_site["home"]
    assert inner.uplink is not None and inner.uplink.parent is outer and inner.uplink.line is None
    assert outer.uplink is not None and outer.uplink.parent is made.core
    assert outer.uplink.line == FIBRE
    assert (inner.is_edge, outer.is_edge) == (False, True)
    assert made.places["home-pc", "home"].parent is inner


def test_a_site_behind_another_hangs_on_its_network() -> None:
    made = layout(site("home", behind="carrier"), site("carrier"))
    uplink = made.by_site["home"][-1].uplink
    assert uplink is not None and uplink.parent is made.by_site["carrier"][0]
    assert uplink.line == FIBRE


def test_private_networks_are_known_to_nobody_outside_and_all_of_ipv6_is() -> None:
    made = layout(site("home", behind="carrier"), site("carrier"))
    home, carrier = made.by_site["home"][0], made.by_site["carrier"][0]
    at_core = dict(made.routes_of(made.core))
    assert set(at_core) == {home.lan.networks[6], carrier.lan.networks[6]}
    assert set(dict(made.routes_of(carrier))) == {home.lan.networks[6]}


def test_a_site_without_a_nat_has_public_addresses_that_lead_there() -> None:
    made = layout(site("rack", "none"), ip_versions=(4,))
    (router,) = made.by_site["rack"]
    network = router.lan.networks[4]
    assert isinstance(network, IPv4Network) and not network.overlaps(IPv4Network("192.168.0.0/16"))
    assert router.uplink is not None
    assert list(made.routes_of(made.core)) == [(network, router.uplink.addresses[0].ip)]


def test_renumbering_gives_addresses_that_nobody_had() -> None:
    made = layout(site("home"), site("rack", "none"))
    before = {name: made.seen_as(name) for name in made.by_site}
    for name in made.by_site:
        made.renumber(name, (4, 6))
        assert not set(made.seen_as(name)) & set(before[name])
    seen = [network for name in made.by_site for network in made.seen_as(name)]
    assert len(set(seen)) == len(seen)


def test_addresses_last_for_all_that_may_be_behind_one_site_without_a_nat() -> None:
    machines = tuple(Machine(name=f"pc-{number}") for number in range(MACHINES_MAX))
    rack = replace(site("rack", "none"), machines=machines)
    inside = [
        replace(site(f"s{number}", "none", behind="rack"), machines=())
        for number in range(1, SITES_MAX)
    ]
    made = layout(rack, *inside, bootstraps=BOOTSTRAPS_MAX)
    for _ in range(ADDRESS_CHANGES_MAX):
        made.renumber("s1", (4, 6))
    more = layout(rack, *inside, bootstraps=BOOTSTRAPS_MAX)
    for _ in range(ADDRESS_CHANGES_MAX):
        more.renumber("rack", (4, 6))


def test_no_machine_and_no_site_has_the_name_of_the_internets_namespace() -> None:
    assert not NAME.fullmatch(CORE)


def test_renumbering_ipv6_leaves_ipv4_alone() -> None:
    made = layout(site("home"))
    before = made.places["home-pc", "home"].addresses
    made.renumber("home", (6,))
    after = made.places["home-pc", "home"].addresses
    assert after[0] == before[0] and after[1] != before[1]


def test_who_moves_has_an_interface_for_each_place() -> None:
    move = Move(at_s=1, target="home-pc", to="cafe")
    made = layout(site("home"), site("cafe"), faults=(move,))
    home, cafe = made.places["home-pc", "home"], made.places["home-pc", "cafe"]
    assert (home.interface, cafe.interface) == ("eth0", "eth1")
    assert cafe.parent is made.by_site["cafe"][0]
    assert ("cafe-pc", "home") not in made.places


def test_the_mtu_is_the_least_on_the_way() -> None:
    dsl = Site(name="home", line=LINE_PRESETS["dsl"], machines=(Machine(name="pc"),))
    made = layout(dsl)
    assert made.mtu_bytes(made.places["pc", "home"]) == 1_492
    assert made.mtu_bytes(made.bootstraps["bootstrap-1"]) == 1_500


def test_all_on_the_internet_are_in_its_network() -> None:
    made = layout(site("home"), ip_versions=(4,))
    (bootstrap,) = made.seen_as("bootstrap-1")
    assert bootstrap.network_address in CORE_NETWORKS[4]
    assert ip_address("192.168.0.1") not in CORE_NETWORKS[4]
