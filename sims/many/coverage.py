"""Which stories a swarm has told, and which no seed of it ever has."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sims.many.stories import Stories, possible_stories


@dataclass(frozen=True, slots=True)
class Told:
    """count: how often, in all seeds together."""

    count: int
    first_seed: int

    def as_json(self) -> dict[str, int]:
        return {"count": self.count, "first_seed": self.first_seed}


@dataclass(frozen=True, slots=True)
class GroupCoverage:
    """told: by name, in the order of the tables; what is in none stands last. never: the rest."""

    group: str
    told: Mapping[str, Told]
    never: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        return {
            "group": self.group,
            "told": {name: told.as_json() for name, told in self.told.items()},
            "never": list(self.never),
        }


def coverage(by_seed: Mapping[int, Stories]) -> tuple[GroupCoverage, ...]:
    """by_seed: what was told, in the order of seeds."""
    told: dict[str, dict[str, Told]] = {}
    never: dict[str, list[str]] = {}
    possible = dict.fromkeys(possible_stories())
    met = dict.fromkeys(story for stories in by_seed.values() for story in sorted(stories))
    for story in {**possible, **met}:
        seeds = [seed for seed, stories in by_seed.items() if stories.get(story)]
        if seeds:
            count = sum(by_seed[seed][story] for seed in seeds)
            told.setdefault(story.group, {})[story.name] = Told(count, seeds[0])
        else:
            never.setdefault(story.group, []).append(story.name)
    return tuple(
        GroupCoverage(group, told.get(group, {}), tuple(never.get(group, ())))
        for group in dict.fromkeys((*(story.group for story in possible), *told))
    )
