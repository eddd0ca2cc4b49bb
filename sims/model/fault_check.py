"""Which faults make sense in a scenario: whom they are for, when, and beside which others."""

import math
from collections.abc import Collection, Sequence
from typing import Final

from sims.model.faults import (
    FAULT_KINDS,
    KIND_NAMES,
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
    SiteFault,
    Sleep,
    Stop,
)
from sims.model.line_check import check_line
from sims.model.mistake import Mistake, check_number, check_positive, check_share
from sims.model.scenario import FAULTS_MAX, Churn, Scenario
from wice.section import Place, suggest

DELAY_MAX_S: Final = 5.0
"""Of an envelope: who is waited for longer has not delivered it."""

DIRECTIONS: Final = ("up", "down", "both")

_EXCLUSIVE: Final[dict[type[Fault], str]] = {
    Crash: "daemon",
    Stop: "daemon",
    Sleep: "daemon",
    Move: "place",
    LinkDown: "line",
    Degrade: "line",
    Corrupt: "line",
    ReplayPackets: "attacker",
    ReplayEnvelopes: "keeper",
    DelayEnvelopes: "keeper",
}
"""Of each target, what only one fault at a time can have its way with."""


def check_faults(scenario: Scenario) -> None:
    """Raise Mistake for the first of the faults that makes no sense."""
    if len(scenario.faults) > FAULTS_MAX:
        raise Mistake(
            ("faults",), f"{len(scenario.faults)} are too many", f"use at most {FAULTS_MAX}"
        )
    rules = FaultRules(scenario)
    for index, fault in enumerate(scenario.faults):
        rules.check(fault, ("faults", index))
    _check_overlaps(scenario.faults)


def check_churn(scenario: Scenario) -> None:
    """Raise Mistake for the first churn of which no faults can be made."""
    total = len(scenario.faults)
    for index, churn in enumerate(scenario.churn):
        place = ("churn", index)
        check_number(churn.count, (*place, "count"), lowest=1, highest=FAULTS_MAX)
        total += churn.count
        if total > FAULTS_MAX:
            raise Mistake(
                (*place, "count"),
                f"makes {total} faults in all",
                f"use at most {FAULTS_MAX}",
            )
        _check_churn_kinds(churn, (*place, "kinds"))
        for name, span in (("between_s", churn.between_s), ("for_s", churn.for_s)):
            _check_span(span, (*place, name))
        check_positive(churn.for_s[0], (*place, "for_s", 0))
        if churn.between_s[1] >= scenario.duration_s:
            raise Mistake(
                (*place, "between_s", 1),
                f"{churn.between_s[1]:g} is beyond the run's {scenario.duration_s:g} s",
                "end it earlier, or make scenario.duration_s longer",
            )
        _check_ends(churn, scenario.duration_s, (*place, "for_s", 1))


def _check_ends(churn: Churn, duration_s: float, place: Place) -> None:
    """All that churn makes is over before the run is."""
    lasts = any(issubclass(FAULT_KINDS[kind], Lasting) for kind in churn.kinds)
    ends_at_s = churn.between_s[1] + churn.for_s[1]
    if lasts and ends_at_s > duration_s:
        raise Mistake(
            place,
            f"what begins at {churn.between_s[1]:g} s lasts until {ends_at_s:g} s, "
            f"beyond the run's {duration_s:g} s",
            "let it last shorter or begin earlier, or make scenario.duration_s longer",
        )


def _check_churn_kinds(churn: Churn, place: Place) -> None:
    if not churn.kinds:
        raise Mistake(place, "is empty", f"known kinds: {', '.join(FAULT_KINDS)}")
    for index, kind in enumerate(churn.kinds):
        if kind not in FAULT_KINDS:
            raise Mistake(
                (*place, index),
                f"{kind} is no kind of fault",
                suggest(kind, tuple(FAULT_KINDS), "kinds"),
            )


def _check_span(span: tuple[float, float], place: Place) -> None:
    for end in (0, 1):
        check_number(span[end], (*place, end))
    if span[0] > span[1]:
        raise Mistake(place, "ends before it begins", "write the earlier first")


