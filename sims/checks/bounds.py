"""Nothing of a machine grows without a bound, and no task of it dies."""

import traceback
from pathlib import Path
from typing import Final

from sims.checks.check import Check
from sims.checks.snapshot import Snapshot

TASKS_BASE, TASKS_PER_NODE = 150, 60
SOCKETS_BASE, SOCKETS_PER_NODE = 24, 8
TCP_CONNECTIONS_BASE, TCP_CONNECTIONS_PER_NODE = 8, 6
QUEUED_SIZE_MAX_BYTES: Final = 4 << 20
COUNTERS_MAX: Final = {"events_lost": 0}
"""What a daemon may have counted; that it loses events of its own means that it is stuck."""


class Bounds(Check):
    """What a daemon holds is bounded by how many machines there are in all."""

    name = "bounds"

    def is_due(self) -> bool:
        return True

    def look(self, snapshot: Snapshot) -> None:
        nodes = len(self.world.scenario.machines) + self.world.scenario.bootstraps
        for machine, status in snapshot.statuses.items():
            self.looked()
            load = self.world.load_of(machine)
            for what, count, count_max in (
                ("tasks", load.tasks, TASKS_BASE + nodes * TASKS_PER_NODE),
                ("sockets", load.sockets, SOCKETS_BASE + nodes * SOCKETS_PER_NODE),
                (
                    "TCP connections",
                    load.tcp_connections,
                    TCP_CONNECTIONS_BASE + nodes * TCP_CONNECTIONS_PER_NODE,
                ),
                ("bytes that nobody reads", load.queued_bytes, QUEUED_SIZE_MAX_BYTES),
            ):
                if count > count_max:
                    self.violation(machine, f"has {count} {what}; at most {count_max} are its due")
            for name, count_max in COUNTERS_MAX.items():
                count = status["counters"].get(name, 0)
                if count > count_max:
                    self.violation(machine, f"counted {count} {name}; at most {count_max} are due")


class Tasks(Check):
    """What comes from the network ends no task of a daemon."""

    name = "tasks"

    def is_due(self) -> bool:
        return True

    def look(self, snapshot: Snapshot) -> None:
        for _ in snapshot.statuses:
            self.looked()

    def died(self, machine: str, error: BaseException) -> None:
        """A task of the daemon ended in ``error``."""
        cause = error
        while isinstance(cause, BaseExceptionGroup):
            cause = cause.exceptions[0]
        frames = traceback.extract_tb(cause.__traceback__)
        where = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
        self.violation(
            machine, f"a task died of {type(cause).__name__}{where}: {cause}; no task may die"
        )
