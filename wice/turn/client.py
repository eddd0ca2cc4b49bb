"""A TURN client over UDP (RFC 8656), without I/O: one allocation that all peers share.

Say which peers to reach, and hand in what arrives and the time; take out datagrams, events, data
and the next deadline. What happens on each error of a server is in docs/reference/turn.md.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from wice.datagram import Endpoint
from wice.errors import RemoteProtocolError
from wice.stun import (
    Attribute,
    Class,
    LongTermCredentials,
    Message,
    Method,
    encode,
    is_stun,
    pack_xor_address,
    parse,
    unpack_xor_address,
)
from wice.turn.client_allocation import ClientAllocation, State
from wice.turn.events import ClientEvent
from wice.turn.exchange import UNDERSTOOD, Exchange
from wice.turn.grants import Grants
from wice.turn.messages import (
    DATA_SIZE_MAX_BYTES,
    Family,
    PeerData,
    family_of,
    pack_channel_header,
    parse_channel_data,
)
from wice.turn.peers import Peers
from wice.turn.timing import Timing

__all__ = ["State", "TurnClient"]

EVENTS_MAX: Final = 2_048
"""More than all permissions and channels can have at once."""
DATA_MAX: Final = 512
"""Data waiting for ``poll_data``; then the oldest goes."""


class TurnClient:
    """One allocation at one server, kept up until ``close``.

    After any call that takes ``now``, drain ``poll_transmit`` (datagrams for ``server``),
    ``poll_event`` and ``poll_data``, and call ``handle_timeout`` at ``deadline()``. Both families
    at once need RFC 8656's ADDITIONAL-ADDRESS-FAMILY at the server.
    """

    def __init__(
        self,
        server: Endpoint,
        credentials: LongTermCredentials,
        *,
        random_bytes: Callable[[int], bytes],
        now: float,
        families: Sequence[Family] = (Family.IPV4,),
        timing: Timing | None = None,
    ) -> None:
        assert families and set(families) <= set(Family)
        timing = timing or Timing()
        self._families = tuple(sorted(set(families)))
        self._random_bytes = random_bytes
        self._events: deque[ClientEvent] = deque(maxlen=EVENTS_MAX)
        self._data: deque[PeerData] = deque(maxlen=DATA_MAX)
        self._peers = Peers()
        self._exchange = Exchange(credentials, timing, random_bytes)
        self._allocation = ClientAllocation(
            server,
            self._exchange,
            timing,
            self._events,
            families=self._families,
            on_allocated=self._peers.restart,
            now=now,
        )
        self._grants = Grants(
            self._peers, self._exchange, timing, self._events, self._allocation.mismatched
        )
        self._deadline: float | None = None
        self.handle_timeout(now)

    @property
    def server(self) -> Endpoint:
        """Where datagrams go and come from; another one after ``Redirected``."""
        return self._allocation.server

    @property
    def state(self) -> State:
        return self._allocation.state

    @property
    def relayed(self) -> dict[Family, Endpoint]:
        """The addresses that peers reach us at, by family."""
        return self._allocation.relayed

    @property
    def mapped(self) -> Endpoint | None:
        """Our address as the server saw it when it allocated."""
        return self._allocation.mapped

    # What the owner wants

    def permit(self, host: str, now: float) -> bool:
        """Let data pass between us and any port of ``host``, from now on.

        Give False where the address has no relay of its family or there are too many.
        """
        assert host == host.partition("%")[0]
        is_known = self._peers.wants(host)
        if family_of(host) not in self._families or not self._peers.permit(host, now):
            return False
        if not is_known:
            self._work(now)
        return True

    def bind_channel(self, peer: Endpoint, now: float) -> bool:
        """Permit ``peer`` and give it a channel: worth it for who gets more than checks."""
        is_known = peer in self._peers.channels
        if family_of(peer.host) not in self._families or not self._peers.bind(peer, now):
            return False
        if not is_known:
            self._work(now)
        return True

    def forget(self, host: str, now: float) -> None:
        """No longer refresh what there is for ``host``; its data is dropped from now on."""
        self._peers.forget(host, now)
        self._work(now)

    def unbind_channel(self, peer: Endpoint, now: float) -> None:
        """No longer use and refresh a channel; the permission stays."""
        self._peers.unbind(peer, now)
        self._work(now)

    def forget_idle(self, idle_s: float, now: float) -> None:
        """No longer refresh what nothing was wanted of and sent to for ``idle_s``."""
        self._peers.forget_idle(idle_s, now)
        self._work(now)

    def wants(self, host: str) -> bool:
        """Whether there is a permission for ``host``, or there shall be one."""
        return self._peers.wants(host)

    def is_refused(self, host: str) -> bool:
        """Whether the server's last word on ``host`` was no."""
        permission = self._peers.permissions.get(host)
        return permission is not None and permission.is_refused

    @property
    def permission_count(self) -> int:
        """Addresses that have a permission."""
        return sum(permission.is_granted for permission in self._peers.permissions.values())

    @property
    def channel_count(self) -> int:
        return sum(channel.is_bound for channel in self._peers.channels.values())

    def set_credentials(self, credentials: LongTermCredentials, now: float) -> None:
        """Use these from the next allocation on, and for this one once the old are refused."""
        if self._exchange.set_credentials(credentials):
            if self._allocation.credentials_changed(now):
                self._peers.ask_again(now)
            self.handle_timeout(now)

    def restart(self, now: float) -> None:
        """Allocate anew, at once: the way to the server has changed, so we are another client."""
        self._allocation.restart(now)
        self.handle_timeout(now)

    def network_changed(self, now: float) -> None:
        """See to it that the allocation is ours from where we are now, or allocate, at once."""
        self._allocation.network_changed(now)
        self.handle_timeout(now)

    def close(self, now: float) -> None:
        """End the allocation. Requests go on until the server has answered, or need not."""
        self._allocation.close(now)
        self._schedule()

    # What happens

    def receive(self, data: bytes, source: Endpoint, now: float) -> None:
        """Take a datagram of the server; raise RemoteProtocolError for one that is dropped."""
        if source != self.server:
            raise RemoteProtocolError("a datagram for a TURN client that is not of its server")
        if not is_stun(data):
            self._data.append(self.decapsulate(data, now))
            return
        message = parse(data)
        if message.message_class is Class.INDICATION:
            self._receive_indication(message, now)
            return
        if message.message_class is Class.REQUEST:
            raise RemoteProtocolError("a request for a TURN client")
        self._exchange.receive(message, now)
        self._work(now)

    def handle_timeout(self, now: float) -> None:
        self._exchange.handle_timeout(now)
        self._allocation.handle_timeout(now)
        self._work(now)

    def deadline(self) -> float | None:
        """When to call ``handle_timeout``; None when closed."""
        return self._deadline

    def poll_transmit(self) -> bytes | None:
        return self._exchange.transmits.popleft() if self._exchange.transmits else None

    def poll_event(self) -> ClientEvent | None:
        return self._events.popleft() if self._events else None

    def poll_data(self) -> PeerData | None:
        return self._data.popleft() if self._data else None

    # Data of peers

    def encapsulate(self, data: bytes, peer: Endpoint, now: float) -> bytes | None:
        """The datagram for ``server`` that brings ``data`` to ``peer``; None where nothing would.

        That is: no allocation, no permission that is alive, or data that is too long.
        """
        allocation = self._allocation
        if (
            allocation.state is not State.ALLOCATED
            or now >= allocation.expires_at_s
            or len(data) > DATA_SIZE_MAX_BYTES
        ):
            return None
        channel = self._peers.channels.get(peer)
        permission = (
            self._peers.permissions.get(peer.host) if channel is None else channel.permission
        )
        if permission is None or permission.until_s <= now:
            return None
        permission.used_at_s = now
        if channel is not None and channel.until_s > now:
            channel.used_at_s = now
            return pack_channel_header(channel.number, len(data)) + data
        transaction_id = self._random_bytes(12)
        attributes = (
            (Attribute.XOR_PEER_ADDRESS, pack_xor_address(peer, transaction_id)),
            (Attribute.DATA, data),
        )
        return encode(Method.SEND, Class.INDICATION, transaction_id, attributes, fingerprint=False)

    def send(self, data: bytes, peer: Endpoint, now: float) -> bool:
        """Queue ``data`` for ``peer``; False where ``encapsulate`` gives None."""
        datagram = self.encapsulate(data, peer, now)
        if datagram is None:
            return False
        self._exchange.transmits.append(datagram)
        return True

    def decapsulate(self, data: bytes, now: float) -> PeerData:
        """What ``receive`` would give to ``poll_data`` for ChannelData of the server, at once.

        Raise RemoteProtocolError.
        """
        number, payload = parse_channel_data(data)
        channel = self._peers.channel(number, now)
        if self._allocation.state is not State.ALLOCATED or channel is None:
            raise RemoteProtocolError("ChannelData on no channel of ours")
        return PeerData(payload, channel.peer)

    def _receive_indication(self, message: Message, now: float) -> None:
        if message.method is not Method.DATA or message.unknown_required(UNDERSTOOD):
            raise RemoteProtocolError("an indication that a TURN client does not know")
        value = message.require(Attribute.XOR_PEER_ADDRESS)
        peer = unpack_xor_address(value, message.transaction_id)
        if Attribute.ICMP in message.attributes:
            # An error that a peer's network reported: the protocols above see the silence.
            return
        data = message.require(Attribute.DATA)
        if self._allocation.state is not State.ALLOCATED or not self._peers.may_use(peer.host, now):
            raise RemoteProtocolError("data of a peer without a permission of ours")
        self._data.append(PeerData(data, peer))

    # What an allocation needs

    def _work(self, now: float) -> None:
        self._allocation.refresh_if_due(now)
        if self.state is State.ALLOCATED:
            self._grants.ask(self.relayed, now)
        self._schedule()

    def _schedule(self) -> None:
        wanted = [self._allocation.deadline(), self._exchange.deadline()]
        if self.state is State.ALLOCATED:
            wanted.append(self._grants.deadline())
        self._deadline = min((at for at in wanted if at is not None), default=None)
