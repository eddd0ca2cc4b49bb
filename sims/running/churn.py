"""Faults made from the seed, before the run: which, when and to whom."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random
from typing import Final

from sims.model.fault_check import DELAY_MAX_S, FaultRules
from sims.model.faults import (
    AddressChange,
    Corrupt,
    Crash,
    Degrade,
    DelayEnvelopes,
    Fault,
    Lasting,
    LinkDown,
    MachineFault,
    Move,
    NatReboot,
    Partition,
    ReplayEnvelopes,
    ReplayPackets,
    Sleep,
    Stop,
)
from sims.model.link import BurstLoss, LineModel, LinkModel
from sims.model.mistake import Mistake
from sims.model.presets import BOOTSTRAP_LINE
from sims.model.scenario import Churn, Scenario
from sims.runtime.entropy import Entropy

ATTEMPTS: Final = 50
"""How often a fault is drawn until it disturbs no other; then it is left out."""

CORRUPT_SHARE_MAX: Final = 0.2
REPLAY_SHARE_MIN: Final = 0.2
REPLAY_AFTER_MAX_S: Final = 10.0
LOSES_DISK_SHARE: Final = 0.2
ONE_WAY_SHARE: Final = 0.3
BOTH_DIRECTIONS_SHARE: Final = 0.5

_MILLISECOND_S: Final = 0.001


def plan_faults(scenario: Scenario, entropy: Entropy) -> tuple[Fault, ...]:
    """The faults of ``scenario``, which was checked, and those that its churn makes; by time.

    Each that churn makes has draws of its own, so more of them, or one more churn, shift none of
    those before. No two that last overlap on one target: one that does is drawn again. All of
    churn's are over at some time. ``asked_of_churn`` says how many there should be.
    """
    planned = list(scenario.faults)
    rules = FaultRules(scenario)
    draw = _Draw(scenario)
    for index, churn in enumerate(scenario.churn):
        for number in range(churn.count):
            dice = entropy.random("churn", f"{index}/{number}")
            fault = _plan(churn, dice, draw, rules, planned)
            if fault is not None:
                planned.append(fault)
    return tuple(sorted(planned, key=lambda fault: fault.at_s))


def asked_of_churn(scenario: Scenario) -> int:
    """How many faults churn makes where there is room for all of them."""
    return sum(churn.count for churn in scenario.churn)


def _plan(
    churn: Churn, dice: Random, draw: "_Draw", rules: FaultRules, planned: Sequence[Fault]
) -> Fault | None:
    for _ in range(ATTEMPTS):
        fault = draw.fault(dice.choice(churn.kinds), dice, _round(dice.uniform(*churn.between_s)))
        if fault is None:
            continue
        if isinstance(fault, Lasting):
            fault = replace(fault, for_s=max(_round(dice.uniform(*churn.for_s)), _MILLISECOND_S))
        if any(_disturb(fault, other) for other in planned):
            continue
        try:
            rules.check(fault, ())
        except Mistake:
            continue
        return fault
    return None


def _round(value: float) -> float:
    """To milliseconds: people read it in a trace and write it into a file."""
    return round(value, 3)


def _subject(fault: Fault) -> tuple[bool, str]:
    """Whom a fault is for; all partitions are for the internet."""
    return isinstance(fault, MachineFault), getattr(fault, "target", "")


def _disturb(one: Fault, other: Fault) -> bool:
    if _subject(one) != _subject(other):
        return False
    if isinstance(one, Lasting) and isinstance(other, Lasting):
        return one.at_s < other.ends_at_s and other.at_s < one.ends_at_s
    return one == other


class _Draw:
    """Draws a fault of a kind for somebody of ``scenario``; how long it lasts is left open."""

    def __init__(self, scenario: Scenario) -> None:
        self._machines = tuple(machine.name for machine in scenario.machines)
        self._bootstraps = scenario.bootstrap_names
        self._sites = tuple(site.name for site in scenario.sites)
        self._homes = tuple(site.name for site in scenario.sites if site.machines)
        self._lines = {site.name: site.line for site in scenario.sites}
        self._kinds: dict[str, Callable[[Random, float], Fault | None]] = {
            "crash": self._crash,
            "stop": lambda dice, at_s: Stop(at_s=at_s, target=self._daemon(dice)),
            "sleep": lambda dice, at_s: Sleep(at_s=at_s, target=dice.choice(self._machines)),
            "move": self._move,
            "address-change": lambda dice, at_s: AddressChange(
                at_s=at_s, target=dice.choice(self._sites)
            ),
            "nat-reboot": lambda dice, at_s: NatReboot(at_s=at_s, target=dice.choice(self._sites)),
            "link-down": self._link_down,
            "degrade": self._degrade,
            "partition": self._partition,
            "corrupt": lambda dice, at_s: Corrupt(
                at_s=at_s,
                target=self._line(dice),
                share=_round(dice.uniform(_MILLISECOND_S, CORRUPT_SHARE_MAX)),
            ),
            "replay-packets": lambda dice, at_s: ReplayPackets(
                at_s=at_s,
                target=self._line(dice),
                share=_round(dice.uniform(REPLAY_SHARE_MIN, 1)),
                after_s=_replay_after_s(dice),
            ),
            "replay-envelopes": lambda dice, at_s: ReplayEnvelopes(
                at_s=at_s, target=dice.choice(self._bootstraps), after_s=_replay_after_s(dice)
            ),
            "delay-envelopes": lambda dice, at_s: DelayEnvelopes(
                at_s=at_s,
                target=dice.choice(self._bootstraps),
                up_to_s=max(_round(dice.uniform(0.0, DELAY_MAX_S)), _MILLISECOND_S),
            ),
        }

    def fault(self, kind: str, dice: Random, at_s: float) -> Fault | None:
        """None where the draw gave nobody that this could happen to."""
        return self._kinds[kind](dice, at_s)

    def _daemon(self, dice: Random) -> str:
        return dice.choice((*self._machines, *self._bootstraps))

    def _line(self, dice: Random) -> str:
        return dice.choice((*self._sites, *self._bootstraps))

    def _crash(self, dice: Random, at_s: float) -> Fault:
        target = self._daemon(dice)
        loses_disk = target in self._machines and dice.random() < LOSES_DISK_SHARE
        return Crash(at_s=at_s, target=target, loses_disk=loses_disk)

    def _move(self, dice: Random, at_s: float) -> Fault | None:
        target = dice.choice(self._machines)
        return Move(at_s=at_s, target=target, to=dice.choice(self._homes))

    def _link_down(self, dice: Random, at_s: float) -> Fault:
        direction = dice.choice(("up", "down"))
        if dice.random() < BOTH_DIRECTIONS_SHARE:
            direction = "both"
        return LinkDown(at_s=at_s, target=self._line(dice), direction=direction)

    def _degrade(self, dice: Random, at_s: float) -> Fault:
        target = self._line(dice)
        line = self._lines.get(target, BOOTSTRAP_LINE)
        return Degrade(
            at_s=at_s,
            target=target,
            line=LineModel(up=_degraded(line.up, dice), down=_degraded(line.down, dice)),
        )

    def _partition(self, dice: Random, at_s: float) -> Fault | None:
        sites = [*self._sites, *self._bootstraps]
        if len(sites) < 2:
            return None
        dice.shuffle(sites)
        cut = dice.randint(1, len(sites) - 1)
        return Partition(
            at_s=at_s,
            one=tuple(sites[:cut]),
            other=tuple(sites[cut:]),
            is_one_way=dice.random() < ONE_WAY_SHARE,
        )


def _replay_after_s(dice: Random) -> float:
    return _round(dice.uniform(_MILLISECOND_S, REPLAY_AFTER_MAX_S))


def _degraded(link: LinkModel | None, dice: Random) -> LinkModel | None:
    """As a line is when it rains, is full or is attacked: still there, and bad in its own way."""
    if link is None:
        return None
    worse = (
        replace(link, loss=_round(dice.uniform(0.05, 0.3))),
        replace(link, burst_loss=BurstLoss(enters=0.02, leaves=0.2, loss_bad=0.9)),
        replace(
            link,
            latency_s=link.latency_s + _round(dice.uniform(0.1, 0.5)),
            jitter_s=_round(dice.uniform(0.01, 0.1)),
        ),
        replace(link, duplicate=_round(dice.uniform(0.1, 0.5))),
        replace(link, reorder=_round(dice.uniform(0.05, 0.3)), jitter_s=0.01),
    )
    return dice.choice(worse)
