"""A scenario: who is there, behind what, what goes wrong, and what is expected.

Plain data, the same whether it came from a TOML file or from Python.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from typing import Final

from sims.model.faults import Fault
from sims.model.link import LineModel, LinkModel
from sims.model.nat import Firewall, NatModel

SITES_MAX: Final = 1_000
MACHINES_MAX: Final = 1_000
PAIRS_MAX: Final = 20_000
"""Ordered pairs of machines that know each other: each pings, and each is looked at."""

DURATION_MIN_S: Final = 1.0
DURATION_MAX_S: Final = 7 * 86_400.0
FAULTS_MAX: Final = 10_000
"""Those written down and those of churn together."""

BOOTSTRAPS_MAX: Final = 16
PEERS_EACH_MIN: Final = 2
"""One on each side of the ring."""

PING_EVERY_MIN_S: Final = 0.1

HEALED_WITHIN_S: Final = 90.0
"""Where a scenario does not say."""

TUNNEL_NETWORK: Final = IPv4Network("10.77.0.0/16")
"""Where the mesh's own addresses are, unless there is IPv6 alone."""

TUNNEL_NETWORK_IPV6: Final = IPv6Network("fd77::/64")
"""And if there is."""

OVERLAYS: Final = ("libp2p", "in-process")
"""Names of backends: the real one first, then one without packets, for meshes of a thousand."""

LAN: Final = LinkModel()
"""A cable at home: nothing that a mesh would feel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A machine with the daemon on it.

    starts_at_s: when its daemon is started first. clock_offset_s, clock_drift_ppm: how wrong its
    wall clock is at the start of the run, and how it goes from there.
    tunnel_address: its IPv4 address in the mesh, out of ``TUNNEL_NETWORK``; None has one assigned.
    peers: the machines whose public keys it has; None has those of all.
    """

    name: str
    starts_at_s: float = 0.0
    clock_offset_s: float = 0.0
    clock_drift_ppm: float = 0.0
    tunnel_address: str | None = None
    peers: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Machines on one LAN behind one line to the internet.

    nats: innermost first; none gives the machines public addresses.
    behind: the site whose LAN this one's line ends at, as a home's does at its carrier; None is
    the internet itself.
    is_isolating: machines of the site reach the router and nobody else on the LAN.
    """

    name: str
    line: LineModel
    nats: tuple[NatModel, ...] = ()
    firewall: Firewall = Firewall.NONE
    machines: tuple[Machine, ...] = ()
    behind: str | None = None
    is_isolating: bool = False
    lan: LinkModel = LAN


@dataclass(frozen=True, slots=True, kw_only=True)
class Churn:
    """Faults that are made from the seed, a number of each kind within a span of time.

    kinds: names of fault kinds as files have them. between_s: from when to when they begin.
    for_s: how long each that lasts does, from and to.
    """

    count: int
    kinds: tuple[str, ...]
    between_s: tuple[float, float]
    for_s: tuple[float, float] = (5.0, 30.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """all_pairs_connected_by_s: every pair that the oracle calls reachable has pinged by then.

    healed_within_s: and again so long after the last fault is over; None is ``HEALED_WITHIN_S``,
    and is not judged where the run ends before.
    direct, relayed: unordered pairs of machines whose path is such at the end of the run.
    unreachable: those that may not get any path at all.
    """

    all_pairs_connected_by_s: float | None = None
    healed_within_s: float | None = None
    direct: tuple[tuple[str, str], ...] = ()
    relayed: tuple[tuple[str, str], ...] = ()
    unreachable: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """bootstraps: how many public overlay nodes; they are machines ``bootstrap-1`` and so on,
    each at a site of its own of the same name. has_relay: they relay for the mesh.

    ip_versions: (4,), (6,) or (4, 6). peers_each_max: None has everybody know everybody;
    otherwise each machine has at most so many WireGuard peers.
    ping_every_s: how often each ordered pair pings through the tunnel once it is connected.
    overlay: what carries the daemons' envelopes, one of ``OVERLAYS``.
    """

    name: str
    duration_s: float
    sites: tuple[Site, ...]
    bootstraps: int = 1
    has_relay: bool = True
    ip_versions: tuple[int, ...] = (4,)
    peers_each_max: int | None = None
    ping_every_s: float = 5.0
    overlay: str = OVERLAYS[0]
    faults: tuple[Fault, ...] = ()
    churn: tuple[Churn, ...] = ()
    expect: Expectation = field(default_factory=Expectation)

    @property
    def bootstrap_names(self) -> tuple[str, ...]:
        return tuple(f"bootstrap-{number}" for number in range(1, self.bootstraps + 1))

    @property
    def machines(self) -> tuple[Machine, ...]:
        """Those with a WireGuard interface, in the order of the scenario."""
        return tuple(machine for site in self.sites for machine in site.machines)

    def peers_of(self, name: str) -> tuple[str, ...]:
        """The machines that ``name`` knows and that know it, in the order of the scenario."""
        machines = self.machines
        here = next(place for place, machine in enumerate(machines) if machine.name == name)
        return self._peers_at(machines, here)

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Every ordered pair of machines that know each other."""
        machines = self.machines
        return tuple(
            (machine.name, other)
            for here, machine in enumerate(machines)
            for other in self._peers_at(machines, here)
        )

    def _peers_at(self, machines: Sequence[Machine], here: int) -> tuple[str, ...]:
        if self.peers_each_max is not None:
            # On a ring, those next to it on both sides: an even number of neighbours each.
            reach = self.peers_each_max // 2
            ring = {(here + step) % len(machines) for step in range(-reach, reach + 1)} - {here}
            return tuple(machines[there].name for there in sorted(ring))
        name, own = machines[here].name, machines[here].peers
        known = None if own is None else dict.fromkeys(own)
        return tuple(
            other.name
            for other in machines
            if other.name != name
            and (known is None or other.name in known)
            and (other.peers is None or name in other.peers)
        )
