"""What routers do, as nftables rulesets made from a scenario's NATs and firewalls. No I/O.

The interfaces are always called ``WAN`` and ``LAN``. What is explained in ``sims.lab.nat`` holds
here too.
"""

from typing import Final

from sims.lab.nat import (
    INPUT_CHAIN,
    LAN,
    LEARN_CHAIN,
    NAT_TABLE,
    WAN,
    conntrack_alone,
    learned_sets,
    remembers,
)
from sims.lab.topology import IPAddress, IPNetwork
from sims.model.nat import Filtering, Firewall, Mapping, NatModel, PortAssignment

FIREWALL_TABLE: Final = "inet wice_firewall"
PARTITION_TABLE: Final = "bridge wice_partition"
HTTPS_PORT: Final = 443

_GOES_OUT: Final = f'iifname "{LAN}" accept'
"""To sites further inside too, which are behind the same router."""

_ADMITTED: Final = {
    Filtering.ENDPOINT_INDEPENDENT: "",
    Filtering.ADDRESS_DEPENDENT: "udp dport . ip saddr @contacted",
}


def nat_rules(nat: NatModel, wan_address: IPAddress, inside: IPAddress | None) -> str:
    """What a router does to IPv4. inside: who has a one-to-one NAT's address to itself."""
    if nat.is_one_to_one:
        return _one_to_one(wan_address, inside)
    if nat.mapping is not Mapping.ENDPOINT_INDEPENDENT:
        return conntrack_alone("masquerade random", _GOES_OUT)
    is_preserving = nat.ports is PortAssignment.PRESERVING
    if is_preserving and nat.filtering not in _ADMITTED and not nat.hairpins:
        return conntrack_alone("masquerade", _GOES_OUT)
    return _endpoint_independent(nat, wan_address)


def _one_to_one(wan_address: IPAddress, inside: IPAddress | None) -> str:
    arrives = "" if inside is None else f'iifname "{WAN}" ip daddr {wan_address} dnat to {inside}'
    return f"""
table {NAT_TABLE} {{
    chain prerouting {{
        type nat hook prerouting priority dstnat; policy accept;
        {arrives}
    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        oifname "{WAN}" snat to {wan_address}
    }}
}}
"""


def _endpoint_independent(nat: NatModel, wan_address: IPAddress) -> str:
    """Filter more loosely than conntrack does, turn packets round, or keep random ports."""
    lookup = "dnat ip to udp dport map @mapped"
    admits = turns = comes_from = draws = translates = ""
    if nat.filtering in _ADMITTED:
        admits = f'iifname "{WAN}" meta l4proto udp {_ADMITTED[nat.filtering]} {lookup}'
    towards = f'oifname "{WAN}"'
    if nat.hairpins:
        turns = f'iifname "{LAN}" ip daddr {wan_address} meta l4proto udp {lookup}'
        comes_from = (
            f'iifname "{LAN}" oifname "{LAN}" ct status dnat meta l4proto udp '
            f"snat ip to {wan_address} : ip saddr . udp sport map @ports"
        )
    if nat.ports is PortAssignment.RANDOM:
        # conntrack draws a port for each destination; this one is drawn once for all.
        drawn = "ip saddr . udp sport : numgen random mod 64000 offset 1024"
        draws = f"{towards} meta l4proto udp ct direction original update @ports {{ {drawn} }}"
        translates = (
            f"{towards} meta l4proto udp snat ip to {wan_address} : ip saddr . udp sport map @ports"
        )
    elif nat.hairpins:
        comes_from = f'iifname "{LAN}" oifname "{LAN}" ct status dnat snat to {wan_address}'
    return f"""
table {NAT_TABLE} {{
    map ports {{
        type ipv4_addr . inet_service : inet_service
        {remembers(nat.lifetime_s)}
    }}
    {learned_sets(nat.lifetime_s)}
    chain prerouting {{
        type nat hook prerouting priority dstnat; policy accept;
        {admits}
        {turns}
    }}
    chain draw {{
        type filter hook postrouting priority srcnat - 1;
        {draws}
    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        {translates}
        oifname "{WAN}" masquerade
        {comes_from}
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


def firewall_rules(firewall: Firewall, *, translates: bool) -> str:
    """What a site lets through, in both IP versions; translates: IPv4 is left to its NATs."""
    if firewall is Firewall.NONE:
        return ""
    forbids = ""
    if firewall in (Firewall.UDP_BLOCKED, Firewall.TCP_443_ONLY):
        forbids = "meta l4proto udp drop"
    if firewall is Firewall.TCP_443_ONLY:
        forbids += f'\n        oifname "{WAN}" ct direction original tcp dport != {HTTPS_PORT} drop'
    nat_judges = "meta nfproto ipv4 accept" if translates else ""
    return f"""
table {FIREWALL_TABLE} {{
    chain forward {{
        type filter hook forward priority filter - 1; policy drop;
        {forbids}
        {nat_judges}
        {_GOES_OUT}
        ct state established,related accept
    }}
}}
"""


def partition_rules(forbidden: dict[str, list[IPNetwork]]) -> str:
    """What a router does to what comes in at ports of its bridge: those to whom nothing may go.

    Who sends is told nothing, as a filter on its own machine would tell it.
    """
    lines = "\n        ".join(
        f'iifname "{port}" ip{6 if network.version == 6 else ""} daddr {network} drop'
        for port, networks in forbidden.items()
        for network in networks
    )
    return f"""
table {PARTITION_TABLE} {{
    chain block {{
        type filter hook prerouting priority -300; policy accept;
        {lines}
    }}
}}
"""
