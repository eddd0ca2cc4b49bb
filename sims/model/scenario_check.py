"""What a scenario must be like to be run, whether it came from a file or from Python."""

import math
import re
from collections.abc import Mapping
from ipaddress import AddressValueError, IPv4Address
from typing import Final

from sims.model.fault_check import check_churn, check_faults
from sims.model.faults import FAULT_KINDS, Lasting, Move
from sims.model.line_check import check_line, check_link
from sims.model.mistake import Mistake, check_number, check_positive, shortened, where
from sims.model.scenario import (
    BOOTSTRAPS_MAX,
    DURATION_MAX_S,
    DURATION_MIN_S,
    MACHINES_MAX,
    OVERLAYS,
    PAIRS_MAX,
    PEERS_EACH_MIN,
    PING_EVERY_MIN_S,
    SITES_MAX,
    TUNNEL_NETWORK,
    Expectation,
    Machine,
    Scenario,
    Site,
)
from sims.oracle import best_site_path
from wice.errors import ConfigError
from wice.section import Place, suggest

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
RESERVED_NAME: Final = re.compile(r"bootstrap-\d+")

NATS_EACH_MAX: Final = 4
"""One behind the other at one site."""

BEHIND_MAX: Final = 4
"""Sites one behind the other."""

CLOCK_OFFSET_MAX_S: Final = 10 * 365 * 86_400.0
CLOCK_DRIFT_MAX_PPM: Final = 100_000.0


def check_scenario(scenario: Scenario) -> None:
    """Raise ConfigError with place, reason and remedy for the first mistake in ``scenario``."""
    try:
        find_mistake(scenario)
    except Mistake as mistake:
        name = f"scenario {shortened(scenario.name)}"
        raise ConfigError(f"{name}: {where(mistake.place)}", mistake.why, mistake.hint) from None


def find_mistake(scenario: Scenario) -> None:
    """Raise Mistake for the first mistake, if there is one.

    Its place is ``sites``, the site's name and the names of fields; or ``faults`` or ``churn``,
    an index and a field; or ``expect`` or ``scenario`` and a field.
    """
    check_run(scenario)
    _check_sites(scenario)
    _check_machines(scenario)
    check_faults(scenario)
    check_churn(scenario)
    _check_expectation(scenario, scenario.expect)


def check_run(scenario: Scenario) -> None:
    """Raise Mistake for what is wrong with the run as a whole, whoever takes part."""
    place = ("scenario",)
    if not NAME.fullmatch(scenario.name):
        _refuse_name((*place, "name"), scenario.name)
    check_number(
        scenario.duration_s,
        (*place, "duration_s"),
        lowest=DURATION_MIN_S,
        highest=DURATION_MAX_S,
    )
    if scenario.overlay not in OVERLAYS:
        raise Mistake(
            (*place, "overlay"),
            f"{shortened(scenario.overlay)!r} is no overlay",
            suggest(scenario.overlay, OVERLAYS, "overlays"),
        )
    check_number(scenario.bootstraps, (*place, "bootstraps"), lowest=1, highest=BOOTSTRAPS_MAX)
    if scenario.ip_versions not in ((4,), (6,), (4, 6)):
        raise Mistake(
            (*place, "ip_versions"),
            f"{scenario.ip_versions} are no versions of IP",
            "use (4,), (6,) or (4, 6)",
        )
    if scenario.peers_each_max is not None:
        check_number(
            scenario.peers_each_max,
            (*place, "peers_each_max"),
            lowest=PEERS_EACH_MIN,
            highest=MACHINES_MAX,
        )
    check_number(
        scenario.ping_every_s,
        (*place, "ping_every_s"),
        lowest=PING_EVERY_MIN_S,
        highest=DURATION_MAX_S,
    )


def _refuse_name(place: Place, name: str) -> None:
    raise Mistake(place, f"{shortened(name)!r} is no name", "use 1 to 40 letters, digits, - and _")


