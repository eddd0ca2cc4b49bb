"""One allocation at the server: its relays, permissions and channels (RFC 8656 section 5)."""

from dataclasses import dataclass
from typing import Final, NamedTuple

from wice.datagram import Endpoint
from wice.stun import Authenticated, Message
from wice.turn.budgets import Usage
from wice.turn.messages import CHANNEL_LIFETIME_S, PERMISSION_LIFETIME_S, Family, family_of

PERMISSIONS_MAX: Final = 512
"""Peer addresses that one allocation may have permissions for."""

CHANNELS_MAX: Final = 512
"""Channels of one allocation."""


class ClientPath(NamedTuple):
    """The client's side of the five-tuple. local: the address of ours that it sent to."""

    client: Endpoint
    local: str | None


@dataclass(slots=True, eq=False)
class Relay:
    """A relay socket. endpoint: None until the driver has opened it."""

    id: int
    family: Family
    allocation: "Allocation"
    endpoint: Endpoint | None = None


@dataclass(slots=True, eq=False)
class Channel:
    number: int
    peer: Endpoint
    relay: Relay
    expires_at_s: float


class Allocation:
    """The state of one five-tuple. Nothing in it is deleted by a timer: what has expired counts
    as not there, and goes when its room is needed.
    """

    def __init__(
        self,
        path: ClientPath,
        usage: Usage,
        request: Message,
        user: Authenticated,
        lifetime_s: int,
    ) -> None:
        self.path = path
        self.usage = usage
        self.heard_at_s = float("-inf")
        """When the client last asked or sent for it."""
        self.transaction_id = request.transaction_id
        self.relays: dict[Family, Relay] = {}
        self.failed: dict[Family, int] = {}
        """Error codes of families that were asked for and are not to be had."""
        self.lifetime_s = lifetime_s
        self.expires_at_s = 0.0
        self.request: Message | None = request
        self.user: Authenticated | None = user
        """What it takes to answer the request when the relay sockets are there."""
        self.response = b""
        """The answer to ``transaction_id``, empty while sockets are being opened."""
        self._permissions: dict[str, float] = {}
        self._channels: dict[int, Channel] = {}
        self._channels_by_peer: dict[Endpoint, Channel] = {}

    def has_permission(self, host: str, now: float) -> bool:
        return self._permissions.get(host, 0.0) > now

    def permit(self, hosts: set[str], now: float) -> bool:
        """Install or refresh permissions, all or none; give whether there is room."""
        permissions = self._permissions
        if len(permissions.keys() | hosts) > PERMISSIONS_MAX:
            permissions = {host: end for host, end in permissions.items() if end > now}
            if len(permissions.keys() | hosts) > PERMISSIONS_MAX:
                return False
            self._permissions = permissions
        for host in sorted(hosts):
            permissions[host] = now + PERMISSION_LIFETIME_S
        return True

    def revoke(self, family: Family) -> None:
        """The relay of a family is gone, and all that went through it."""
        is_ipv6 = family is Family.IPV6
        self._permissions = {h: e for h, e in self._permissions.items() if (":" in h) != is_ipv6}
        for channel in list(self._channels.values()):
            if channel.peer.is_ipv6 == is_ipv6:
                self._unbind(channel)

    def channel(self, number: int, now: float) -> Channel | None:
        channel = self._channels.get(number)
        return channel if channel is not None and channel.expires_at_s > now else None

    def channel_to(self, peer: Endpoint, now: float) -> Channel | None:
        channel = self._channels_by_peer.get(peer)
        return channel if channel is not None and channel.expires_at_s > now else None

    def may_bind(self, number: int, peer: Endpoint, now: float) -> bool:
        """Whether neither the number nor the peer is bound otherwise (RFC 8656 section 12.2)."""
        by_number, by_peer = self.channel(number, now), self.channel_to(peer, now)
        return by_number is by_peer

    def bind(self, number: int, peer: Endpoint, now: float) -> bool:
        """Bind or refresh a channel through the relay of the peer's family; give whether there is
        room.
        """
        for stale in (self._channels.get(number), self._channels_by_peer.get(peer)):
            if stale is not None:
                self._unbind(stale)
        if len(self._channels) >= CHANNELS_MAX:
            for channel in list(self._channels.values()):
                if channel.expires_at_s <= now:
                    self._unbind(channel)
        if len(self._channels) >= CHANNELS_MAX:
            return False
        relay = self.relays[family_of(peer.host)]
        channel = Channel(number, peer, relay, now + CHANNEL_LIFETIME_S)
        self._channels[number] = self._channels_by_peer[peer] = channel
        return True

    def _unbind(self, channel: Channel) -> None:
        self._channels.pop(channel.number, None)
        self._channels_by_peer.pop(channel.peer, None)
