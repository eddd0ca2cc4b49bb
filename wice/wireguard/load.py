"""When we are under load, and how many handshakes one address may ask for then."""

from collections import OrderedDict
from ipaddress import IPv6Address

from wice.datagram import Endpoint

HANDSHAKES_UNDER_LOAD_PER_S = 100
"""Handshake messages within a second from which on cookies are asked for: 10 % of a core here."""

UNDER_LOAD_HOLD_S = 1.0
"""How long we stay under load after the last second that was."""

RATE_PER_ADDRESS_PER_S = 20.0
RATE_BURST = 5.0
RATE_ADDRESSES_MAX = 4_096
"""Addresses that are remembered; the one unheard of for longest makes room."""

IPV6_SITE_SIZE_BYTES = 8


class LoadMeter:
    """Counts the handshake messages that passed mac1. The time window is a second."""

    def __init__(self, threshold_per_s: int = HANDSHAKES_UNDER_LOAD_PER_S) -> None:
        self._threshold = threshold_per_s
        self._second_began_s = float("-inf")
        self._count = 0
        self._under_load_until_s = float("-inf")

    def is_under_load(self, now: float) -> bool:
        """Count one more message, and say whether that is too many."""
        if now - self._second_began_s >= 1.0:
            self._second_began_s, self._count = now, 0
        self._count += 1
        if self._count > self._threshold:
            self._under_load_until_s = now + UNDER_LOAD_HOLD_S
        return now < self._under_load_until_s


class AddressRateLimit:
    """A token bucket for each address; for IPv6 for each /64, as one host may own all of one."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allow(self, source: Endpoint, now: float) -> bool:
        address = _limited_address(source)
        tokens, updated_s = self._buckets.pop(address, (RATE_BURST, now))
        tokens = min(RATE_BURST, tokens + (now - updated_s) * RATE_PER_ADDRESS_PER_S)
        is_allowed = tokens >= 1.0
        self._buckets[address] = (tokens - 1.0 if is_allowed else tokens, now)
        if len(self._buckets) > RATE_ADDRESSES_MAX:
            self._buckets.popitem(last=False)
        return is_allowed


def _limited_address(source: Endpoint) -> str:
    if not source.is_ipv6:
        return source.host
    packed = IPv6Address(source.host).packed
    return packed[:IPV6_SITE_SIZE_BYTES].hex()
