"""What the simulator says of a mesh, kernel namespaces with daemon processes say too."""

from functools import partial
from pathlib import Path

import pytest

from sims.many.processes import run_in_processes
from sims.model.result import KERNEL, SIMULATOR, RunResult
from tests.kernel.agreement import SHIPPED, SMALL, connectivity, load, play_on_kernel, simulate

QUICK = ("port-restricted", "relayed", "one-lan")
AT_ONCE = 3


def on_both(labs: Path, name: str) -> tuple[RunResult, RunResult]:
    scenario = load(name)
    (simulated,) = simulate(scenario, [1])
    (played,) = play_on_kernel(scenario, [1], 1, labs)
    return simulated, played


def check_agreement(labs: Path, names: tuple[str, ...]) -> None:
    seen = {}
    for finished in run_in_processes(partial(on_both, labs), names, AT_ONCE):
        assert finished.value is not None, f"{finished.job}: {finished.failure}\n{finished.stderr}"
        seen[finished.job] = finished.value
    for name in names:
        simulated, played = seen[name]
        assert (simulated.engine, played.engine) == (SIMULATOR, KERNEL)
        assert not simulated.violations, name
        assert not played.violations, name
        assert connectivity(played) == connectivity(simulated), name
        assert all(pair.is_as_expected for pair in played.pairs), name


@pytest.mark.root
def test_both_engines_come_to_the_same_paths(labs: Path) -> None:
    check_agreement(labs, QUICK)


@pytest.mark.root
@pytest.mark.nightly
def test_both_engines_come_to_the_same_paths_in_all(labs: Path) -> None:
    check_agreement(labs, (*SMALL, *SHIPPED))
