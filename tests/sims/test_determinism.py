"""The same seed makes the same trace, byte for byte, in whatever process; and every run holds."""

import os
import subprocess
import sys
from itertools import zip_longest
from pathlib import Path

import pytest

from sims.files.scenario_file import find_scenario, load_scenario, scenario_names
from sims.many.processes import processors
from sims.model.faults import FAULT_KINDS
from sims.running.churn import plan_faults
from sims.runtime.entropy import Entropy

ROOT = Path(__file__).parents[2]

HASH_SEEDS = ("1", "2")
"""Each makes another order of every set."""

SWARM = tuple(f"swarm:{seed}" for seed in range(1, 21))
"""Five daemons, and among twenty seeds faults of every kind."""

SMALL = tuple(
    f"{name}:2" for name in scenario_names() if not name.startswith(("swarm", "community-"))
)

IN_PROCESS = tuple(f"swarm:{seed}:in-process" for seed in range(1, 9))
"""The same where no overlay is simulated."""

RUNS = (*SWARM, *SMALL, *IN_PROCESS)


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two directories with the same runs, from interpreters that have nothing in common."""
    directories = tuple(tmp_path_factory.mktemp(f"hash-seed-{seed}") for seed in HASH_SEEDS)
    at_once = str(max(1, processors() // len(HASH_SEEDS)))
    interpreters = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.sims.write_traces", directory, at_once, *RUNS],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for directory, hash_seed in zip(directories, HASH_SEEDS, strict=True)
    ]
    try:
        for interpreter in interpreters:
            said, _ = interpreter.communicate()
            assert interpreter.returncode == 0, said
    finally:
        for interpreter in interpreters:
            interpreter.kill()
            interpreter.wait()
    one, other = directories
    return one, other


@pytest.mark.parametrize("name", RUNS)
def test_the_same_seed_makes_the_same_trace(traces: tuple[Path, Path], name: str) -> None:
    one, other = ((directory / name).read_bytes() for directory in traces)
    assert one.count(b"\n") > 100
    assert one == other, _first_difference(one, other)


def test_twenty_seeds_have_faults_of_every_kind() -> None:
    swarm = load_scenario(find_scenario("swarm"))
    planned = {type(fault) for seed in range(1, 21) for fault in plan_faults(swarm, Entropy(seed))}
    assert planned == set(FAULT_KINDS.values())


def test_another_seed_makes_another_trace(traces: tuple[Path, Path]) -> None:
    assert len({(traces[0] / name).read_bytes() for name in SWARM}) == len(SWARM)


def _first_difference(one: bytes, other: bytes) -> str:
    lines = zip_longest(one.splitlines(), other.splitlines())
    for number, (here, there) in enumerate(lines, start=1):
        if here != there:
            return f"line {number}:\n{here!r}\n{there!r}"
    return "the last line ends otherwise"
