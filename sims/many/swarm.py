"""One scenario under many seeds, a process each."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

from sims.many.causes import Group, grouped
from sims.many.coverage import GroupCoverage, coverage
from sims.many.processes import JOB_TIME_MAX_S, run_in_processes
from sims.many.stories import Stories
from sims.model.result import RunResult, Violation
from sims.model.scenario import OVERLAYS, Scenario

VIOLATIONS_KEPT_MAX: Final = 20
"""Of one seed; a replay shows all of them."""

Run = Callable[[Scenario, int], RunResult]
ListenedRun = Callable[[Scenario, int], tuple[RunResult, Stories]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedResult:
    """What is kept of the run of one seed.

    failure: why there is no result, empty if there is one; stderr: the last that its process
    said then. violations: the first ``VIOLATIONS_KEPT_MAX`` of violations_count. pairs_pinged:
    how many of ``pairs`` ordered pairs ever got an answer. stories: what happened, where the swarm
    listens. The others are those of ``RunResult``.
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
    stories: Stories = field(default_factory=dict)

    @property
    def is_ok(self) -> bool:
        return not self.failure and not self.violations_count

    def as_json(self) -> dict[str, Any]:
        fields = asdict(replace(self, stories={}))
        # The coverage of the swarm has them.
        del fields["stories"]
        return {"ok": self.is_ok, **fields}


@dataclass(frozen=True, slots=True, kw_only=True)
class SwarmResult:
    """results: of the seeds that are finished, in the order of seeds.

    seeds: how many there should be, from first_seed on. is_complete: False when it was
    interrupted; to stop at a failure, if so asked, is no interruption. real_s, cpu_s: of the
    whole, and of all runs together. causes: why the failed ones failed. has_listened: whether the
    stories of the seeds are known. overlay: as of a ``RunResult``.
    """

    scenario: str
    first_seed: int
    seeds: int
    is_complete: bool
    real_s: float
    results: tuple[SeedResult, ...]
    causes: tuple[Group, ...] = ()
    has_listened: bool = False
    overlay: str = OVERLAYS[0]

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

    @property
    def coverage(self) -> tuple[GroupCoverage, ...]:
        """What happened in all seeds together and what never did; nothing if nobody listened."""
        if not self.has_listened:
            return ()
        return coverage({result.seed: result.stories for result in self.results})

    def as_json(self) -> dict[str, Any]:
        heard = {"coverage": [group.as_json() for group in self.coverage]}
        return {
            "ok": self.is_ok,
            "scenario": self.scenario,
            "overlay": self.overlay,
            "first_seed": self.first_seed,
            "seeds": self.seeds,
            "is_complete": self.is_complete,
            "real_s": self.real_s,
            "cpu_s": self.cpu_s,
            "failed": [result.seed for result in self.failed],
            "causes": [group.as_json() for group in self.causes],
            "checks": self.checks,
            **(heard if self.has_listened else {}),
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
    listened: ListenedRun | None = None,
) -> SwarmResult:
    """Run ``scenario`` with each seed, ``at_once`` at a time, and ``tell`` each that is finished.

    listened: instead of ``run``, where stories are asked for.

    Ctrl-C ends it, and the first seed that fails if it ``stops_at_failure``; the result then has
    what was finished by then.
    """

    def work(seed: int) -> SeedResult:
        if listened is None:
            return _kept(run(scenario, seed))
        result, stories = listened(scenario, seed)
        return replace(_kept(result), stories=stories)

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
    in_order = tuple(results[seed] for seed in sorted(results))
    return SwarmResult(
        scenario=scenario.name,
        first_seed=first_seed,
        seeds=seeds,
        is_complete=is_complete,
        real_s=time.monotonic() - started_s,
        results=in_order,
        causes=grouped((result for result in in_order if not result.is_ok), scenario),
        has_listened=listened is not None,
        overlay=scenario.overlay,
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
