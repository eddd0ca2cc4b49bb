"""How long the same meshes take to connect in the simulator and on kernel namespaces.

From the start of the daemons, whose processes have imported everything before. Run as root,
``python -m tests.bench engines``.
"""

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

SEEDS = (1, 2, 3)
MANY_SEEDS: Mapping[str, Sequence[int]] = {"lossy-line": tuple(range(1, 10))}
"""Where chance decides."""
MANY_AT_ONCE = 3


def rows() -> Iterator[Row]:
    if lacking := missing():
        yield Row("engines", "both engines", "s", skipped=lacking)
        return
    preload()
    for name in (*TIMED, *SHIPPED):
        yield from _rows(name)


def _rows(name: str) -> Iterator[Row]:
    scenario, seeds = load(name), MANY_SEEDS.get(name, SEEDS)
    simulated = simulate(scenario, seeds)
    played = play_on_kernel(scenario, seeds, MANY_AT_ONCE if name in MANY_SEEDS else 1)
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
