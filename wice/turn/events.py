"""What a TURN client reports."""

from dataclasses import dataclass

from wice.datagram import Endpoint


@dataclass(frozen=True, slots=True)
class Allocated:
    """The server relays for us. relayed: one address a family; mapped: where it sees us."""

    relayed: tuple[Endpoint, ...]
    mapped: Endpoint


@dataclass(frozen=True, slots=True)
class AllocationFailed:
    """No allocation for now. code: of the server, 0 where it gave none."""

    code: int
    reason: str
    retry_at_s: float


@dataclass(frozen=True, slots=True)
class AllocationLost:
    """The relayed addresses are no longer ours; another allocation is being asked for."""

    reason: str


@dataclass(frozen=True, slots=True)
class CredentialsRefused:
    """The server takes our credentials no longer: it is time for ``set_credentials``."""


@dataclass(frozen=True, slots=True)
class PermissionGranted:
    """Data passes between us and any port of ``host``. It is said once an allocation."""

    host: str


@dataclass(frozen=True, slots=True)
class PermissionRefused:
    """The server will not relay to ``host``."""

    host: str
    code: int


@dataclass(frozen=True, slots=True)
class ChannelBound:
    """Data to ``peer`` costs four bytes more and not 36. It is said once an allocation."""

    peer: Endpoint


@dataclass(frozen=True, slots=True)
class Redirected:
    """The server sent us to another one (ALTERNATE-SERVER)."""

    server: Endpoint


ClientEvent = (
    Allocated
    | AllocationFailed
    | AllocationLost
    | CredentialsRefused
    | PermissionGranted
    | PermissionRefused
    | ChannelBound
    | Redirected
)
