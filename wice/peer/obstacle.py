"""What keeps two hosts from a direct path, and what would help (RFC 4787, RFC 5128 section 3)."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from wice.ice import Candidate, CandidatePolicy, MappingBehaviour, PairReport

_CARRIER_NAT: Final = ipaddress.ip_network("100.64.0.0/10")
"""RFC 6598: who has such an address shares a NAT that is not his to open."""

_UNTOLD_PORT: Final = 9
"""RFC 8839 section 5.1: stands for a related port that is not told."""

_MAPS_PER_DESTINATION: Final = (
    MappingBehaviour.ADDRESS_DEPENDENT,
    MappingBehaviour.ADDRESS_AND_PORT_DEPENDENT,
)
_FAILED: Final = "failed"
_SUCCEEDED: Final = "succeeded"


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two hosts. name: ``here``, or the peer's. candidates: what it tells the other."""

    name: str
    nat_mapping: MappingBehaviour
    candidates: tuple[Candidate, ...]
    is_here: bool

    @property
    def maps_per_destination(self) -> bool:
        return self.nat_mapping in _MAPS_PER_DESTINATION

    @property
    def place(self) -> str:
        return "here" if self.is_here else f"at {self.name}"

    @property
    def is_silent(self) -> bool:
        """Whether nothing shows that any server answers it over UDP."""
        is_unmapped = self.nat_mapping in (MappingBehaviour.UNKNOWN, MappingBehaviour.UNREACHED)
        return is_unmapped and {c.type for c in self.candidates} == {"host"}

    @property
    def is_behind_carrier_nat(self) -> bool:
        addresses = [c.related_address or c.host for c in self.candidates if c.type != "relay"]
        return any(_is_carriers(address) for address in addresses)

    @property
    def port(self) -> int | None:
        """Its WireGuard port where its candidates tell: host candidates have it."""
        hosts = [c.port for c in self.candidates if c.type == "host"]
        bases = [c.related_port for c in self.candidates if c.type == "srflx"]
        told = [port for port in (*hosts, *bases) if port and port != _UNTOLD_PORT]
        return told[0] if told else None


@dataclass(frozen=True, slots=True)
class Obstacle:
    """why: the clause after ``relayed:``. hints: what would make the path direct, best first."""

    why: str
    hints: tuple[str, ...] = ()


def find_obstacle(
    here: Side, there: Side, pairs: Sequence[PairReport], policy: CandidatePolicy
) -> Obstacle:
    """Why none of ``pairs`` is a direct one that carries data; the surest reason first.

    policy: ours. What the peer's is shows only in what it tells.
    """
    direct = [pair for pair in pairs if not pair.is_relayed]
    return (
        _by_policy(there, policy)
        or _in_progress(direct)
        or _without_common_family(here, there)
        or _blocked(here, there)
        or _without_pairs(here, there, direct)
        or _by_mapping(here, there)
        or _by_firewall(here, there, direct)
    )


def find_silence(here: Side, there: Side) -> Obstacle | None:
    """The surest reason where no pair ever worked: not even servers answer."""
    silent = [side for side in (here, there) if side.is_silent]
    if not silent:
        return None
    places = " and ".join(side.place for side in silent)
    return Obstacle(
        f"UDP seems blocked {places}: no STUN server or relay answers", _letting_udp_out(silent)
    )


def _by_policy(there: Side, policy: CandidatePolicy) -> Obstacle | None:
    if policy is CandidatePolicy.RELAY:
        why = 'this host uses relays alone, since its [ice] says candidates = "relay"'
        return Obstacle(why, ('candidates = "all" here would allow a direct path',))
    told = {c.type for c in there.candidates}
    if told == {"relay"} and there.nat_mapping is not MappingBehaviour.UNREACHED:
        return Obstacle(
            f"{there.name} tells its relays alone",
            (f'candidates = "all" in the [ice] of {there.name} would allow a direct path',),
        )
    return None


