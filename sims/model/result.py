"""What came of a run, for people and for programs."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from sims.model.scenario import OVERLAYS

SIMULATOR: Final = "simulator"
KERNEL: Final = "kernel"
ENGINES: Final = (SIMULATOR, KERNEL)
"""What runs scenarios."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairResult:
    """One ordered pair of machines.

    best_path: what the oracle says. path: at the end; both ``direct``, ``relayed`` or None.
    reason: why it is that. first_ping_s: when a reply came through the tunnel first, in virtual
    seconds after both daemons had been started first; None is never. sent, received: pings
    through the tunnel.
    """

    source: str
    destination: str
    best_path: str | None
    path: str | None
    reason: str
    first_ping_s: float | None
    sent: int
    received: int

    @property
    def is_as_expected(self) -> bool:
        """Whether the pair is, at the end, what the oracle says it can be when nothing is wrong."""
        has_pinged = self.first_ping_s is not None or self.best_path is None
        return has_pinged and self.path == self.best_path


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """A check or an expectation that did not hold.

    at_s: virtual seconds after the start of the run. check: its name. subject: which machine or
    pair. detail: what was seen, and what should have been.
    """

    at_s: float
    check: str
    subject: str
    detail: str


Until = Callable[[Violation], bool]
"""Whether a run has shown what it was run for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """is_complete: False when it was interrupted at ``virtual_s``; failure: by what, where that
    was nobody's wish, otherwise empty.

    checks: how often each check looked at something, by its name, those that found nothing too.
    faults: how many were planned. faults_left_out: how many more churn should have made, had there
    been room beside the others. counters: of all daemons together, by the names of their events.
    memory_bytes: the most that the process had resident.
    engine: ``SIMULATOR``, or ``KERNEL``: then seconds are real ones, memory_bytes is that of all
    daemons, packets are those that lines carried, and there is no trace.
    overlay: what carried the daemons' envelopes.
    """

    scenario: str
    seed: int
    is_complete: bool
    virtual_s: float
    real_s: float
    cpu_s: float
    memory_bytes: int
    packets: int
    events: int
    pairs: tuple[PairResult, ...]
    checks: Mapping[str, int]
    violations: tuple[Violation, ...]
    counters: Mapping[str, int]
    trace_sha256: str
    faults: int = 0
    faults_left_out: int = 0
    failure: str = ""
    engine: str = SIMULATOR
    overlay: str = OVERLAYS[0]

    @property
    def seconds(self) -> str:
        """What people call the seconds of its times."""
        return "virtual seconds" if self.engine == SIMULATOR else "seconds"

    @property
    def is_ok(self) -> bool:
        return self.is_complete and not self.violations

    def as_json(self) -> dict[str, Any]:
        return {"ok": self.is_ok, **asdict(self)}
