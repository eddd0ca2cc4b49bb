"""Failing seeds made small, by a runner that knows what matters."""

import os
import signal
from collections.abc import Callable
from dataclasses import replace

import pytest

from sims.files.scenario_file import find_scenario, load_scenario
from sims.many.causes import PROCESS, Causes
from sims.many.shrink import DoesNotFailError, Shrunk, SoughtRun, shrink
from sims.many.smaller import PLAIN_LINE, with_machines
from sims.model.faults import Crash, Move, NatReboot, Partition
from sims.model.nat import NatModel
from sims.model.result import RunResult, Until, Violation
from sims.model.scenario import Scenario
from sims.running.churn import plan_faults
from sims.runtime.entropy import Entropy
from tests.sims.results import a_result, a_scenario

SWARM = load_scenario(find_scenario("swarm"))
SEED = 3

Fails = Callable[[Scenario, int], bool]


def a_run(fails: Fails, at_s: float = 20.0) -> SoughtRun:
    """Finds something with who and what ``fails`` says, at ``at_s``."""

    def run(scenario: Scenario, seed: int, *, until: Until) -> RunResult:
        names = [machine.name for machine in scenario.machines]
        found = Violation(at_s=at_s, check="tunnels", subject=names[0], detail="silent for 3 s")
        other = replace(found, check="bounds")
        has_found = scenario.duration_s > at_s and fails(scenario, seed)
        return a_result(scenario, seed, pairs=(), violations=(found,) if has_found else (other,))

    return run


def shrunk(fails: Fails, scenario: Scenario = SWARM, at_once: int = 2) -> Shrunk:
    cause = Causes(scenario).of_violation(
        Violation(at_s=0.0, check="tunnels", subject="home", detail="silent for 3 s")
    )
    return shrink(scenario, SEED, at_once, a_run(fails), lambda _: None, cause=cause)


def names_of(scenario: Scenario) -> set[str]:
    return {machine.name for machine in scenario.machines}


def test_what_matters_is_left() -> None:
    kinds = {type(fault) for fault in plan_faults(SWARM, Entropy(SEED))}
    wanted = sorted(kinds, key=lambda kind: kind.__name__)[:2]

    def fails(scenario: Scenario, _seed: int) -> bool:
        has_faults = all(any(isinstance(f, kind) for f in scenario.faults) for kind in wanted)
        return has_faults and len(scenario.machines) >= 2

    result = shrunk(fails)
    assert len(result.after.machines) == 2
    assert len(result.after.faults) == 2
    assert {type(fault) for fault in result.after.faults} == set(wanted)
    assert result.after.duration_s == 21.0
    assert all(site.line == PLAIN_LINE and not site.nats for site in result.after.sites)
    assert all(fault.at_s == round(fault.at_s) for fault in result.after.faults)
    assert not result.after.churn
    assert result.is_complete
    assert result.seed == result.seed_before == SEED


def test_what_fails_in_any_case_has_no_faults_left() -> None:
    result = shrunk(lambda *_: True)
    assert len(result.after.machines) == 1
    assert result.after.faults == ()


def test_a_line_and_a_nat_that_matter_stay() -> None:
    def fails(scenario: Scenario, _seed: int) -> bool:
        sites = {site.name: site for site in scenario.sites}
        flat = sites.get("flat")
        up = flat.line.up if flat else None
        return bool(flat and flat.machines and flat.nats and up and up.loss > 0)

    after = shrunk(fails).after
    (site,) = after.sites
    assert site.line.up is not None
    assert site.line.up.loss == 0.03
    assert site.nats == (NatModel(),)


def test_the_result_does_not_depend_on_how_many_run_at_once() -> None:
    def fails(scenario: Scenario, seed: int) -> bool:
        return len(scenario.faults) > 1 or (not scenario.faults and seed % 4 == 2)

    one, many = shrunk(fails, at_once=1), shrunk(fails, at_once=5)
    assert one.after == many.after
    assert one.seed == many.seed


def test_with_other_luck_the_machines_of_the_violation_are_enough() -> None:
    def fails(scenario: Scenario, seed: int) -> bool:
        return len(scenario.machines) == 12 or (names_of(scenario) == {"pc-1"} and seed > SEED)

    result = shrink(a_scenario(12), SEED, 2, a_run(fails), lambda _: None)
    assert names_of(result.after) == {"pc-1"}
    assert (result.seed_before, result.seed) == (SEED, SEED + 1)


def test_with_other_luck_one_machine_more_than_that_of_the_violation_is_enough() -> None:
    def fails(scenario: Scenario, seed: int) -> bool:
        names = names_of(scenario)
        return len(names) == 12 or (names == {"pc-1", "pc-7"} and seed == SEED + 3)

    result = shrink(a_scenario(12), SEED, 2, a_run(fails), lambda _: None)
    assert names_of(result.after) == {"pc-1", "pc-7"}
    assert result.seed == SEED + 3


