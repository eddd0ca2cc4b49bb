"""mac1, mac2 and cookies: a stranger's message costs us next to nothing (paper, section 5.4.7).

mac1 shows that the sender knows our public key. Under load we also want mac2, under a cookie
that we give only to who receives at the address it sends from.
"""

import hashlib
import hmac
from collections.abc import Callable

from nacl import bindings
from nacl.exceptions import CryptoError

from wice.datagram import Endpoint
from wice.errors import RemoteProtocolError
from wice.keys import PublicKey
from wice.wireguard.messages import MAC_SIZE_BYTES, MACS_SIZE_BYTES, CookieReply
from wice.wireguard.noise import blake2s

LABEL_MAC1 = b"mac1----"
LABEL_COOKIE = b"cookie--"
COOKIE_LIFETIME_S = 120.0
"""How long a cookie is good, and how long the secret behind it lives."""

NONCE_SIZE_BYTES = 24
_SECRET_SIZE_BYTES = 32
_NO_MAC = bytes(MAC_SIZE_BYTES)


def mac(key: bytes, data: bytes) -> bytes:
    """MAC of the paper: keyed BLAKE2s with 16 bytes of output."""
    return hashlib.blake2s(data, digest_size=MAC_SIZE_BYTES, key=key).digest()


class CookieChecker:
    """The receiving side: checks the macs of messages to us, and hands out cookies."""

    def __init__(self, ours: PublicKey, random_bytes: Callable[[int], bytes]) -> None:
        self._mac1_key = blake2s(LABEL_MAC1 + bytes(ours))
        self._cookie_key = blake2s(LABEL_COOKIE + bytes(ours))
        self._random_bytes = random_bytes
        self._secret = b""
        self._secret_until_s = float("-inf")

    def check_mac1(self, message: bytes) -> None:
        """Raise RemoteProtocolError unless the sender knows our public key."""
        expected = mac(self._mac1_key, message[:-MACS_SIZE_BYTES])
        if not hmac.compare_digest(expected, message[-MACS_SIZE_BYTES:-MAC_SIZE_BYTES]):
            raise RemoteProtocolError("a handshake message with a wrong mac1")

    def has_mac2(self, message: bytes, source: Endpoint, now: float) -> bool:
        """Whether the sender shows the cookie of its address."""
        if now >= self._secret_until_s:
            return False
        expected = mac(self._cookie_of(source), message[:-MAC_SIZE_BYTES])
        return hmac.compare_digest(expected, message[-MAC_SIZE_BYTES:])

    def create_reply(
        self, message: bytes, receiver: int, source: Endpoint, now: float
    ) -> CookieReply:
        """Give ``source`` its cookie, sealed for who sent ``message``."""
        if now >= self._secret_until_s:
            self._secret = self._random_bytes(_SECRET_SIZE_BYTES)
            self._secret_until_s = now + COOKIE_LIFETIME_S
        nonce = self._random_bytes(NONCE_SIZE_BYTES)
        mac1 = message[-MACS_SIZE_BYTES:-MAC_SIZE_BYTES]
        sealed = bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(
            self._cookie_of(source), mac1, nonce, self._cookie_key
        )
        return CookieReply(receiver, nonce, sealed)

    def _cookie_of(self, source: Endpoint) -> bytes:
        return mac(self._secret, f"{source}".encode())


class CookieJar:
    """The sending side, one for each peer: adds the macs, keeps the peer's cookie."""

    def __init__(self, theirs: PublicKey) -> None:
        self._mac1_key = blake2s(LABEL_MAC1 + bytes(theirs))
        self._cookie_key = blake2s(LABEL_COOKIE + bytes(theirs))
        self._latest_mac1: bytes | None = None
        self._cookie = b""
        self._cookie_until_s = float("-inf")

    def add_macs(self, message: bytes, now: float) -> bytes:
        """Give ``message`` with mac1, and mac2 where a fresh cookie is at hand."""
        mac1 = mac(self._mac1_key, message)
        self._latest_mac1 = mac1
        message += mac1
        return message + (mac(self._cookie, message) if now < self._cookie_until_s else _NO_MAC)

    def consume_reply(self, reply: CookieReply, now: float) -> None:
        """Keep the cookie for the next message; raise RemoteProtocolError."""
        if self._latest_mac1 is None:
            raise RemoteProtocolError("a cookie nobody asked for")
        try:
            self._cookie = bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(
                reply.encrypted_cookie, self._latest_mac1, reply.nonce, self._cookie_key
            )
        except CryptoError:
            raise RemoteProtocolError("a cookie that does not authenticate") from None
        self._cookie_until_s = now + COOKIE_LIFETIME_S
        self._latest_mac1 = None
