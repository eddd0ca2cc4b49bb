"""The handshake Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s (white paper, sections 5.4.1 to 5.4.5).

Functions take the state of a handshake and give the next one: nothing here keeps any. The
caller adds the macs, keeps the indices and refuses replays. Names follow the paper: chaining key
C, hash H, ephemeral and static keys, Q the preshared key.
"""

import hashlib
import hmac
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from nacl import bindings
from nacl.exceptions import CryptoError

from wice.errors import LocalProtocolError, RemoteProtocolError
from wice.keys import KEY_SIZE, PrivateKey, PublicKey
from wice.wireguard.messages import Initiation, Response

CONSTRUCTION = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"
IDENTIFIER = b"WireGuard v1 zx2c4 Jason@zx2c4.com"
NO_PRESHARED_KEY = bytes(KEY_SIZE)

_FIRST_NONCE = bytes(12)
"""Each key of a handshake seals one message, so its counter is always 0."""


def blake2s(data: bytes) -> bytes:
    """HASH of the paper."""
    return hashlib.blake2s(data).digest()


def kdf(key: bytes, data: bytes, count: int) -> tuple[bytes, ...]:
    """KDF1, KDF2, KDF3: HKDF (RFC 5869) with HMAC-BLAKE2s, ``count`` outputs of 32 bytes."""
    secret = hmac.digest(key, data, hashlib.blake2s)
    outputs: list[bytes] = []
    previous = b""
    for number in range(1, count + 1):
        previous = hmac.digest(secret, previous + bytes([number]), hashlib.blake2s)
        outputs.append(previous)
    return tuple(outputs)


_INITIAL_CHAINING_KEY = blake2s(CONSTRUCTION)
_INITIAL_HASH = blake2s(_INITIAL_CHAINING_KEY + IDENTIFIER)


@dataclass(frozen=True, slots=True)
class Identity:
    """Our static key pair."""

    private_key: PrivateKey = field(repr=False)
    public_key: PublicKey

    @classmethod
    def of(cls, private_key: PrivateKey) -> "Identity":
        return cls(private_key, private_key.public_key())


@dataclass(frozen=True, slots=True)
class RemoteIdentity:
    """A peer's static key, and the shared secret of both static keys."""

    public_key: PublicKey
    static_secret: bytes = field(repr=False)

    @classmethod
    def of(cls, ours: Identity, public_key: PublicKey) -> "RemoteIdentity":
        """Raise LocalProtocolError for a key that no peer can have."""
        try:
            secret = bindings.crypto_scalarmult(bytes(ours.private_key), bytes(public_key))
        except CryptoError:
            raise LocalProtocolError("a public key of small order is nobody's") from None
        return cls(public_key, secret)


@dataclass(frozen=True, slots=True)
class InitiationSent:
    """What an initiator keeps until the response comes."""

    ephemeral_private: bytes = field(repr=False)
    chaining_key: bytes = field(repr=False)
    hash: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class InitiationOpened:
    """What a responder knows after the static key: who it is, not yet whether it is they."""

    static: PublicKey
    sender: int
    ephemeral: bytes = field(repr=False)
    encrypted_timestamp: bytes = field(repr=False)
    chaining_key: bytes = field(repr=False)
    hash: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class InitiationProven:
    """An initiation whose timestamp only the peer can have sealed."""

    timestamp: bytes
    sender: int
    ephemeral: bytes = field(repr=False)
    chaining_key: bytes = field(repr=False)
    hash: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class TransportKeys:
    """The two keys of a session."""

    send: bytes = field(repr=False)
    receive: bytes = field(repr=False)


def create_initiation(
    ours: Identity, theirs: RemoteIdentity, *, sender: int, timestamp: bytes, ephemeral: bytes
) -> tuple[Initiation, InitiationSent]:
    """Begin a handshake. ``ephemeral`` is 32 random bytes, ``timestamp`` 12 bytes of TAI64N."""
    ephemeral_public = bindings.crypto_scalarmult_base(ephemeral)
    (chaining_key,) = kdf(_INITIAL_CHAINING_KEY, ephemeral_public, 1)
    hashed = blake2s(_INITIAL_HASH + bytes(theirs.public_key))
    hashed = blake2s(hashed + ephemeral_public)
    secret = _diffie_hellman(ephemeral, bytes(theirs.public_key))
    chaining_key, key = kdf(chaining_key, secret, 2)
    encrypted_static = _seal(key, bytes(ours.public_key), hashed)
    hashed = blake2s(hashed + encrypted_static)
    chaining_key, key = kdf(chaining_key, theirs.static_secret, 2)
    encrypted_timestamp = _seal(key, timestamp, hashed)
    hashed = blake2s(hashed + encrypted_timestamp)
    message = Initiation(sender, ephemeral_public, encrypted_static, encrypted_timestamp)
    return message, InitiationSent(ephemeral, chaining_key, hashed)


