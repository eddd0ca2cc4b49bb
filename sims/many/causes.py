"""What runs that failed have in common: who would say the same of two has one cause."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sims.model.result import Violation
from sims.model.scenario import Scenario

if TYPE_CHECKING:
    from sims.many.swarm import SeedResult

PROCESS: Final = "process"
"""Stands for a check where there was no result to check."""

_ASIDE: Final = re.compile(r"\s*\([^()]*\)")
_QUOTED: Final = re.compile(r"""(?<!\w)b?(?:'[^']*'|"[^"]*")""")
_KEY: Final = re.compile(r"[A-Za-z0-9+/]{43}=")
_ADDRESS: Final = re.compile(
    r"(?:\b\d+(?:\.\d+){3}(?::\d+)?|\[?(?:[0-9a-f]{0,4}:){2,}[0-9a-f]{0,4}(?:\]:\d+)?)"
    r"(?: through a relay)?"
)
"""And the way there, which is as much by chance."""
_NUMBER: Final = re.compile(r"\b\d+(?:\.\d+)?\b")
_WORD: Final = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True, order=True)
class Cause:
    """check: its name. roles: whom it is about, by what they are. kind: what it says of them,
    without names, addresses and numbers, and without what it expects instead."""

    check: str
    roles: str
    kind: str

    def __str__(self) -> str:
        who = f", {self.roles}" if self.roles else ""
        return f"{self.check}{who}: {self.kind}"

    def as_json(self) -> dict[str, Any]:
        return {"check": self.check, "roles": self.roles, "kind": self.kind}


class Causes:
    """Names the causes of what runs of ``scenario``, or of a part of it, came to."""

    def __init__(self, scenario: Scenario) -> None:
        self._roles = dict.fromkeys(scenario.bootstrap_names, "bootstrap node")
        self._roles |= {machine.name: "machine" for machine in scenario.machines}
        self._places = {site.name: "site" for site in scenario.sites}

    def of_violation(self, violation: Violation) -> Cause:
        roles = _replaced(violation.subject, self._roles)
        return Cause(violation.check, roles, self._kind(violation.detail))

    def of_failure(self, failure: str) -> Cause:
        """Why there is no result: its process died, hung or raised."""
        return Cause(PROCESS, "", self._kind(failure))

    def of_seed(self, result: "SeedResult") -> Cause:
        """What came first; the rest may follow from it. The seed must have failed."""
        if result.violations:
            return self.of_violation(result.violations[0])
        return self.of_failure(result.failure)

    def _kind(self, detail: str) -> str:
        text = _QUOTED.sub("…", detail)
        while (shorter := _ASIDE.sub("", text)) != text:
            text = shorter
        # Behind a semicolon stands what should have been, and what else is known.
        text = text.partition(";")[0]
        text = _ADDRESS.sub("ADDRESS", _KEY.sub("KEY", text))
        text = _replaced(text, {**self._places, **self._roles})
        return " ".join(_NUMBER.sub("N", text).split())


@dataclass(frozen=True, slots=True)
class Group:
    """Seeds that failed of one cause. fastest: the one that did so after the least virtual time,
    of several the first."""

    cause: Cause
    seeds: tuple[int, ...]
    fastest: int

    def as_json(self) -> dict[str, Any]:
        return {**self.cause.as_json(), "seeds": list(self.seeds), "fastest": self.fastest}


def grouped(failed: "Iterable[SeedResult]", scenario: Scenario) -> tuple[Group, ...]:
    """Of failed seeds in their order: the cause that most have comes first."""
    causes = Causes(scenario)
    by_cause: dict[Cause, list[SeedResult]] = {}
    for result in failed:
        by_cause.setdefault(causes.of_seed(result), []).append(result)
    groups = [
        Group(cause, tuple(result.seed for result in results), _fastest(results))
        for cause, results in by_cause.items()
    ]
    return tuple(sorted(groups, key=lambda group: (-len(group.seeds), group.cause)))


def _fastest(results: "Sequence[SeedResult]") -> int:
    """Who can be replayed soonest; the time of this machine's clock would not be the same again."""
    return min(
        results,
        key=lambda result: (
            result.violations[0].at_s if result.violations else float("inf"),
            result.seed,
        ),
    ).seed


def _replaced(text: str, words: dict[str, str]) -> str:
    return _WORD.sub(lambda word: words.get(word[0], word[0]), text)
