"""One scenario under many seeds, a process each."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any, Final

from sims.many.processes import JOB_TIME_MAX_S, run_in_processes
from sims.model.result import RunResult, Violation
from sims.model.scenario import Scenario

VIOLATIONS_KEPT_MAX: Final = 20
"""Of one seed; a replay shows all of them."""

Run = Callable[[Scenario, int], RunResult]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedResult:
    """What is kept of the run of one seed.

    failure: why there is no result, empty if there is one; stderr: the last that its process
    said then. violations: the first ``VIOLATIONS_KEPT_MAX`` of violations_count. pairs_pinged:
    how many of ``pairs`` ordered pairs ever got an answer. The others are those of ``RunResult``.
    """

    seed: int
    failure: str = ""
    stderr: str = ""
    violations: tuple[Violation, ...] = ()
    violations_count: int = 0
    pairs: int = 0
    pairs_pinged: int = 0
    virtual_s: float = 0.0
    real_s: float = 0.0
    cpu_s: float = 0.0
    memory_bytes: int = 0
    packets: int = 0
    events: int = 0
    faults_left_out: int = 0
    checks: Mapping[str, int]
    trace_sha256: str = ""

    @property
    def is_ok(self) -> bool:
        return not self.failure and not self.violations_count

    def as_json(self) -> dict[str, Any]:
        return {"ok": self.is_ok, **asdict(self)}


@dataclass(frozen=True, slots=True, kw_only=True)
class SwarmResult:
    """results: of the seeds that are finished, in the order of seeds.

    seeds: how many there should be, from first_seed on. is_complete: False when it was
    interrupted; to stop at a failure, if so asked, is no interruption. real_s, cpu_s: of the
    whole, and of all runs together.
    """

    scenario: str
    first_seed: int
    seeds: int
    is_complete: bool
    real_s: float
    results: tuple[SeedResult, ...]

    @property
    def is_ok(self) -> bool:
        return self.is_complete and not self.failed

    @property
    def failed(self) -> tuple[SeedResult, ...]:
        return tuple(result for result in self.results if not result.is_ok)

    @property
    def cpu_s(self) -> float:
        return sum(result.cpu_s for result in self.results)

    @property
    def checks(self) -> dict[str, int]:
        """How often each check looked in all runs together."""
        looked: Counter[str] = Counter()
        for result in self.results:
            looked.update(result.checks)
        return dict(sorted(looked.items()))

    def as_json(self) -> dict[str, Any]:
        return {
            "ok": self.is_ok,
            "scenario": self.scenario,
            "first_seed": self.first_seed,
            "seeds": self.seeds,
            "is_complete": self.is_complete,
            "real_s": self.real_s,
            "cpu_s": self.cpu_s,
            "failed": [result.seed for result in self.failed],
            "checks": self.checks,
            "results": [result.as_json() for result in self.results],
        }


def run_swarm(
    scenario: Scenario,
    first_seed: int,
    seeds: int,
    at_once: int,
    run: Run,
    tell: Callable[[SeedResult], None],
    *,
    stops_at_failure: bool = False,
    time_max_s: float = JOB_TIME_MAX_S,
) -> SwarmResult:
    """Run ``scenario`` with each seed, ``at_once`` at a time, and ``tell`` each that is finished.

    Ctrl-C ends it, and the first seed that fails if it ``stops_at_failure``; the result then has
    what was finished by then.
    """

    def work(seed: int) -> SeedResult:
        return _kept(run(scenario, seed))

    started_s = time.monotonic()
    jobs = range(first_seed, first_seed + seeds)
    results: dict[int, SeedResult] = {}
    is_complete = False
    try:
        with closing(run_in_processes(work, jobs, at_once, time_max_s=time_max_s)) as finished:
            for done in finished:
                result = done.value or SeedResult(
                    seed=done.job, failure=done.failure, stderr=done.stderr, checks={}
                )
                results[done.job] = result
                tell(result)
                if stops_at_failure and not result.is_ok:
                    break
        is_complete = True
    except KeyboardInterrupt:
        pass
    return SwarmResult(
        scenario=scenario.name,
        first_seed=first_seed,
        seeds=seeds,
        is_complete=is_complete,
        real_s=time.monotonic() - started_s,
        results=tuple(results[seed] for seed in sorted(results)),
    )


def _failure(result: RunResult) -> str:
    if result.is_complete or result.failure:
        return result.failure
    return f"was interrupted after {result.virtual_s:.1f} s"


def _kept(result: RunResult) -> SeedResult:
    return SeedResult(
        seed=result.seed,
        failure=_failure(result),
        violations=result.violations[:VIOLATIONS_KEPT_MAX],
        violations_count=len(result.violations),
        pairs=len(result.pairs),
        pairs_pinged=sum(pair.first_ping_s is not None for pair in result.pairs),
        virtual_s=result.virtual_s,
        real_s=result.real_s,
        cpu_s=result.cpu_s,
        memory_bytes=result.memory_bytes,
        packets=result.packets,
        events=result.events,
        faults_left_out=result.faults_left_out,
        checks=dict(result.checks),
        trace_sha256=result.trace_sha256,
    )
