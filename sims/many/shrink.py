"""A failing seed made small: the few machines and faults with which it still fails alike.

Delta debugging (Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", IEEE
TSE 28(2), 2002, algorithm ddmin), first over the machines, since a run costs the square of their
number, then over the faults; what is left is made plainer, and its times rounder.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import combinations, islice
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from sims.files.scenario_file import parse_scenario
from sims.files.scenario_text import scenario_text
from sims.many.causes import Cause, Causes
from sims.many.processes import JOB_TIME_MAX_S, run_in_processes
from sims.many.smaller import (
    plainer_faults,
    plainer_sites,
    rounded_times,
    with_duration,
    with_faults,
    with_machines,
)
from sims.model.result import RunResult, Until, Violation
from sims.model.scenario import DURATION_MIN_S, Scenario
from sims.running.churn import plan_faults
from sims.runtime.entropy import Entropy
from wice.errors import ConfigError

TIME_MAX_S: Final = 600.0
"""Real seconds, where nobody says."""

ROUNDS_MAX: Final = 3
"""What is plainer may let further faults go; in practice the second round finds nothing."""

TAILS_S: Final = (0.5, 6.0)
"""What a run needs after the moment of its violation: next to nothing, or a look of the checks."""

OTHER_SEEDS: Final = 12
"""Tried where something less fails alike, but only by chance."""

LUCK_PARTS_MAX: Final = 8
"""Of more, each would be left out with each of the other seeds in vain for too long."""

FEW: Final = 2
"""Where luck decides, taking one away at a time gets nowhere: so few are tried by themselves."""

FEW_RUNS_MAX: Final = 200

_MACHINES: Final = "machines"
_FAULTS: Final = "faults"
PARTS_MIN: Final = {_MACHINES: 2, _FAULTS: 1}
"""So few are few enough, whatever they are."""


class SoughtRun(Protocol):
    """``sims.running.run.run``, which ends where it has shown what is sought."""

    def __call__(self, scenario: Scenario, seed: int, *, until: Until) -> RunResult: ...


class DoesNotFailError(Exception):
    """There is nothing to shrink; says what came of the run instead."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """A cause that showed in a run, first at ``at_s``: the end, where a process died."""

    cause: Cause
    at_s: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shrunk:
    """before: with the faults of churn written out. after: what is left, and fails alike with
    ``seed``: that of before, or one close to it where fewer machines draw other luck.

    is_complete: whether there was time to try everything. is_interrupted: by Ctrl-C. runs: how
    many were judged.
    """

    seed_before: int
    seed: int
    before: Scenario
    after: Scenario
    sighting: Sighting
    is_complete: bool
    is_interrupted: bool
    runs: int
    real_s: float


@dataclass(frozen=True, slots=True)
class Step:
    """How far it is, for who watches."""

    runs: int
    scenario: Scenario
    real_s: float


class _TimeIsUpError(Exception):
    pass


class _Candidate(NamedTuple):
    text: str
    seed: int


def shrink(
    scenario: Scenario,
    seed: int,
    at_once: int,
    run: SoughtRun,
    tell: Callable[[Step], None],
    *,
    cause: Cause | None = None,
    check: str | None = None,
    time_max_s: float = TIME_MAX_S,
) -> Shrunk:
    """Make ``scenario`` as small as it can be and still fail of the same cause as with ``seed``.

    cause: the one to keep; None is that of the first violation, or of the first of ``check``. The
    result is the same whatever ``at_once`` is: of the candidates of a step, the first that fails is
    taken, not the fastest.
    Only where ``time_max_s`` real seconds are not enough does it depend on the machine. Raise
    DoesNotFailError; KeyboardInterrupt ends it as time does, once it is known to fail.
    """
    planned = replace(scenario, faults=plan_faults(scenario, Entropy(seed)), churn=())
    shrinker = _Shrinker(planned, seed, at_once, run, tell, time_max_s)
    return shrinker.shrink(cause, check)


class _Shrinker:
    """best: the smallest so far that fails as it should, and how it was seen to."""

    def __init__(
        self,
        scenario: Scenario,
        seed: int,
        at_once: int,
        run: SoughtRun,
        tell: Callable[[Step], None],
        time_max_s: float,
    ) -> None:
        self._before = self._best = scenario
        self._first_seed = self._seed = seed
        self._at_once = at_once
        self._run = run
        self._tell = tell
        self._causes = Causes(scenario)
        self._began_s = time.monotonic()
        self._ends_s = self._began_s + time_max_s
        self._sighting: Sighting
        self._cause: Cause | None = None
        self._check: str | None = None
        self._known: dict[_Candidate, Sighting | None] = {}
        """What came of each."""

    def shrink(self, cause: Cause | None, check: str | None) -> Shrunk:
        self._cause, self._check = cause, check
        self._reproduce()
        is_complete, is_interrupted = False, False
        try:
            self._shrink()
            is_complete = True
        except _TimeIsUpError:
            pass
        except KeyboardInterrupt:
            is_interrupted = True
        return Shrunk(
            seed_before=self._first_seed,
            seed=self._seed,
            before=self._before,
            after=self._best,
            sighting=self._sighting,
            is_complete=is_complete,
            is_interrupted=is_interrupted,
            runs=len(self._known),
            real_s=time.monotonic() - self._began_s,
        )

    def _reproduce(self) -> None:
        try:
            fails = self._take_first([self._before])
        except _TimeIsUpError:
            raise DoesNotFailError("it was not seen to fail in the time that it may take") from None
        if not fails:
            what = self._cause or self._check
            raise DoesNotFailError("nothing fails" + (f" so: {what}" if what else ""))
        self._cause = self._sighting.cause

    def _shrink(self) -> None:
        for _ in range(ROUNDS_MAX):
            before = self._best
            self._shorten()
            self._minimize_machines()
            self._minimize_faults()
            self._shorten()
            for plainer in (plainer_sites, plainer_faults, rounded_times):
                self._take_all(plainer)
            self._round_duration()
            if self._best == before:
                return

    def _shorten(self) -> None:
        """End the run soon after what it is about."""
        for tail_s in TAILS_S:
            duration_s = _ceiling(max(self._sighting.at_s + tail_s, DURATION_MIN_S))
            if duration_s < self._best.duration_s:
                shorter = list(with_duration(self._best, duration_s))
                if self._take_first(shorter):
                    return

    def _round_duration(self) -> None:
        whole_s = float(math.ceil(self._best.duration_s))
        self._take_first([replace(self._best, duration_s=whole_s)])

    def _minimize_machines(self) -> None:
        self._take_few(_MACHINES, self._named(self._parts(_MACHINES)))
        self._minimize(_MACHINES)

    def _minimize_faults(self) -> None:
        self._take_first([self._with(_FAULTS, [])])
        self._minimize(_FAULTS)
        if len(self._best.faults) > FEW and self._take_few(_FAULTS, []):
            self._minimize(_FAULTS)

    def _take_few(self, what: str, likely: Sequence[object]) -> bool:
        """See whether very few fail, with any seed; those that are likely to do among them."""
        others = [part for part in self._parts(what) if part not in likely]
        more = (
            added
            for count in range(max(FEW - len(likely), 0) + 1)
            for added in combinations(others, count)
        )
        few = [self._with(what, [*likely, *added]) for added in islice(more, FEW_RUNS_MAX)]
        seeds = self._other_seeds()[: FEW_RUNS_MAX // len(few)]
        return self._take_first(few) or self._take_first(few, seeds)

    def _minimize(self, what: str) -> None:
        """ddmin over machines or faults."""
        count = 2
        while len(parts := self._parts(what)) > 1:
            count = min(count, len(parts))
            chunks = _split(parts, count)
            rests = [[part for part in parts if part not in chunk] for chunk in chunks]
            some = [*chunks, *rests] if count > 2 else chunks
            if self._take_first([self._with(what, chosen) for chosen in some]):
                count = 2 if len(self._parts(what)) * 2 <= len(parts) else max(count - 1, 2)
            elif count == len(parts):
                if not self._take_with_luck(what):
                    return
            else:
                count *= 2

    def _take_with_luck(self, what: str) -> bool:
        """Leave one more out, and see whether it fails with another seed then."""
        parts = self._parts(what)
        if not PARTS_MIN[what] < len(parts) <= LUCK_PARTS_MAX:
            return False
        rests = ([each for each in parts if each != part] for part in parts)
        return self._take_first([self._with(what, rest) for rest in rests], self._other_seeds())

    def _other_seeds(self) -> Sequence[int]:
        return range(self._seed + 1, self._seed + 1 + OTHER_SEEDS)

    def _parts(self, what: str) -> list[object]:
        if what == _FAULTS:
            return list(self._best.faults)
        return [machine.name for machine in self._best.machines]

    def _named(self, names: Sequence[object]) -> list[object]:
        """The machines that the violation is about."""
        words = self._sighting.text.split()
        return [name for name in names if name in words]

    def _with(self, what: str, parts: Sequence[object]) -> Scenario:
        if what == _FAULTS:
            return with_faults(self._best, [each for each in self._best.faults if each in parts])
        return with_machines(self._best, [str(name) for name in parts])

    def _take_all(self, plainer: Callable[[Scenario], Iterator[Scenario]]) -> None:
        """Take plainer ones until none of them fails any more."""
        while self._take_first(plainer(self._best)):
            pass

    def _take_first(self, scenarios: Iterable[Scenario], seeds: Sequence[int] = ()) -> bool:
        """Make the first of ``scenarios`` that fails alike the best, and say whether one did.

        seeds: each is tried with each of these, or with that of the best.
        """
        candidates: dict[_Candidate, Scenario] = {}
        for scenario in scenarios:
            written = _written(scenario)
            if written is not None and (written[1] != self._best or not self._known):
                for seed in seeds or (self._seed,):
                    candidates.setdefault(_Candidate(written[0], seed), written[1])
        found = self._first(list(candidates))
        if found is None:
            return False
        sighting = self._known[found]
        assert sighting is not None
        self._best, self._seed, self._sighting = candidates[found], found.seed, sighting
        return True

    def _first(self, candidates: Sequence["_Candidate"]) -> "_Candidate | None":
        """The first that fails alike; those behind it may be left unjudged."""
        is_settled, found = self._settled(candidates)
        if is_settled:
            return found
        unknown = [index for index, each in enumerate(candidates) if each not in self._known]
        left_s = self._ends_s - time.monotonic()
        if left_s <= 0:
            raise _TimeIsUpError
        with closing(
            run_in_processes(
                lambda index: self._judge(candidates[index]),
                unknown,
                self._at_once,
                time_max_s=min(left_s, JOB_TIME_MAX_S),
            )
        ) as finished:
            for done in finished:
                if time.monotonic() >= self._ends_s:
                    raise _TimeIsUpError
                sightings = (
                    [Sighting(self._causes.of_failure(done.failure), math.inf, done.failure)]
                    if done.value is None
                    else done.value
                )
                self._known[candidates[done.job]] = self._matching(sightings)
                self._tell(Step(len(self._known), self._best, time.monotonic() - self._began_s))
                is_settled, found = self._settled(candidates)
                if is_settled:
                    return found
        raise AssertionError("all are judged")

    def _settled(self, candidates: Sequence["_Candidate"]) -> "tuple[bool, _Candidate | None]":
        """Whether it is known which is the first that fails, and which that is, if any."""
        for candidate in candidates:
            if candidate not in self._known:
                return False, None
            if self._known[candidate] is not None:
                return True, candidate
        return True, None

    def _judge(self, candidate: "_Candidate") -> list[Sighting]:
        """In a process of its own: what shows in a run of a candidate."""
        result = self._run(_read(candidate.text), candidate.seed, until=self._is_sought)
        if result.violations:
            return [self._sighted(violation) for violation in result.violations]
        if result.is_complete:
            return []
        return [Sighting(self._causes.of_failure(result.failure), result.virtual_s, result.failure)]

    def _is_sought(self, violation: Violation) -> bool:
        return self._matches(self._sighted(violation))

    def _sighted(self, violation: Violation) -> Sighting:
        cause = self._causes.of_violation(violation)
        return Sighting(cause, violation.at_s, f"{violation.subject} : {violation.detail}")

    def _matching(self, sightings: Sequence[Sighting]) -> Sighting | None:
        return next(filter(self._matches, sightings), None)

    def _matches(self, sighting: Sighting) -> bool:
        cause = sighting.cause
        return self._cause in (None, cause) and self._check in (None, cause.check)


def _written(scenario: Scenario) -> tuple[str, Scenario] | None:
    """Its text and what that says; None where it makes no sense. What is written is what is run."""
    try:
        text = scenario_text(scenario)
        return text, _read(text)
    except (ConfigError, ValueError):
        return None


def _read(text: str) -> Scenario:
    return parse_scenario(text, Path("candidate.toml"))


def _split(parts: Sequence[object], count: int) -> list[list[object]]:
    """Into so many chunks, as equal as can be."""
    size, larger = divmod(len(parts), count)
    each = iter(parts)
    return [list(islice(each, size + (index < larger))) for index in range(count)]


def _ceiling(time_s: float) -> float:
    return math.ceil(time_s * 10) / 10 if math.isfinite(time_s) else time_s
