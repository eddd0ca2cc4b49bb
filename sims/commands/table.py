"""What came of a run and of a swarm, as text for a person."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import TYPE_CHECKING, Final

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from sims.commands.progress_line import ProgressLine, bar
from sims.lab.display import PlainDisplay, pair_grid
from sims.lab.progress import Pair
from sims.many.grid import GridResult, grid_table
from sims.many.swarm import SeedResult, SwarmResult
from sims.model.result import SIMULATOR, PairResult, RunResult, Violation
from sims.model.scenario import OVERLAYS

if TYPE_CHECKING:
    from sims.running.progress import Progress

MATRIX_MACHINES_MAX: Final = 12
"""More machines than this are summed up; a matrix of them fits on no terminal."""
LINES_MAX: Final = 20
"""Of a list in a report; the JSON has all of it."""


def show_result(console: Console, result: RunResult) -> None:
    """The whole report of one run."""
    say = PlainDisplay(console).say
    say(_heading(result))
    if result.pairs:
        say("")
        _show_pairs(console, result)
    if result.checks or result.violations:
        console.print(checks_table(result))
    if result.faults_left_out:
        say(_left_out(result.faults_left_out))
    for line in _listed([violation_line(violation) for violation in result.violations]):
        say(line)
    say(verdict(result))


def _left_out(faults: int) -> str:
    return f"{faults} faults of churn were left out: they would have met others on their targets"


def verdict(result: RunResult) -> str:
    """One line: whether everything is as it should be."""
    name = f"{result.scenario}, seed {result.seed}"
    count = len(result.violations)
    seen = f"{count} violation{'' if count == 1 else 's'}"
    if not result.is_complete:
        until = f" until then: {seen}" if count else ""
        why = f": {result.failure}" if result.failure else ""
        how = "ended" if result.failure else "interrupted"
        return f"{name}: {how} after {result.virtual_s:.1f} {result.seconds}{until}{why}"
    return f"{name}: {seen}" if count else f"{name}: every expectation and check holds"


def violation_line(violation: Violation) -> str:
    return f"{violation.at_s:9.3f} s  {violation.check}  {violation.subject}: {violation.detail}"


def checks_table(result: RunResult) -> Table:
    """How often each check looked, and what it found; expectations are among them."""
    found = Counter(violation.check for violation in result.violations)
    table = Table("check", "looked", "violations", box=SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for name in (*result.checks, *(name for name in found if name not in result.checks)):
        looked = result.checks.get(name)
        times = "" if looked is None else str(looked) if looked else "not judged"
        table.add_row(name, times, str(found[name]))
    return table


def _heading(result: RunResult) -> str:
    speed = result.virtual_s / result.real_s if result.real_s else 0.0
    how = f"{result.virtual_s:.1f} {result.seconds} in {result.real_s:.2f} s"
    if result.engine == SIMULATOR:
        how += f" ({speed:.0f} ×)"
    kinds = "" if result.overlay == OVERLAYS[0] else f", {result.overlay} overlay"
    kinds += "" if result.engine == SIMULATOR else f", {result.engine} engine"
    return (
        f"{result.scenario}, seed {result.seed}{kinds}: {how}, {result.cpu_s:.2f} s of CPU, "
        f"{result.memory_bytes / 2**20:.0f} MiB, {result.packets} packets, {result.events} events"
    )


def _show_pairs(console: Console, result: RunResult) -> None:
    say = PlainDisplay(console).say
    is_matrix = len({pair.source for pair in result.pairs}) <= MATRIX_MACHINES_MAX
    if is_matrix:
        by_pair = {Pair(pair.source, pair.destination): pair for pair in result.pairs}
        say("seconds to the first ping through the tunnel, from the row's machine to the column's;")
        say("r relayed, - lost again, none never, ! not as NATs and firewalls alone would have it")
        console.print(pair_grid(list(by_pair), lambda pair: _cell(by_pair.get(pair))))
    say(_summary(result.pairs))
    lines = [
        _pair_line(pair)
        for pair in result.pairs
        if not pair.is_as_expected or (is_matrix and pair.path is None)
    ]
    for line in _listed(lines):
        say(line)


def _cell(pair: PairResult | None) -> str:
    if pair is None:
        return ""
    if pair.first_ping_s is None:
        text = "none"
    else:
        mark = {"relayed": "r", None: "-"}.get(pair.path, "")
        text = f"{pair.first_ping_s:.1f}{mark}"
    return text if pair.is_as_expected else f"{text}!"


def _summary(pairs: Sequence[PairResult]) -> str:
    times_s = sorted(pair.first_ping_s for pair in pairs if pair.first_ping_s is not None)
    paths = Counter(pair.path for pair in pairs)
    text = f"{len(times_s)} of {len(pairs)} pairs have pinged; now {paths['direct']} are direct"
    text += f", {paths['relayed']} relayed, {paths[None]} without a path"
    if times_s:
        text += f"; first ping after {median(times_s):.1f} s (median), {times_s[-1]:.1f} s (last)"
    return text


def _pair_line(pair: PairResult) -> str:
    can = {"direct": "could be direct", "relayed": "could be relayed"}.get(
        pair.best_path or "", "can have no path"
    )
    path = pair.path or "no path"
    reason = f": {pair.reason}" if pair.reason else ""
    pinged = f"{pair.received} of {pair.sent} pings came back"
    return f"{pair.source} → {pair.destination} ({can}): {path}{reason}; {pinged}"


def _listed(lines: Sequence[str]) -> Iterator[str]:
    """A list that nobody has to scroll through."""
    yield from lines[:LINES_MAX]
    if len(lines) > LINES_MAX:
        yield f"… and {len(lines) - LINES_MAX} more, which --json has"


def kernel_progress_text(progress: "Progress") -> str:
    """The same where seconds are real ones."""
    if not progress.virtual_s:
        return "daemons get ready"
    return (
        f"{progress.virtual_s:.0f} of {progress.duration_s:.0f} seconds, {progress.events} events, "
        f"{progress.pairs_connected} of {progress.pairs} pairs connected"
    )


def progress_text(progress: "Progress") -> str:
    """A run while it goes on, on one line."""
    speed = progress.virtual_s / progress.real_s if progress.real_s else 0.0
    return (
        f"{progress.virtual_s:.0f} of {progress.duration_s:.0f} virtual seconds, {speed:.0f} ×, "
        f"{progress.events} events, {progress.packets} packets, "
        f"{progress.pairs_connected} of {progress.pairs} pairs connected"
    )


class CountProgress:
    """Many runs while they go on, on one line. things: what is counted, as ``seeds``."""

    def __init__(self, line: ProgressLine, total: int, things: str) -> None:
        self._line = line
        self._total = total
        self._things = things
        self._done = 0
        self._failed = 0
        self._began_s = time.monotonic()
        self._show()

    def tell(self, *, is_ok: bool) -> None:
        """One more is finished."""
        self._done += 1
        self._failed += not is_ok
        self._show()

    def _show(self) -> None:
        real_s = time.monotonic() - self._began_s
        text = f"{bar(self._done, self._total)} {self._done} of {self._total} {self._things}"
        if self._done:
            left_s = real_s / self._done * (self._total - self._done)
            text += f", {self._failed} failed, {60 * self._done / real_s:.0f} a minute"
            text += f", {left_s:.0f} s left"
        self._line.show(text, real_s)


def show_swarm(console: Console, swarm: SwarmResult, replay_command: Callable[[int], str]) -> None:
    """The report of a swarm: what failed, and how to see it again."""
    say = PlainDisplay(console).say
    done, cpu_s = len(swarm.results), swarm.cpu_s
    interrupted = "" if swarm.is_complete else f" (interrupted; there were to be {swarm.seeds})"
    rate = f", {60 * done / cpu_s:.0f} seeds a CPU-minute" if cpu_s else ""
    say(f"{swarm.scenario}: {done} seeds in {swarm.real_s:.1f} s{rate}{interrupted}")
    if swarm.checks:
        looked = ", ".join(f"{name} {count}" for name, count in swarm.checks.items())
        say(f"checks looked: {looked}")
    left_out = sum(result.faults_left_out for result in swarm.results)
    if left_out:
        say(_left_out(left_out))
    failed = {result.seed: result for result in swarm.failed}
    for group in swarm.causes[:LINES_MAX]:
        say("")
        fastest = failed[group.fastest]
        say(f"seed {fastest.seed}: {_first_failure(fastest)}")
        say(f"  {replay_command(fastest.seed)}")
        if len(group.seeds) > 1:
            others = [str(seed) for seed in group.seeds if seed != fastest.seed]
            more = f", and {len(others) - LINES_MAX} more" if len(others) > LINES_MAX else ""
            say(f"  the same with seeds {', '.join(others[:LINES_MAX])}{more}")
    if len(swarm.causes) > LINES_MAX:
        say(f"\n… and {len(swarm.causes) - LINES_MAX} more causes, which --json has")
    if failed:
        say("")
    if done:
        causes = f", of {len(swarm.causes)} causes" if len(swarm.causes) > 1 else ""
        count = f"{len(failed)} of {done} failed{causes}" if failed else f"all {done} hold"
        say(f"{swarm.scenario}, seeds from {swarm.first_seed}: {count}")


def _first_failure(result: SeedResult) -> str:
    if result.failure:
        return result.failure
    more = result.violations_count - 1
    text = violation_line(result.violations[0]).strip()
    return f"{text}; and {more} more" if more else text


def show_grid(console: Console, grid: GridResult) -> None:
    """The report of a grid: every cell, and those that are not as the oracle has them."""
    say = PlainDisplay(console).say
    say("seconds to the first ping both ways, the first home on top; r where a relay carries it,")
    say("none where both sides say that there is no path, ! where the oracle has it otherwise")
    console.print(grid_table(grid.kinds, grid.cells))
    for cell in grid.disagreeing:
        say(str(cell))
    total = len(grid.kinds) ** 2
    interrupted = "" if grid.is_complete else f" (interrupted; there were to be {total})"
    say(f"{len(grid.cells)} cells in {grid.real_s:.1f} s, {grid.cpu_s:.1f} s of CPU{interrupted}")
    agreeing = len(grid.cells) - len(grid.disagreeing)
    say(f"{agreeing} of {len(grid.cells)} cells are as the oracle has them")
