"""Which machines can reach each other where they are now, as the oracle says."""

from collections.abc import Callable

from sims.model.scenario import Scenario
from sims.oracle import DIRECT, best_site_path


class Reachability:
    """The oracle's answers, each asked for once: machines move, and a scenario does not change."""

    def __init__(self, scenario: Scenario, site_of: Callable[[str], str]) -> None:
        """site_of: where a machine is plugged in now."""
        self._scenario = scenario
        self._site_of = site_of
        self._best_paths: dict[tuple[str, str], str | None] = {}
        """By sites."""

    def best_path(self, one: str, other: str) -> str | None:
        """``DIRECT`` wherever that can be, else ``RELAYED``, else None."""
        sites = (self._site_of(one), self._site_of(other))
        if sites not in self._best_paths:
            self._best_paths[sites] = best_site_path(self._scenario, *sites)
        return self._best_paths[sites]

    def is_reachable(self, one: str, other: str) -> bool:
        """Be it by a relay."""
        return self.best_path(one, other) is not None

    def can_be_direct(self, one: str, other: str) -> bool:
        return self.best_path(one, other) == DIRECT
