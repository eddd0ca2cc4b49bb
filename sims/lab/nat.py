"""NAT kinds as data: what stands between a home and the internet, as nftables rulesets.

Terms are those of RFC 4787: mapping (which public port an inside socket gets) and filtering
(who may answer to it). A kind is a stack of routers, the innermost first; a new kind is a new
entry in ``NAT_KINDS`` and nothing else.
"""

from dataclasses import dataclass
from typing import Final

from sims.model.nat import Filtering, Mapping

WAN: Final = "wan"
"""A router's interface towards the internet."""
LAN: Final = "lan"
"""A router's bridge towards its home."""
WAN_ADDRESS: Final = "wan_address"
"""A ruleset may refer to the router's IPv4 address on ``WAN`` as ``$wan_address``."""
NAT_TABLE: Final = "ip wice_nat"
"""What a router does to IPv4 is in this table."""

MAPPINGS_MAX: Final = 4_096
MAPPING_TIMEOUT_S: Final = 300
"""RFC 4787 REQ-5 recommends 5 minutes; outbound packets start it anew."""


_GOES_OUT: Final = f'iifname "{LAN}" oifname "{WAN}" accept'

# IPv6 is not translated: each router is a stateful firewall (RFC 6092).
FIREWALL_RULES: Final = f"""
table ip6 wice_firewall {{
    chain forward {{
        type filter hook forward priority filter; policy drop;
        {_GOES_OUT}
        iifname "{WAN}" ct state established,related accept
    }}
}}
"""


@dataclass(frozen=True, slots=True)
class Nat:
    """A kind of NAT.

    routers: one nftables ruleset for each router between a host and the internet, innermost
    first, on the interfaces ``WAN`` and ``LAN``; none means that hosts have public addresses.
    firewall: what each router does to IPv6. mapping, filtering, passes_udp: what the whole stack
    claims to be. is_shared: homes of this kind are behind one router, which hairpins, and cannot
    reach each other on its inside.
    """

    kind: str
    description: str
    routers: tuple[str, ...]
    firewall: str = FIREWALL_RULES
    mapping: Mapping = Mapping.ENDPOINT_INDEPENDENT
    filtering: Filtering = Filtering.ADDRESS_AND_PORT_DEPENDENT
    passes_udp: bool = True
    is_shared: bool = False


# The input rule is what makes a punch work. A packet that reaches the router unasked would
# otherwise leave a conntrack entry on the port the home is about to use, and the masquerade
# would have to give the home another one than the one its peer was told.
INPUT_CHAIN: Final = f"""
    chain input {{
        type filter hook input priority filter; policy accept;
        iifname "{WAN}" ct state new drop
    }}
"""


LEARN_CHAIN: Final = f"""
    chain learn {{
        type filter hook postrouting priority srcnat + 1; policy accept;
        oifname "{WAN}" meta l4proto udp update @contacted {{ udp sport . ip daddr }}
        oifname "{WAN}" meta l4proto udp ct direction original \\
            update @mapped {{ udp sport : ct original ip saddr . ct original proto-src }}
    }}
"""
"""Looks at what leaves after its translation, for the sets of ``learned_sets``."""


def learned_sets(lifetime_s: float) -> str:
    """``mapped`` says whose a public UDP port is, ``contacted`` to whom it has sent."""
    return f"""
    map mapped {{
        type inet_service : ipv4_addr . inet_service
        {remembers(lifetime_s)}
    }}
    set contacted {{
        type inet_service . ipv4_addr
        {remembers(lifetime_s)}
    }}
"""


def remembers(lifetime_s: float) -> str:
    """How a map or a set keeps what packets put there."""
    return f"flags dynamic,timeout; timeout {lifetime_s:g}s; size {MAPPINGS_MAX}"


def conntrack_alone(masquerade: str, goes_out: str) -> str:
    """It filters by address and port. goes_out: rules for what comes from inside."""
    return f"""
table {NAT_TABLE} {{
    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        oifname "{WAN}" {masquerade}
    }}
    {INPUT_CHAIN}
    chain forward {{
        type filter hook forward priority filter; policy drop;
        {goes_out}
        iifname "{WAN}" ct state established,related accept
    }}
}}
"""


