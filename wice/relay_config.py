"""The ``[relay]`` table: whether and how a bootstrap node relays for its community."""

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from wice.platform import IPNetwork
from wice.section import Place, convert_section
from wice.turn import Budgets, PeerPolicy

TURN_PORT: Final = 3478
"""RFC 8656 section 22; STUN's, too."""

RELAYED_PORT_MIN: Final = 1_024
ALLOCATIONS_MAX: Final = 32_768
BANDWIDTH_MAX_MBIT_PER_S: Final = 100_000
TRAFFIC_MAX_GB_PER_DAY: Final = 1_000_000

_BYTES_PER_S_OF_MBIT_PER_S: Final = 125_000
_BYTES_OF_GB: Final = 1_000_000_000

Fault = Callable[[Place, str, str], Exception]
"""What is raised: of the place in the table, why it does not fit, and the remedy."""


class _RelaySection(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    enabled: bool = False
    port: int = TURN_PORT
    ports: list[int] = []
    announce: dict[str, str] = {}
    allocations: int = 256
    member_allocations: int = 8
    bandwidth_mbit_per_s: float = 100
    member_bandwidth_mbit_per_s: float = 20
    traffic_gb_per_day: float = 500
    member_traffic_gb_per_day: float = 50
    allowed_networks: list[str] = []
    denied_networks: list[str] = []


@dataclass(frozen=True, slots=True)
class RelayConfig:
    """``[relay]``. relayed_ports: where relayed addresses may be, None for the host's choice.
    announced: what peers are told instead of an address of the host. allowed_networks and
    denied_networks: change where may be relayed to (``PeerPolicy``).
    """

    is_enabled: bool = False
    port: int = TURN_PORT
    relayed_ports: range | None = None
    announced: Mapping[str, str] = field(default_factory=dict)
    budgets: Budgets = field(default_factory=Budgets)
    allowed_networks: tuple[IPNetwork, ...] = ()
    denied_networks: tuple[IPNetwork, ...] = ()


def read_relay(table: Any, fault: Fault) -> RelayConfig:
    """Read and check the table; raise what ``fault`` makes of the first mistake."""
    section = convert_section(table, _RelaySection, fault)
    if not 1 <= section.port <= 65_535:
        raise fault(("port",), f"{section.port} is no port", "use 1 to 65535")
    budgets = _budgets(section, fault)
    allowed_networks = _networks(section.allowed_networks, "allowed_networks", fault)
    return RelayConfig(
        is_enabled=section.enabled,
        port=section.port,
        relayed_ports=_relayed_ports(section, fault),
        announced=_announced(section.announce, allowed_networks, fault),
        budgets=budgets,
        allowed_networks=allowed_networks,
        denied_networks=_networks(section.denied_networks, "denied_networks", fault),
    )


def _budgets(section: _RelaySection, fault: Fault) -> Budgets:
    bounds: dict[str, float] = {
        "allocations": ALLOCATIONS_MAX,
        "bandwidth_mbit_per_s": BANDWIDTH_MAX_MBIT_PER_S,
        "traffic_gb_per_day": TRAFFIC_MAX_GB_PER_DAY,
    }
    for key, bound in bounds.items():
        for name in (key, f"member_{key}"):
            value = getattr(section, name)
            if not 0 < value <= bound:
                raise fault((name,), f"{value} is out of range", f"use more than 0, up to {bound}")
        ours, theirs = getattr(section, key), getattr(section, f"member_{key}")
        if theirs > ours:
            raise fault(
                (f"member_{key}",),
                f"{theirs} for one member is more than the {ours} for all",
                f"lower it, or raise relay.{key}",
            )
    return Budgets(
        allocations=section.allocations,
        allocations_per_user=section.member_allocations,
        bytes_per_s=section.bandwidth_mbit_per_s * _BYTES_PER_S_OF_MBIT_PER_S,
        bytes_per_s_per_user=section.member_bandwidth_mbit_per_s * _BYTES_PER_S_OF_MBIT_PER_S,
        bytes_per_day=int(section.traffic_gb_per_day * _BYTES_OF_GB),
        bytes_per_day_per_user=int(section.member_traffic_gb_per_day * _BYTES_OF_GB),
    )


def _relayed_ports(section: _RelaySection, fault: Fault) -> range | None:
    if not section.ports:
        return None
    if len(section.ports) != 2:
        raise fault(("ports",), "is no range", "write [LOWEST, HIGHEST], as [49152, 65535]")
    lowest, highest = section.ports
    if not RELAYED_PORT_MIN <= lowest <= highest <= 65_535:
        raise fault(
            ("ports",),
            f"{lowest} to {highest} is no range of ports",
            f"write [LOWEST, HIGHEST], within {RELAYED_PORT_MIN} to 65535",
        )
    relayed_ports = range(lowest, highest + 1)
    if len(relayed_ports) < section.allocations:
        raise fault(
            ("ports",),
            f"has {len(relayed_ports)} ports for {section.allocations} allocations",
            f"widen it, or set relay.allocations to {len(relayed_ports)}",
        )
    return relayed_ports


def _announced(
    announce: Mapping[str, str], allowed_networks: tuple[IPNetwork, ...], fault: Fault
) -> dict[str, str]:
    policy = PeerPolicy(allowed=allowed_networks)
    announced: dict[str, str] = {}
    for bound, public in announce.items():
        try:
            pair = ipaddress.ip_address(bound), ipaddress.ip_address(public)
        except ValueError as error:
            hint = 'write { "ADDRESS OF THIS HOST" = "PUBLIC ADDRESS" }'
            raise fault(("announce",), str(error), hint) from None
        if pair[0].version != pair[1].version:
            raise fault(
                ("announce",),
                f"{bound} and {public} are of two families",
                "an IPv4 address stands for an IPv4 address, IPv6 for IPv6",
            )
        if not policy.allows(str(pair[1])):
            raise fault(
                ("announce",),
                f"{public} is no public address",
                "write the one that peers reach this host at, or allow its network by "
                "relay.allowed_networks",
            )
        announced[str(pair[0])] = str(pair[1])
    return announced


def _networks(texts: list[str], key: str, fault: Fault) -> tuple[IPNetwork, ...]:
    networks: list[IPNetwork] = []
    for index, text in enumerate(texts):
        try:
            networks.append(ipaddress.ip_network(text))
        except ValueError as error:
            hint = "write ADDRESS/LENGTH, as 10.0.0.0/8 or fd00::/8"
            raise fault((key, index), f"{text!r}: {error}", hint) from None
    return tuple(networks)
