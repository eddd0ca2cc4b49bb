"""Sessions: a pair of transport keys, and the three that a peer has at a time (paper, 5.4.6, 6)."""

from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from wice.errors import RemoteProtocolError
from wice.wireguard.messages import TRANSPORT, TRANSPORT_HEADER, TRANSPORT_HEADER_SIZE_BYTES
from wice.wireguard.noise import TransportKeys
from wice.wireguard.replay import ReplayWindow
from wice.wireguard.timers import REJECT_AFTER_MESSAGES, REJECT_AFTER_TIME_S

_NO_NONCE_PREFIX = bytes(4)


class Keypair:
    """One session: seals, opens, counts. Our index names it to the other side."""

    __slots__ = (
        "_receive",
        "_replay",
        "_send",
        "created_at_s",
        "is_initiator",
        "local_index",
        "remote_index",
        "send_counter",
    )

    def __init__(
        self,
        keys: TransportKeys,
        *,
        is_initiator: bool,
        local_index: int,
        remote_index: int,
        now: float,
    ) -> None:
        self._send = ChaCha20Poly1305(keys.send)
        self._receive = ChaCha20Poly1305(keys.receive)
        self._replay = ReplayWindow()
        self.send_counter = 0
        self.is_initiator = is_initiator
        self.local_index = local_index
        self.remote_index = remote_index
        self.created_at_s = now

    def may_send(self, now: float) -> bool:
        return (
            self.send_counter < REJECT_AFTER_MESSAGES
            and now - self.created_at_s < REJECT_AFTER_TIME_S
        )

    def seal(self, padded: bytes) -> bytes:
        """Give a whole transport message. No counter is ever used twice."""
        counter = self.send_counter
        assert counter < REJECT_AFTER_MESSAGES
        self.send_counter = counter + 1
        header = TRANSPORT_HEADER.pack(TRANSPORT, self.remote_index, counter)
        return header + self._send.encrypt(_NO_NONCE_PREFIX + header[8:], padded, None)

    def open(self, message: bytes, now: float) -> bytes:
        """Give the padded packet; raise RemoteProtocolError."""
        _, _, counter = TRANSPORT_HEADER.unpack_from(message)
        if now - self.created_at_s >= REJECT_AFTER_TIME_S or counter >= REJECT_AFTER_MESSAGES:
            raise RemoteProtocolError("a packet of a session that is over")
        if not self._replay.is_fresh(counter):
            raise RemoteProtocolError("a packet seen before")
        nonce = _NO_NONCE_PREFIX + message[8:TRANSPORT_HEADER_SIZE_BYTES]
        try:
            padded = self._receive.decrypt(nonce, message[TRANSPORT_HEADER_SIZE_BYTES:], None)
        except InvalidTag:
            raise RemoteProtocolError("a packet that does not authenticate") from None
        self._replay.mark(counter)
        return padded


class Keypairs:
    """Current, previous and next session of one peer.

    next: made by us as responder, not used for sending until the initiator has used it.
    previous: the one before, for packets still on their way.
    """

    def __init__(self, forget_index: Callable[[int], object]) -> None:
        self.current: Keypair | None = None
        self.previous: Keypair | None = None
        self.next: Keypair | None = None
        self._forget_index = forget_index

    def add_as_initiator(self, keypair: Keypair) -> None:
        """The response proved that the other side has the keys: send with them at once."""
        if self.next is not None:
            self._drop(self.current)
            self._replace_previous(self.next)
            self.next = None
        else:
            self._replace_previous(self.current)
        self.current = keypair

    def add_as_responder(self, keypair: Keypair) -> None:
        """The initiator has not proved yet that it has the keys: wait for its first packet."""
        self._drop(self.next)
        self.next = keypair
        self._replace_previous(None)

    def confirm(self, keypair: Keypair) -> bool:
        """A packet of ``keypair`` authenticated; say whether that made it the current one."""
        if keypair is not self.next:
            return False
        self._replace_previous(self.current)
        self.current, self.next = keypair, None
        return True

    def clear(self) -> None:
        """Forget every key."""
        for keypair in (self.current, self.previous, self.next):
            self._drop(keypair)
        self.current = self.previous = self.next = None

    def _replace_previous(self, keypair: Keypair | None) -> None:
        self._drop(self.previous)
        self.previous = keypair

    def _drop(self, keypair: Keypair | None) -> None:
        if keypair is not None:
            self._forget_index(keypair.local_index)
