"""What checks found, and how often they looked."""

from collections import Counter
from collections.abc import Callable
from typing import Final

from sims.model.result import Violation
from sims.model.world import World

VIOLATIONS_MAX: Final = 200
"""Violations kept of a run."""

VIOLATIONS_OF_SUBJECT_MAX: Final = 3
"""Violations kept of one check about one subject: further ones say nothing new."""


class Findings:
    """Every check reports here. looked: by a check's name, how often it had something to judge.

    tell: hears of each violation that is kept.
    """

    def __init__(self, world: World, tell: Callable[[Violation], None]) -> None:
        self.violations: list[Violation] = []
        self.looked: Counter[str] = Counter()
        self._world = world
        self._tell = tell
        self._of_subject: Counter[tuple[str, str]] = Counter()

    def violation(self, check: str, subject: str, detail: str) -> None:
        """What was seen of ``subject`` now, and what should have been."""
        self._of_subject[check, subject] += 1
        is_new = self._of_subject[check, subject] <= VIOLATIONS_OF_SUBJECT_MAX
        if is_new and len(self.violations) < VIOLATIONS_MAX:
            at_s = round(self._world.now_s, 6)
            violation = Violation(at_s=at_s, check=check, subject=subject, detail=detail)
            self.violations.append(violation)
            self._tell(violation)


def pair_name(source: str, destination: str) -> str:
    """A pair in a violation."""
    return f"{source} to {destination}"
