"""Faults of churn come from the seed alone, leave one another alone, and are over in time."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest

from sims import Churn, Crash, Fault, Machine, Scenario, Site
from sims.files.scenario_file import find_scenario, load_scenario
from sims.model.faults import FAULT_KINDS, KIND_NAMES, Lasting, MachineFault, Partition
from sims.model.nat import NAT_KINDS
from sims.model.presets import LINE_PRESETS
from sims.model.scenario_check import check_scenario
from sims.running.churn import asked_of_churn, plan_faults
from sims.running.run import run
from sims.runtime.entropy import Entropy
from tests.sims.results import a_scenario

SEEDS = range(20)


def scenario(*churn: Churn, faults: tuple[Fault, ...] = ()) -> Scenario:
    return Scenario(
        name="churned",
        duration_s=200,
        sites=tuple(
            Site(
                name=name,
                line=LINE_PRESETS["dsl"],
                nats=NAT_KINDS["full-cone"].nats,
                machines=(Machine(name=name, starts_at_s=5),),
            )
            for name in ("one", "two", "three", "four")
        ),
        churn=churn,
        faults=faults,
    )


def churn_of(*kinds: str, count: int = 10) -> Churn:
    return Churn(count=count, kinds=kinds, between_s=(10, 150), for_s=(1, 5))


EVERYTHING = churn_of(*FAULT_KINDS, count=30)


def made_by_churn(planned: Sequence[Fault], written: Sequence[Fault]) -> list[Fault]:
    return [fault for fault in planned if fault not in written]


def test_the_seed_alone_decides() -> None:
    made = {seed: plan_faults(scenario(EVERYTHING), Entropy(seed)) for seed in SEEDS}
    for seed in SEEDS:
        assert plan_faults(scenario(EVERYTHING), Entropy(seed)) == made[seed]
    assert len({repr(faults) for faults in made.values()}) == len(SEEDS)


@pytest.mark.parametrize("kind", FAULT_KINDS)
def test_every_kind_is_made_and_passes_the_check(kind: str) -> None:
    story = scenario(churn_of(kind, count=5))
    planned = plan_faults(story, Entropy(3))
    assert {KIND_NAMES[type(fault)] for fault in planned} == {kind}
    check_scenario(replace(story, churn=(), faults=planned))


def test_what_is_made_is_a_scenario_and_over_in_time() -> None:
    story = scenario(EVERYTHING)
    for seed in SEEDS:
        planned = plan_faults(story, Entropy(seed))
        assert len(planned) > 20
        check_scenario(replace(story, churn=(), faults=planned))
        assert [fault.at_s for fault in planned] == sorted(fault.at_s for fault in planned)
        assert all(10 <= fault.at_s <= 150 for fault in planned)
        assert all(
            fault.ends_at_s - fault.at_s + 1e-9 >= 1 and fault.ends_at_s <= 155
            for fault in planned
            if isinstance(fault, Lasting)
        )


def test_no_two_that_last_overlap_on_one_target() -> None:
    for seed in SEEDS:
        over_s: dict[tuple[bool, str], float] = {}
        for fault in plan_faults(scenario(EVERYTHING), Entropy(seed)):
            if isinstance(fault, Lasting):
                target = (
                    isinstance(fault, MachineFault),
                    "" if isinstance(fault, Partition) else fault.target,  # type: ignore[attr-defined]
                )
                assert fault.at_s >= over_s.get(target, 0)
                over_s[target] = fault.ends_at_s


def test_where_there_is_no_room_a_fault_is_left_out() -> None:
    story = scenario(
        Churn(count=500, kinds=("crash",), between_s=(10, 20), for_s=(5, 5)),
    )
    assert 4 <= len(plan_faults(story, Entropy(1))) <= 4 * 3 + 3
    assert asked_of_churn(story) == 500


def test_a_run_says_how_many_were_left_out() -> None:
    many = Churn(count=30, kinds=("stop",), between_s=(1, 2), for_s=(1, 1))
    result = run(replace(a_scenario(), duration_s=4, churn=(many,)), 1)
    assert result.faults + result.faults_left_out == 30
    assert 1 <= result.faults <= 4


def test_what_is_written_down_stays_and_is_not_disturbed() -> None:
    forever = tuple(Crash(at_s=0, target=name) for name in ("one", "two", "three"))
    story = scenario(churn_of("sleep"), faults=tuple(replace(each, at_s=6) for each in forever))
    for seed in SEEDS:
        planned = plan_faults(story, Entropy(seed))
        assert planned[:3] == story.faults
        made = made_by_churn(planned, story.faults)
        assert made
        assert {fault.target for fault in made} == {"four"}  # type: ignore[attr-defined]


def test_one_more_shifts_no_other() -> None:
    """What is drawn for one fault is nobody else's, be it of the same churn or of a later one."""
    first, second = churn_of("sleep", "link-down", count=6), churn_of("nat-reboot", count=3)
    for seed in SEEDS:
        few = Counter(map(repr, plan_faults(scenario(first, second), Entropy(seed))))
        longer = replace(first, count=8)
        more = Counter(map(repr, plan_faults(scenario(longer, second), Entropy(seed))))
        assert few <= more
        assert more.total() == few.total() + 2


def test_the_swarm_is_varied() -> None:
    story = load_scenario(find_scenario("swarm"))
    seen = Counter(
        KIND_NAMES[type(fault)]
        for seed in range(100)
        for fault in plan_faults(story, Entropy(seed))
    )
    assert set(seen) == set(FAULT_KINDS)
    assert min(seen.values()) >= 20
