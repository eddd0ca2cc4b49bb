"""Which addresses there are to give, and to whom they went."""

from collections import deque
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network
from typing import Final, TypeVar

BENCHMARK_NETWORK: Final = IPv4Network("198.18.0.0/15")
PUBLIC_NETWORKS: Final = (
    IPv4Network("192.0.2.0/24"),
    IPv4Network("198.51.100.0/24"),
    IPv4Network("203.0.113.0/24"),
    BENCHMARK_NETWORK,
)
"""Documentation (RFC 5737), and when that is used up, benchmarks (RFC 2544)."""
HOME_NETWORKS: Final = (IPv4Network("192.168.0.0/16"), IPv4Network("172.16.0.0/12"))
"""RFC 1918. 10.0.0.0/8 is left to the mesh."""
HOME_PREFIX_BITS: Final = 24
CARRIER_NETWORK: Final = IPv4Network("100.64.0.0/10")
"""RFC 6598."""
CARRIER_PREFIX_BITS: Final = 22
IPV6_NETWORK: Final = IPv6Network("2001:db8::/32")
"""RFC 3849."""
SITE_PREFIX_BITS: Final = 64

_FIRST_HOST: Final = 10

_Network = TypeVar("_Network", IPv4Network, IPv6Network)


class AddressPool:
    """Hands out the hosts of IPv4 networks; what was given back comes last."""

    def __init__(self, networks: Sequence[IPv4Network]) -> None:
        self._fresh = (
            IPv4Interface((network[host], network.prefixlen))
            for network in networks
            for host in range(_FIRST_HOST, network.num_addresses - 1)
        )
        self._returned: deque[IPv4Interface] = deque()

    def take(self) -> IPv4Interface:
        """Raise ValueError when all are taken."""
        address = next(self._fresh, None)
        if address is not None:
            return address
        if not self._returned:
            raise ValueError("no IPv4 address is left: have fewer machines or sites in one network")
        return self._returned.popleft()

    def give_back(self, address: IPv4Interface) -> None:
        self._returned.append(address)


class AddressPlan:
    """The address space of one simulated internet."""

    def __init__(self) -> None:
        self.public = AddressPool(PUBLIC_NETWORKS)
        self._homes = (
            home
            for network in HOME_NETWORKS
            for home in network.subnets(new_prefix=HOME_PREFIX_BITS)
        )
        self._carriers = CARRIER_NETWORK.subnets(new_prefix=CARRIER_PREFIX_BITS)
        self._site_prefixes = IPV6_NETWORK.subnets(new_prefix=SITE_PREFIX_BITS)

    def home(self) -> AddressPool:
        """A private network of its own."""
        return AddressPool([_take(self._homes)])

    def carrier(self) -> AddressPool:
        """A network between a carrier's NAT and those of its customers."""
        return AddressPool([_take(self._carriers)])

    def site_prefix(self) -> IPv6Network:
        """An IPv6 prefix that no site has had before."""
        return _take(self._site_prefixes)


def _take(networks: Iterator[_Network]) -> _Network:
    network = next(networks, None)
    if network is None:
        raise ValueError("no network is left for another site: have fewer sites")
    return network


def host_of(prefix: IPv6Network, number: int) -> IPv6Interface:
    return IPv6Interface((prefix[number], prefix.prefixlen))
