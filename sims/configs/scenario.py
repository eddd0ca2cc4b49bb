"""A mesh's own configurations as a scenario: the same peers, keys of the simulator's own."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from sims.configs.acquaintance import Acquaintance, Acquaintances
from sims.configs.member import Member, read_member
from sims.configs.sites import SiteChoice, make_sites, place_machines
from sims.configs.unmodelled import count_bootstraps, unmodelled
from sims.model.mistake import Mistake
from sims.model.scenario import BOOTSTRAPS_MAX, MACHINES_MAX, Expectation, Machine, Scenario
from sims.model.scenario_check import check_scenario, find_mistake
from wice.errors import ConfigError

DURATION_S: Final = 60.0
CONNECTED_BY_S: Final = 20.0

CONNECTED: Final = ("expect", "all_pairs_connected_by_s")


@dataclass(frozen=True, slots=True)
class OwnMesh:
    """sites: as chosen, in the order of the scenario's. otherwise: sentences of what
    is not as configured, or not configured at all."""

    scenario: Scenario
    sites: tuple[SiteChoice, ...]
    otherwise: tuple[str, ...]


def scenario_of(paths: Sequence[Path], choices: Sequence[SiteChoice], name: str) -> OwnMesh:
    """Read every file; raise ConfigError with file, line and key of what makes no mesh.

    paths: of peers' configurations, and of bootstrap nodes', which have no interfaces.
    """
    if len(paths) > MACHINES_MAX + BOOTSTRAPS_MAX:
        raise ConfigError(f"{len(paths)} files", "are too many", f"use at most {MACHINES_MAX}")
    everybody = [read_member(path) for path in paths]
    members = [member for member in everybody if not member.is_bootstrap]
    bootstraps = [member for member in everybody if member.is_bootstrap]
    if not members:
        raise ConfigError(
            str(paths[0]),
            "has no interfaces, as that of a bootstrap node",
            "give the configuration of a peer, too",
        )
    _check_community(everybody)
    placed = dict.fromkeys(name for choice in choices for name in choice.machines)
    acquaintances = Acquaintances(members, placed)
    known = acquaintances.all()
    sites = place_machines([each.name for each in known], choices)
    ip_versions = _ip_versions(members)
    machines = {each.name: _machine(each, known, ip_versions) for each in known}
    scenario = Scenario(
        name=name,
        duration_s=DURATION_S,
        sites=make_sites(sites, machines),
        bootstraps=min(count_bootstraps(members, bootstraps), BOOTSTRAPS_MAX),
        has_relay=_has_relay(members, bootstraps),
        ip_versions=ip_versions,
        expect=Expectation(all_pairs_connected_by_s=CONNECTED_BY_S),
    )
    otherwise = unmodelled(members, bootstraps, acquaintances, ip_versions)
    if scenario.has_relay and not bootstraps:
        otherwise.append("bootstrap nodes relay; no configuration of theirs says whether they do")
    elif not scenario.has_relay and bootstraps:
        otherwise.append("bootstrap nodes do not relay; with `wice bootstrap --relay` they do")
    scenario = _expecting_what_can_be(scenario)
    if len(scenario.machines) == 1:
        otherwise.append("this machine has nobody to reach; add the configurations of its peers")
    elif scenario.expect == Expectation():
        otherwise.append("nothing goes through between any two of these sites, nor is expected to")
    check_scenario(scenario)
    return OwnMesh(scenario, tuple(sites), tuple(otherwise))


def _check_community(members: Sequence[Member]) -> None:
    first = members[0].config.overlay.get("community")
    for member in members[1:]:
        community = member.config.overlay.get("community")
        if community != first:
            raise member.mistake(
                ("overlay", "community"),
                f"is {community!r}, and {first!r} in {members[0].config.path}: the two do not "
                "find each other",
                "write the same in both",
            )


def _ip_versions(members: Sequence[Member]) -> tuple[int, ...]:
    """Those that bootstrap nodes are reached by."""
    hosts = [
        node.address.host
        for member in members
        if member.overlay
        for node in member.overlay.bootstrap
    ]
    versions = tuple(
        version for version in (4, 6) if any((":" in host) == (version == 6) for host in hosts)
    )
    return versions or (4,)


def _has_relay(members: Sequence[Member], bootstraps: Sequence[Member]) -> bool:
    if not any(member.config.ice.relays for member in members):
        return False
    return not bootstraps or any(each.config.relay.is_enabled for each in bootstraps)


def _machine(
    own: Acquaintance, everybody: Sequence[Acquaintance], ip_versions: tuple[int, ...]
) -> Machine:
    knows_all = len(own.knows) == len(everybody) - 1
    return Machine(
        name=own.name,
        tunnel_address=own.tunnel_address if 4 in ip_versions else None,
        peers=None if knows_all else own.knows,
    )


def _expecting_what_can_be(scenario: Scenario) -> Scenario:
    """Without expecting that all are connected where these sites let nobody through."""
    try:
        find_mistake(scenario)
    except Mistake as mistake:
        if mistake.place == CONNECTED:
            return replace(scenario, expect=Expectation())
    return scenario
