"""How long the same meshes take to connect in the simulator and on kernel namespaces.

From the start of the daemons, whose processes have imported everything before. Run as root,
``python -m tests.bench engines``; ``WICE_BENCH_ROUNDS`` says how often.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from statistics import median

from sims.lab.requirements import missing
from sims.many.processes import preload
from sims.model.result import RunResult
from tests.bench.report import Row
from tests.kernel.agreement import (
    SHIPPED,
    TIMED,
    connectivity,
    first_ping_s,
    load,
    play_on_kernel,
    simulate,
)

ROUNDS = int(os.environ.get("WICE_BENCH_ROUNDS", "1"))
"""Runs of each; a round takes three minutes, as kernels have real seconds."""
MANY_AT_ONCE: Mapping[str, int] = {"lossy-line": 3}
"""Runs a round, side by side, where chance decides."""


def rows() -> Iterator[Row]:
    if lacking := missing():
        yield Row("engines", "both engines", "s", skipped=lacking)
        return
    preload()
    for name in (*TIMED, *SHIPPED):
        yield from _rows(name)


def _rows(name: str) -> Iterator[Row]:
    at_once = MANY_AT_ONCE.get(name, 1)
    scenario, seeds = load(name), range(1, ROUNDS * at_once + 1)
    simulated = simulate(scenario, seeds)
    played = play_on_kernel(scenario, seeds, at_once)
    ratio = median(map(first_ping_s, played)) / median(map(first_ping_s, simulated))
    yield _row(f"{name}: first ping, simulator", simulated, _paths(simulated))
    note = f"{_paths(played)}; {ratio:.2f} × the simulator's"
    yield _row(f"{name}: first ping, kernel", played, note)


def _row(name: str, results: Sequence[RunResult], note: str) -> Row:
    assert not any(result.violations for result in results), results[0].violations
    return Row("engines", name, "s", [first_ping_s(result) for result in results], note=note)


def _paths(results: Sequence[RunResult]) -> str:
    """How many ordered pairs have which path, which is the same in all."""
    (first, *others) = map(connectivity, results)
    assert all(other == first for other in others)
    paths = [pair.path or "without a path" for pair in first.values()]
    return ", ".join(f"{paths.count(path)} {path}" for path in dict.fromkeys(paths))
