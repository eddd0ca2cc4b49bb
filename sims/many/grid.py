"""Each kind of NAT against each, every cell a run of its own, held against the oracle."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final

from rich.box import SIMPLE
from rich.table import Table

from sims.many.conditions import under
from sims.many.processes import JOB_TIME_MAX_S, run_in_processes
from sims.many.swarm import Run
from sims.model.link import LineModel, LinkModel
from sims.model.nat import GRID_KINDS, NAT_KINDS, Firewall
from sims.model.result import RunResult
from sims.model.scenario import Machine, Scenario, Site
from sims.oracle import DIRECT as DIRECT
from sims.oracle import RELAYED as RELAYED
from sims.oracle import best_path, why
from wice.peer.machine import NO_PATH_REASON

GRID_FIREWALLS: Final = tuple(
    str(firewall) for firewall in (Firewall.NONE, Firewall.STATEFUL, Firewall.UDP_BLOCKED)
)
"""What stands in for NATs where nobody translates."""

HOMES: Final = ("alice", "bob")
DURATION_S: Final = 25.0
"""Virtual; homes without a direct path have said so by then."""
LATENCY_S: Final = 0.010
"""Of each home's line, one way."""

NO_PATH: Final = "no path"
FAILED: Final = "failed"


@dataclass(frozen=True, slots=True)
class Cell:
    """One pair of kinds. time_s: until both were connected, or said or were seen not to be."""

    kinds: tuple[str, str]
    expected: str
    seen: str
    reason: str
    time_s: float

    @property
    def is_as_expected(self) -> bool:
        return self.seen == self.expected

    def __str__(self) -> str:
        expected = "" if self.is_as_expected else f", expected: {self.expected}"
        reason = f" ({self.reason})" if self.reason else ""
        return f"{' - '.join(self.kinds)}: {self.seen}{reason} after {self.time_s:.1f} s{expected}"

    def as_json(self) -> dict[str, Any]:
        return {
            "nat": list(self.kinds),
            "expected": self.expected,
            "seen": self.seen,
            "reason": self.reason,
            "time_s": round(self.time_s, 3),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class GridResult:
    """cells: those that are finished, the first home's kind varying slowest.

    is_complete: False when it was interrupted. first_seed: each cell has one of its own, counted
    from there. real_s, cpu_s: of the whole, and of all runs together.
    """

    ip_version: int
    kinds: tuple[str, ...]
    first_seed: int
    is_complete: bool
    real_s: float
    cpu_s: float
    cells: tuple[Cell, ...]

    @property
    def is_ok(self) -> bool:
        return self.is_complete and not self.disagreeing

    @property
    def disagreeing(self) -> tuple[Cell, ...]:
        return tuple(cell for cell in self.cells if not cell.is_as_expected)

    def seed_of(self, cell: Cell) -> int:
        return self.first_seed + _pairs(self.kinds).index(cell.kinds)

    def as_json(self) -> dict[str, Any]:
        return {
            "ok": self.is_ok,
            "ip": str(self.ip_version),
            "as_expected": not self.disagreeing,
            "is_complete": self.is_complete,
            "real_s": round(self.real_s, 3),
            "cpu_s": round(self.cpu_s, 3),
            "pairs": [{"seed": self.seed_of(cell), **cell.as_json()} for cell in self.cells],
        }


def kinds_of(ip_version: int) -> tuple[str, ...]:
    """What a grid tries: kinds of NAT for 4, of firewalls for 6."""
    return GRID_KINDS if ip_version == 4 else GRID_FIREWALLS


def grid_scenario(
    one_kind: str, other_kind: str, ip_version: int, *, has_relay: bool = True
) -> Scenario:
    """Two homes with a machine each, on good lines.

    Raise KeyError for a NAT kind, ValueError for a firewall that there is not.
    """
    return Scenario(
        name="grid",
        duration_s=DURATION_S,
        sites=tuple(
            _home(name, kind, ip_version)
            for name, kind in zip(HOMES, (one_kind, other_kind), strict=True)
        ),
        has_relay=has_relay,
        ip_versions=(ip_version,),
        ping_every_s=1.0,
    )


def run_grid(
    kinds: Sequence[str],
    ip_version: int,
    at_once: int,
    run: Run,
    tell: Callable[[Cell], None],
    *,
    has_relay: bool = True,
    condition: str | None = None,
    first_seed: int = 1,
    time_max_s: float = JOB_TIME_MAX_S,
) -> GridResult:
    """Run every ordered pair of ``kinds``, ``at_once`` at a time, and ``tell`` each cell.

    has_relay: the bootstrap node relays. condition: one of ``CONDITIONS``.

    The smaller key controls, and the seed says whose that is: so the two cells of one pair of
    kinds are not the same run mirrored. Ctrl-C ends it; the result then has what was finished.
    """
    pairs = _pairs(kinds)

    def work(number: int) -> tuple[Cell, float]:
        scenario = grid_scenario(*pairs[number], ip_version, has_relay=has_relay)
        if condition is not None:
            scenario = under(condition, scenario, number)
        result = run(scenario, first_seed + number)
        return judge(pairs[number], scenario, result), result.cpu_s

    started_s = time.monotonic()
    cells: dict[int, Cell] = {}
    cpu_s = 0.0
    is_complete = False
    try:
        with closing(
            run_in_processes(work, range(len(pairs)), at_once, time_max_s=time_max_s)
        ) as finished:
            for done in finished:
                if done.value is None:
                    cell = _failed(pairs[done.job], ip_version, done.failure, has_relay=has_relay)
                else:
                    cell, cell_cpu_s = done.value
                    cpu_s += cell_cpu_s
                cells[done.job] = cell
                tell(cell)
        is_complete = True
    except KeyboardInterrupt:
        pass
    return GridResult(
        ip_version=ip_version,
        kinds=tuple(kinds),
        first_seed=first_seed,
        is_complete=is_complete,
        real_s=time.monotonic() - started_s,
        cpu_s=cpu_s,
        cells=tuple(cells[number] for number in sorted(cells)),
    )


def judge(kinds: tuple[str, str], scenario: Scenario, result: RunResult) -> Cell:
    """What came of a pair, beside what the oracle says of it."""
    expected = _expected(scenario)
    seen, reason, time_s = _seen(result)
    if seen != expected and not reason:
        reason = why(scenario, *HOMES)
    if seen == expected and result.violations:
        first = result.violations[0]
        seen, reason = FAILED, f"{first.check}, {first.subject}: {first.detail}"
    return Cell(kinds, expected, seen, reason, time_s)


def grid_table(kinds: Sequence[str], cells: Sequence[Cell]) -> Table:
    """For a person: seconds to the first ping both ways, with an ``r`` where a relay carries it,
    ``none`` without a path, and ``!`` where NAT theory has it otherwise. The kind of the first home
    is on top.
    """
    by_pair: Mapping[tuple[str, str], Cell] = {cell.kinds: cell for cell in cells}
    headers = (kind.partition("-")[0] for kind in kinds)  # the rows have the whole names
    table = Table("", *headers, box=SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
    for row in kinds:
        table.add_row(row, *(_text(by_pair.get((column, row))) for column in kinds))
    return table


def _text(cell: Cell | None) -> str:
    if cell is None:
        return ""
    seen = {
        DIRECT: f"{cell.time_s:.1f}",
        RELAYED: f"{cell.time_s:.1f}r",
        NO_PATH: "none",
    }.get(cell.seen, "FAILED")
    return seen if cell.is_as_expected else f"{seen}!"


def _seen(result: RunResult) -> tuple[str, str, float]:
    """What came of a pair, why, and when."""
    if not result.is_complete:
        why = result.failure or f"was interrupted after {result.virtual_s:.1f} s"
        return FAILED, why, result.virtual_s
    paths = {pair.path for pair in result.pairs}
    pinged_s = [pair.first_ping_s for pair in result.pairs if pair.first_ping_s is not None]
    if len(paths) == 1 and None not in paths and len(pinged_s) == len(result.pairs):
        return str(*paths), "", max(pinged_s)
    reasons = list(dict.fromkeys(pair.reason for pair in result.pairs if pair.reason))
    # That there is no path proves nothing unless both have tried: they may not have met.
    has_tried = all(pair.reason.startswith(NO_PATH_REASON) for pair in result.pairs)
    if paths == {None} and not pinged_s and has_tried:
        reason = reasons[0].removeprefix(NO_PATH_REASON).lstrip(":; ")
        return NO_PATH, reason, result.virtual_s
    texts = [
        f"{pair.source} → {pair.destination}: {pair.path or 'no path'}, "
        f"{pair.received} of {pair.sent} pings came back"
        for pair in result.pairs
    ]
    return FAILED, "; ".join([*texts, *reasons]), result.virtual_s


def _expected(scenario: Scenario) -> str:
    return best_path(scenario, *HOMES) or NO_PATH


def _failed(kinds: tuple[str, str], ip_version: int, failure: str, *, has_relay: bool) -> Cell:
    scenario = grid_scenario(*kinds, ip_version, has_relay=has_relay)
    return Cell(kinds, _expected(scenario), FAILED, failure, 0.0)


def _pairs(kinds: Sequence[str]) -> list[tuple[str, str]]:
    return [(one, other) for one in kinds for other in kinds]


def _home(name: str, kind: str, ip_version: int) -> Site:
    line = LinkModel(latency_s=LATENCY_S)
    nat = NAT_KINDS[kind] if ip_version == 4 else None
    return Site(
        name=f"home-of-{name}",
        line=LineModel(up=line, down=line),
        nats=nat.nats if nat else (),
        firewall=nat.firewall if nat else Firewall(kind),
        machines=(Machine(name=name),),
    )
