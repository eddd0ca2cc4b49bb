"""The keys of simulated tunnels, in the words of Wireshark's key log.

Wireshark reads a tunnel that it sees the handshake of, if it has the private static and ephemeral
key of one side and the public static key of the other. Static keys are made by the run. Ephemeral
ones are 32 of the random bytes that the run gives each daemon: which of them is told by the
public key that a handshake shows.
"""

from collections.abc import Iterable
from typing import Final

from sims.runtime.entropy import ByteStream, Entropy
from wice.keys import KEY_SIZE, PrivateKey

DRAWN_KEYS_MAX: Final = 16_384
"""The latest that might be ephemeral keys; a handshake follows its draw at once."""

DAEMONS_DRAW: Final = "platform"
"""The purpose in ``Entropy`` of what a daemon's ``Platform.random_bytes`` gives."""

_INITIATION: Final = bytes((1, 0, 0, 0))
_RESPONSE: Final = bytes((2, 0, 0, 0))
_INITIATION_SIZE_BYTES: Final = 148
_RESPONSE_SIZE_BYTES: Final = 92
_INITIATION_EPHEMERAL_AT: Final = 8
_RESPONSE_EPHEMERAL_AT: Final = 12


class DrawnKeys:
    """What daemons drew that is as long as a key."""

    def __init__(self) -> None:
        self._by_public_key: dict[bytes, PrivateKey] = {}

    def add(self, drawn: bytes) -> None:
        key = PrivateKey(drawn)
        if len(self._by_public_key) >= DRAWN_KEYS_MAX:
            del self._by_public_key[next(iter(self._by_public_key))]
        self._by_public_key[bytes(key.public_key())] = key

    def of_handshake(self, datagram: bytes) -> PrivateKey | None:
        """The ephemeral key of who sent it; None for what is no initiation and no response."""
        public_key = _ephemeral_of(datagram)
        return None if public_key is None else self._by_public_key.get(public_key)


class OverheardEntropy(Entropy):
    """The same bytes as without; ``drawn`` learns of those that are as long as a key."""

    def __init__(self, seed: int, drawn: DrawnKeys) -> None:
        super().__init__(seed)
        self._drawn = drawn

    def stream(self, purpose: str, node: str = "") -> ByteStream:
        if purpose != DAEMONS_DRAW:
            return super().stream(purpose, node)
        return _OverheardStream(self._key(purpose, node), self._drawn)


class _OverheardStream(ByteStream):
    def __init__(self, key: bytes, drawn: DrawnKeys) -> None:
        super().__init__(key)
        self._drawn = drawn

    def read(self, size_bytes: int) -> bytes:
        taken = super().read(size_bytes)
        if size_bytes == KEY_SIZE:
            self._drawn.add(taken)
        return taken


def static_keys_log(private_keys: Iterable[PrivateKey]) -> bytes:
    """Lines of a key log."""
    return "".join(
        f"LOCAL_STATIC_PRIVATE_KEY={key.reveal_base64()}\n" for key in private_keys
    ).encode()


def ephemeral_key_log(private_key: PrivateKey) -> bytes:
    """A line of a key log."""
    return f"LOCAL_EPHEMERAL_PRIVATE_KEY={private_key.reveal_base64()}\n".encode()


def _ephemeral_of(datagram: bytes) -> bytes | None:
    if len(datagram) == _INITIATION_SIZE_BYTES and datagram.startswith(_INITIATION):
        at = _INITIATION_EPHEMERAL_AT
    elif len(datagram) == _RESPONSE_SIZE_BYTES and datagram.startswith(_RESPONSE):
        at = _RESPONSE_EPHEMERAL_AT
    else:
        return None
    return datagram[at : at + KEY_SIZE]
