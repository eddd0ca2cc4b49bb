"""How much is sent to an address that never answers: a remote may name anybody's."""

from collections import OrderedDict
from typing import Final

CHECKS_PER_HOST_MAX: Final = 32
"""Checks to one address that may go out at once before any is answered."""

REFILL_S: Final = 2.0
"""After this time there is room for one more."""

HOSTS_MAX: Final = 1_024
"""Addresses that are remembered; those that were not checked for longest are forgotten."""


class HostBudget:
    """A bucket of checks for each remote address; an answer from there forgets it."""

    def __init__(self) -> None:
        self._used: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, host: str, now: float) -> bool:
        """Whether one more check may start to ``host``."""
        used, at = self._used.get(host, (0.0, now))
        used = max(0.0, used - (now - at) / REFILL_S)
        if used > CHECKS_PER_HOST_MAX - 1:
            return False
        self._used[host] = (used + 1, now)
        self._used.move_to_end(host)
        if len(self._used) > HOSTS_MAX:
            self._used.popitem(last=False)
        return True

    def answered(self, host: str) -> None:
        self._used.pop(host, None)
