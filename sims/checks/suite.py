"""All checks of a run, as one."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Any

from sims.checks.acknowledgements import Acknowledgements
from sims.checks.bounds import Bounds, Tasks
from sims.checks.check import Check
from sims.checks.cleartext import Cleartext
from sims.checks.connectivity import (
    AllPairs,
    ByNeed,
    ExpectedPaths,
    Healed,
    Tunnels,
    Unreachable,
)
from sims.checks.findings import Findings
from sims.checks.paths import Paths
from sims.checks.quiet import Quiet
from sims.checks.relayed import Relayed
from sims.checks.replays import Replays
from sims.checks.replies import Replies
from sims.checks.sessions import Sessions
from sims.checks.snapshot import Snapshot
from sims.checks.states import Transitions
from sims.internet.packet import PacketEvent
from sims.model.result import Violation
from sims.model.world import World
from wice.events import Event


class Checks:
    """The runner tells it what happens. looked: by a check's name, how often it judged something.

    violations: in the order of time. tell: hears of each when it is found. judged: names of those
    that judge anything in this world, None for all; the others look zero times.
    """

    def __init__(
        self,
        world: World,
        tell: Callable[[Violation], None] = lambda _violation: None,
        *,
        judged: Collection[str] | None = None,
    ) -> None:
        self._findings = Findings(world, tell)
        parts = (world, Quiet(world), self._findings)
        replies = Replies(world)
        self._replies = replies
        self._tasks = Tasks(*parts)
        self._replays = Replays(*parts)
        self._cleartext = Cleartext(*parts)
        self._paths = Paths(*parts)
        self._relayed = Relayed(len(world.private_keys))
        self._members = world.private_keys
        every: tuple[Check, ...] = (
            self._tasks,
            Bounds(*parts),
            Transitions(*parts),
            *self._paths.checks,
            self._replays,
            Sessions(*parts),
            self._cleartext,
            Acknowledgements(*parts),
            AllPairs(*parts, replies),
            Healed(*parts, replies),
            Tunnels(*parts, replies),
            ByNeed(*parts),
            ExpectedPaths(*parts),
            Unreachable(*parts),
        )
        self._checks = tuple(check for check in every if judged is None or check.name in judged)

    @property
    def violations(self) -> list[Violation]:
        return self._findings.violations

    @property
    def looked(self) -> Counter[str]:
        return self._findings.looked

    def on_event(self, machine: str, event: Event) -> None:
        """The daemon of ``machine`` reports ``event``, before it does anything else."""
        for check in self._checks:
            check.on_event(machine, event)

    def on_packet(self, event: PacketEvent) -> None:
        """Something became of a packet."""
        _, what, machine, packet, _ = event
        is_of_member = packet.tcp is None and machine in self._members
        if what == "sent":
            self._cleartext.sent(machine, packet)
            if is_of_member:
                said = self._relayed.sent(machine, packet)
                self._paths.sent(machine, said)
                self._replays.sent(machine, said)
        elif what == "received" and is_of_member:
            self._paths.received(machine, self._relayed.received(machine, packet))

    def on_ping_received(self, machine: str, source: str, payload: bytes) -> None:
        """An echo request from the tunnel address ``source`` came out of ``machine``'s tunnel."""
        self._replays.came_out(machine, source, payload, is_reply=False)

    def on_reply(self, machine: str, source: str, payload: bytes) -> None:
        """The same for an echo reply."""
        self._replays.came_out(machine, source, payload, is_reply=True)
        self._replies.came(machine, source)

    def look(self, statuses: Mapping[str, Mapping[str, Any]]) -> None:
        """``wice status`` of every daemon that runs, as JSON values, every few virtual seconds."""
        snapshot = Snapshot(statuses)
        for check in self._checks:
            check.look(snapshot)

    def task_died(self, machine: str, error: BaseException) -> None:
        """A task of the daemon of ``machine`` ended in ``error``."""
        self._tasks.died(machine, error)

    def finish(self) -> None:
        """The run came to its end; not called when it was interrupted."""
        for check in self._checks:
            check.finish()
        for check in self._checks:
            if check.is_due() and not self.looked[check.name]:
                check.violation(
                    "all",
                    "there was something to judge, and it was never looked at; what was not looked "
                    "at holds for nobody",
                )
