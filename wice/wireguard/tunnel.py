"""A WireGuard interface without I/O: every peer, and whose message is whose (white paper).

Bytes and ``now`` in; messages, packets and events out, to be polled after every call. ``now`` is
a monotonic clock in seconds.
"""

import heapq
from collections import Counter, deque
from collections.abc import Callable, Sequence
from itertools import count

from wice.datagram import Endpoint, Path
from wice.errors import LocalProtocolError, RemoteProtocolError
from wice.keys import PrivateKey, PublicKey
from wice.wireguard import messages, noise
from wice.wireguard.allowed_ips import AllowedIPs
from wice.wireguard.cookie import CookieChecker
from wice.wireguard.device import PeerConfig, PeerStatus
from wice.wireguard.keypair import Keypair
from wice.wireguard.load import AddressRateLimit, LoadMeter
from wice.wireguard.messages import CookieReply, Initiation, Response
from wice.wireguard.peer import Peer
from wice.wireguard.shared import Pending, Shared, Transmit, TunnelEvent
from wice.wireguard.tai64n import Tai64nClock
from wice.wireguard.timers import NEVER

MTU_BYTES = 1_420
"""What fits in 1500 bytes with IPv6 outside: 40 + 8 + 16 + 16 are WireGuard's and below."""

PEERS_MAX = 65_536
"""Peers of one tunnel; memory, not the protocol, sets the limit."""

PACKETS_MAX = 4_096
"""Packets that wait to be polled; the driver polls after every call, so it is never reached."""