def open_initiation(ours: Identity, message: Initiation) -> InitiationOpened:
    """Find out who wants to talk; raise RemoteProtocolError."""
    (chaining_key,) = kdf(_INITIAL_CHAINING_KEY, message.ephemeral, 1)
    hashed = blake2s(_INITIAL_HASH + bytes(ours.public_key))
    hashed = blake2s(hashed + message.ephemeral)
    secret = _diffie_hellman(bytes(ours.private_key), message.ephemeral)
    chaining_key, key = kdf(chaining_key, secret, 2)
    static = _open(key, message.encrypted_static, hashed)
    hashed = blake2s(hashed + message.encrypted_static)
    return InitiationOpened(
        PublicKey(static),
        message.sender,
        message.ephemeral,
        message.encrypted_timestamp,
        chaining_key,
        hashed,
    )


def prove_initiation(theirs: RemoteIdentity, opened: InitiationOpened) -> InitiationProven:
    """Check that the owner of the static key sent it; raise RemoteProtocolError."""
    assert opened.static == theirs.public_key
    chaining_key, key = kdf(opened.chaining_key, theirs.static_secret, 2)
    timestamp = _open(key, opened.encrypted_timestamp, opened.hash)
    hashed = blake2s(opened.hash + opened.encrypted_timestamp)
    return InitiationProven(timestamp, opened.sender, opened.ephemeral, chaining_key, hashed)


def create_response(
    initiation: InitiationProven,
    theirs: RemoteIdentity,
    *,
    preshared_key: bytes,
    sender: int,
    ephemeral: bytes,
) -> tuple[Response, TransportKeys]:
    """Answer an initiation; raise RemoteProtocolError where its ephemeral key is of small order."""
    ephemeral_public = bindings.crypto_scalarmult_base(ephemeral)
    (chaining_key,) = kdf(initiation.chaining_key, ephemeral_public, 1)
    hashed = blake2s(initiation.hash + ephemeral_public)
    secret = _diffie_hellman(ephemeral, initiation.ephemeral)
    (chaining_key,) = kdf(chaining_key, secret, 1)
    secret = _diffie_hellman(ephemeral, bytes(theirs.public_key))
    (chaining_key,) = kdf(chaining_key, secret, 1)
    chaining_key, tau, key = kdf(chaining_key, preshared_key, 3)
    hashed = blake2s(hashed + tau)
    nothing = _seal(key, b"", hashed)
    receive, send = kdf(chaining_key, b"", 2)
    message = Response(sender, initiation.sender, ephemeral_public, nothing)
    return message, TransportKeys(send, receive)


def consume_response(
    ours: Identity, sent: InitiationSent, message: Response, *, preshared_key: bytes
) -> TransportKeys:
    """Finish the handshake that ``sent`` began; raise RemoteProtocolError."""
    (chaining_key,) = kdf(sent.chaining_key, message.ephemeral, 1)
    hashed = blake2s(sent.hash + message.ephemeral)
    secret = _diffie_hellman(sent.ephemeral_private, message.ephemeral)
    (chaining_key,) = kdf(chaining_key, secret, 1)
    secret = _diffie_hellman(bytes(ours.private_key), message.ephemeral)
    (chaining_key,) = kdf(chaining_key, secret, 1)
    chaining_key, tau, key = kdf(chaining_key, preshared_key, 3)
    hashed = blake2s(hashed + tau)
    _open(key, message.encrypted_nothing, hashed)
    send, receive = kdf(chaining_key, b"", 2)
    return TransportKeys(send, receive)


def _diffie_hellman(private: bytes, public: bytes) -> bytes:
    try:
        return bindings.crypto_scalarmult(private, public)
    except CryptoError:
        raise RemoteProtocolError("a public key of small order") from None


def _seal(key: bytes, plaintext: bytes, associated: bytes) -> bytes:
    return ChaCha20Poly1305(key).encrypt(_FIRST_NONCE, plaintext, associated)


def _open(key: bytes, ciphertext: bytes, associated: bytes) -> bytes:
    try:
        return ChaCha20Poly1305(key).decrypt(_FIRST_NONCE, ciphertext, associated)
    except InvalidTag:
        raise RemoteProtocolError("a handshake message that does not authenticate") from None
