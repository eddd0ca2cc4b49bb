"""Cryptokey routing: which peer an inner address belongs to (white paper, section 2)."""

from ipaddress import ip_network
from typing import Generic, TypeVar

from wice.platform import IPNetwork

PeerT = TypeVar("PeerT")


class AllowedIPs(Generic[PeerT]):
    """Longest prefix match over IPv4 and IPv6.

    One table a prefix length, looked at from the longest. A mesh has few lengths (/32 and /24,
    /128 and /64), so this is one or two dict lookups where a trie would walk bit by bit.
    """

    def __init__(self) -> None:
        self._tables: dict[int, dict[int, dict[int, PeerT]]] = {4: {}, 16: {}}
        self._order: dict[int, list[tuple[int, dict[int, PeerT]]]] = {4: [], 16: []}

    def insert(self, network: IPNetwork, peer: PeerT) -> None:
        """Give ``network`` to ``peer``, taking it from whom it belonged to."""
        size_bytes = network.max_prefixlen // 8
        shift = network.max_prefixlen - network.prefixlen
        tables = self._tables[size_bytes]
        if shift not in tables:
            tables[shift] = {}
            self._order[size_bytes] = sorted(tables.items())
        tables[shift][int(network.network_address) >> shift] = peer

    def remove(self, peer: PeerT) -> None:
        """Take every network from ``peer``."""
        for size_bytes, tables in self._tables.items():
            for shift, table in list(tables.items()):
                for key in [key for key, owner in table.items() if owner is peer]:
                    del table[key]
                if not table:
                    del tables[shift]
            self._order[size_bytes] = sorted(tables.items())

    def lookup(self, address: bytes) -> PeerT | None:
        """Find the peer of a packed address, 4 or 16 bytes."""
        number = int.from_bytes(address, "big")
        for shift, table in self._order[len(address)]:
            peer = table.get(number >> shift)
            if peer is not None:
                return peer
        return None

    def networks(self, peer: PeerT) -> list[IPNetwork]:
        """Every network of ``peer``, IPv4 first, longest prefixes first."""
        return [
            ip_network(((key << shift).to_bytes(size_bytes, "big"), 8 * size_bytes - shift))
            for size_bytes, order in self._order.items()
            for shift, table in order
            for key, owner in table.items()
            if owner is peer
        ]
