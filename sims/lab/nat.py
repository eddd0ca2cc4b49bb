"""NAT kinds as data: what stands between a home and the internet, as nftables rulesets.

Terms are those of RFC 4787: mapping (which public port an inside socket gets) and filtering
(who may answer to it). A kind is a stack of routers, the innermost first; a new kind is a new
entry in ``NAT_KINDS`` and nothing else.
"""

from dataclasses import dataclass
from typing import Final

WAN: Final = "wan"
"""A router's interface towards the internet."""
LAN: Final = "lan"
"""A router's bridge towards its home."""


@dataclass(frozen=True, slots=True)
class Nat:
    """A kind of NAT.

    routers: one nftables ruleset for each router between a host and the internet, innermost
    first, on the interfaces ``WAN`` and ``LAN``; none means that hosts have public addresses.
    """

    kind: str
    description: str
    routers: tuple[str, ...]


# The input rule is what makes a punch work. A packet that reaches the router unasked would
# otherwise leave a conntrack entry on the port the home is about to use, and the masquerade
# would have to give the home another one than the one its peer was told.
PORT_RESTRICTED_RULES: Final = f"""
table ip wice_nat {{
    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        oifname "{WAN}" masquerade
    }}
    chain input {{
        type filter hook input priority filter; policy accept;
        iifname "{WAN}" ct state new drop
    }}
    chain forward {{
        type filter hook forward priority filter; policy drop;
        iifname "{LAN}" oifname "{WAN}" accept
        iifname "{WAN}" ct state established,related accept
    }}
}}
"""

NAT_KINDS: Final = {
    nat.kind: nat
    for nat in (
        Nat("none", "no NAT: the host has a public address", ()),
        Nat(
            "port-restricted",
            "endpoint-independent mapping that preserves the port, "
            "address-and-port-dependent filtering",
            (PORT_RESTRICTED_RULES,),
        ),
    )
}
"""Every kind the lab can build, by the name a person gives it."""
