"""What a relay gives, to each user and in all, and how it is shared when it is short."""

from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import Final

from wice.stun import TokenBucket

USERS_MAX: Final = 4_096
"""Users whose use is remembered; one that used nothing today is forgotten first."""

DAY_S: Final = 86_400.0
ACTIVE_S: Final = 2.0
"""A user that relayed something in so long a time has its share of the bandwidth."""

DATAGRAM_RESERVE_BYTES: Final = 65_536
"""Every bucket holds at least the largest datagram, or it would never pass."""


@dataclass(frozen=True, slots=True)
class Budgets:
    """Limits of one relay. Bytes are those of relayed data, in both directions.

    allocations_per_user: covers quick moves between networks too, whose allocations go when they
    have been silent for a while. burst_s: how long a rate may be exceeded, as the bytes of so many
    seconds.
    """

    allocations: int = 256
    allocations_per_user: int = 8
    bytes_per_s: float = 12_500_000
    bytes_per_s_per_user: float = 2_500_000
    bytes_per_day: int = 500_000_000_000
    bytes_per_day_per_user: int = 50_000_000_000
    burst_s: float = 0.5


class Usage:
    """What one user has of the relay. network: where it allocated last."""

    __slots__ = (
        "active_at_s",
        "active_in",
        "allocations",
        "bytes_today",
        "day",
        "limit",
        "name",
        "network",
        "share",
    )

    def __init__(self, name: str, limit: TokenBucket, share: TokenBucket) -> None:
        self.name = name
        self.allocations = 0
        self.bytes_today = 0
        self.day = -1
        self.network = ""
        self.active_in = ""
        self.active_at_s = float("-inf")
        self.limit = limit
        self.share = share


class Ledger:
    """Keeps account. Bandwidth is shared so that nobody's hurry takes from another's share.

    There is one bucket in all, one for each user's own limit, and one for each active user's fair
    share: networks share alike, and in each its users. Half of the bucket in all is for whoever
    comes; the other half only for users that are within their shares, and the shares of all active
    users together are no more than there is. So a user within its share is always served, and what
    some leave unused the others get.
    """

    def __init__(self, budgets: Budgets, now: float) -> None:
        self._budgets = budgets
        self._users: dict[str, Usage] = {}
        self._active: OrderedDict[str, Usage] = OrderedDict()
        self._active_users: Counter[str] = Counter()
        """Of each network; none is kept with 0."""
        self._total = self._bucket(budgets.bytes_per_s, now, least=4 * DATAGRAM_RESERVE_BYTES)
        self._bytes_today = 0
        self._day = -1
        self.allocations = 0

    def user(self, name: str, now: float) -> Usage | None:
        """The account of a user; None when there are too many."""
        usage = self._users.get(name)
        if usage is not None:
            return usage
        if len(self._users) >= USERS_MAX:
            self._forget(now)
        if len(self._users) >= USERS_MAX:
            return None
        limit = self._bucket(self._budgets.bytes_per_s_per_user, now)
        share = TokenBucket(DATAGRAM_RESERVE_BYTES, 0, now)
        usage = self._users[name] = Usage(name, limit, share)
        return usage

    @property
    def has_room(self) -> bool:
        """Whether the relay has room for one more allocation of whomever."""
        return self.allocations < self._budgets.allocations

    def has_room_for(self, usage: Usage) -> bool:
        """Whether a user may have one more allocation beside those that it has."""
        return usage.allocations < self._budgets.allocations_per_user

    def has_bytes_left(self, now: float) -> bool:
        """Whether anything may be relayed today."""
        self._begin_day(now)
        return self._bytes_today < self._budgets.bytes_per_day

    def has_bytes_left_for(self, usage: Usage, now: float) -> bool:
        """Whether anything of a user's may be relayed today."""
        return self._user_bytes_today(usage, now) < self._budgets.bytes_per_day_per_user

    def open_allocation(self, usage: Usage, network: str = "") -> None:
        usage.network = network
        usage.allocations += 1
        self.allocations += 1

    def close_allocation(self, usage: Usage) -> None:
        usage.allocations -= 1
        self.allocations -= 1

    def spend(self, usage: Usage, size_bytes: int, now: float) -> str:
        """Take the budget for one datagram; empty when it may pass, otherwise why not."""
        self._begin_day(now)
        user_bytes = self._user_bytes_today(usage, now) + size_bytes
        if user_bytes > self._budgets.bytes_per_day_per_user:
            return "over the day's bytes of a user"
        if self._bytes_today + size_bytes > self._budgets.bytes_per_day:
            return "over the day's bytes in all"
        share = self._share(usage, now)
        if usage.limit.fill(now) < size_bytes:
            return "over a user's bandwidth"
        total = self._total.fill(now) - size_bytes
        is_within_share = share.tokens >= size_bytes
        if total < 0 or (not is_within_share and total < self._total.burst / 2):
            return "over the bandwidth in all"
        if is_within_share:
            share.tokens -= size_bytes
        usage.limit.tokens -= size_bytes
        self._total.tokens = total
        usage.bytes_today = user_bytes
        self._bytes_today += size_bytes
        return ""

    def _share(self, usage: Usage, now: float) -> TokenBucket:
        share = usage.share
        # Earned under the share of before: who was idle then had none.
        share.fill(now)
        if usage.name not in self._active or usage.active_in != usage.network:
            self._rest(usage)
            self._active[usage.name] = usage
            self._active_users[usage.network] += 1
            usage.active_in = usage.network
        self._active.move_to_end(usage.name)
        usage.active_at_s = now
        while True:
            oldest = next(iter(self._active.values()))
            if now - oldest.active_at_s <= ACTIVE_S:
                break
            self._rest(oldest)
            oldest.share.rate_per_s = 0
        count = len(self._active_users) * self._active_users[usage.network]
        share.rate_per_s = self._budgets.bytes_per_s / count
        share.burst = max(DATAGRAM_RESERVE_BYTES, self._total.burst / 2 / count)
        return share

    def _rest(self, usage: Usage) -> None:
        """A user that is active is so no longer."""
        if self._active.pop(usage.name, None) is not None:
            self._active_users[usage.active_in] -= 1
            if not self._active_users[usage.active_in]:
                del self._active_users[usage.active_in]

    def _bucket(
        self, rate_per_s: float, now: float, least: float = DATAGRAM_RESERVE_BYTES
    ) -> TokenBucket:
        return TokenBucket(max(least, rate_per_s * self._budgets.burst_s), rate_per_s, now)

    def _begin_day(self, now: float) -> None:
        day = int(now // DAY_S)
        if day != self._day:
            self._day, self._bytes_today = day, 0

    def _user_bytes_today(self, usage: Usage, now: float) -> int:
        day = int(now // DAY_S)
        if day != usage.day:
            usage.day, usage.bytes_today = day, 0
        return usage.bytes_today

    def _forget(self, now: float) -> None:
        idle = [
            usage.name
            for usage in self._users.values()
            if not usage.allocations and not self._user_bytes_today(usage, now)
        ]
        for name in idle:
            self._rest(self._users.pop(name))
