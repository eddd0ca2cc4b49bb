"""Large meshes of real daemons that all start at once: speed, CPU, memory, packets.

Each run has a process of its own, forked from one that has imported everything. Run as
``python -m tests.bench scale``.
"""

from collections.abc import Iterator
from dataclasses import replace

from sims import Scenario
from sims.files.scenario_file import find_scenario, load_scenario
from sims.many.processes import JOB_TIME_MAX_S, preload, run_in_processes
from sims.model.result import RunResult
from sims.running.run import run
from tests.bench.report import Goal, Row

GROUP = "scale"
SEED = 1

HUNDRED = "community-100"
HUNDRED_SPEED_GOAL = Goal(1, is_least=True)
HUNDRED_MEMORY_GOAL = Goal(600)
"""In MB."""
HUNDRED_BEFORE = {
    "speed": "before: 0.75",
    "CPU": "before: 80",
    "memory": "before: 532 to 559",
    "packets": "before: 926,448",
}
"""The same mesh before per-packet work was looked into."""


THOUSAND = "community-1000"
THOUSAND_CPU_GOAL = Goal(300)
THOUSAND_MEMORY_GOAL = Goal(2_000)
"""In MB."""
THOUSAND_TIME_MAX_S = 3_600.0


def rows() -> Iterator[Row]:
    preload()
    yield from _hundred_rows()
    yield from _thousand_rows()


def _hundred_rows() -> Iterator[Row]:
    scenario = load_scenario(find_scenario(HUNDRED))
    result = run_alone(scenario)
    goals = {"speed": HUNDRED_SPEED_GOAL, "memory": HUNDRED_MEMORY_GOAL}
    yield from scale_rows("100 daemons", result, goals, HUNDRED_BEFORE)
    without_libp2p = run_alone(replace(scenario, overlay="in-process"))
    yield from scale_rows("100 daemons, overlay in-process", without_libp2p, {}, {})
    yield Row(
        GROUP,
        "100 daemons: CPU of the overlay",
        "%",
        [100 * (1 - without_libp2p.cpu_s / result.cpu_s)],
        note="py-libp2p, what is ours on it, and the packets of both",
    )


def _thousand_rows() -> Iterator[Row]:
    result = run_alone(load_scenario(find_scenario(THOUSAND)), THOUSAND_TIME_MAX_S)
    goals = {"memory": THOUSAND_MEMORY_GOAL, "CPU": THOUSAND_CPU_GOAL}
    yield from scale_rows("988 daemons, overlay in-process", result, goals, {})


def run_alone(scenario: Scenario, time_max_s: float = JOB_TIME_MAX_S) -> RunResult:
    """Run ``scenario`` once, which must hold, in a process of its own."""

    def work(seed: int) -> RunResult:
        return run(scenario, seed)

    finished = next(run_in_processes(work, [SEED], 1, time_max_s=time_max_s))
    assert finished.value is not None, finished.failure
    assert finished.value.is_ok, finished.value.violations
    return finished.value


def scale_rows(
    name: str, result: RunResult, goals: dict[str, Goal], before: dict[str, str]
) -> Iterator[Row]:
    """goals and before: by what is measured."""
    figures = {
        "speed": ("× real, on one core", result.virtual_s / result.cpu_s),
        "CPU": ("s", result.cpu_s),
        "memory": ("MB", result.memory_bytes / 1e6),
        "packets": ("", float(result.packets)),
    }
    prefix = f"{name}, {result.virtual_s:g} s, {len(result.pairs)} ordered pairs"
    for what, (unit, value) in figures.items():
        yield Row(GROUP, f"{prefix}: {what}", unit, [value], goals.get(what), before.get(what, ""))
