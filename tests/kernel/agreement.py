"""One scenario on both engines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Final

from sims.files.scenario_file import find_scenario, load_scenario
from sims.kernel.run import run_on_kernel
from sims.lab.registry import LABS_DIRECTORY
from sims.many.processes import run_in_processes
from sims.model.result import RunResult
from sims.model.scenario import Expectation, Scenario
from sims.running.run import run

SCENARIOS: Final = Path(__file__).with_name("scenarios")
SMALL: Final = tuple(sorted(path.stem for path in SCENARIOS.glob("*.toml")))
TIMED: Final = tuple(name for name in SMALL if name != "many-faults")
"""Those in which no fault falls into the time to connect."""
SHIPPED: Final = ("two-homes", "cgnat", "udp-blocked")
SHIPPED_DURATION_S: Final = 8.0
"""Of those that come with the program, how they begin; no faults, which come later."""

Pair = tuple[str, str]


def load(name: str) -> Scenario:
    if name in SMALL:
        return load_scenario(SCENARIOS / f"{name}.toml")
    shipped = load_scenario(find_scenario(name))
    return replace(shipped, duration_s=SHIPPED_DURATION_S, faults=(), expect=Expectation())


def simulate(scenario: Scenario, seeds: Sequence[int]) -> list[RunResult]:
    """A process each, as libraries keep things of a run."""

    def work(seed: int) -> RunResult:
        return run(scenario, seed)

    return _results(work, seeds, at_once=1)


def play_on_kernel(
    scenario: Scenario, seeds: Sequence[int], at_once: int, labs: Path = LABS_DIRECTORY
) -> list[RunResult]:
    def work(seed: int) -> RunResult:
        return run_on_kernel(scenario, seed, labs=labs)

    return _results(work, seeds, at_once=at_once)


def _results(work: object, seeds: Sequence[int], at_once: int) -> list[RunResult]:
    assert callable(work)
    results = {}
    for finished in run_in_processes(work, seeds, at_once):
        assert finished.value is not None, f"{finished.failure}\n{finished.stderr}"
        results[finished.job] = finished.value
    return [results[seed] for seed in seeds]


@dataclass(frozen=True)
class Connectivity:
    """What came of a pair: its path at the end, and whether it ever pinged."""

    path: str | None
    has_pinged: bool


def connectivity(result: RunResult) -> Mapping[Pair, Connectivity]:
    return {
        (pair.source, pair.destination): Connectivity(pair.path, pair.first_ping_s is not None)
        for pair in result.pairs
    }


def first_ping_s(result: RunResult) -> float:
    """The median of all pairs that can have a path."""
    times_s = [pair.first_ping_s for pair in result.pairs if pair.first_ping_s is not None]
    return median(times_s)
