"""What every check has in common."""

from typing import ClassVar

from sims.checks.findings import Findings
from sims.checks.quiet import Quiet
from sims.checks.snapshot import Snapshot
from sims.model.world import World
from wice.events import Event


class Check:
    """Told what happens; says what should not have.

    name: in violations. A check knows the run only from here, never from who drives the run.
    """

    name: ClassVar[str]

    def __init__(self, world: World, quiet: Quiet, findings: Findings) -> None:
        self.world = world
        self.quiet = quiet
        self._findings = findings
        # A check that never looked must be seen as one.
        findings.looked[self.name] += 0

    def looked(self) -> None:
        """Something was judged."""
        self._findings.looked[self.name] += 1

    def violation(self, subject: str, detail: str) -> None:
        self._findings.violation(self.name, subject, detail)

    def on_event(self, machine: str, event: Event) -> None:
        """The daemon of ``machine`` reports ``event``."""

    def look(self, snapshot: Snapshot) -> None:
        """Every few seconds of virtual time."""

    def finish(self) -> None:
        """The run is over."""

    def is_due(self) -> bool:
        """At the end of a run: whether there must have been something to judge."""
        return any(True for _ in self.quiet.healed_pairs())
