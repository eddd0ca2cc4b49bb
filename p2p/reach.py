"""Which addresses may be dialled on another's word.

A node that answers a lookup names others and where they are. Dialled blindly, members would knock
wherever a stranger likes: at a victim's, in their own networks, at their own services.
"""

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address

_LOCAL_NETWORKS = (
    IPv4Network("10.0.0.0/8"),
    IPv4Network("172.16.0.0/12"),
    IPv4Network("192.168.0.0/16"),
    IPv6Network("fc00::/7"),
)
"""RFC 1918 and RFC 4193."""
_SHARED_NETWORK = IPv4Network("100.64.0.0/10")
"""Behind a carrier's NAT (RFC 6598)."""


def scope(host: str) -> str:
    """From where an address means the same node: ``global``, or a kind that is not."""
    address = ip_address(host.partition("%")[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.is_multicast:
        return "multicast"
    if address.is_loopback:
        return "loopback"
    if address.is_link_local:
        return "link-local"
    if any(address in network for network in _LOCAL_NETWORKS):
        return "local"
    if address in _SHARED_NETWORK:
        return "shared"
    return "global" if address.is_global else "reserved"


def may_name(told_from: Iterable[str], host: str) -> bool:
    """Whether to dial ``host`` on the word of a node that is itself at ``told_from``.

    A global address always; another only where the teller is at one of the same kind.
    """
    kind = scope(host)
    return kind == "global" or (kind != "multicast" and kind in map(scope, told_from))