class FaultRules:
    """What holds for one fault of ``scenario`` by itself."""

    def __init__(self, scenario: Scenario) -> None:
        self._duration_s = scenario.duration_s
        self._bootstraps = scenario.bootstrap_names
        self._sites = {site.name: site for site in scenario.sites}
        self._machines = {machine.name: machine for machine in scenario.machines}
        self._site_of = {
            machine.name: site.name for site in scenario.sites for machine in site.machines
        }
        self._inside: dict[str, int] = {}
        for site in scenario.sites:
            outer = [] if site.behind is None else [site.behind]
            for name in [site.name] * len(site.machines) + outer:
                self._inside[name] = self._inside.get(name, 0) + 1
        self._ip_versions = scenario.ip_versions

    def check(self, fault: Fault, place: Place) -> None:
        """Raise Mistake, ``place`` being where ``fault`` is, if it makes no sense here."""
        check_number(fault.at_s, (*place, "at_s"))
        if fault.at_s >= self._duration_s:
            raise Mistake(
                (*place, "at_s"),
                f"{fault.at_s:g} is beyond the run's {self._duration_s:g} s",
                "let it happen earlier, or make scenario.duration_s longer",
            )
        if isinstance(fault, Lasting) and fault.for_s is not None:
            check_positive(fault.for_s, (*place, "for_s"))
        if isinstance(fault, Corrupt | ReplayPackets):
            check_share(fault.share, (*place, "share"))
        if isinstance(fault, ReplayPackets | ReplayEnvelopes):
            check_positive(fault.after_s, (*place, "after_s"))
        if isinstance(fault, ReplayEnvelopes):
            check_number(fault.spread_s, (*place, "spread_s"))
        if isinstance(fault, DelayEnvelopes):
            check_number(fault.up_to_s, (*place, "up_to_s"), highest=DELAY_MAX_S)
            check_positive(fault.up_to_s, (*place, "up_to_s"))
        if isinstance(fault, Partition):
            self._check_partition(fault, place)
        elif isinstance(fault, MachineFault):
            self._check_machine_fault(fault, place)
        elif isinstance(fault, SiteFault):
            self._check_site_fault(fault, place)

    def _check_machine_fault(self, fault: MachineFault, place: Place) -> None:
        target, target_place = fault.target, (*place, "target")
        names = (*self._machines, *self._bootstraps)
        if target not in names:
            hint = suggest(target, names, "machines")
            site = self._sites.get(target)
            if site is not None and site.machines:
                here = ", ".join(machine.name for machine in site.machines)
                hint = f"{target} is a site; its machines: {here}"
            raise Mistake(target_place, f"there is no machine {target}", hint)
        if isinstance(fault, ReplayEnvelopes | DelayEnvelopes):
            if target not in self._bootstraps:
                raise Mistake(
                    target_place,
                    f"{target} is no bootstrap node, and none else is handed envelopes to keep",
                    f"use {' or '.join(self._bootstraps)}",
                )
            return
        machine = self._machines.get(target)
        if isinstance(fault, Move):
            self._check_move(fault, place)
        elif machine is not None and fault.at_s < machine.starts_at_s:
            raise Mistake(
                (*place, "at_s"),
                f"{target} is started at {machine.starts_at_s:g} s only",
                "let it happen later",
            )

    def _check_move(self, fault: Move, place: Place) -> None:
        check_number(fault.gap_s, (*place, "gap_s"))
        if fault.for_s is not None and fault.gap_s >= fault.for_s:
            raise Mistake(
                (*place, "gap_s"),
                f"{fault.target} would leave {fault.to} before it gets there",
                f"use less than the {fault.for_s:g} s of for_s",
            )
        if fault.target in self._bootstraps:
            raise Mistake(
                (*place, "target"),
                f"{fault.target} is where everybody expects it",
                "move another machine",
            )
        self._check_site(fault.to, (*place, "to"), with_bootstraps=False)
        if self._site_of[fault.target] == fault.to:
            raise Mistake((*place, "to"), f"{fault.target} is there already", "name another site")
        is_one_to_one = any(nat.is_one_to_one for nat in self._sites[fault.to].nats)
        if is_one_to_one and self._inside.get(fault.to):
            raise Mistake(
                (*place, "to"),
                f"{fault.to} has its public address for one machine",
                "name another site",
            )

    def _check_site_fault(self, fault: SiteFault, place: Place) -> None:
        target, target_place = fault.target, (*place, "target")
        self._check_site(target, target_place)
        site = self._sites.get(target)
        if isinstance(fault, AddressChange) and site is None:
            raise Mistake(
                target_place,
                f"{target} is known by its address, which stays",
                "name a site with machines",
            )
        if isinstance(fault, AddressChange) and fault.ip_version not in (None, *self._ip_versions):
            raise Mistake(
                (*place, "ip_version"),
                f"there is no IPv{fault.ip_version} in the scenario",
                f"known versions: {', '.join(map(str, self._ip_versions))}",
            )
        if isinstance(fault, NatReboot) and (site is None or not site.nats):
            raise Mistake(
                target_place,
                f"{target} has no NAT",
                "name a site with one",
            )
        if isinstance(fault, LinkDown):
            if fault.direction not in DIRECTIONS:
                raise Mistake(
                    (*place, "direction"),
                    f"{fault.direction} is no direction",
                    suggest(fault.direction, DIRECTIONS, "directions"),
                )
            if site is not None and (
                (fault.direction == "up" and site.line.up is None)
                or (fault.direction == "down" and site.line.down is None)
            ):
                raise Mistake(
                    (*place, "direction"),
                    f"the line of {target} carries nothing {fault.direction} anyway",
                    "name the other direction",
                )
        if isinstance(fault, Degrade):
            check_line(fault.line, (*place, "line"), self._ip_versions)

    def _check_partition(self, fault: Partition, place: Place) -> None:
        for key, names in (("one", fault.one), ("other", fault.other)):
            if not names:
                raise Mistake((*place, key), "is empty", "name a site")
            for index, name in enumerate(names):
                self._check_site(name, (*place, key, index))
        both = [name for name in fault.one if name in fault.other]
        if both:
            raise Mistake(
                (*place, "other"), f"{both[0]} is on both sides", "name it on one of them"
            )

    def _check_site(self, name: str, place: Place, *, with_bootstraps: bool = True) -> None:
        bootstraps: Collection[str] = self._bootstraps if with_bootstraps else ()
        if name in self._sites or name in bootstraps:
            return
        names = (*self._sites, *bootstraps)
        hint = suggest(name, names, "sites")
        if name in self._site_of:
            hint = f"{name} is a machine; its site: {self._site_of[name]}"
        raise Mistake(place, f"there is no site {name}, thus no line", hint)


def clash_key(fault: Fault) -> tuple[str, str] | None:
    """What ``fault`` has to itself while it lasts; None for what disturbs no other fault."""
    exclusive = _EXCLUSIVE.get(type(fault))
    target = getattr(fault, "target", None)
    return None if exclusive is None or target is None else (exclusive, target)


def _check_overlaps(faults: Sequence[Fault]) -> None:
    """Sorted by time, one that overlaps any stands behind one that it overlaps."""
    running: dict[tuple[str, str], Fault] = {}
    for index, fault in sorted(enumerate(faults), key=lambda item: item[1].at_s):
        key = clash_key(fault)
        if key is None:
            continue
        other = running.get(key)
        if other is not None and fault.at_s < other.ends_at_s:
            raise Mistake(
                ("faults", index, "at_s"),
                f"{key[1]} still has the {KIND_NAMES[type(other)]} of {other.at_s:g} s "
                f"{_until(other)}",
                "let one begin when the other is over",
            )
        running[key] = fault


def _until(fault: Fault) -> str:
    return "for good" if fault.ends_at_s == math.inf else f"until {fault.ends_at_s:g} s"
