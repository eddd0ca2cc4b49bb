"""What a TURN server hands to its driver, and says of itself."""

from dataclasses import dataclass
from typing import NamedTuple

from wice.datagram import Endpoint
from wice.turn.messages import Family


class ServerTransmit(NamedTuple):
    """A datagram to send to ``remote``.

    relay: the id of the relay socket that it leaves through; None for the listening socket, and
    then ``local`` is the address that it leaves from, None where that is the kernel's choice.
    """

    data: bytes
    remote: Endpoint
    local: str | None
    relay: int | None


@dataclass(frozen=True, slots=True)
class OpenRelay:
    """Open a relay socket, then call ``relay_opened`` or ``relay_failed``.

    local: the address of ours that the client asked, of whichever family. is_even: the port must
    be even (EVEN-PORT).
    """

    relay: int
    family: Family
    local: str | None
    is_even: bool


@dataclass(frozen=True, slots=True)
class CloseRelay:
    """Close a relay socket."""

    relay: int


ServerEvent = OpenRelay | CloseRelay


@dataclass(frozen=True, slots=True)
class AllocationStatus:
    """One allocation for a person. name: of the user."""

    name: str
    client: Endpoint
    relayed: tuple[Endpoint, ...]
    expires_in_s: float
