"""Limits to what unproven sources get: token buckets, one a source address."""

import ipaddress
from collections import OrderedDict
from typing import Final

SOURCES_MAX: Final = 4_096
"""Source addresses whose rate is remembered; the one heard longest ago is forgotten first."""


class TokenBucket:
    """``burst`` tokens at once, ``rate_per_s`` for ever."""

    __slots__ = ("burst", "filled_at_s", "rate_per_s", "tokens")

    def __init__(self, burst: float, rate_per_s: float, now: float) -> None:
        self.burst = burst
        self.rate_per_s = rate_per_s
        self.tokens = burst
        self.filled_at_s = now

    def fill(self, now: float) -> float:
        """Add what was earned since; give the tokens there are."""
        earned = (now - self.filled_at_s) * self.rate_per_s
        self.filled_at_s = now
        self.tokens = min(self.burst, self.tokens + earned)
        return self.tokens

    def take(self, count: float, now: float) -> bool:
        """Take ``count`` tokens if they are there."""
        if self.fill(now) < count:
            return False
        self.tokens -= count
        return True


class SourceRateLimit:
    """A token bucket for each source address: IPv4 address, or IPv6 /64."""

    def __init__(self, burst: float, rate_per_s: float) -> None:
        self._burst = burst
        self._rate_per_s = rate_per_s
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def allows(self, host: str, now: float) -> bool:
        """Whether ``host`` may have one more now; it is then spent."""
        source = source_network(host)
        bucket = self._buckets.get(source)
        if bucket is None:
            if len(self._buckets) >= SOURCES_MAX:
                self._buckets.popitem(last=False)
            bucket = self._buckets[source] = TokenBucket(self._burst, self._rate_per_s, now)
        else:
            self._buckets.move_to_end(source)
        return bucket.take(1, now)


def source_network(host: str) -> str:
    """An IPv4 address, or the /64 of an IPv6 one: a host has the whole of it to itself."""
    if ":" not in host:
        return host
    return ipaddress.IPv6Address(host.partition("%")[0]).packed[:8].hex()
