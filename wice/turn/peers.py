"""The peers that a client wants to reach: their permissions and channels (RFC 8656 9 to 12)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from wice.datagram import Endpoint
from wice.turn.messages import (
    CHANNEL_LIFETIME_S,
    CHANNEL_MAX,
    CHANNEL_MIN,
    CHANNEL_REST_S,
    PERMISSION_LIFETIME_S,
)

HOSTS_MAX: Final = 512
"""Peer addresses that one client asks permissions for."""

CHANNELS_MAX: Final = 512
"""Channels that one client binds."""

_NEVER: Final = float("-inf")


@dataclass(slots=True, eq=False)
class Permission:
    """For one address. until_s: end of what was granted. due_at_s: when to ask (again).

    used_at_s: when it was last wanted or sent under.
    """

    host: str
    due_at_s: float
    used_at_s: float
    until_s: float = _NEVER
    is_asked: bool = False
    is_granted: bool = False
    is_refused: bool = False


@dataclass(slots=True, eq=False)
class ClientChannel:
    """For one peer, whose address has ``permission``. number: None before the first request."""

    peer: Endpoint
    permission: Permission
    due_at_s: float
    used_at_s: float
    number: int | None = None
    until_s: float = _NEVER
    is_asked: bool = False
    is_bound: bool = False


class Peers:
    """Permissions and channels of one allocation after the other."""

    def __init__(self) -> None:
        self.permissions: dict[str, Permission] = {}
        self.channels: dict[Endpoint, ClientChannel] = {}
        self._by_number: dict[int, ClientChannel] = {}
        self._resting: dict[Endpoint, tuple[int, float]] = {}
        self._resting_numbers: dict[int, float] = {}
        self._next_number = CHANNEL_MIN

    def permit(self, host: str, now: float) -> bool:
        """Want a permission; give whether there is room."""
        permission = self.permissions.get(host)
        if permission is not None:
            permission.used_at_s = now
            return True
        if len(self.permissions) >= HOSTS_MAX:
            return False
        self.permissions[host] = Permission(host, now, now)
        return True

    def wants(self, host: str) -> bool:
        return host in self.permissions

    def bind(self, peer: Endpoint, now: float) -> bool:
        """Want a channel; give whether there is room."""
        channel = self.channels.get(peer)
        if channel is not None:
            channel.used_at_s = channel.permission.used_at_s = now
            return True
        if len(self.channels) >= CHANNELS_MAX or not self.permit(peer.host, now):
            return False
        channel = ClientChannel(peer, self.permissions[peer.host], now, now)
        self.channels[peer] = channel
        number, _ = self._resting.get(peer, (None, 0.0))
        if number is not None:
            # The server may still hold the old binding, and then takes no other number.
            del self._resting[peer], self._resting_numbers[number]
            channel.number = number
            self._by_number[number] = channel
        return True

    def forget(self, host: str, now: float) -> None:
        """Want nothing of an address any more; what the server holds ends by itself."""
        self.permissions.pop(host, None)
        for peer in [peer for peer in self.channels if peer.host == host]:
            self.unbind(peer, now)

    def forget_idle(self, idle_s: float, now: float) -> None:
        """Want nothing any more that was not used for ``idle_s``."""
        for peer, channel in list(self.channels.items()):
            if now - channel.used_at_s >= idle_s:
                self.unbind(peer, now)
        for host, permission in list(self.permissions.items()):
            if now - permission.used_at_s >= idle_s:
                self.forget(host, now)

    def ask_again(self, now: float) -> None:
        """Wait no longer to ask for what is not there: what was in its way is gone."""
        for permission in self.permissions.values():
            if permission.is_refused or permission.until_s <= now:
                permission.due_at_s = now
        for channel in self.channels.values():
            if channel.until_s <= now:
                channel.due_at_s = now

    def unbind(self, peer: Endpoint, now: float) -> None:
        channel = self.channels.pop(peer, None)
        if channel is None or channel.number is None:
            return
        del self._by_number[channel.number]
        rest_until_s = max(channel.until_s, now + CHANNEL_LIFETIME_S) + CHANNEL_REST_S
        self._resting[peer] = (channel.number, rest_until_s)
        self._resting_numbers[channel.number] = rest_until_s

    def restart(self, now: float) -> None:
        """Another allocation knows nothing of what was granted before."""
        self._by_number.clear()
        self._resting.clear()
        self._resting_numbers.clear()
        for permission in self.permissions.values():
            permission.due_at_s, permission.until_s = now, _NEVER
            permission.is_asked = permission.is_granted = permission.is_refused = False
        for channel in self.channels.values():
            channel.due_at_s, channel.until_s, channel.number = now, _NEVER, None
            channel.is_asked = channel.is_bound = False

    def number(self, channel: ClientChannel, now: float) -> int | None:
        """The number of a channel, a free one if it has none yet; None while all are in use."""
        if channel.number is None:
            for _ in range(CHANNEL_MAX - CHANNEL_MIN + 1):
                number = self._next_number
                self._next_number = CHANNEL_MIN if number == CHANNEL_MAX else number + 1
                if number not in self._by_number and self._is_rested(number, now):
                    channel.number = number
                    self._by_number[number] = channel
                    break
        return channel.number

    def _is_rested(self, number: int, now: float) -> bool:
        until_s = self._resting_numbers.get(number)
        if until_s is None:
            return True
        if until_s > now:
            return False
        del self._resting_numbers[number]
        self._resting = {p: rest for p, rest in self._resting.items() if rest[0] != number}
        return True

    def channel(self, number: int, now: float) -> ClientChannel | None:
        """The channel that data may come on."""
        channel = self._by_number.get(number)
        return channel if channel is not None and channel.until_s > now else None

    def may_use(self, host: str, now: float) -> bool:
        permission = self.permissions.get(host)
        return permission is not None and permission.until_s > now

    def due_permissions(self, now: float) -> Iterator[Permission]:
        for permission in self.permissions.values():
            if permission.due_at_s <= now and not permission.is_asked:
                yield permission

    def due_channels(self, now: float) -> Iterator[ClientChannel]:
        for channel in self.channels.values():
            if channel.due_at_s <= now and not channel.is_asked:
                yield channel

    def deadline(self) -> float | None:
        wanted: Iterable[Permission | ClientChannel] = (
            *self.permissions.values(),
            *self.channels.values(),
        )
        return min((each.due_at_s for each in wanted if not each.is_asked), default=None)

    def granted(self, host: str, asked_at_s: float, refresh_s: float) -> bool:
        """A permission was installed or refreshed; give whether it is new."""
        permission = self.permissions.get(host)
        if permission is None:
            return False
        is_new = not permission.is_granted
        permission.is_granted, permission.is_refused = True, False
        permission.until_s = max(permission.until_s, asked_at_s + PERMISSION_LIFETIME_S)
        permission.due_at_s = asked_at_s + refresh_s
        return is_new

    def bound(self, channel: ClientChannel, asked_at_s: float, refresh_s: float) -> bool:
        """A channel was bound or refreshed; give whether it is new."""
        is_new = not channel.is_bound
        channel.is_bound = True
        channel.until_s = asked_at_s + CHANNEL_LIFETIME_S
        channel.due_at_s = asked_at_s + refresh_s
        return is_new
