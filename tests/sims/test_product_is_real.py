"""The simulator runs the product: it knows of no simulation, and nothing of it is replaced."""

import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from trio._core import _run

import p2p
import wice
from sims import Scenario, Site
from sims.model.link import LineModel, LinkModel
from sims.model.nat import NAT_KINDS
from sims.model.scenario import Machine
from sims.running.progress import Progress
from sims.running.run import run
from sims.runtime.substitutes import REPLACED

PRODUCT = ("wice", "p2p")
WITH_MEMBERS = (*PRODUCT, "cryptography", "libp2p", "noise")
"""In whose classes every member is looked at."""

PRIVATE_PARTS_OF_TRIO = {
    "trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING",
    "trio._core._run._r",
}


def test_product_code_has_no_branch_on_simulation() -> None:
    branch = re.compile(r"\b(?:if|elif|while|assert|match|case)\b.*(?:sims?\b|simul|virtual)", re.I)
    imports = re.compile(r"\b(?:import|from)\s+sims\b")
    found = [
        f"{path}:{number}: {line}"
        for package in (wice, p2p)
        for path in sorted(Path(package.__path__[0]).rglob("*.py"))
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if branch.search(line) or imports.search(line)
    ]
    assert found == []


def test_a_run_replaces_what_it_says_and_nothing_of_the_product(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    replaced: set[str] = set()

    def look(_progress: Progress) -> None:
        during = dict(_parts())
        replaced.update(name for name, part in before.items() if during.get(name) is not part)

    line = LineModel(LinkModel(latency_s=0.01), LinkModel(latency_s=0.01))
    scenario = Scenario(
        name="two-homes",
        duration_s=10,
        sites=tuple(
            Site(
                name=f"home-{name}",
                line=line,
                nats=NAT_KINDS["port-restricted"].nats,
                machines=(Machine(name=name),),
            )
            for name in ("alice", "bob")
        ),
    )
    run(scenario, 1)  # loads whatever is loaded late
    # hypothesis may have asked for trio's known order already; without it a run has to.
    monkeypatch.setattr(_run, "_ALLOW_DETERMINISTIC_SCHEDULING", False)
    before = dict(_parts())
    result = run(scenario, 1, progress=look)
    assert result.is_ok, result.violations
    assert replaced == set(REPLACED) | PRIVATE_PARTS_OF_TRIO


def _parts() -> Iterator[tuple[str, Any]]:
    """Every function and class of every loaded module but the simulator's, by name.

    Of some packages also the members of classes, where those are defined.
    """
    for module_name, module in list(sys.modules.items()):
        if not isinstance(module, types.ModuleType) or module_name.partition(".")[0] == "sims":
            continue
        for name, value in list(vars(module).items()):
            place = f"{module_name}.{name}"
            if not callable(value) and place not in PRIVATE_PARTS_OF_TRIO:
                continue
            yield place, value
            if (
                isinstance(value, type)
                and value.__module__ == module_name
                and module_name.partition(".")[0] in WITH_MEMBERS
            ):
                for attribute, member in list(vars(value).items()):
                    if callable(member) or isinstance(
                        member, property | staticmethod | classmethod
                    ):
                        yield f"{place}.{attribute}", member
