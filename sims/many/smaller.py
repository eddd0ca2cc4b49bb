"""Scenarios made smaller: what a part of one is like, and what plainer ones there are."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

from sims.model.faults import (
    AddressChange,
    Crash,
    Fault,
    Lasting,
    LinkDown,
    MachineFault,
    Move,
    NatReboot,
    Partition,
    ReplayEnvelopes,
)
from sims.model.link import LineModel, LinkModel
from sims.model.nat import NAT_KINDS, Firewall
from sims.model.presets import LINE_PRESETS
from sims.model.scenario import Expectation, Machine, Scenario, Site

PLAIN_LINE: Final = LINE_PRESETS["fibre"]
"""What a site has in a file that does not say."""

_PLAIN_NATS: Final = (NAT_KINDS["none"], NAT_KINDS["port-restricted"])


def with_machines(scenario: Scenario, names: Collection[str]) -> Scenario:
    """Only these machines, the sites that they need, and what happens to either."""
    sites = tuple(
        replace(
            site,
            machines=tuple(_knowing(each, names) for each in site.machines if each.name in names),
        )
        for site in scenario.sites
    )
    known = (*names, *scenario.bootstrap_names)
    faults = tuple(
        fault
        for fault in scenario.faults
        if not isinstance(fault, MachineFault) or fault.target in known
    )
    pairs: dict[str, Any] = {
        key: tuple(pair for pair in getattr(scenario.expect, key) if set(pair) <= set(names))
        for key in ("direct", "relayed", "unreachable")
    }
    expect = replace(scenario.expect, **pairs)
    return without_empty_sites(replace(scenario, sites=sites, faults=faults, expect=expect))


def _knowing(machine: Machine, names: Collection[str]) -> Machine:
    """``machine`` where there is nobody but these."""
    if machine.peers is None:
        return machine
    return replace(machine, peers=tuple(name for name in machine.peers if name in names))


def with_faults(scenario: Scenario, faults: Sequence[Fault]) -> Scenario:
    """Only these faults, and the sites that are needed then."""
    return without_empty_sites(replace(scenario, faults=tuple(faults)))


def without_empty_sites(scenario: Scenario) -> Scenario:
    """Without sites where nobody is or comes to, and that nobody is behind."""
    by_name = {site.name: site for site in scenario.sites}
    needed = [site.name for site in scenario.sites if site.machines]
    needed += [fault.to for fault in scenario.faults if isinstance(fault, Move)]
    for name in needed:  # it grows meanwhile
        outer = by_name[name].behind
        if outer is not None and outer not in needed:
            needed.append(outer)
    sites = tuple(site for site in scenario.sites if site.name in needed)
    names = (*needed, *scenario.bootstrap_names)
    faults = [_at_sites(fault, names) for fault in scenario.faults]
    return replace(
        scenario, sites=sites, faults=tuple(fault for fault in faults if fault is not None)
    )


def _at_sites(fault: Fault, names: Collection[str]) -> Fault | None:
    """What is left of a fault where there are only sites of these names."""
    if isinstance(fault, Partition):
        one, other = (
            tuple(name for name in side if name in names) for side in (fault.one, fault.other)
        )
        return replace(fault, one=one, other=other) if one and other else None
    if isinstance(fault, MachineFault):
        return fault
    return fault if getattr(fault, "target", None) in names else None


def with_duration(scenario: Scenario, duration_s: float) -> Iterator[Scenario]:
    """Ending sooner, without what would be later; first with nothing expected, then as before."""
    faults = tuple(fault for fault in scenario.faults if fault.at_s < duration_s)
    shorter = with_faults(replace(scenario, duration_s=duration_s), faults)
    yield replace(shorter, expect=Expectation())
    if shorter.expect != Expectation():
        yield shorter


def plainer_sites(scenario: Scenario) -> Iterator[Scenario]:
    """All sites as plain as can be, then each, then a part of each; the rest as before."""
    yield replace(
        scenario,
        sites=tuple(_plainest(site) for site in scenario.sites),
        bootstraps=1,
        peers_each_max=None,
    )
    yield replace(scenario, has_relay=False)
    if scenario.bootstraps > 1:
        yield replace(scenario, bootstraps=1)
    if scenario.peers_each_max is not None:
        yield replace(scenario, peers_each_max=None)
    if scenario.ip_versions == (4, 6):
        for version in scenario.ip_versions:
            yield replace(scenario, ip_versions=(version,))
    for change in (_plainest, _plain_line, *_PARTS):
        for index, site in enumerate(scenario.sites):
            plainer = change(site)
            if plainer != site:
                yield _with(scenario, "sites", index, plainer)


def _plainest(site: Site) -> Site:
    return _plain_nat(_plain_machines(_plain_line(site)), 0)


def _plain_line(site: Site) -> Site:
    return replace(site, line=PLAIN_LINE, lan=LinkModel())


def _plain_machines(site: Site) -> Site:
    machines = tuple(
        Machine(name=each.name, starts_at_s=each.starts_at_s) for each in site.machines
    )
    return replace(site, machines=machines, is_isolating=False, behind=None)


def _plain_nat(site: Site, kind: int) -> Site:
    nat = _PLAIN_NATS[kind]
    return replace(site, nats=nat.nats, firewall=nat.firewall)


def _without(site: Site, **values: Any) -> Site:
    if site.line == PLAIN_LINE:
        return site
    up, down = (
        None if link is None else replace(link, **values) for link in (site.line.up, site.line.down)
    )
    return replace(site, line=LineModel(up=up, down=down))


_PARTS: Final = (
    lambda site: _plain_nat(site, 0),
    # Who has none has less than that.
    lambda site: _plain_nat(site, 1) if site.nats or site.firewall != Firewall.NONE else site,
    _plain_machines,
    lambda site: _without(site, loss=0.0, burst_loss=None),
    lambda site: _without(site, duplicate=0.0),
    lambda site: _without(site, reorder=0.0),
    lambda site: _without(site, jitter_s=0.0, jitter_correlation=0.0, latencies_s=()),
    lambda site: _without(site, corrupt=0.0),
)


def plainer_faults(scenario: Scenario) -> Iterator[Scenario]:
    """Each fault by itself with less to it."""
    for index, fault in enumerate(scenario.faults):
        for plainer in _plainer(fault, scenario):
            yield _with(scenario, "faults", index, plainer)


def _plainer(fault: Fault, scenario: Scenario) -> Iterator[Fault]:
    if isinstance(fault, Crash) and fault.loses_disk:
        yield replace(fault, loses_disk=False)
    if isinstance(fault, Move) and fault.gap_s:
        yield replace(fault, gap_s=0.0)
    if isinstance(fault, ReplayEnvelopes) and fault.spread_s:
        yield replace(fault, spread_s=0.0)
    if isinstance(fault, LinkDown) and fault.direction == "both":
        for direction in ("up", "down"):
            yield replace(fault, direction=direction)
    if isinstance(fault, Partition):
        yield from _smaller_partitions(fault)
    nats = {site.name: site.nats for site in scenario.sites}
    if isinstance(fault, AddressChange) and nats.get(fault.target):
        # Its NAT forgets the same, and the address stays.
        yield NatReboot(at_s=fault.at_s, target=fault.target)


def _smaller_partitions(fault: Partition) -> Iterator[Fault]:
    for side in ("one", "other"):
        names = getattr(fault, side)
        for name in names if len(names) > 1 else ():
            rest = tuple(each for each in names if each != name)
            changes: dict[str, Any] = {side: rest}
            yield replace(fault, **changes)


def rounded_times(scenario: Scenario) -> Iterator[Scenario]:
    """Times of all faults rounded, then of each: to seconds, then to tenths of them."""
    for digits in (0, 1):
        yield replace(scenario, faults=tuple(_rounded(fault, digits) for fault in scenario.faults))
        for index, fault in enumerate(scenario.faults):
            yield _with(scenario, "faults", index, _rounded(fault, digits))
            if isinstance(fault, Lasting):
                yield _with(
                    scenario, "faults", index, replace(fault, at_s=round(fault.at_s, digits))
                )


def _rounded(fault: Fault, digits: int) -> Fault:
    changes: dict[str, Any] = {
        name: round(value, digits) or 10.0**-digits
        for name in ("for_s", "after_s", "spread_s", "gap_s", "up_to_s")
        if (value := getattr(fault, name, None))
    }
    return replace(fault, at_s=round(fault.at_s, digits), **changes)


def _with(scenario: Scenario, field: str, index: int, value: Any) -> Scenario:
    """Another one in place of a site or a fault."""
    values = getattr(scenario, field)
    changes: dict[str, Any] = {field: (*values[:index], value, *values[index + 1 :])}
    return replace(scenario, **changes)