class Tunnel:
    """Sans-IO: call ``send``, ``receive``, ``handle_timeout``; then poll until None."""

    def __init__(
        self,
        private_key: PrivateKey,
        *,
        random_bytes: Callable[[int], bytes],
        wall_time: Callable[[], float],
        tai64n_floor: bytes = b"",
        is_under_load: Callable[[float], bool] | None = None,
        mtu_bytes: int = MTU_BYTES,
    ) -> None:
        """tai64n_floor: the latest timestamp that this key used before, where it is known.

        is_under_load: called with ``now`` for each handshake message that passed mac1.
        """
        identity = noise.Identity.of(private_key)
        self.public_key = identity.public_key
        clock = Tai64nClock(wall_time, tai64n_floor)
        self._shared = Shared(identity, random_bytes, clock, mtu_bytes)
        self._checker = CookieChecker(identity.public_key, random_bytes)
        self._is_under_load = is_under_load or LoadMeter().is_under_load
        self._rate_limit = AddressRateLimit()
        self._peers: dict[PublicKey, Peer] = {}
        self._allowed_ips: AllowedIPs[Peer] = AllowedIPs()
        self._packets: deque[bytes] = deque(maxlen=PACKETS_MAX)
        self._due: list[tuple[float, int, Peer]] = []
        self._due_at_s: dict[Peer, float] = {}
        self._order = count()

    # Peers.

    def set_peer(self, config: PeerConfig) -> None:
        """Add a peer, or change the settings of one; raise LocalProtocolError for a bad key."""
        peer = self._peers.get(config.public_key)
        if peer is not None:
            peer.configure(config)
            self._allowed_ips.remove(peer)
        else:
            if config.public_key == self.public_key:
                raise LocalProtocolError("our own public key cannot be a peer's")
            if len(self._peers) >= PEERS_MAX:
                raise LocalProtocolError(f"a tunnel has at most {PEERS_MAX} peers")
            peer = self._peers[config.public_key] = Peer(self._shared, config)
        for network in config.allowed_ips:
            self._allowed_ips.insert(network, peer)

    def remove_peer(self, public_key: PublicKey) -> None:
        """Forget a peer and its keys; an unknown one is ignored."""
        peer = self._peers.pop(public_key, None)
        if peer is not None:
            self._allowed_ips.remove(peer)
            self._due_at_s.pop(peer, None)
            peer.close()

    def set_path(
        self, public_key: PublicKey, path: Path | None, persistent_keepalive_s: int, now: float
    ) -> None:
        """See ``Device.set_path``; raise LocalProtocolError for an unknown peer."""
        peer = self._peers.get(public_key)
        if peer is None:
            raise LocalProtocolError(f"no such peer: {public_key}")
        peer.set_path(path, persistent_keepalive_s, now)
        self._schedule(peer)

    def statistics(self) -> Sequence[PeerStatus]:
        return [peer.status() for peer in self._peers.values()]

    @property
    def dropped(self) -> Counter[str]:
        """Packets of our own host that went nowhere, by reason."""
        return self._shared.dropped

    @property
    def latest_timestamp(self) -> bytes:
        """The floor for the next tunnel with this key."""
        return self._shared.clock.latest

    # In.

    def send(self, packet: bytes, now: float) -> None:
        """Send an IP packet to the peer that its destination belongs to."""
        destination = _destination(packet)
        peer = self._allowed_ips.lookup(destination) if destination else None
        if peer is None:
            reason = "no peer for the destination" if destination else "not an IP packet"
            self._shared.dropped[reason] += 1
            return
        peer.send(packet, now)
        self._schedule(peer)

    def receive(self, data: bytes, source: Endpoint, destination: str | None, now: float) -> None:
        """Take a datagram; raise RemoteProtocolError where it is dropped.

        The reasons are fixed strings, so that they can be counted.
        """
        kind = messages.message_type(data)
        path = Path(source, destination)
        if kind == messages.TRANSPORT:
            self._receive_transport(data, path, now)
        elif kind == messages.COOKIE_REPLY:
            reply = CookieReply.unpack(data)
            peer, _ = self._session(reply.receiver)
            peer.receive_cookie(reply, now)
        else:
            self._checker.check_mac1(data)
            if not self._admit(data, path, now):
                return
            if kind == messages.INITIATION:
                self._receive_initiation(Initiation.unpack(data), path, now)
            else:
                self._receive_response(Response.unpack(data), path, now)

    def handle_timeout(self, now: float) -> None:
        """Do what is due."""
        while self._due and self._due[0][0] <= now:
            at_s, _, peer = heapq.heappop(self._due)
            if self._due_at_s.get(peer) == at_s:
                self._due_at_s[peer] = NEVER
                peer.handle_timeout(now)
                self._schedule(peer)

    # Out.

    def deadline(self) -> float:
        """When to call ``handle_timeout`` next; ``inf`` when only something new can bring work.

        It may be earlier than anything is really due, never later.
        """
        return self._due[0][0] if self._due else NEVER

    def poll_transmit(self) -> Transmit | None:
        """The next message to send."""
        return self._shared.transmits.popleft() if self._shared.transmits else None

    def poll_packet(self) -> bytes | None:
        """The next IP packet for the host."""
        return self._packets.popleft() if self._packets else None

    def poll_event(self) -> TunnelEvent | None:
        return self._shared.events.popleft() if self._shared.events else None

    def _admit(self, message: bytes, path: Path, now: float) -> bool:
        """Under load, want a cookie first: answer with one, or refuse who asks too often."""
        if not self._is_under_load(now):
            return True
        if not self._checker.has_mac2(message, path.remote, now):
            sender = int.from_bytes(message[4:8], "little")
            reply = self._checker.create_reply(message, sender, path.remote, now)
            self._shared.transmits.append(Transmit(reply.pack(), path))
            return False
        if not self._rate_limit.allow(path.remote, now):
            raise RemoteProtocolError("too many handshakes from one address")
        return True

    def _receive_initiation(self, message: Initiation, path: Path, now: float) -> None:
        opened = noise.open_initiation(self._shared.identity, message)
        peer = self._peers.get(opened.static)
        if peer is None:
            raise RemoteProtocolError("an initiation of no peer of ours")
        initiation = noise.prove_initiation(peer.remote, opened)
        peer.receive_initiation(initiation, path, now)
        self._schedule(peer)

    def _receive_response(self, message: Response, path: Path, now: float) -> None:
        peer, session = self._session(message.receiver)
        if not isinstance(session, Pending):
            raise RemoteProtocolError("a response to no initiation of ours")
        peer.receive_response(session, message, path, now)
        self._schedule(peer)

    def _receive_transport(self, data: bytes, path: Path, now: float) -> None:
        _, receiver, _ = messages.TRANSPORT_HEADER.unpack_from(data)
        peer, session = self._session(receiver)
        if not isinstance(session, Keypair):
            raise RemoteProtocolError("a packet of no session of ours")
        padded = peer.receive_transport(session, data, path, now)
        self._schedule(peer)
        if padded:
            packet, source = _unpad(padded)
            if self._allowed_ips.lookup(source) is not peer:
                raise RemoteProtocolError("a packet from an address that is not the peer's")
            self._packets.append(packet)

    def _session(self, index: int) -> tuple[Peer, Pending | Keypair]:
        try:
            return self._shared.indices[index]
        except KeyError:
            raise RemoteProtocolError("a message of no session of ours") from None

    def _schedule(self, peer: Peer) -> None:
        """Queue the peer's deadline if it came nearer; a later one is found when this is due."""
        deadline = peer.timers.deadline()
        if deadline < self._due_at_s.get(peer, NEVER):
            self._due_at_s[peer] = deadline
            heapq.heappush(self._due, (deadline, next(self._order), peer))


def _destination(packet: bytes) -> bytes:
    """The packed destination of an IP packet, empty when it is none."""
    version = packet[0] >> 4 if packet else 0
    if version == 4 and len(packet) >= 20:
        return packet[16:20]
    if version == 6 and len(packet) >= 40:
        return packet[24:40]
    return b""


def _unpad(padded: bytes) -> tuple[bytes, bytes]:
    """Give the IP packet without its padding, and its packed source; raise RemoteProtocolError."""
    version, size_bytes = padded[0] >> 4, len(padded)
    if version == 4 and size_bytes >= 20:
        length = int.from_bytes(padded[2:4], "big")
        if 20 <= length <= size_bytes:
            return padded[:length], padded[12:16]
    elif version == 6 and size_bytes >= 40:
        length = 40 + int.from_bytes(padded[4:6], "big")
        if length <= size_bytes:
            return padded[:length], padded[8:24]
    raise RemoteProtocolError("a packet that is not IP")
