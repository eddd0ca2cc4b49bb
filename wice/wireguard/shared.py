"""What the peers of one tunnel have in common: the identity in, messages and events out."""

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from wice.datagram import Path
from wice.keys import PublicKey
from wice.wireguard import noise
from wice.wireguard.keypair import Keypair
from wice.wireguard.tai64n import Tai64nClock
from wice.wireguard.timers import REKEY_TIMEOUT_JITTER_MAX_S

if TYPE_CHECKING:
    from wice.wireguard.peer import Peer

TRANSMITS_MAX = 4_096
"""Messages that wait to be polled; the driver polls after every call, so it is never reached."""

INDEX_SIZE_BYTES = 4


class Transmit(NamedTuple):
    """A message to send along ``path``."""

    data: bytes
    path: Path


@dataclass(frozen=True, slots=True)
class HandshakeCompleted:
    """A new session can carry packets. The responder sees it at the initiator's first packet."""

    public_key: PublicKey
    is_initiator: bool


@dataclass(frozen=True, slots=True)
class HandshakeAbandoned:
    """No answer for REKEY_ATTEMPT_TIME_S: what waited is gone, the next packet tries again."""

    public_key: PublicKey


@dataclass(frozen=True, slots=True)
class PathRoamed:
    """An authenticated message came from elsewhere: packets go back the way it came."""

    public_key: PublicKey
    path: Path


TunnelEvent = HandshakeCompleted | HandshakeAbandoned | PathRoamed


@dataclass(frozen=True, slots=True)
class Pending:
    """Our initiation that waits for its response."""

    index: int
    sent: noise.InitiationSent


@dataclass
class Shared:
    """One of these a tunnel; ``indices`` says whose session an index of ours is."""

    identity: noise.Identity
    random_bytes: Callable[[int], bytes]
    clock: Tai64nClock
    mtu_bytes: int
    indices: "dict[int, tuple[Peer, Pending | Keypair]]" = field(default_factory=dict)
    transmits: deque[Transmit] = field(default_factory=lambda: deque(maxlen=TRANSMITS_MAX))
    events: deque[TunnelEvent] = field(default_factory=lambda: deque(maxlen=TRANSMITS_MAX))
    dropped: Counter[str] = field(default_factory=Counter)

    def new_index(self) -> int:
        """An index that no session has, and nobody can guess."""
        while True:
            index = int.from_bytes(self.random_bytes(INDEX_SIZE_BYTES), "little")
            if index not in self.indices:
                return index

    def jitter_s(self) -> float:
        return REKEY_TIMEOUT_JITTER_MAX_S * int.from_bytes(self.random_bytes(2), "big") / 65_536
