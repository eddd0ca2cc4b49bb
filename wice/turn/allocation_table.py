"""The allocations of a server with their relay sockets, by whatever they are looked up."""

from collections import Counter, deque
from typing import Final

from wice.datagram import Endpoint
from wice.stun import source_network
from wice.turn.allocation import Allocation, ClientPath, Relay
from wice.turn.budgets import Ledger
from wice.turn.messages import Family
from wice.turn.server_events import AllocationStatus, CloseRelay, OpenRelay, ServerEvent

RELAY_OPEN_TIMEOUT_S: Final = 10.0
"""How long the driver may take to open the sockets of an allocation."""

SILENCE_MAX_S: Final = 60.0
"""Who uses an allocation is heard more often: clients keep their NAT's mapping alive."""


class _Holders:
    """Allocations by who holds them."""

    def __init__(self) -> None:
        self._held: dict[str, dict[ClientPath, Allocation]] = {}

    def add(self, holder: str, allocation: Allocation) -> None:
        self._held.setdefault(holder, {})[allocation.path] = allocation

    def remove(self, holder: str, allocation: Allocation) -> None:
        held = self._held[holder]
        del held[allocation.path]
        if not held:
            del self._held[holder]

    def count(self, holder: str) -> int:
        return len(self._held.get(holder, ()))

    def quietest(self, holder: str) -> Allocation:
        """The one heard longest ago; there must be one."""
        return min(self._held[holder].values(), key=lambda allocation: allocation.heard_at_s)

    def greatest(self) -> str:
        """Who holds most; there must be somebody."""
        return max(self._held, key=self.count)


class AllocationTable:
    """Who may allocate is decided before; how many, by the ledger's budgets."""

    def __init__(self, ledger: Ledger) -> None:
        self.events: deque[ServerEvent] = deque()
        self.relays_by_endpoint: dict[Endpoint, Relay] = {}
        self.relay_hosts: Counter[str] = Counter()
        """Relays on each address of ours; none is kept with 0."""
        self.by_path: dict[ClientPath, Allocation] = {}
        self.relays: dict[int, Relay] = {}
        self._by_user = _Holders()
        self._by_network = _Holders()
        self._ledger = ledger
        self._next_relay_id = 1
        self._deadline: float | None = None

    def add(
        self, allocation: Allocation, families: list[Family], now: float, *, is_even: bool
    ) -> None:
        """Take an allocation whose relay sockets are then to be opened."""
        allocation.expires_at_s = now + RELAY_OPEN_TIMEOUT_S
        allocation.heard_at_s = now
        self.by_path[allocation.path] = allocation
        self._by_user.add(allocation.usage.name, allocation)
        self._by_network.add(_network(allocation.path), allocation)
        self._ledger.open_allocation(allocation.usage, _network(allocation.path))
        self._deadline = None
        for family in families:
            relay = Relay(self._next_relay_id, family, allocation)
            self._next_relay_id += 1
            allocation.relays[family] = self.relays[relay.id] = relay
            self.events.append(OpenRelay(relay.id, family, allocation.path.local, is_even))

    def relay_opened(self, relay_id: int, endpoint: Endpoint) -> Relay | None:
        """The relay that now has a socket; None where it is no longer wanted."""
        relay = self.relays.get(relay_id)
        if relay is not None:
            relay.endpoint = endpoint
            self.relays_by_endpoint[endpoint] = relay
            self.relay_hosts[endpoint.host] += 1
        return relay

    def relay_failed(self, relay_id: int, code: int) -> Relay | None:
        """The relay that gets no socket; its allocation goes on without."""
        relay = self.relays.pop(relay_id, None)
        if relay is not None:
            del relay.allocation.relays[relay.family]
            relay.allocation.failed[relay.family] = code
        return relay

    def extend(self, allocation: Allocation, lifetime_s: int, now: float) -> None:
        allocation.lifetime_s = lifetime_s
        allocation.expires_at_s = now + lifetime_s
        self._deadline = None

    def end_family(self, allocation: Allocation, family: Family) -> None:
        """One of two relays is given back, with all that went through it."""
        self._close(allocation.relays.pop(family))
        allocation.revoke(family)

    def silent_of(self, user: str, now: float) -> Allocation | None:
        """The allocation of a user that it moved away from; None while it uses all of them."""
        if not self._by_user.count(user):
            return None
        quietest = self._by_user.quietest(user)
        return quietest if now - quietest.heard_at_s > SILENCE_MAX_S else None

    def surplus_beside(self, path: ClientPath) -> Allocation | None:
        """What the network that holds most has to give up for a client's; None where the client's
        own network would then hold as much. So one network does not take all, by whatever names.
        """
        if not self.by_path:
            return None
        greatest = self._by_network.greatest()
        if self._by_network.count(greatest) <= self._by_network.count(_network(path)) + 1:
            return None
        return self._by_network.quietest(greatest)

    def delete(self, allocation: Allocation) -> None:
        del self.by_path[allocation.path]
        self._by_user.remove(allocation.usage.name, allocation)
        self._by_network.remove(_network(allocation.path), allocation)
        self._ledger.close_allocation(allocation.usage)
        for relay in allocation.relays.values():
            self._close(relay)
        allocation.relays.clear()
        self._deadline = None

    def deadline(self) -> float | None:
        if self._deadline is None and self.by_path:
            self._deadline = min(a.expires_at_s for a in self.by_path.values())
        return self._deadline

    def expire(self, now: float) -> int:
        """Delete what has expired; give how many."""
        deadline = self.deadline()
        if deadline is None or now < deadline:
            return 0
        expired = [a for a in self.by_path.values() if a.expires_at_s <= now]
        for allocation in expired:
            self.delete(allocation)
        return len(expired)

    def statuses(self, now: float) -> list[AllocationStatus]:
        return [
            AllocationStatus(
                allocation.usage.name,
                allocation.path.client,
                tuple(r.endpoint for r in allocation.relays.values() if r.endpoint is not None),
                allocation.expires_at_s - now,
            )
            for allocation in self.by_path.values()
        ]

    def _close(self, relay: Relay) -> None:
        del self.relays[relay.id]
        endpoint = relay.endpoint
        if endpoint is not None:
            del self.relays_by_endpoint[endpoint]
            self.relay_hosts[endpoint.host] -= 1
            if not self.relay_hosts[endpoint.host]:
                del self.relay_hosts[endpoint.host]
        self.events.append(CloseRelay(relay.id))


def _network(path: ClientPath) -> str:
    return source_network(path.client.host)