def _check_new_name(name: str, place: Place) -> None:
    """Names are part of paths and of lines that people read."""
    if not NAME.fullmatch(name):
        _refuse_name(place, name)
    if RESERVED_NAME.fullmatch(name):
        raise Mistake(
            place,
            f"{name} is the name of a bootstrap node",
            "choose another; scenario.bootstraps says how many bootstrap nodes there are",
        )


def _check_sites(scenario: Scenario) -> None:
    if len(scenario.sites) > SITES_MAX:
        raise Mistake(
            ("sites",), f"{len(scenario.sites)} are too many", f"use at most {SITES_MAX} sites"
        )
    by_name: dict[str, Site] = {}
    for site in scenario.sites:
        place = ("sites", site.name)
        _check_new_name(site.name, place)
        if site.name in by_name:
            raise Mistake(place, f"there are two sites {site.name}", "rename one")
        by_name[site.name] = site
    for site in scenario.sites:
        _check_site(scenario, site, by_name)


def _check_site(scenario: Scenario, site: Site, by_name: Mapping[str, Site]) -> None:
    place = ("sites", site.name)
    check_line(site.line, (*place, "line"), scenario.ip_versions)
    check_link(site.lan, (*place, "lan"), scenario.ip_versions)
    if len(site.nats) > NATS_EACH_MAX:
        raise Mistake(
            (*place, "nats"), f"{len(site.nats)} are too many", f"use at most {NATS_EACH_MAX}"
        )
    for index, nat in enumerate(site.nats):
        for name in ("lifetime_s", "lifetime_unreplied_s"):
            check_positive(getattr(nat, name), (*place, "nats", index, name))
        if not nat.is_one_to_one:
            continue
        inside = [other.name for other in scenario.sites if other.behind == site.name]
        inside += [machine.name for machine in site.machines]
        if len(inside) > 1:
            raise Mistake(
                (*place, "nats", index, "is_one_to_one"),
                f"one machine has the public address to itself, and here are {', '.join(inside)}",
                "give each a site of its own",
            )
    _check_behind(site, by_name)


def _check_behind(site: Site, by_name: Mapping[str, Site]) -> None:
    place = ("sites", site.name, "behind")
    way = [site.name]
    outer = site.behind
    while outer is not None:
        if outer not in by_name:
            known = [name for name in by_name if name != site.name]
            raise Mistake(place, f"there is no site {outer}", suggest(outer, known, "sites"))
        way.append(outer)
        if outer in way[:-1]:
            raise Mistake(
                place,
                f"goes round in a circle: {' behind '.join(way)}",
                "leave one out: the outermost is behind nothing",
            )
        if len(way) > BEHIND_MAX:
            raise Mistake(
                place, "nests too deep", f"use at most {BEHIND_MAX} sites one behind the other"
            )
        outer = by_name[outer].behind


def _check_machines(scenario: Scenario) -> None:
    machines = scenario.machines
    if not machines:
        raise Mistake(("sites",), "there is no machine", 'give a site machines = ["laptop"]')
    if len(machines) > MACHINES_MAX:
        raise Mistake(
            ("sites",), f"{len(machines)} machines are too many", f"use at most {MACHINES_MAX}"
        )
    site_of: dict[str, str] = {}
    owner_of: dict[IPv4Address, str] = {}
    for site in scenario.sites:
        for index, machine in enumerate(site.machines):
            place: Place = ("sites", site.name, "machines", index)
            _check_new_name(machine.name, (*place, "name"))
            if machine.name in site_of:
                where = site_of[machine.name]
                other = "here too" if where == site.name else f"at {where}, too"
                raise Mistake(
                    (*place, "name"), f"{machine.name} is a machine {other}", "rename one"
                )
            site_of[machine.name] = site.name
            _check_machine(scenario, machine, place, owner_of)
    pairs = _count_pairs(scenario)
    if pairs > PAIRS_MAX:
        raise Mistake(
            ("scenario", "peers_each_max"),
            f"{pairs} ordered pairs know each other, more than {PAIRS_MAX}",
            f"use at most {PAIRS_MAX // len(machines)} peers each",
        )
    _check_peers(scenario)


