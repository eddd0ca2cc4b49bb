"""Many seeds, a process each."""

import json
import os
import signal

from sims.many.swarm import VIOLATIONS_KEPT_MAX, SeedResult, SwarmResult, run_swarm
from sims.model.result import RunResult
from sims.model.scenario import Scenario
from tests.sims.results import a_result, a_scenario, a_violation


def fake_run(scenario: Scenario, seed: int) -> RunResult:
    """Seed 13 finds something, seed 14 kills its process, 15 raises."""
    if seed == 13:
        found = tuple(a_violation(at_s=float(n)) for n in range(100))
        return a_result(scenario, seed, violations=found)
    if seed == 14:
        os.kill(os.getpid(), signal.SIGKILL)
    if seed == 15:
        raise AssertionError("this cannot be")
    return a_result(scenario, seed)


def swarm(first_seed: int, seeds: int, tell=lambda _: None, run=fake_run) -> SwarmResult:  # type: ignore[no-untyped-def]
    return run_swarm(a_scenario(), first_seed, seeds, 2, run, tell)


def test_every_seed_runs_and_results_are_in_their_order() -> None:
    told: list[SeedResult] = []
    result = swarm(5, 6, told.append)
    assert [one.seed for one in result.results] == [5, 6, 7, 8, 9, 10]
    assert sorted(one.seed for one in told) == [5, 6, 7, 8, 9, 10]
    assert result.is_ok
    assert result.checks == {"no-replay": 42, "task-alive": 0}
    first = result.results[0]
    assert first.trace_sha256 == f"{5:064x}"
    assert (first.pairs, first.pairs_pinged, first.virtual_s) == (2, 2, 30.0)


def test_seeds_fail_alone() -> None:
    result = swarm(12, 5)
    assert result.is_complete
    assert not result.is_ok
    assert [one.seed for one in result.failed] == [13, 14, 15]
    found, killed, raised = result.failed
    assert found.violations_count == 100
    assert len(found.violations) == VIOLATIONS_KEPT_MAX
    assert killed.failure == "was killed by SIGKILL"
    assert raised.failure == "ended with exit status 1: AssertionError: this cannot be"
    assert "fake_run" in raised.stderr


def test_it_stops_at_a_failure_if_asked() -> None:
    result = run_swarm(a_scenario(), 10, 1_000, 2, fake_run, lambda _: None, stops_at_failure=True)
    assert result.is_complete
    assert len(result.failed) == 1
    assert len(result.results) < 10


def test_a_run_that_was_not_completed_has_not_passed() -> None:
    result = swarm(1, 1, run=lambda *_: a_result(is_complete=False))
    assert not result.is_ok
    assert "interrupted" in result.failed[0].failure


def test_interrupted_it_keeps_what_is_finished() -> None:
    def tell(_: SeedResult) -> None:
        if len(told) == 2:
            raise KeyboardInterrupt
        told.append(_)

    told: list[SeedResult] = []
    result = swarm(1, 50, tell)
    assert not result.is_complete
    assert not result.is_ok
    assert not result.failed
    assert len(result.results) == 3


def test_the_json_says_everything() -> None:
    report = json.loads(json.dumps(swarm(12, 3).as_json()))
    assert report["ok"] is False
    assert report["is_complete"] is True
    assert report["failed"] == [13, 14]
    assert [one["ok"] for one in report["results"]] == [True, False, False]
    assert report["results"][1]["violations"][0]["check"] == "connected"
