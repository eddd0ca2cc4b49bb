"""What the checks may see of a run; the runner shows it, and nothing else of itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from sims.model.faults import Fault
from sims.model.scenario import Scenario
from wice.keys import PrivateKey

PING_MARKER: Final = b"wice-sims-ping-"
"""How the payload of every ping through a tunnel starts. Whose it is, ``#`` and its number follow:
one that comes out of a tunnel twice was replayed, and one seen on a wire is in clear."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a machine holds at a moment.

    tasks: of trio, started for its daemon. sockets: open ones of any kind. tcp_connections: those
    of them that are TCP's and not listening, half-open ones too. queued_bytes: received by its
    sockets and not yet read.
    """

    tasks: int
    sockets: int
    tcp_connections: int
    queued_bytes: int


class World(Protocol):
    """A run as seen from outside. Times are virtual seconds since its start; machines go by name.

    faults: everything that goes wrong in it, sorted by time and known from the start.
    private_keys: of every machine with a WireGuard interface. tunnel_addresses: of the same,
    without prefix lengths. community: the name in everybody's configuration.
    """

    @property
    def scenario(self) -> Scenario: ...

    @property
    def now_s(self) -> float: ...

    @property
    def faults(self) -> Sequence[Fault]: ...

    @property
    def private_keys(self) -> Mapping[str, PrivateKey]: ...

    @property
    def tunnel_addresses(self) -> Mapping[str, Sequence[str]]: ...

    @property
    def community(self) -> str: ...

    def running_since_s(self, machine: str) -> float | None:
        """Since when the machine's daemon runs, or is awake again; None while it does neither."""
        ...

    def site_of(self, machine: str) -> str:
        """Where the machine is plugged in now."""
        ...

    def is_reachable(self, one: str, other: str) -> bool:
        """What the oracle says of two machines where they are now, be it by a relay."""
        ...

    def can_be_direct(self, one: str, other: str) -> bool:
        """The same without relays."""
        ...

    def load_of(self, machine: str) -> Load:
        """Raise KeyError for a machine whose daemon does not run."""
        ...