def _check_peers(scenario: Scenario) -> None:
    machine_of = {machine.name: machine for machine in scenario.machines}
    for site in scenario.sites:
        for index, machine in enumerate(site.machines):
            if machine.peers is None:
                continue
            place: Place = ("sites", site.name, "machines", index, "peers")
            if scenario.peers_each_max is not None:
                raise Mistake(
                    place,
                    "scenario.peers_each_max says already who knows whom",
                    "leave one of the two out",
                )
            for number, name in enumerate(machine.peers):
                _check_peer(machine, name, machine_of, (*place, number))


def _check_peer(
    machine: Machine, name: str, machine_of: Mapping[str, Machine], place: Place
) -> None:
    assert machine.peers is not None, "who has no list has no mistake in it"
    if name not in machine_of:
        known = [other for other in machine_of if other != machine.name]
        raise Mistake(
            place, f"there is no machine {shortened(name)}", suggest(name, known, "machines")
        )
    if name == machine.name:
        raise Mistake(place, f"{name} is the machine itself", "leave it out")
    if machine.peers.index(name) != place[-1]:
        raise Mistake(place, f"{name} is here already", "name it once")
    others = machine_of[name].peers
    if others is not None and machine.name not in others:
        raise Mistake(
            place,
            f"{name} does not know {machine.name}, so that neither gets through to the other",
            f"name {machine.name} among the peers of {name}, too, or leave {name} out here",
        )


def _count_pairs(scenario: Scenario) -> int:
    """At most so many ordered pairs know each other."""
    machines = scenario.machines
    if all(machine.peers is None for machine in machines):
        return len(machines) * len(scenario.peers_of(machines[0].name))
    return sum(
        len(machines) - 1 if machine.peers is None else len(machine.peers) for machine in machines
    )


def _check_machine(
    scenario: Scenario, machine: Machine, place: Place, owner_of: dict[IPv4Address, str]
) -> None:
    check_number(machine.starts_at_s, (*place, "starts_at_s"))
    if machine.starts_at_s >= scenario.duration_s:
        raise Mistake(
            (*place, "starts_at_s"),
            f"{machine.starts_at_s:g} is beyond the run's {scenario.duration_s:g} s",
            "start it earlier",
        )
    check_number(
        machine.clock_offset_s,
        (*place, "clock_offset_s"),
        lowest=-CLOCK_OFFSET_MAX_S,
        highest=CLOCK_OFFSET_MAX_S,
    )
    check_number(
        machine.clock_drift_ppm,
        (*place, "clock_drift_ppm"),
        lowest=-CLOCK_DRIFT_MAX_PPM,
        highest=CLOCK_DRIFT_MAX_PPM,
    )
    if machine.tunnel_address is None:
        return
    place = (*place, "tunnel_address")
    text = machine.tunnel_address
    if 4 not in scenario.ip_versions:
        raise Mistake(place, "is IPv4, and here is IPv6 alone", "leave it out")
    remedy = f"use one of {TUNNEL_NETWORK}, or leave it out"
    try:
        address = IPv4Address(text)
    except AddressValueError:
        raise Mistake(place, f"{shortened(text)!r} is no IPv4 address", remedy) from None
    ends = (TUNNEL_NETWORK.network_address, TUNNEL_NETWORK.broadcast_address)
    if address not in TUNNEL_NETWORK or address in ends:
        raise Mistake(place, f"{address} is no address of the mesh", remedy)
    if address in owner_of:
        raise Mistake(
            place,
            f"{address} is the address of {owner_of[address]}, too",
            "give each machine its own, or leave both out",
        )
    owner_of[address] = machine.name