def _in_progress(direct: Sequence[PairReport]) -> Obstacle | None:
    answering = [pair for pair in direct if pair.state == _SUCCEEDED]
    if answering:
        remark = answering[0].remark or "it is about to be taken"
        return Obstacle(f"a direct pair answers, to {answering[0].path.remote}, but {remark}")
    fresh = [pair for pair in direct if pair.state != _FAILED and not pair.attempts]
    if fresh:
        return Obstacle(f"so far, {_count(len(fresh), 'direct pair')} being checked")
    return None


def _without_common_family(here: Side, there: Side) -> Obstacle | None:
    ours, theirs = _families(here), _families(there)
    if not ours or not theirs or set(ours) & set(theirs):
        return None
    return Obstacle(
        f"no IP version in common: {' and '.join(ours)} here, "
        f"{' and '.join(theirs)} at {there.name}"
    )


def _blocked(here: Side, there: Side) -> Obstacle | None:
    blocked = [s for s in (here, there) if s.nat_mapping is MappingBehaviour.UNREACHED]
    if not blocked:
        return None
    places = " and ".join(side.place for side in blocked)
    return Obstacle(
        f"no STUN server is reached over UDP {places}: a firewall seems to block it",
        _letting_udp_out(blocked),
    )


def _without_pairs(here: Side, there: Side, direct: Sequence[PairReport]) -> Obstacle | None:
    if direct:
        return None
    for side in (here, there):
        if not any(c.type != "relay" for c in side.candidates):
            who = "this host" if side.is_here else side.name
            return Obstacle(f"{who} tells no address of its own")
    return Obstacle("there is no direct pair to check")


def _by_mapping(here: Side, there: Side) -> Obstacle | None:
    both = (here, there)
    mapping = [side for side in both if side.maps_per_destination]
    if not mapping:
        return None
    if len(mapping) == 2:
        why = "both NATs map per destination"
        order = (there, here)
    else:
        strict, other = mapping[0], here if mapping[0] is there else there
        its = "the NAT here maps" if strict.is_here else f"{strict.name}'s NAT maps"
        who = "this host" if other.is_here else other.name
        why = f"{its} per destination, and {who} is closed to senders it does not know"
        order = (other, strict)
    openable = [side for side in order if not side.is_behind_carrier_nat]
    if not openable:
        why += ", and each host is behind a carrier's NAT"
        return Obstacle(why, ("IPv6 on both sides would make it direct",))
    return Obstacle(why, tuple(_opening(side) for side in openable))


def _by_firewall(here: Side, there: Side, direct: Sequence[PairReport]) -> Obstacle:
    unknown = [s for s in (here, there) if s.nat_mapping is MappingBehaviour.UNKNOWN]
    none = f"none of {len(direct)} direct pairs answers" if len(direct) > 1 else ""
    none = none or "the only direct pair does not answer"
    if unknown:
        places = " and ".join(side.place for side in unknown)
        why = f"{none}; how the NAT maps {places} is not known"
        hint = f"a second STUN server in the [ice] {unknown[0].place} would tell how the NAT maps"
        return Obstacle(why, (hint,))
    if all(side.nat_mapping is MappingBehaviour.NO_NAT for side in (here, there)):
        why = f"{none}, though there is no NAT: a firewall seems to drop UDP"
    else:
        why = f"{none}, though these NATs let one through: a firewall seems to drop UDP"
    openable = [side for side in (there, here) if not side.is_behind_carrier_nat]
    return Obstacle(why, tuple(_opening(side) for side in openable))


def _letting_udp_out(sides: Sequence[Side]) -> tuple[str, ...]:
    return tuple(f"letting UDP out {side.place} would help" for side in sides)


def _opening(side: Side) -> str:
    port = f"UDP {side.port}" if side.port is not None else "its UDP port"
    return f"opening {port} {side.place} would make it direct"


def _families(side: Side) -> list[str]:
    direct = [c.host for c in side.candidates if c.type != "relay"]
    return sorted({"IPv6" if ":" in host else "IPv4" for host in direct})


def _is_carriers(address: str) -> bool:
    ip = ipaddress.ip_address(address)
    return ip.version == 4 and ip in _CARRIER_NAT


def _count(count: int, noun: str) -> str:
    return f"the only {noun} is" if count == 1 else f"{count} {noun}s are"