def test_with_other_luck_two_of_many_faults_are_enough() -> None:
    planned = plan_faults(SWARM, Entropy(SEED))
    wanted = [planned[0].at_s, planned[9].at_s]

    def fails(scenario: Scenario, seed: int) -> bool:
        times_s = [fault.at_s for fault in scenario.faults]
        is_little = times_s == wanted and seed > SEED
        is_much = len(times_s) > 12 and set(wanted) <= set(times_s)
        return len(scenario.machines) == 5 and (is_much or is_little)

    result = shrunk(fails)
    assert [fault.at_s for fault in result.after.faults] == wanted
    assert result.seed > SEED


def test_with_other_luck_one_fault_less_is_enough() -> None:
    def fails(scenario: Scenario, seed: int) -> bool:
        return len(scenario.faults) >= 4 - (seed - SEED) // 5

    result = shrunk(fails)
    assert len(result.after.faults) <= 2
    assert result.seed > result.seed_before


def test_another_violation_is_not_the_same() -> None:
    with pytest.raises(DoesNotFailError, match="tunnels"):
        shrunk(lambda *_: False)


def test_without_any_violation_there_is_nothing_to_shrink() -> None:
    with pytest.raises(DoesNotFailError, match="nothing fails"):
        shrink(SWARM, SEED, 2, lambda *_, **__: a_result(), lambda _: None)


def test_the_check_to_keep_can_be_named() -> None:
    run = a_run(lambda scenario, _: len(scenario.machines) >= 2)

    def both(scenario: Scenario, seed: int, *, until: Until) -> RunResult:
        result = run(scenario, seed, until=until)
        first = replace(result.violations[0], check="replays", at_s=1.0)
        return replace(result, violations=(first, *result.violations))

    result = shrink(SWARM, SEED, 2, both, lambda _: None, check="tunnels")
    assert result.sighting.cause.check == "tunnels"
    assert len(result.after.machines) == 2
    with pytest.raises(DoesNotFailError, match="so: cleartext"):
        shrink(SWARM, SEED, 2, both, lambda _: None, check="cleartext")


def test_a_run_may_end_with_what_is_sought_and_with_nothing_else() -> None:
    other, found = (
        Violation(at_s=1.0, check=check, subject="home", detail="silent for 3 s")
        for check in ("bounds", "tunnels")
    )

    def run(scenario: Scenario, seed: int, *, until: Until) -> RunResult:
        seen = [other, found, other] if len(scenario.machines) >= 2 else [other]
        sought = [index for index, violation in enumerate(seen) if until(violation)]
        until_then = seen[: sought[0] + 1] if sought else []
        return a_result(scenario, seed, pairs=(), violations=tuple(until_then))

    result = shrink(SWARM, SEED, 2, run, lambda _: None, check="tunnels")
    assert len(result.after.machines) == 2
    result = shrink(SWARM, SEED, 2, run, lambda _: None)
    assert (result.sighting.cause.check, len(result.after.machines)) == ("bounds", 1)


def test_a_process_that_dies_is_a_failure_too() -> None:
    def run(scenario: Scenario, seed: int, *, until: Until) -> RunResult:
        if "phone" in names_of(scenario):
            os.kill(os.getpid(), signal.SIGKILL)
        return a_result(scenario, seed)

    result = shrink(SWARM, SEED, 2, run, lambda _: None)
    assert names_of(result.after) == {"phone"}
    assert result.sighting.cause.check == PROCESS
    assert result.after.duration_s == SWARM.duration_s, "nobody knows when it died"


def test_what_is_found_until_time_is_up_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [0.0]
    monkeypatch.setattr("sims.many.shrink.time.monotonic", lambda: now_s[0])

    def tell(step: object) -> None:
        now_s[0] += 1.0

    run = a_run(lambda *_: True)
    result = shrink(SWARM, SEED, 1, run, tell, time_max_s=2.5)
    assert not result.is_complete
    assert result.runs == 3
    assert result.after.duration_s < SWARM.duration_s


def test_who_is_gone_is_in_no_fault_and_no_expectation() -> None:
    scenario = a_scenario(4)
    faults = (
        Crash(at_s=1.0, target="pc-1"),
        Crash(at_s=1.0, target="bootstrap-1"),
        NatReboot(at_s=2.0, target="home-2"),
        Move(at_s=3.0, target="pc-3", to="home-4"),
        Partition(at_s=4.0, one=("home-1", "home-3"), other=("home-2", "home-4")),
        Partition(at_s=5.0, one=("home-1",), other=("home-4",)),
    )
    expect = replace(scenario.expect, unreachable=(("pc-1", "pc-3"), ("pc-2", "pc-3")))
    small = with_machines(replace(scenario, faults=faults, expect=expect), ["pc-2", "pc-3"])
    assert [site.name for site in small.sites] == ["home-2", "home-3", "home-4"]
    assert small.faults == (
        *faults[1:4],
        Partition(at_s=4.0, one=("home-3",), other=("home-2", "home-4")),
    )
    assert small.expect.unreachable == (("pc-2", "pc-3"),)


def test_who_is_gone_is_nobody_s_peer() -> None:
    scenario = a_scenario(3)
    site = scenario.sites[0]
    knows = replace(site.machines[0], peers=("pc-2", "pc-3"))
    listed = replace(scenario, sites=(replace(site, machines=(knows,)), *scenario.sites[1:]))
    small = with_machines(listed, ["pc-1", "pc-3"])
    assert small.machines[0].peers == ("pc-3",)