def _check_expectation(scenario: Scenario, expect: Expectation) -> None:
    if expect.all_pairs_connected_by_s is not None:
        place: Place = ("expect", "all_pairs_connected_by_s")
        check_positive(expect.all_pairs_connected_by_s, place)
        if expect.all_pairs_connected_by_s > scenario.duration_s:
            raise Mistake(
                place,
                f"{expect.all_pairs_connected_by_s:g} is beyond the run's "
                f"{scenario.duration_s:g} s",
                "expect it earlier, or make scenario.duration_s longer",
            )
        for machine in scenario.machines:
            if machine.starts_at_s >= expect.all_pairs_connected_by_s:
                raise Mistake(
                    place,
                    f"{machine.name} is started only at {machine.starts_at_s:g} s",
                    "expect it later, or start that earlier",
                )
        if not _has_pair(scenario):
            raise Mistake(
                place,
                "no two machines can reach each other, so it would hold for nobody",
                "leave it out, or let some NAT be easier or the bootstrap nodes relay",
            )
    if expect.healed_within_s is not None:
        _check_healing(scenario, expect.healed_within_s)
    _check_expected_paths(scenario, expect)


def _check_expected_paths(scenario: Scenario, expect: Expectation) -> None:
    names = [machine.name for machine in scenario.machines]
    pairs_known = {frozenset(pair) for pair in scenario.pairs}
    expected: dict[frozenset[str], str] = {}
    for key in ("direct", "relayed", "unreachable"):
        for index, pair in enumerate(getattr(expect, key)):
            place = ("expect", key, index)
            for end, name in enumerate(pair):
                if name not in names:
                    raise Mistake(
                        (*place, end),
                        f"there is no machine {name}",
                        suggest(name, names, "machines"),
                    )
            if pair[0] == pair[1]:
                raise Mistake(place, f"{pair[0]} is no pair with itself", "name two machines")
            if frozenset(pair) not in pairs_known:
                raise Mistake(
                    place,
                    f"{pair[0]} and {pair[1]} do not know each other",
                    "raise scenario.peers_each_max or name them as peers, or name others here",
                )
            if frozenset(pair) in expected:
                other = expected[frozenset(pair)]
                raise Mistake(place, f"{' and '.join(pair)} are in {other}, too", "name them once")
            expected[frozenset(pair)] = f"expect.{key}"
    if expect.relayed and not scenario.has_relay:
        raise Mistake(
            ("expect", "relayed"),
            "nobody relays in this mesh",
            "leave it out, or let the bootstrap nodes relay",
        )


def _check_healing(scenario: Scenario, healed_within_s: float) -> None:
    """What is expected must be judged, whatever faults churn makes of the seed."""
    place = ("expect", "healed_within_s")
    check_positive(healed_within_s, place)
    ends_s = [machine.starts_at_s for machine in scenario.machines]
    for fault in scenario.faults:
        ends_s.append(fault.ends_at_s if math.isfinite(fault.ends_at_s) else fault.at_s)
    for churn in scenario.churn:
        lasts = any(issubclass(FAULT_KINDS[kind], Lasting) for kind in churn.kinds)
        ends_s.append(churn.between_s[1] + (churn.for_s[1] if lasts else 0.0))
    if max(ends_s) + healed_within_s > scenario.duration_s:
        raise Mistake(
            place,
            f"{healed_within_s:g} s after the last fault may be over, at {max(ends_s):g} s, is "
            f"beyond the run's {scenario.duration_s:g} s",
            "expect it sooner, end faults earlier, or make scenario.duration_s longer",
        )


def _has_pair(scenario: Scenario) -> bool:
    """Whether the oracle lets anybody reach anybody; who moves may reach more, elsewhere."""
    if any(isinstance(fault, Move) for fault in scenario.faults):
        return True
    if any("move" in churn.kinds for churn in scenario.churn):
        return True
    site_of = {machine.name: site.name for site in scenario.sites for machine in site.machines}
    at_sites = dict.fromkeys((site_of[one], site_of[other]) for one, other in scenario.pairs)
    return any(best_site_path(scenario, *sites) is not None for sites in at_sites)
