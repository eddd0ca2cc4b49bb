"""All randomness of a run, as a tree that grows from one seed.

What is drawn at one node of the tree shifts nothing at another: take a fault out of a run, and
the others keep their draws. So a failure can be made smaller and still fail.
"""

import hashlib
from random import Random

STREAM_BLOCK_SIZE_BYTES = 4_096


class Entropy:
    """The randomness of one seed, by purpose and by whom it is for."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def random(self, purpose: str, node: str = "") -> Random:
        """A generator of its own for (seed, purpose, node), at its start."""
        return Random(int.from_bytes(self._key(purpose, node), "big"))

    def stream(self, purpose: str, node: str = "") -> "ByteStream":
        """Bytes without end for (seed, purpose, node), from their start."""
        return ByteStream(self._key(purpose, node))

    def _key(self, purpose: str, node: str) -> bytes:
        return hashlib.sha256(repr((self.seed, purpose, node)).encode()).digest()


class ByteStream:
    """SHAKE-256 in counter mode: looks random, and is the same everywhere."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._block = 0
        self._rest = b""

    def read(self, size_bytes: int) -> bytes:
        while len(self._rest) < size_bytes:
            counter = self._block.to_bytes(8, "big")
            self._rest += hashlib.shake_256(self._key + counter).digest(STREAM_BLOCK_SIZE_BYTES)
            self._block += 1
        taken, self._rest = self._rest[:size_bytes], self._rest[size_bytes:]
        return taken
