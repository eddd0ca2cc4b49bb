"""What all daemons said of themselves at one moment."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from sims.oracle import RELAYED


class PeerView(NamedTuple):
    """What the daemon of ``machine`` says of ``peer``."""

    machine: str
    peer: str
    status: Mapping[str, Any]

    @property
    def is_connected(self) -> bool:
        return bool(self.status["state"] == "connected")

    @property
    def is_relayed(self) -> bool:
        return bool(self.status["path"] == RELAYED)

    @property
    def is_settled(self) -> bool:
        return bool(self.status["signaling"]["settled"])


@dataclass(frozen=True, slots=True)
class Snapshot:
    """``wice status`` of every daemon that runs, by machine."""

    statuses: Mapping[str, Mapping[str, Any]]

    def peers(self) -> Iterator[PeerView]:
        """Every ordered pair, in the order of machines and of their peers."""
        for machine, status in self.statuses.items():
            for interface in status["interfaces"]:
                for peer in interface["peers"]:
                    yield PeerView(machine, peer["name"], peer)

    def by_pair(self) -> dict[tuple[str, str], PeerView]:
        return {(view.machine, view.peer): view for view in self.peers()}

    def has_overlay(self, machine: str) -> bool:
        """Whether the machine's daemon is connected to the overlay."""
        return bool(self.statuses.get(machine, {}).get("overlay", {}).get("joined"))
