"""Scenarios written as files: what is read back is what was written."""

from dataclasses import replace
from pathlib import Path

import pytest

from sims.files.scenario_file import find_scenario, load_scenario, parse_scenario, scenario_names
from sims.files.scenario_text import scenario_text
from sims.model.faults import Degrade
from sims.model.link import LineModel, LinkModel
from sims.model.nat import Firewall, NatModel
from sims.model.scenario import Scenario
from sims.running.churn import plan_faults
from sims.runtime.entropy import Entropy

FILE = Path("written.toml")


def written_and_read(scenario: Scenario) -> Scenario:
    return parse_scenario(scenario_text(scenario), FILE)


@pytest.mark.parametrize("name", scenario_names())
def test_every_scenario_comes_back_as_it_was(name: str) -> None:
    scenario = load_scenario(find_scenario(name))
    assert written_and_read(scenario) == scenario


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("name", ["swarm", "churn", "dual-stack"])
def test_faults_of_churn_can_be_written_down(name: str, seed: int) -> None:
    scenario = load_scenario(find_scenario(name))
    planned = replace(scenario, faults=plan_faults(scenario, Entropy(seed)), churn=())
    text = scenario_text(planned)
    read = parse_scenario(text, FILE)
    assert len(read.faults) == len(planned.faults)
    assert scenario_text(read) == text, "milliseconds lose a last digit once, and no more"


def two_homes() -> Scenario:
    return load_scenario(find_scenario("two-homes"))


def test_what_no_scenario_of_ours_has_comes_back_too() -> None:
    scenario = two_homes()
    one, other = scenario.sites
    one = replace(
        one,
        nats=(NatModel(hairpins=True), NatModel(lifetime_s=7.5)),
        firewall=Firewall.UDP_BLOCKED,
        line=LineModel(up=None, down=LinkModel(latencies_s=(0.002, 0.5))),
        lan=LinkModel(mtu_bytes=1_400),
    )
    machine = replace(
        other.machines[0], starts_at_s=1.5, clock_offset_s=-3.0, peers=(one.machines[0].name,)
    )
    other = replace(other, machines=(machine,), is_isolating=True, behind=one.name)
    pair = (one.machines[0].name, machine.name)
    changed = replace(
        scenario,
        sites=(one, other),
        ip_versions=(4, 6),
        has_relay=False,
        bootstraps=2,
        overlay="in-process",
        expect=replace(scenario.expect, all_pairs_connected_by_s=None, unreachable=(pair,)),
    )
    assert written_and_read(changed) == changed


def test_a_comment_stands_above() -> None:
    text = scenario_text(two_homes(), ["why", "", "  when\nand \x1b \udcff"])
    assert text.startswith("# why\n#\n#   when and \\x1b \\udcff\n\n[scenario]\n")
    assert parse_scenario(text, FILE) == two_homes()


def test_what_no_file_can_say_is_refused() -> None:
    scenario = two_homes()
    site = scenario.sites[0]
    unlimited = LineModel(up=LinkModel(), down=LinkModel())
    fault = Degrade(at_s=1.0, target=site.name, line=unlimited)
    with pytest.raises(ValueError, match="no rate"):
        scenario_text(replace(scenario, faults=(fault,)))
