"""What a demo found out, for people and for programs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sims.lab.mesh import Cost
from sims.lab.ping import PingStatistics
from sims.lab.progress import Pair, Stage


@dataclass(frozen=True, slots=True)
class PairReport:
    """One direction. path: ``direct``, ``relayed`` or None; reason: why it is that."""

    pair: Pair
    path: str | None
    reason: str
    ping: PingStatistics
    time_to_first_ping_s: float | None

    def as_json(self) -> dict[str, Any]:
        return {
            "from": self.pair.source,
            "to": self.pair.destination,
            "path": self.path,
            "reason": self.reason,
            "ping": {
                "sent": self.ping.sent,
                "received": self.ping.received,
                "rtt_ms_median": self.ping.rtt_ms_median,
            },
            "time_to_first_ping_s": self.time_to_first_ping_s,
        }


@dataclass(frozen=True, slots=True)
class Report:
    """The whole run.

    problems: one line for each thing that went wrong; empty when the homes are connected.
    status: what ``wice status`` printed on each home, for few homes; why: what ``wice why`` did, of
    pairs that are not direct. costs: what each daemon had used when the homes were connected.
    settled_s: when every pair was connected or known not to be, seconds after the start of the
    daemons.
    """

    pairs: tuple[PairReport, ...]
    stages: Mapping[Pair, Mapping[Stage, float]]
    problems: tuple[str, ...]
    status: Mapping[str, str]
    costs: Mapping[str, Cost]
    settled_s: float
    why: Mapping[Pair, str] = field(default_factory=dict)

    @property
    def is_connected(self) -> bool:
        return not self.problems

    def as_json(self) -> dict[str, Any]:
        """The object that ``wice demo --json`` prints; stages by home, then by peer."""
        stages: dict[str, dict[str, dict[str, float | None]]] = {}
        for pair, reached in self.stages.items():
            peers = stages.setdefault(pair.source, {})
            peers[pair.destination] = {stage.value: reached.get(stage) for stage in Stage}
        return {
            "connected": self.is_connected,
            "pairs": [pair.as_json() for pair in self.pairs],
            "stages": stages,
            "daemons": {
                name: {"cpu_s": cost.cpu_s, "memory_bytes": cost.memory_bytes}
                for name, cost in self.costs.items()
            },
        }
