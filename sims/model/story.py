"""What a run looked like from inside, for who tells of it: paths as they came and went."""

from dataclasses import dataclass

from sims.model.faults import Fault
from sims.model.scenario import Scenario


@dataclass(frozen=True, slots=True, kw_only=True)
class PathChange:
    """From ``at_s`` on, a daemon's path to a peer is this one.

    path: ``direct``, ``relayed`` or None. towards: its remote endpoint, empty for none.
    relay: the node that passes it on, empty for a direct one.
    """

    at_s: float
    path: str | None
    towards: str = ""
    relay: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """Pings of a pair that had been answered were not; ended_s: None where that stayed so."""

    began_s: float
    ended_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What ``wice why`` says. finding: what it is about. hints: what to do, best first."""

    finding: str
    sentence: str
    hints: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PairStory:
    """One ordered pair: how the daemon of ``source`` fared with its peer ``destination``.

    changes, silences: in the order of time; left_out: how many more of both there were.
    explanation: None where the daemon was not asked or did not answer.
    """

    source: str
    destination: str
    changes: tuple[PathChange, ...] = ()
    silences: tuple[Silence, ...] = ()
    left_out: int = 0
    explanation: Explanation | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStory:
    """Times are virtual seconds since the start of the run.

    faults: with those of churn, in the order of time. pairs: in the order of the scenario.
    overlay_losses: of each machine, from when to when it was not in the overlay after it had been;
    None where it stayed so. not_asked: pairs without a direct path that were not explained, there
    being too many.
    """

    scenario: Scenario
    faults: tuple[Fault, ...]
    pairs: tuple[PairStory, ...]
    overlay_losses: dict[str, tuple[Silence, ...]]
    not_asked: int = 0
