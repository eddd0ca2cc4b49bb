"""Who can reach whom, directly or by a relay: what a scenario's data imply, no code under test.

ICE knows of a machine its own addresses and the public port that a bootstrap node's STUN server
saw (RFC 8445 section 5.1.1). Both send to all they know of the other (section 6.1.4, the hole
punching of RFC 5128 section 3.3), what arrives is answered on the way it came, and where it came
from is one more address to send to (a peer-reflexive candidate, RFC 8445 section 7.3.1.3). Nobody
guesses ports: those of a mapping that depends on the destination are unknown, however they are
assigned.

Who can send UDP to a public relay and hear from it has an address there (RFC 8656), which lets in
whoever can do the same, from whatever port: filters of NATs are asked only about the relay.

Faults are no part of it: this is who can reach whom when nothing is wrong.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from sims.model.nat import Filtering, Firewall, Mapping, NatModel
from sims.model.scenario import Scenario, Site

DIRECT: Final = "direct"
RELAYED: Final = "relayed"

ROUNDS_MAX: Final = 3
"""Two mappings that both depend on ports answer one another from new ports for ever; all others
have settled by then."""


class Level(NamedTuple):
    """What one router does to the UDP that crosses it."""

    mapping: Mapping
    filtering: Filtering


STATEFUL: Final = Level(Mapping.ENDPOINT_INDEPENDENT, Filtering.ADDRESS_AND_PORT_DEPENDENT)
"""A firewall translates nothing; only what was asked for comes in (RFC 6092 section 2.2)."""


@dataclass(frozen=True, slots=True)
class Side:
    """A machine as seen from where its packets meet those of another.

    levels: what is between, innermost first. is_announced: the other was told an address that
    leads here, its own or the one that a STUN server saw.
    """

    levels: tuple[Level, ...]
    is_announced: bool = True


def can_be_direct(scenario: Scenario, one: str, other: str) -> bool:
    """Whether UDP passes both ways between two machines without a relay.

    Raises KeyError where the scenario has no such machine.
    """
    return can_sites_be_direct(scenario, _site_of(scenario, one), _site_of(scenario, other))


def can_sites_be_direct(scenario: Scenario, one_site: str, other_site: str) -> bool:
    """The same for a machine at each of the sites, or for two at one: machines can move."""
    return any(
        _look(scenario, one_site, other_site, version).is_direct for version in scenario.ip_versions
    )


def best_path(scenario: Scenario, one: str, other: str) -> str | None:
    """``DIRECT`` wherever that can be, else ``RELAYED``, else None.

    Raises KeyError where the scenario has no such machine.
    """
    return best_site_path(scenario, _site_of(scenario, one), _site_of(scenario, other))


def best_site_path(scenario: Scenario, one_site: str, other_site: str) -> str | None:
    """The same for a machine at each of the sites, or for two at one."""
    if can_sites_be_direct(scenario, one_site, other_site):
        return DIRECT
    can_relay = all(_is_relay_in_reach(scenario, site) for site in (one_site, other_site))
    return RELAYED if can_relay else None


def _is_relay_in_reach(scenario: Scenario, site: str) -> bool:
    """Both send all they have for each other to it: a side alone cannot make up for the other."""
    sites = {each.name: each for each in scenario.sites}
    has_relay = scenario.has_relay and scenario.bootstraps > 0
    return has_relay and not _obstacle(list(_chain(sites, site)))


def why(scenario: Scenario, one: str, other: str) -> str:
    """One line for a person: how two machines reach each other without a relay, or what keeps
    them apart."""
    sites = _site_of(scenario, one), _site_of(scenario, other)
    seen = {version: _look(scenario, *sites, version) for version in scenario.ip_versions}
    told = {version: verdict for version, verdict in seen.items() if verdict.is_direct} or seen
    return "; ".join(f"IPv{version}: {verdict.reason}" for version, verdict in told.items())


def can_punch(one: Side, other: Side) -> bool:
    """Whether two machines whose packets meet somewhere get answers from each other.

    It counts only if the answer comes from where the question went (RFC 8445 section 7.2.5.2.1).
    """
    ends = (_End(one), _End(other))
    for end, opposite in (ends, ends[::-1]):
        if opposite.side.is_announced:
            end.known.append(opposite.port_towards(_SERVER))
    for _ in range(ROUNDS_MAX):
        # The first packets of both are on their way before either has arrived.
        packets = [
            (opposite, end.send_to(port), port)
            for end, opposite in (ends, ends[::-1])
            for port in end.known
        ]
        for receiver, source, destination in packets:
            if not receiver.admits(destination, source):
                continue
            receiver.learn(source)
            # Its answer gets in where it came from: the sender has just contacted that port.
            if receiver.port_towards(source) == destination:
                return True
    return False


class _Port(NamedTuple):
    """Where a machine is seen; whatever the port, a NAT keeps one address (RFC 4787 REQ-2).

    mapped_for: for each level on the way there, whom its mapping is for; ``()`` is for everybody.
    """

    address: str
    mapped_for: tuple[object, ...]


_SERVER: Final = _Port("server", ())


class _End:
    """A side while both send: what it has learned, and whom its routers have seen it contact."""

    def __init__(self, side: Side) -> None:
        self.side = side
        self.known: list[_Port] = []
        self._contacted: list[tuple[_Port, _Port]] = []

    def port_towards(self, destination: _Port) -> _Port:
        """RFC 4787 section 4.1, at each level."""
        keys: dict[Mapping, object] = {
            Mapping.ENDPOINT_INDEPENDENT: (),
            Mapping.ADDRESS_DEPENDENT: destination.address,
            Mapping.ADDRESS_AND_PORT_DEPENDENT: destination,
        }
        return _Port("peer", tuple(keys[level.mapping] for level in self.side.levels))

    def send_to(self, destination: _Port) -> _Port:
        """Contact the other side; where the packet comes from."""
        source = self.port_towards(destination)
        self._contacted.append((source, destination))
        return source

    def admits(self, port: _Port, source: _Port) -> bool:
        """Whether each level lets in what comes for ``port`` (RFC 4787 section 5)."""
        for depth, level in enumerate(self.side.levels, start=1):
            # Further out one mapping may have become many; this level has seen them as one.
            contacted = [
                to
                for mapped, to in self._contacted
                if mapped.mapped_for[:depth] == port.mapped_for[:depth]
            ]
            if level.filtering is Filtering.ADDRESS_DEPENDENT and not contacted:
                return False
            if level.filtering is Filtering.ADDRESS_AND_PORT_DEPENDENT and source not in contacted:
                return False
        return True

    def learn(self, port: _Port) -> None:
        if port not in self.known:
            self.known.append(port)


class _Verdict(NamedTuple):
    is_direct: bool
    reason: str


def _look(scenario: Scenario, one: str, other: str, version: int) -> _Verdict:
    """Where the packets of two sites meet, and whether they get there and back."""
    sites = {site.name: site for site in scenario.sites}
    chains = [list(_chain(sites, name)) for name in (one, other)]
    shared = [site for site in chains[0] if site in chains[1]]
    if one == other and not shared[0].is_isolating:
        return _Verdict(True, f"both are on the LAN of {one}")
    verdicts = []
    if not (shared and shared[0].is_isolating):
        verdicts.append(_meet_below(scenario, chains, shared, version))
    if version == 4 and any(site.nats for site in shared):
        verdicts.append(_turn_round(scenario, chains, shared))
    elif shared and shared[0].is_isolating:
        verdicts.append(_Verdict(False, f"{shared[0].name} keeps its machines apart"))
    direct = [verdict for verdict in verdicts if verdict.is_direct]
    return direct[0] if direct else _Verdict(False, ", and ".join(v.reason for v in verdicts))


def _meet_below(
    scenario: Scenario, chains: list[list[Site]], shared: list[Site], version: int
) -> _Verdict:
    """Packets go up to the first network that both are in, and down again.

    An address that a STUN server saw leads there only if nothing further out translates.
    """
    crossed = [chain[: len(chain) - len(shared)] for chain in chains]
    if obstacle := _obstacle([*crossed[0], *crossed[1]]):
        return _Verdict(False, obstacle)
    is_server_seen = (
        scenario.bootstraps > 0 and not any(site.nats for site in shared) and not _obstacle(shared)
    )
    sides = [
        Side(
            _levels(chain, version),
            is_announced=is_server_seen or version == 6 or not any(site.nats for site in chain),
        )
        for chain in crossed
    ]
    place = f"the LAN of {shared[0].name}" if shared else "the internet"
    if not any(side.is_announced for side in sides):
        return _Verdict(False, f"nobody tells them their addresses on {place}")
    return _punch(sides, place)


def _turn_round(scenario: Scenario, chains: list[list[Site]], shared: list[Site]) -> _Verdict:
    """Packets go up to the NAT that has the public address of both, which hairpins or does not.

    One that does gives them the public source too (RFC 4787 section 6, REQ-9), so that all
    routers see what they would see of a machine elsewhere.
    """
    outermost = [site for site in shared if site.nats][-1]
    if not outermost.nats[-1].hairpins:
        return _Verdict(False, f"the NAT of {outermost.name}, which they share, does not hairpin")
    if obstacle := _obstacle([*chains[0], *chains[1]]):
        return _Verdict(False, obstacle)
    if scenario.bootstraps == 0:
        return _Verdict(False, "nobody tells them their public addresses")
    return _punch(
        [Side(_levels(chain, version=4)) for chain in chains], f"the NAT of {outermost.name}"
    )


def _punch(sides: list[Side], place: str) -> _Verdict:
    if can_punch(*sides):
        return _Verdict(True, f"their packets meet at {place}")
    return _Verdict(
        False,
        f"no packet gets in first at {place}: {_described(sides[0])} against "
        f"{_described(sides[1])}",
    )


def _described(side: Side) -> str:
    """The strictest of its levels, which is what a whole stack amounts to."""
    mapping = max((level.mapping for level in side.levels), key=list(Mapping).index)
    filtering = max((level.filtering for level in side.levels), key=list(Filtering).index)
    return f"{mapping} mapping with {filtering} filtering"


def _levels(chain: list[Site], version: int) -> tuple[Level, ...]:
    levels: list[Level] = []
    for site in chain:
        if version == 4 and site.nats:
            levels.extend(_level(nat) for nat in site.nats)
        elif site.firewall is not Firewall.NONE:
            levels.append(STATEFUL)
    return tuple(levels)


def _level(nat: NatModel) -> Level:
    if nat.is_one_to_one:
        return Level(Mapping.ENDPOINT_INDEPENDENT, Filtering.ENDPOINT_INDEPENDENT)
    return Level(nat.mapping, nat.filtering)


def _obstacle(crossed: list[Site]) -> str:
    """What keeps UDP from crossing the sites in both directions, or nothing."""
    for site in crossed:
        if site.firewall in (Firewall.UDP_BLOCKED, Firewall.TCP_443_ONLY):
            return f"{site.name} lets no UDP through"
        if site.line.up is None or site.line.down is None:
            return f"the line of {site.name} does not carry both ways"
    return ""


def _chain(sites: dict[str, Site], name: str) -> Iterator[Site]:
    """The site, the one it is behind, and so on to the internet."""
    at: str | None = name
    while at is not None:
        yield sites[at]
        at = sites[at].behind


def _site_of(scenario: Scenario, machine: str) -> str:
    for site in scenario.sites:
        if any(resident.name == machine for resident in site.machines):
            return site.name
    raise KeyError(machine)
