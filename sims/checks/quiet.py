"""When nothing is wrong with the network between machines, by the faults that were planned."""

import math
from collections.abc import Collection, Iterator, Sequence
from typing import Final, NamedTuple

from sims.model.faults import (
    Crash,
    DelayEnvelopes,
    Fault,
    MachineFault,
    Move,
    Partition,
    ReplayEnvelopes,
    ReplayPackets,
    SiteFault,
    Sleep,
    Stop,
)
from sims.model.scenario import HEALED_WITHIN_S, Scenario
from sims.model.world import World

TICK_S: Final = 0.001
"""By so much what happens may miss when it was planned."""


class Span(NamedTuple):
    """Virtual seconds; ``ends_s`` may be infinite."""

    begins_s: float
    ends_s: float


class Quiet:
    """Asks the plan of faults, not the network: a check must not trust what it judges.

    Who replays what it heard attacks and disturbs nothing: the network has to bear it.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._scenario = world.scenario
        self._sites: dict[str, frozenset[str]] = {}
        self._of_pair: dict[tuple[str, str, bool], list[Span]] = {}
        self._of_signaling: dict[tuple[str, str], list[Span]] = {}
        self._longest_signaling_s: dict[tuple[str, str], float] = {}
        self._boots: dict[str, list[float]] = {}

    def paths_since_s(self, one: str, other: str, *, has_relay: bool = False) -> float | None:
        """Since when nothing disturbs paths between two machines; None while something does.

        has_relay: theirs is relayed, or can be no other.
        """
        key = (one, other, has_relay)
        if key not in self._of_pair:
            disturbs = self._disturbs_relayed if has_relay else self._disturbs
            faults = [fault for fault in self._world.faults if disturbs(fault, one, other)]
            self._of_pair[key] = [_span(fault) for fault in faults]
        return self._since_s(self._of_pair[key], (one, other))

    def signaling_since_s(self, one: str, other: str) -> float | None:
        """The same of what their daemons say to each other by way of bootstrap nodes."""
        key = (one, other)
        if key not in self._of_signaling:
            faults = self._signaling_faults(one, other)
            slow = ReplayEnvelopes | DelayEnvelopes
            faults += [fault for fault in self._world.faults if isinstance(fault, slow)]
            self._of_signaling[key] = [_span(fault) for fault in faults]
        return self._since_s(self._of_signaling[key], (one, other))

    def has_just_woken(self, machine: str, within_s: float) -> bool:
        """Whether the machine slept at some time within the last seconds."""
        now_s = self._world.now_s
        return any(
            isinstance(fault, Sleep)
            and fault.target == machine
            and fault.at_s <= now_s <= fault.ends_at_s + within_s
            for fault in self._world.faults
        )

    def booted_at_s(self, machine: str) -> float:
        """When the daemon that runs on a machine was started again after a crash or a stop; else 0.

        One that takes its time to stop was not started again yet.
        """
        if machine not in self._boots:
            self._boots[machine] = [
                fault.ends_at_s
                for fault in self._world.faults
                if isinstance(fault, Crash | Stop) and fault.target == machine
            ]
        boots = self._boots[machine]
        running_since_s = self._world.running_since_s(machine) if boots else None
        if running_since_s is None:
            return 0.0
        # It runs since then, or is awake since later.
        return max((at_s for at_s in boots if at_s <= running_since_s + TICK_S), default=0.0)

    def healed_at_s(self) -> float:
        """When the last fault was over that ever is, and the last machine was there."""
        starts = [machine.starts_at_s for machine in self._scenario.machines]
        ends = [
            fault.ends_at_s if math.isfinite(fault.ends_at_s) else fault.at_s
            for fault in self._world.faults
        ]
        return max((*starts, *ends), default=0.0)

    def healed_by_s(self) -> float:
        """When everybody should be connected again."""
        within_s = self._scenario.expect.healed_within_s
        return self.healed_at_s() + (HEALED_WITHIN_S if within_s is None else within_s)

    def healed_pairs(self) -> Iterator[tuple[str, str]]:
        """Those that should be connected now, by the scenario and the plan of faults alone."""
        if self._world.now_s >= self.healed_by_s():
            for pair in self._scenario.pairs:
                if self._world.is_reachable(*pair) and not self.is_cut_for_good(*pair):
                    yield pair

    def is_cut_for_good(self, one: str, other: str) -> bool:
        """Whether a fault without end keeps two machines apart."""
        is_direct = self._world.can_be_direct(one, other)
        disturbs = self._disturbs if is_direct else self._disturbs_relayed
        return any(
            math.isinf(fault.ends_at_s)
            and not isinstance(fault, Move)
            and disturbs(fault, one, other)
            for fault in self._world.faults
        )

    def longest_signaling_s(self, one: str, other: str) -> float:
        """The longest time for which something kept two machines from signaling.

        What is delivered once more keeps nobody from it.
        """
        key = (one, other)
        if key not in self._longest_signaling_s:
            spans = [_span(fault) for fault in self._signaling_faults(one, other)]
            lasted_s = [span.ends_s - span.begins_s for span in spans]
            self._longest_signaling_s[key] = max(lasted_s, default=0.0)
        return self._longest_signaling_s[key]

    def _since_s(self, spans: Sequence[Span], machines: Collection[str]) -> float | None:
        now_s, since_s = self._world.now_s, 0.0
        for machine in machines:
            running_since_s = self._world.running_since_s(machine)
            if running_since_s is None:
                return None
            since_s = max(since_s, running_since_s)
        for span in spans:
            if span.begins_s <= now_s:
                if now_s <= span.ends_s:
                    return None
                since_s = max(since_s, span.ends_s)
        return since_s

    def _signaling_faults(self, one: str, other: str) -> list[Fault]:
        concerned = (one, other, *self._scenario.bootstrap_names)
        return [
            fault
            for fault in self._world.faults
            if any(self._touches(fault, machine) for machine in concerned)
        ]

    def _disturbs(self, fault: Fault, one: str, other: str) -> bool:
        if isinstance(fault, Partition):
            here, there = self._sites_of(one), self._sites_of(other)
            return any(
                not here.isdisjoint(left) and not there.isdisjoint(right)
                for left, right in ((fault.one, fault.other), (fault.other, fault.one))
            )
        return self._touches(fault, one) or self._touches(fault, other)

    def _disturbs_relayed(self, fault: Fault, one: str, other: str) -> bool:
        """Each bootstrap node may be whose relay is used."""
        return self._disturbs(fault, one, other) or any(
            self._disturbs(fault, machine, relay)
            for machine in (one, other)
            for relay in self._scenario.bootstrap_names
        )

    def _touches(self, fault: Fault, machine: str) -> bool:
        if isinstance(fault, Partition):
            return not self._sites_of(machine).isdisjoint((*fault.one, *fault.other))
        if isinstance(fault, ReplayPackets | ReplayEnvelopes | DelayEnvelopes):
            return False
        if isinstance(fault, MachineFault):
            return fault.target == machine
        assert isinstance(fault, SiteFault), fault
        return fault.target in self._sites_of(machine)

    def _sites_of(self, machine: str) -> frozenset[str]:
        """Every site that the machine is at in the course of the run, and those these are behind.

        A bootstrap node is at a site of its own name.
        """
        if machine not in self._sites:
            homes = [
                site.name
                for site in self._scenario.sites
                if any(inside.name == machine for inside in site.machines)
            ] or [machine]
            moves = [fault for fault in self._world.faults if isinstance(fault, Move)]
            homes += [move.to for move in moves if move.target == machine]
            self._sites[machine] = frozenset(
                site for home in homes for site in chain_of(self._scenario, home)
            )
        return self._sites[machine]


def chain_of(scenario: Scenario, site: str) -> tuple[str, ...]:
    """The site, the one it is behind, and so on to the internet."""
    behind = {each.name: each.behind for each in scenario.sites}
    chain: list[str] = []
    here: str | None = site
    while here is not None:
        chain.append(here)
        here = behind.get(here)
    return tuple(chain)


def _span(fault: Fault) -> Span:
    # What was kept until the end is delivered again only after it.
    still_s = 0.0
    if isinstance(fault, ReplayEnvelopes):
        still_s = fault.after_s + fault.spread_s
    elif isinstance(fault, DelayEnvelopes):
        still_s = fault.up_to_s
    return Span(fault.at_s, fault.ends_at_s + still_s)
