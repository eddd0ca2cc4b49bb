"""One peer of a tunnel: its sessions, timers, path and waiting packets (white paper, section 6).

The tunnel finds out whose message it is; everything from there on happens here.
"""

from collections import deque

from wice.datagram import Path
from wice.errors import RemoteProtocolError
from wice.keys import KEY_SIZE
from wice.wireguard import noise
from wice.wireguard.cookie import CookieJar
from wice.wireguard.device import PeerConfig, PeerStatus
from wice.wireguard.keypair import Keypair, Keypairs
from wice.wireguard.messages import (
    INITIATION_SIZE_BYTES,
    PADDING_MULTIPLE_BYTES,
    RESPONSE_SIZE_BYTES,
    CookieReply,
    Response,
)
from wice.wireguard.shared import (
    HandshakeAbandoned,
    HandshakeCompleted,
    PathRoamed,
    Pending,
    Shared,
    Transmit,
)
from wice.wireguard.timers import (
    KEEPALIVE_TIMEOUT_S,
    NEVER,
    REKEY_AFTER_MESSAGES,
    REKEY_AFTER_TIME_S,
    REKEY_ATTEMPT_TIME_S,
    REKEY_ON_RECEIVE_AFTER_TIME_S,
    REKEY_TIMEOUT_S,
    Timers,
)

STAGED_PACKETS_MAX = 128
"""Packets that wait for a session or a path; then the oldest are dropped."""

STAGED_AGE_MAX_S = REKEY_ATTEMPT_TIME_S
"""Older packets are not sent any more: whoever sent them has given up on them."""

INITIATION_INTERVAL_MIN_S = 0.02
"""Initiations of one peer that come faster than this are a flood."""

KEEPALIVE = b""
"""A keepalive is a packet without content."""


