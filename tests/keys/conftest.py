"""edwards25519 in plain Python integers, written from RFC 8032 and Signal's XEdDSA text.

It shares no code with wice or libsodium, so that both can be checked against it.
"""

import hashlib
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

P = 2**255 - 19
Q = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P

Point = tuple[int, int]


class Reference:
    """Affine points (x, y); slow, and nothing in it is constant-time."""

    q = Q
    base: Point

    def __init__(self) -> None:
        self.base = self.decode((4 * pow(5, -1, P) % P).to_bytes(32, "little"))

    def decode(self, encoded: bytes) -> Point:
        number = int.from_bytes(encoded, "little")
        sign, y = number >> 255, number & (2**255 - 1)
        square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
        x = pow(square, (P + 3) // 8, P)
        if (x * x - square) % P:
            x = x * pow(2, (P - 1) // 4, P) % P
        if (x * x - square) % P or y >= P:
            raise ValueError("not on the curve")
        return (P - x if x & 1 != sign else x, y)

    def encode(self, point: Point) -> bytes:
        x, y = point
        return (y | (x & 1) << 255).to_bytes(32, "little")

    def add(self, first: Point, second: Point) -> Point:
        (x1, y1), (x2, y2) = first, second
        product = D * x1 * x2 * y1 * y2
        return (
            (x1 * y2 + x2 * y1) * pow(1 + product, -1, P) % P,
            (y1 * y2 + x1 * x2) * pow(1 - product, -1, P) % P,
        )

    def multiply(self, scalar: int, point: Point) -> Point:
        result = (0, 1)
        while scalar:
            if scalar & 1:
                result = self.add(result, point)
            point = self.add(point, point)
            scalar >>= 1
        return result

    def edwards_form(self, montgomery: bytes) -> bytes:
        u = int.from_bytes(montgomery, "little")
        return ((u - 1) * pow(u + 1, -1, P) % P).to_bytes(32, "little")

    def signing_scalar(self, private_key: bytes) -> int:
        """a: the clamped private key, or its negative where the public point has sign 1."""
        scalar = int.from_bytes(private_key, "little") % Q
        x, _ = self.multiply(scalar, self.base)
        return -scalar % Q if x & 1 else scalar

    def sign(self, scalar: int, message: bytes, randomness: bytes) -> bytes:
        public = self.encode(self.multiply(scalar, self.base))
        prefix = (2**256 - 2).to_bytes(32, "little")
        nonce = self._hash(prefix + scalar.to_bytes(32, "little") + message + randomness)
        commitment = self.encode(self.multiply(nonce, self.base))
        answer = (nonce + self._hash(commitment + public + message) * scalar) % Q
        return commitment + answer.to_bytes(32, "little")

    def blinding_factor(self, point: bytes, secret: bytes, epoch: int) -> int:
        fields = (b"wice blind v1", point, secret, epoch.to_bytes(8, "big"))
        return self._hash(b"".join(len(f).to_bytes(2, "big") + f for f in fields))

    def _hash(self, data: bytes) -> int:
        return int.from_bytes(hashlib.sha512(data).digest(), "little") % Q


@pytest.fixture(scope="session")
def reference() -> Reference:
    return Reference()


@pytest.fixture(scope="session")
def counting_bytes() -> Callable[[int], bytes]:
    """The random bytes of the test vectors: 00 01 02 and so on, from 00 at every call."""
    return lambda size_bytes: bytes(range(size_bytes))


@pytest.fixture(scope="session")
def documented_vectors() -> dict[str, Any]:
    """Every ``toml`` block of docs/reference/keys.md, as one table."""
    page = Path(__file__).parents[2] / "docs" / "reference" / "keys.md"
    return tomllib.loads("\n".join(re.findall(r"```toml\n(.*?)```", page.read_text(), re.S)))