def _open(admits: str, *, hairpins: bool = False) -> str:
    """Filter more loosely than conntrack does: packets it knows nothing of are let in by a map.

    admits: what of a packet from outside has to be in ``contacted``. hairpins: a packet from inside
    to a public port is turned round, and comes from a public port itself (RFC 4787 REQ-9).
    """
    lookup = "dnat ip to udp dport map @mapped"
    turn = come_from = ""
    if hairpins:
        turn = f'iifname "{LAN}" ip daddr ${WAN_ADDRESS} meta l4proto udp {lookup}'
        come_from = f'iifname "{LAN}" oifname "{LAN}" ct status dnat snat to ${WAN_ADDRESS}'
    return f"""
table {NAT_TABLE} {{
    {learned_sets(MAPPING_TIMEOUT_S)}
    chain prerouting {{
        type nat hook prerouting priority dstnat; policy accept;
        iifname "{WAN}" meta l4proto udp {admits} {lookup}
        {turn}
    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        oifname "{WAN}" masquerade
        {come_from}
    }}
    {LEARN_CHAIN}
    {INPUT_CHAIN}
    chain forward {{
        type filter hook forward priority filter; policy drop;
        {_GOES_OUT}
        ct state established,related accept
        ct status dnat accept
    }}
}}
"""


_NO_UDP_GOES_OUT: Final = f"meta l4proto udp drop\n        {_GOES_OUT}"

PORT_RESTRICTED_RULES: Final = conntrack_alone("masquerade", _GOES_OUT)
SYMMETRIC_RULES: Final = conntrack_alone("masquerade random", _GOES_OUT)
UDP_BLOCKED_RULES: Final = conntrack_alone("masquerade", _NO_UDP_GOES_OUT)
FULL_CONE_RULES: Final = _open("")
ADDRESS_RESTRICTED_RULES: Final = _open("udp dport . ip saddr @contacted")
HAIRPIN_RULES: Final = _open("", hairpins=True)

UDP_BLOCKED_FIREWALL: Final = FIREWALL_RULES.replace(_GOES_OUT, _NO_UDP_GOES_OUT)

NAT_KINDS: Final = {
    nat.kind: nat
    for nat in (
        Nat(
            "none",
            "no NAT: the host has a public address",
            (),
            filtering=Filtering.ENDPOINT_INDEPENDENT,
        ),
        Nat(
            "full-cone",
            "endpoint-independent mapping that preserves the port, endpoint-independent filtering",
            (FULL_CONE_RULES,),
            filtering=Filtering.ENDPOINT_INDEPENDENT,
        ),
        Nat(
            "address-restricted",
            "endpoint-independent mapping that preserves the port, address-dependent filtering",
            (ADDRESS_RESTRICTED_RULES,),
            filtering=Filtering.ADDRESS_DEPENDENT,
        ),
        Nat(
            "port-restricted",
            "endpoint-independent mapping that preserves the port, "
            "address-and-port-dependent filtering",
            (PORT_RESTRICTED_RULES,),
        ),
        Nat(
            "symmetric",
            "address-and-port-dependent mapping to random ports, "
            "address-and-port-dependent filtering",
            (SYMMETRIC_RULES,),
            mapping=Mapping.ADDRESS_AND_PORT_DEPENDENT,
        ),
        Nat(
            "cgnat",
            "a port-restricted NAT at home behind a port-restricted NAT of the carrier",
            (PORT_RESTRICTED_RULES, PORT_RESTRICTED_RULES),
        ),
        Nat(
            "hairpin",
            "a full cone that turns packets round to homes behind the same NAT, "
            "which cannot reach each other otherwise",
            (HAIRPIN_RULES,),
            filtering=Filtering.ENDPOINT_INDEPENDENT,
            is_shared=True,
        ),
        Nat(
            "udp-blocked",
            "a NAT that lets no UDP through",
            (UDP_BLOCKED_RULES,),
            firewall=UDP_BLOCKED_FIREWALL,
            passes_udp=False,
        ),
    )
}
"""Every kind the lab can build, by the name a person gives it."""
