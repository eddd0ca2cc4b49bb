"""Planted defects are shrunk to the few things that show them."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from sims.files.scenario_file import load_scenario
from tests.sims.test_planted_defects import (
    DEFECTS,
    SEEDS,
    Defect,
    copy_of_the_product,
    swarm,
)

FAULTS_MAX: Final = 3
MACHINES_MAX: Final = 4
TIME_MAX_S: Final = 120

OFTEN: Final = (
    "when a path is doubted, the next one is taken unchecked",
    "the window does not look at its bits",
)
"""The others take as long and differ little."""


def wice_sim(product: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "wice", "sim", *arguments],
        cwd=product,
        env={**os.environ, "PYTHONPATH": str(product)},
        capture_output=True,
        text=True,
    )


def checks_that_fail(product: Path, file: Path, seed: str) -> set[str]:
    done = wice_sim(product, "run", str(file), "--seed", seed, "--json", "-")
    assert done.returncode in (0, 1), done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return {violation["check"] for violation in report["violations"]}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_of_the_product(tmp_path_factory.mktemp("sound"))


@pytest.mark.parametrize(
    "defect",
    [
        pytest.param(
            defect, id=defect.name, marks=[pytest.mark.nightly] * (defect.name not in OFTEN)
        )
        for defect in DEFECTS
    ],
)
def test_a_planted_defect_becomes_small(defect: Defect, sound: Path, tmp_path: Path) -> None:
    broken = copy_of_the_product(tmp_path / "broken", defect.edits)
    report = swarm(broken, "--seeds", str(SEEDS), "--fail-fast")
    found = next(result for result in report["results"] if not result["ok"])
    file = tmp_path / "small.toml"
    assert defect.check in {violation["check"] for violation in found["violations"]}, found
    options = ("--seed", str(found["seed"]), "--check", defect.check, "-o", str(file))
    done = wice_sim(broken, "shrink", "swarm", *options, "--time-max-s", str(TIME_MAX_S))
    assert done.returncode == 0, done.stderr

    small = load_scenario(file)
    assert len(small.faults) <= FAULTS_MAX, done.stdout
    assert len(small.machines) <= MACHINES_MAX, done.stdout
    command = re.search(r"wice sim run \S+small\.toml --seed (\d+)", file.read_text())
    assert command is not None, file.read_text()
    assert defect.check in checks_that_fail(broken, file, command[1]), "it fails by itself"
    assert defect.check not in checks_that_fail(sound, file, command[1])
