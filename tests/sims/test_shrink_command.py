"""``wice sim shrink`` and ``swarm --shrink``: files, words and exit statuses."""

import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner, Result

from sims.commands.command import sim
from sims.commands.shrinking import _fault_words
from sims.files.scenario_file import load_scenario
from sims.many import processes
from sims.model.faults import AddressChange, NatReboot
from sims.model.result import RunResult, Until, Violation
from sims.model.scenario import Scenario
from tests.sims.results import a_result

MESH = """
[scenario]
duration_s = 60
[sites.home]
nat = "symmetric"
link = "dsl"
machines = ["nas", "laptop"]
[sites.flat]
machines = ["tv"]
[[faults]]
kind = "nat-reboot"
at_s = 5.25
target = "home"
[[faults]]
kind = "crash"
at_s = 9
target = "tv"
for_s = 3
"""


def run(
    scenario: Scenario, seed: int, *, trace_path: Path | None = None, until: Until | None = None
) -> RunResult:
    """With even seeds, a NAT that reboots with the laptop behind it is one violation."""
    if trace_path is not None:
        trace_path.touch()
    names = [machine.name for machine in scenario.machines]
    has_fault = any(isinstance(fault, NatReboot) for fault in scenario.faults)
    has_nat = any(site.nats for site in scenario.sites)
    fails = seed % 2 == 0 and "laptop" in names and has_fault and has_nat
    found = Violation(at_s=8.0, check="tunnels", subject="laptop", detail=f"silent for {seed} s")
    return a_result(scenario, seed, pairs=(), violations=(found,) if fails else ())


@pytest.fixture
def mesh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    runner = ModuleType("sims.running.run")
    runner.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sims.running.run", runner)
    monkeypatch.setattr(processes, "preload", lambda: None)
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "mesh.toml"
    file.write_text(MESH)
    return file


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(sim, arguments, catch_exceptions=False)


def test_a_small_scenario_is_written_with_where_it_is_from(mesh: Path) -> None:
    done = invoke("shrink", "./mesh.toml", "--seed", "4", "-o", "small.toml")
    assert done.exit_code == 0
    sentence = (
        "tunnels needs 1 of 3 machines (laptop), 1 of 2 faults (nat-reboot of home at 5 s) and "
        "9 of 60 s; matter: the NAT of home"
    )
    assert sentence in done.stdout
    assert "small.toml has it:\n  wice sim replay small.toml --seed 4\n" in done.stdout
    text = Path("small.toml").read_text()
    assert text.startswith("# Shrunk from ./mesh.toml, seed 4, where this fails:\n")
    assert f"# {sentence}\n" in text
    assert "`wice sim run small.toml --seed 4`" in text
    small = load_scenario(Path("small.toml"))
    assert [machine.name for machine in small.machines] == ["laptop"]
    assert small.faults == (NatReboot(at_s=5.0, target="home"),)


def test_what_an_address_change_changes_is_said() -> None:
    both = AddressChange(at_s=5.0, target="home")
    assert _fault_words(both) == "address-change of home at 5 s"
    one = replace(both, ip_version=6)
    assert _fault_words(one) == "address-change of home, IPv6, at 5 s"


def test_without_a_name_the_check_and_the_seed_are_it(mesh: Path) -> None:
    assert invoke("shrink", "./mesh.toml", "--seed", "2").exit_code == 0
    assert Path("mesh-tunnels-seed-2.toml").exists()


def test_on_standard_output_the_scenario_is_alone(mesh: Path) -> None:
    done = invoke("shrink", "./mesh.toml", "--seed", "2", "-o", "-")
    Path("again.toml").write_text(done.stdout)
    assert load_scenario(Path("again.toml")).duration_s == 9.0
    assert "tunnels needs" in done.stderr


def test_a_seed_that_holds_is_said_and_nothing_is_written(mesh: Path) -> None:
    done = invoke("shrink", "./mesh.toml", "--seed", "3", "-o", "small.toml")
    assert done.exit_code == 1
    assert "seed 3: nothing fails; see `wice sim run ./mesh.toml --seed 3`" in done.stderr
    assert not Path("small.toml").exists()


def test_a_check_that_there_is_not_is_no_seed_that_holds(mesh: Path) -> None:
    done = invoke("shrink", "./mesh.toml", "--seed", "2", "--check", "tunels")
    assert done.exit_code == 2
    assert "'tunels' is no check; did you mean tunnels?" in done.stderr


def test_a_file_that_cannot_be_written_is_said_before_anything_runs(mesh: Path) -> None:
    done = invoke("shrink", "./mesh.toml", "--seed", "2", "-o", "none/small.toml")
    assert done.exit_code == 2
    assert "'none/small.toml' cannot be written" in done.stderr


def test_a_full_disk_is_one_line(mesh: Path) -> None:
    done = invoke("shrink", "./mesh.toml", "--seed", "2", "-o", "/dev/full")
    assert done.exit_code == 1
    assert done.stderr == "wice: /dev/full cannot be written: No space left on device\n"


def test_a_swarm_shrinks_the_fastest_seed_of_each_cause(mesh: Path) -> None:
    done = invoke("swarm", "./mesh.toml", "--seeds", "6", "--shrink")
    assert done.exit_code == 1
    assert "the same with seeds 4, 6" in done.stdout
    assert "seed 2, tunnels, machine: silent for N s\n" in done.stdout
    assert [path.name for path in Path().glob("mesh-*.toml")] == ["mesh-tunnels-seed-2.toml"]


def test_a_swarm_that_shrinks_leaves_standard_output_to_the_json(mesh: Path) -> None:
    done = invoke("swarm", "./mesh.toml", "--seeds", "2", "--shrink", "--json", "-")
    assert done.stdout.startswith("{")
    assert "tunnels needs" in done.stderr


def test_a_swarm_lists_what_it_never_reached(mesh: Path) -> None:
    done = invoke("swarm", "./mesh.toml", "--seeds", "1", "--coverage")
    assert done.exit_code == 0
    assert "transitions of peers: 0 of" in done.stdout
    assert "never" in done.stdout