class Peer:
    """Sans-IO: commands and messages in, ``Shared``'s queues out, timers by ``deadline``."""

    def __init__(self, shared: Shared, config: PeerConfig) -> None:
        """Raise LocalProtocolError for a public key of small order."""
        self.remote = noise.RemoteIdentity.of(shared.identity, config.public_key)
        self.public_key = config.public_key
        self.keypairs = Keypairs(self._forget_index)
        self.timers = Timers()
        self._shared = shared
        self._cookies = CookieJar(config.public_key)
        self._staged: deque[tuple[float, bytes]] = deque()
        self._path: Path | None = None
        self._persistent_keepalive_s = 0
        self._pending: Pending | None = None
        self._handshake_began_at_s = -NEVER
        self._handshake_sent_at_s = -NEVER
        self._initiation_received_at_s = -NEVER
        self._latest_timestamp = b""
        self._latest_handshake_at_s: float | None = None
        self._received_at_s: float | None = None
        self._renewed_on_receive = False
        self._rx_bytes = 0
        self._tx_bytes = 0
        self.configure(config)

    def configure(self, config: PeerConfig) -> None:
        """Take new settings; a running session stays."""
        key = config.preshared_key
        self._preshared_key = bytes(KEY_SIZE) if key is None else bytes(key)

    def close(self) -> None:
        """Forget every key and packet."""
        self.keypairs.clear()
        self._drop_pending()
        self._staged.clear()
        self.timers = Timers()
        self._path = None

    def status(self) -> PeerStatus:
        return PeerStatus(
            self.public_key,
            self._path,
            self._latest_handshake_at_s,
            self._received_at_s,
            self._rx_bytes,
            self._tx_bytes,
        )

    # What the host wants.

    def send(self, packet: bytes, now: float) -> None:
        """Send an IP packet, or keep it until there are a path and a session."""
        self._stage(packet, now)
        self._send_staged(now)

    def set_path(self, path: Path | None, persistent_keepalive_s: int, now: float) -> None:
        """See ``Device.set_path``."""
        had_keepalive, has_moved = self._persistent_keepalive_s, path != self._path
        self._path = path
        self._persistent_keepalive_s = persistent_keepalive_s if path else 0
        self.timers.persistent_keepalive_at_s = NEVER
        if path is None:
            self.timers.sending_stopped()
        elif self._sending_keypair(now) is None:
            if persistent_keepalive_s and not self._staged:
                self._stage(KEEPALIVE, now)
            if self._staged:
                # An initiation under way took another path; the response to theirs did arrive.
                self._initiate(now, is_urgent=has_moved and self.keypairs.next is None)
        else:
            self._send_staged(now)
            if persistent_keepalive_s and (has_moved or not had_keepalive):
                # The peer's packets come here from when it hears from here: it may wait for us.
                self._send_keepalive(now)
            elif persistent_keepalive_s:
                self.timers.persistent_keepalive_at_s = now + persistent_keepalive_s

    # What the other side says. Each raises RemoteProtocolError and then has changed nothing.

    def receive_initiation(
        self, initiation: noise.InitiationProven, path: Path, now: float
    ) -> None:
        if initiation.timestamp <= self._latest_timestamp:
            raise RemoteProtocolError("an initiation seen before")
        if now - self._initiation_received_at_s < INITIATION_INTERVAL_MIN_S:
            raise RemoteProtocolError("a flood of initiations")
        index = self._shared.new_index()
        response, keys = noise.create_response(
            initiation,
            self.remote,
            preshared_key=self._preshared_key,
            sender=index,
            ephemeral=self._shared.random_bytes(KEY_SIZE),
        )
        self._latest_timestamp = initiation.timestamp
        self._initiation_received_at_s = self._handshake_sent_at_s = now
        if self._path is None:
            self._roam(path)
        self._authenticated(path, INITIATION_SIZE_BYTES, now)
        # Our own initiation, if one is under way, stays: see docs/adr/0006.
        keypair = Keypair(
            keys,
            is_initiator=False,
            local_index=index,
            remote_index=initiation.sender,
            now=now,
        )
        self._shared.indices[index] = (self, keypair)
        self.keypairs.add_as_responder(keypair)
        self.timers.session_derived(now)
        self._transmit(self._cookies.add_macs(response.pack(), now), now)

    def receive_response(
        self, pending: Pending, response: Response, path: Path, now: float
    ) -> None:
        keys = noise.consume_response(
            self._shared.identity, pending.sent, response, preshared_key=self._preshared_key
        )
        keypair = Keypair(
            keys,
            is_initiator=True,
            local_index=pending.index,
            remote_index=response.sender,
            now=now,
        )
        self._pending = None
        self._shared.indices[pending.index] = (self, keypair)
        self.keypairs.add_as_initiator(keypair)
        self._authenticated(path, RESPONSE_SIZE_BYTES, now)
        self.timers.session_derived(now)
        self._handshake_completed(is_initiator=True, now=now)
        self._send_keepalive(now)  # the responder may not send before our first packet

    def receive_cookie(self, reply: CookieReply, now: float) -> None:
        self._cookies.consume_reply(reply, now)

    def receive_transport(self, keypair: Keypair, data: bytes, path: Path, now: float) -> bytes:
        """Give the padded packet, empty for a keepalive."""
        padded = keypair.open(data, now)
        self._authenticated(path, len(data), now)
        self._received_at_s = now
        if self.keypairs.confirm(keypair):
            self._handshake_completed(is_initiator=False, now=now)
            self._send_staged(now)
        self._renew_on_receive(now)
        if padded:
            self.timers.data_received(now)
        return padded

    # What time brings.

    def handle_timeout(self, now: float) -> None:
        timers = self.timers
        if now >= timers.retransmit_handshake_at_s:
            self._handshake_unanswered(now)
        if now >= timers.send_keepalive_at_s:
            needs_another, timers.send_keepalive_at_s = timers.needs_another_keepalive, NEVER
            timers.needs_another_keepalive = False
            self._send_keepalive(now)
            if needs_another:
                timers.send_keepalive_at_s = now + KEEPALIVE_TIMEOUT_S
        if now >= timers.new_handshake_at_s:
            timers.new_handshake_at_s = NEVER
            self._initiate(now)
        if now >= timers.persistent_keepalive_at_s:
            timers.persistent_keepalive_at_s = NEVER
            self._send_keepalive(now)
        if now >= timers.zero_key_material_at_s:
            timers.zero_key_material_at_s = NEVER
            self.keypairs.clear()
            self._drop_pending()

    def _handshake_unanswered(self, now: float) -> None:
        self.timers.retransmit_handshake_at_s = NEVER
        if now - self._handshake_began_at_s < REKEY_ATTEMPT_TIME_S:
            self._initiate(now, is_retry=True)
            return
        self.timers.send_keepalive_at_s = NEVER
        self._staged.clear()
        self._drop_pending()
        if self.timers.zero_key_material_at_s == NEVER:
            self.timers.session_derived(now)
        self._shared.events.append(HandshakeAbandoned(self.public_key))

    # Sending.

    def _stage(self, packet: bytes, now: float) -> None:
        if len(self._staged) >= STAGED_PACKETS_MAX:
            self._staged.popleft()
            self._shared.dropped["a full queue of waiting packets"] += 1
        self._staged.append((now, packet))

    def _send_keepalive(self, now: float) -> None:
        """Send what waits, or an empty packet."""
        if self._path is None:
            return
        if not self._staged:
            self._stage(KEEPALIVE, now)
        self._send_staged(now)

    def _send_staged(self, now: float) -> None:
        while self._staged and self._path is not None:
            keypair = self._sending_keypair(now)
            if keypair is None:
                self._initiate(now)
                return
            staged_at_s, packet = self._staged.popleft()
            if now - staged_at_s > STAGED_AGE_MAX_S:
                self._shared.dropped["a packet that waited too long"] += 1
                continue
            self._transmit(keypair.seal(self._pad(packet)), now)
            if packet:
                self.timers.data_sent(now, self._shared.jitter_s)
            self._renew_on_send(keypair, now)

    def _pad(self, packet: bytes) -> bytes:
        size_bytes = len(packet)
        padded_bytes = -(-size_bytes // PADDING_MULTIPLE_BYTES) * PADDING_MULTIPLE_BYTES
        # Padding beyond the MTU would make the outer packet one that the path may not carry.
        padded_bytes = max(size_bytes, min(padded_bytes, self._shared.mtu_bytes))
        return packet.ljust(padded_bytes, b"\0") if padded_bytes > size_bytes else packet

    def _sending_keypair(self, now: float) -> Keypair | None:
        current = self.keypairs.current
        return current if current is not None and current.may_send(now) else None

    def _transmit(self, message: bytes, now: float) -> None:
        assert self._path is not None
        self.timers.authenticated_packet_sent()
        self.timers.authenticated_packet_passed(now, self._persistent_keepalive_s)
        self._tx_bytes += len(message)
        self._shared.transmits.append(Transmit(message, self._path))

    # Handshakes.

    def _initiate(self, now: float, *, is_retry: bool = False, is_urgent: bool = False) -> None:
        if self._path is None:
            return
        if not is_retry:
            self._handshake_began_at_s = now
        next_allowed_at_s = self._handshake_sent_at_s + REKEY_TIMEOUT_S
        if now < next_allowed_at_s and not is_urgent:
            if self.timers.retransmit_handshake_at_s == NEVER:
                # We answered theirs; should it come to nothing, ours follows.
                self.timers.handshake_initiated(self._handshake_sent_at_s, self._shared.jitter_s())
            return
        self._drop_pending()
        index = self._shared.new_index()
        message, sent = noise.create_initiation(
            self._shared.identity,
            self.remote,
            sender=index,
            timestamp=self._shared.clock.next(),
            ephemeral=self._shared.random_bytes(KEY_SIZE),
        )
        self._pending = Pending(index, sent)
        self._shared.indices[index] = (self, self._pending)
        self._handshake_sent_at_s = now
        self._transmit(self._cookies.add_macs(message.pack(), now), now)
        self.timers.handshake_initiated(now, self._shared.jitter_s())

    def _handshake_completed(self, *, is_initiator: bool, now: float) -> None:
        self.timers.handshake_completed()
        self._latest_handshake_at_s = now
        self._renewed_on_receive = False
        self._shared.events.append(HandshakeCompleted(self.public_key, is_initiator))

    def _renew_on_send(self, keypair: Keypair, now: float) -> None:
        is_old = keypair.is_initiator and now - keypair.created_at_s >= REKEY_AFTER_TIME_S
        if is_old or keypair.send_counter > REKEY_AFTER_MESSAGES:
            self._initiate(now)

    def _renew_on_receive(self, now: float) -> None:
        current = self.keypairs.current
        if current is None or not current.is_initiator or self._renewed_on_receive:
            return
        if now - current.created_at_s >= REKEY_ON_RECEIVE_AFTER_TIME_S:
            self._renewed_on_receive = True
            self._initiate(now)

    def _drop_pending(self) -> None:
        if self._pending is not None:
            self._forget_index(self._pending.index)
            self._pending = None

    def _forget_index(self, index: int) -> None:
        self._shared.indices.pop(index, None)

    # Roaming.

    def _authenticated(self, path: Path, size_bytes: int, now: float) -> None:
        self._rx_bytes += size_bytes
        self.timers.authenticated_packet_received()
        if self._path is None:
            return
        self.timers.authenticated_packet_passed(now, self._persistent_keepalive_s)
        here, there = self._path.source, path.source
        is_elsewhere = here is not None and there is not None and here != there
        if path.remote != self._path.remote or is_elsewhere:
            self._roam(path)

    def _roam(self, path: Path) -> None:
        self._path = path
        self._shared.events.append(PathRoamed(self.public_key, path))
