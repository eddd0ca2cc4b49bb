"""The node's own identity: a libp2p Ed25519 key kept in the state directory.

It names the node to those it connects to and nothing else: it is not derived from a WireGuard
key and is stored in no record in clear (DESIGN D7). Nothing here imports libp2p, so that tools
can prepare configurations quickly.
"""

import fcntl
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path as FilePath

import base58
from nacl import bindings

from wice.errors import ConfigError

SEED_SIZE_BYTES = 32
FILE_NAME = "overlay-node.key"
"""In the state directory, mode 0600: the 32 bytes of the Ed25519 seed (RFC 8032, 5.1.5)."""

# Protobuf PublicKey{Type = Ed25519 (1), Data = 32 bytes} inside an identity multihash
# (libp2p specs, peer-ids).
_ED25519_PEER_ID_PREFIX = bytes.fromhex("002408011220")


@dataclass(frozen=True, slots=True)
class Identity:
    """The seed, and the base58 peer id that follows from it."""

    seed: bytes = field(repr=False)
    peer_id: str

    @classmethod
    def from_seed(cls, seed: bytes) -> "Identity":
        if len(seed) != SEED_SIZE_BYTES:
            raise ValueError(f"a node key has {SEED_SIZE_BYTES} bytes")
        public_key, _ = bindings.crypto_sign_seed_keypair(seed)
        return cls(seed, base58.b58encode(_ED25519_PEER_ID_PREFIX + public_key).decode())


def load_or_create(
    state_directory: FilePath, random_bytes: Callable[[int], bytes] = secrets.token_bytes
) -> Identity:
    """The identity of this state directory, made on the first start.

    Raise ConfigError when the file cannot be read, written, or is not a key.
    """
    path = state_directory / FILE_NAME
    try:
        try:
            seed = path.read_bytes()
        except FileNotFoundError:
            seed = _create(path, random_bytes(SEED_SIZE_BYTES))
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigError("state_dir", f"cannot keep the node's key in {path}: {reason}") from error
    if len(seed) != SEED_SIZE_BYTES:
        raise ConfigError(
            "state_dir",
            f"{path} is not a node key: {len(seed)} bytes, not {SEED_SIZE_BYTES}",
            "remove the file, and the node gets a new peer id",
        )
    return Identity.from_seed(seed)


@contextmanager
def hold(state_directory: FilePath) -> Iterator[None]:
    """Keep other daemons off this state directory, whose key there is, while the context lasts.

    Two with one key would have one peer id: each takes the other for itself. Raise ConfigError.
    """
    descriptor = os.open(state_directory / FILE_NAME, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                "state_dir", f"{state_directory} is in use by another daemon", "give each its own"
            ) from None
        yield
    finally:
        os.close(descriptor)


def peer_id_of(state_directory: FilePath) -> str:
    """The base58 peer id of the node with this state directory; both are made if missing."""
    state_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return load_or_create(state_directory).peer_id


def _create(path: FilePath, seed: bytes) -> bytes:
    """Write ``seed`` whole or not at all, and give the seed that the file then holds."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(seed)
            file.flush()
            os.fsync(file.fileno())
        try:
            # Unlike rename, link keeps the key of another process that was faster.
            os.link(temporary, path)
        except FileExistsError:
            return path.read_bytes()
    finally:
        temporary.unlink(missing_ok=True)
    return seed
