"""NATs by RFC 4787 (UDP) and RFC 5382 (TCP)."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

UDP_UNREPLIED_S: Final = 30.0
"""How long a UDP flow is kept that nothing answered: Linux's nf_conntrack_udp_timeout."""
UDP_REPLIED_S: Final = 120.0
"""And one that something did: nf_conntrack_udp_timeout_stream, and the least of RFC 4787 REQ-5 and
RFC 6092 REC-14."""


class Mapping(StrEnum):
    """When two destinations see one socket at the same public port (RFC 4787 section 4.1)."""

    ENDPOINT_INDEPENDENT = "endpoint-independent"
    ADDRESS_DEPENDENT = "address-dependent"
    ADDRESS_AND_PORT_DEPENDENT = "address-and-port-dependent"


class Filtering(StrEnum):
    """Who may send to a mapped port: anyone, contacted addresses, contacted sockets (section 5)."""

    ENDPOINT_INDEPENDENT = "endpoint-independent"
    ADDRESS_DEPENDENT = "address-dependent"
    ADDRESS_AND_PORT_DEPENDENT = "address-and-port-dependent"


class PortAssignment(StrEnum):
    """Which public port a new mapping gets (section 4.2)."""

    PRESERVING = "preserving"
    RANDOM = "random"
    CONTIGUOUS = "contiguous"


@dataclass(frozen=True, slots=True, kw_only=True)
class NatModel:
    """One NAT.

    lifetime_s: of a UDP mapping that nothing left through (section 4.3, REQ-5), once an answer has
    come; lifetime_unreplied_s: until then, if that is shorter. Linux and most routers have both.
    hairpins: turns packets from inside to a mapped public port round (section 6).
    is_one_to_one: the one machine inside has the public address to itself, port for port, and
    nothing is filtered.
    """

    mapping: Mapping = Mapping.ENDPOINT_INDEPENDENT
    filtering: Filtering = Filtering.ADDRESS_AND_PORT_DEPENDENT
    ports: PortAssignment = PortAssignment.PRESERVING
    lifetime_s: float = UDP_REPLIED_S
    lifetime_unreplied_s: float = UDP_UNREPLIED_S
    hairpins: bool = False
    is_one_to_one: bool = False


class Firewall(StrEnum):
    """What a site lets through, whatever its NAT does.

    NONE: everything. STATEFUL: only answers come in (RFC 6092); it judges what no NAT
    translates, thus IPv6, and IPv4 where there is no NAT. UDP_BLOCKED: stateful, and no UDP at
    all in either family. TCP_443_ONLY: stateful, and nothing goes out but TCP to port 443.
    """

    NONE = "none"
    STATEFUL = "stateful"
    UDP_BLOCKED = "udp-blocked"
    TCP_443_ONLY = "tcp-443-only"


PORT_RESTRICTED: Final = NatModel()
"""The most common NAT at home."""


@dataclass(frozen=True, slots=True)
class NatKind:
    """What a person calls a site's NAT.

    nats: innermost first; none means that machines have public addresses.
    firewall: what comes with it where the scenario says nothing.
    """

    name: str
    description: str
    nats: tuple[NatModel, ...]
    firewall: Firewall = Firewall.STATEFUL


_SYMMETRIC: Final = NatModel(
    mapping=Mapping.ADDRESS_AND_PORT_DEPENDENT, ports=PortAssignment.RANDOM
)

NAT_KINDS: Final = {
    kind.name: kind
    for kind in (
        NatKind("none", "no NAT: public addresses, nothing filtered", (), Firewall.NONE),
        NatKind(
            "one-to-one",
            "the machine has a public address to itself, as in most clouds",
            (NatModel(is_one_to_one=True, filtering=Filtering.ENDPOINT_INDEPENDENT),),
            Firewall.NONE,
        ),
        NatKind(
            "full-cone",
            "endpoint-independent mapping and filtering",
            (NatModel(filtering=Filtering.ENDPOINT_INDEPENDENT),),
        ),
        NatKind(
            "address-restricted",
            "endpoint-independent mapping, address-dependent filtering",
            (NatModel(filtering=Filtering.ADDRESS_DEPENDENT),),
        ),
        NatKind(
            "port-restricted",
            "endpoint-independent mapping, address-and-port-dependent filtering",
            (PORT_RESTRICTED,),
        ),
        NatKind(
            "symmetric",
            "address-and-port-dependent mapping to random ports, and filtering",
            (_SYMMETRIC,),
        ),
        NatKind(
            "cgnat",
            "a port-restricted NAT behind one of the carrier",
            (PORT_RESTRICTED, PORT_RESTRICTED),
        ),
        NatKind(
            "udp-blocked",
            "a port-restricted NAT that lets no UDP through",
            (PORT_RESTRICTED,),
            Firewall.UDP_BLOCKED,
        ),
        NatKind(
            "hairpin",
            "a full cone that turns packets round",
            (NatModel(filtering=Filtering.ENDPOINT_INDEPENDENT, hairpins=True),),
        ),
        NatKind(
            "symmetric-contiguous",
            "address-and-port-dependent mapping to one port after the other, and filtering",
            (
                NatModel(
                    mapping=Mapping.ADDRESS_AND_PORT_DEPENDENT, ports=PortAssignment.CONTIGUOUS
                ),
            ),
        ),
        NatKind(
            "address-dependent",
            "address-dependent mapping to random ports, and filtering",
            (
                NatModel(
                    mapping=Mapping.ADDRESS_DEPENDENT,
                    filtering=Filtering.ADDRESS_DEPENDENT,
                    ports=PortAssignment.RANDOM,
                ),
            ),
        ),
        NatKind(
            "tcp-443-only",
            "a port-restricted NAT that lets nothing out but TCP to port 443",
            (PORT_RESTRICTED,),
            Firewall.TCP_443_ONLY,
        ),
    )
}
"""By the name a person gives it."""

GRID_KINDS: Final = (
    "none",
    "one-to-one",
    "full-cone",
    "address-restricted",
    "port-restricted",
    "symmetric",
    "cgnat",
    "udp-blocked",
)
"""What the grid tries, each against each."""
