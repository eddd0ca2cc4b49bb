"""To which addresses a relay sends: never into the network behind it (RFC 8656 section 21.4)."""

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Final

from wice.platform import IPNetwork

_REFUSED: Final[tuple[IPNetwork, ...]] = tuple(
    map(
        ipaddress.ip_network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "224.0.0.0/3",
            # All of ::/8 and the other forms that hide an IPv4 address: translators, 6to4, Teredo.
            "::/8",
            "100::/64",
            "2001::/32",
            "2002::/16",
            "fc00::/7",
            "fe80::/9",
            "ff00::/8",
        ),
    )
)


class PeerPolicy:
    """Which peers a server relays to.

    By default none that is private, shared, loopback, link-local, multicast, reserved, or one of
    the server's own addresses.
    """

    def __init__(
        self,
        *,
        own_addresses: Iterable[str] = (),
        allowed: Sequence[IPNetwork] = (),
        denied: Sequence[IPNetwork] = (),
    ) -> None:
        """own_addresses: of the host that relays, in their canonical form. allowed: networks that
        are let through although the rules above refuse them. denied: networks that are refused
        besides; they win over ``allowed``.
        """
        self.set_own_addresses(own_addresses)
        self._allowed = tuple(allowed)
        self._denied = tuple(denied)

    def set_own_addresses(self, addresses: Iterable[str]) -> None:
        """The host's addresses changed; permissions that were granted stay."""
        self._own = frozenset(addresses)

    def is_exempt(self, host: str) -> bool:
        """Whether ``host`` is allowed by name, also where it is an address of the server."""
        address = ipaddress.ip_address(host)
        return _is_in(address, self._allowed) and not _is_in(address, self._denied)

    def allows(self, host: str) -> bool:
        """Whether the server may send to ``host``, which is an IP address without a zone."""
        address = ipaddress.ip_address(host)
        if _is_in(address, self._denied):
            return False
        if _is_in(address, self._allowed):
            return True
        return host not in self._own and not _is_in(address, _REFUSED)


def _is_in(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, networks: Iterable[IPNetwork]
) -> bool:
    return any(address in network for network in networks)
