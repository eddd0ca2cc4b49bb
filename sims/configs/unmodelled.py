"""What configurations say and scenarios cannot: a line for each."""

from collections.abc import Iterator, Sequence
from typing import Final

from sims.configs.acquaintance import Acquaintances, own_addresses, tunnel_address
from sims.configs.member import Member
from sims.machines.machine_files import WIREGUARD_PORT
from sims.model.scenario import BOOTSTRAPS_MAX, TUNNEL_NETWORK, TUNNEL_NETWORK_IPV6
from wice.config import MTU_DEFAULT_BYTES, IceConfig
from wice.ice import CandidatePolicy
from wice.ice.policy import is_private
from wice.overlay_choice import BACKEND_DEFAULT
from wice.relay_config import RelayConfig

NAMES_SHOWN_MAX: Final = 6


def unmodelled(
    members: Sequence[Member],
    bootstraps: Sequence[Member],
    acquaintances: Acquaintances,
    ip_versions: tuple[int, ...],
) -> list[str]:
    """Sentences of what a simulated mesh has instead, and who it is about."""
    said: dict[str, list[str]] = {}
    for member in members:
        for sentence in (
            *_of_interfaces(member),
            *_of_addresses(member, ip_versions),
            *_of_ice(member, members),
            *_of_overlay(member),
        ):
            said.setdefault(sentence, []).append(member.name)
    for bootstrap in bootstraps:
        for sentence in _of_bootstrap(bootstrap):
            said.setdefault(sentence, []).append(bootstrap.name)
    lines = [f"{sentence} ({listed(names)})" for sentence, names in said.items()]
    lines += _of_bootstrap_lists(members, count_bootstraps(members, bootstraps))
    for member, entry, addresses in acquaintances.unroutable():
        place = member.where((*entry.place, "allowed_ips"))
        peer = acquaintances.name_of(entry.public_key)
        lines.append(f"{peer} gets packets of {member.name}, though {addresses} is not in {place}")
    return lines


def listed(names: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    more = len(names) - NAMES_SHOWN_MAX
    return ", ".join(names[:NAMES_SHOWN_MAX]) + (f" and {more} more" if more > 0 else "")


def _of_interfaces(member: Member) -> Iterator[str]:
    interfaces = member.config.interfaces
    if len(interfaces) > 1:
        yield "a machine has one interface, with the peers of all"
    if interfaces[0].mtu_bytes != MTU_DEFAULT_BYTES:
        yield f"mtu is {MTU_DEFAULT_BYTES}, not {interfaces[0].mtu_bytes}"
    if interfaces[0].listen_port not in (0, WIREGUARD_PORT):
        yield f"listen_port is {WIREGUARD_PORT}, not {interfaces[0].listen_port}"
    if any(entry.peer.config.preshared_key is not None for entry in member.peers()):
        yield "there are no preshared keys"


def _of_addresses(member: Member, ip_versions: tuple[int, ...]) -> Iterator[str]:
    addresses = own_addresses(member)
    if addresses and 4 not in ip_versions:
        yield f"addresses inside of the tunnel are out of {TUNNEL_NETWORK_IPV6}"
    elif addresses and tunnel_address(addresses) is None:
        yield f"addresses inside of the tunnel are out of {TUNNEL_NETWORK}"
    elif len(addresses) > 1:
        yield "a machine has one address inside of the tunnel"
    allowed = (each for entry in member.peers() for each in entry.peer.config.allowed_ips)
    if any(each.prefixlen < each.max_prefixlen for each in allowed):
        yield "allowed_ips is a peer's own address, and no network is behind it"


def _of_ice(member: Member, members: Sequence[Member]) -> Iterator[str]:
    ice, default = member.config.ice, IceConfig()
    if ice.candidates is not CandidatePolicy.ALL:
        yield f'[ice] candidates is "all", not "{ice.candidates}"'
    if (ice.interfaces, ice.exclude_interfaces) != (default.interfaces, default.exclude_interfaces):
        yield "a machine uses its one network, whatever [ice] interfaces says"
    if not ice.relays and any(other.config.ice.relays for other in members):
        yield "[ice] relays is true for all"
    if ice.turn:
        yield "no relays are used but those of bootstrap nodes, [[ice.turn]] or not"
    if member.config.stun:
        yield "no STUN servers are asked but bootstrap nodes, [ice] stun or not"


def _of_overlay(member: Member) -> Iterator[str]:
    if member.config.backend != BACKEND_DEFAULT:
        yield f'[overlay] backend is "{BACKEND_DEFAULT}", not "{member.config.backend}"'
    if "secret_file" in member.config.overlay:
        yield "the community has no secret"


def _of_bootstrap(bootstrap: Member) -> Iterator[str]:
    relay = bootstrap.config.relay
    default = RelayConfig(is_enabled=relay.is_enabled)
    if relay.is_enabled and relay != default:
        yield "budgets, ports and networks of [relay] are the simulator's own"


def _of_bootstrap_lists(members: Sequence[Member], count: int) -> Iterator[str]:
    lists = [dict.fromkeys(_peer_ids(member)) for member in members if member.overlay]
    simulated = min(count, BOOTSTRAPS_MAX)
    if any(len(known) < simulated for known in lists):
        yield f"each machine has all {simulated} bootstrap nodes, not only its own"
    if count > simulated:
        yield f"there are {simulated} bootstrap nodes, not {count}"
    private = [
        node.address.host
        for member in members
        for node in (member.overlay.bootstrap if member.overlay else ())
        if is_private(node.address.host)
    ]
    if private:
        hosts = ", ".join(list(dict.fromkeys(private))[:NAMES_SHOWN_MAX])
        yield f"bootstrap nodes have public addresses, instead of {hosts}"


def count_bootstraps(members: Sequence[Member], bootstraps: Sequence[Member]) -> int:
    """Those that members name, or whose configurations are here if those are more."""
    named = dict.fromkeys(each for member in members for each in _peer_ids(member))
    return max(len(named), len(bootstraps), 1)


def _peer_ids(member: Member) -> tuple[str, ...]:
    """Of the bootstrap nodes that it names."""
    return tuple(member.overlay.bootstrap_addresses()) if member.overlay else ()
