"""What a report is made from, looked up by pair and by machine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from sims.model.result import PairResult, RunResult, Violation
from sims.model.story import PairStory, PathChange, RunStory
from sims.oracle import DIRECT, RELAYED

PATHS: tuple[str | None, ...] = (DIRECT, RELAYED, None)
"""Best first."""


@dataclass(frozen=True)
class RunData:
    """commands: to see the run again, each with what it is for."""

    result: RunResult
    story: RunStory
    commands: tuple[tuple[str, str], ...] = ()

    @cached_property
    def machines(self) -> tuple[str, ...]:
        return tuple(machine.name for machine in self.story.scenario.machines)

    @cached_property
    def site_of(self) -> Mapping[str, str]:
        sites = self.story.scenario.sites
        return {machine.name: site.name for site in sites for machine in site.machines}

    @cached_property
    def pairs(self) -> Mapping[tuple[str, str], PairResult]:
        return {(pair.source, pair.destination): pair for pair in self.result.pairs}

    @cached_property
    def stories(self) -> Mapping[tuple[str, str], PairStory]:
        return {(pair.source, pair.destination): pair for pair in self.story.pairs}

    @cached_property
    def unordered_pairs(self) -> Sequence[tuple[str, str]]:
        order = {name: number for number, name in enumerate(self.machines)}
        return [pair for pair in self.pairs if order[pair[0]] < order[pair[1]]]

    def path_of(self, one: str, other: str) -> str | None:
        """The worse of what both sides have at the end."""
        paths = [self.pairs[pair].path for pair in ((one, other), (other, one))]
        return max(paths, key=PATHS.index)

    def last_change(self, source: str, destination: str) -> PathChange | None:
        changes = self.stories[source, destination].changes
        return changes[-1] if changes else None

    def relay_of(self, one: str, other: str) -> str:
        """The node through which a relayed pair talks, empty where nobody said."""
        changes = (self.last_change(one, other), self.last_change(other, one))
        return next((change.relay for change in changes if change and change.relay), "")

    @cached_property
    def violations_of(self) -> Mapping[str, Sequence[Violation]]:
        """By the machines that they name."""
        found: dict[str, list[Violation]] = {name: [] for name in self.machines}
        for violation in self.result.violations:
            for word in dict.fromkeys(violation.subject.split()):
                if word in found:
                    found[word].append(violation)
        return found
