"""What may be wrong in the cells of a grid while their homes try to meet."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from sims.model.faults import Crash, DelayEnvelopes
from sims.model.link import BurstLoss, LineModel, LinkModel
from sims.model.scenario import Scenario

DURATION_S: Final = 75.0
"""Virtual; by then even what was lost on a bad line was tried often enough."""

LOSS: Final = BurstLoss(enters=1 / 36, leaves=0.25)
"""A tenth of the packets, four in a row on average (Gilbert and Elliott)."""

CHECKING_FROM_S: Final = 0.150
CHECKING_STEP_S: Final = 0.015
CHECKING_STEPS: Final = 8
"""Homes on the lines of a grid begin to check 0.15 s after the start, and are connected after
0.3 s: cells take turns in when they are disturbed."""

DOWN_S: Final = 0.5
SLOW_UP_TO_S: Final = 3.0
SLOW_FOR_S: Final = 30.0

Condition = Callable[[Scenario, int], Scenario]
"""Makes the scenario of a cell, by its number, a harder one."""


def _with_loss(scenario: Scenario, _number: int) -> Scenario:
    """Each home's line loses a tenth of what it sends, so each direction between homes does."""
    sites = []
    for site in scenario.sites:
        up = replace(site.line.up or LinkModel(), burst_loss=LOSS)
        sites.append(replace(site, line=LineModel(up=up, down=site.line.down)))
    return replace(scenario, sites=tuple(sites))


def _crashing(scenario: Scenario, number: int, machines: int) -> Scenario:
    at_s = CHECKING_FROM_S + number % CHECKING_STEPS * CHECKING_STEP_S
    return replace(
        scenario,
        faults=tuple(
            Crash(at_s=at_s, for_s=DOWN_S, target=machine.name)
            for machine in scenario.machines[:machines]
        ),
    )


def _with_slow_signaling(scenario: Scenario, _number: int) -> Scenario:
    """Descriptions overtake one another, and checks come long before who sends them is known."""
    slow = [
        DelayEnvelopes(at_s=0.0, for_s=SLOW_FOR_S, up_to_s=SLOW_UP_TO_S, target=name)
        for name in scenario.bootstrap_names
    ]
    return replace(scenario, faults=tuple(slow))


CONDITIONS: Final[dict[str, Condition]] = {
    "loss": _with_loss,
    "restart-one": lambda scenario, number: _crashing(scenario, number, 1),
    "restart-both": lambda scenario, number: _crashing(scenario, number, 2),
    "slow-signaling": _with_slow_signaling,
}
"""By the names that the command line has for them."""


def under(condition: str, scenario: Scenario, number: int) -> Scenario:
    """The scenario of the cell ``number`` under a condition; raise KeyError for an unknown one."""
    return CONDITIONS[condition](replace(scenario, duration_s=DURATION_S), number)
