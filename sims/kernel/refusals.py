"""What a scenario may say that kernel namespaces cannot be made to do."""

from typing import Final

from sims.kernel.layout import Layout
from sims.model.faults import (
    FAULT_KINDS,
    KIND_NAMES,
    AddressChange,
    DelayEnvelopes,
    Fault,
    Partition,
    ReplayEnvelopes,
    ReplayPackets,
)
from sims.model.mistake import Mistake, shortened, where
from sims.model.nat import Filtering, Mapping, NatModel, PortAssignment
from sims.model.scenario import OVERLAYS, Machine, Scenario
from wice.errors import ConfigError
from wice.section import Place

MACHINES_MAX: Final = 16
"""Each is a process that computes in real time, and a machine has few processors."""
SITES_MAX: Final = 64
LINES_MAX: Final = 192
"""One process is told of them by one argument, and waits for the frames of all by ``select``."""
ADDRESS_CHANGES_MAX: Final = 128
"""With these and all sites, no address of the kernel engine's internet is used twice."""

SIMULATED_ALONE: Final[dict[type[Fault], str]] = {
    ReplayPackets: "nobody on its lines keeps packets",
    ReplayEnvelopes: "its bootstrap nodes are processes that nobody reaches into",
    DelayEnvelopes: "its bootstrap nodes are processes that nobody reaches into",
}
"""Kinds of faults that this engine has not, and why."""

INSTEAD: Final = "leave it out, or use the simulator"


def check_for_kernel(scenario: Scenario) -> None:
    """Raise ConfigError for the first thing in ``scenario``, which was checked, that the kernel
    engine cannot do."""
    try:
        find_refusal(scenario)
    except Mistake as mistake:
        name = f"scenario {shortened(scenario.name)}"
        raise ConfigError(f"{name}: {where(mistake.place)}", mistake.why, mistake.hint) from None


def find_refusal(scenario: Scenario) -> None:
    """Raise Mistake for the first."""
    if scenario.overlay != OVERLAYS[0]:
        raise Mistake(
            ("scenario", "overlay"),
            f"the kernel engine's daemons are processes, which no {scenario.overlay} overlay joins",
            f"use {OVERLAYS[0]}, or the simulator",
        )
    count = len(scenario.machines)
    if count > MACHINES_MAX:
        raise Mistake(
            ("sites",),
            f"{count} machines are too many for the kernel engine",
            f"use at most {MACHINES_MAX}, or the simulator",
        )
    if len(scenario.sites) > SITES_MAX:
        raise Mistake(
            ("sites",),
            f"{len(scenario.sites)} sites are too many for the kernel engine",
            f"use at most {SITES_MAX}, or the simulator",
        )
    _check_address_changes(scenario)
    _check_lines(scenario)
    for site in scenario.sites:
        for index, nat in enumerate(site.nats if 4 in scenario.ip_versions else ()):
            _check_nat(nat, ("sites", site.name, "nats", index))
        for index, machine in enumerate(site.machines):
            _check_machine(machine, ("sites", site.name, "machines", index))
    for index, fault in enumerate(scenario.faults):
        _check_fault(scenario, fault, ("faults", index))
    for index, churn in enumerate(scenario.churn):
        for number, name in enumerate(churn.kinds):
            _check_kind(FAULT_KINDS[name], ("churn", index, "kinds", number))
            if FAULT_KINDS[name] is Partition and any(site.behind for site in scenario.sites):
                raise Mistake(
                    ("churn", index, "kinds", number),
                    "partition may part a site from the one that it is behind, which the kernel "
                    "engine cannot do",
                    INSTEAD,
                )


def _check_address_changes(scenario: Scenario) -> None:
    changes = sum(isinstance(fault, AddressChange) for fault in scenario.faults)
    name = KIND_NAMES[AddressChange]
    changes += sum(churn.count for churn in scenario.churn if name in churn.kinds)
    if changes > ADDRESS_CHANGES_MAX:
        raise Mistake(
            ("faults",),
            f"{changes} address changes are too many for the kernel engine",
            f"use at most {ADDRESS_CHANGES_MAX}, or the simulator",
        )


def _check_lines(scenario: Scenario) -> None:
    lines = sum(cable.line is not None for cable in Layout(scenario).cables)
    if lines > LINES_MAX:
        raise Mistake(
            ("sites",),
            f"{lines} lines are too many for the kernel engine, each LAN's of a machine that is "
            "ever there among them",
            f"use at most {LINES_MAX}, or the simulator",
        )


def _check_machine(machine: Machine, place: Place) -> None:
    for name in ("clock_offset_s", "clock_drift_ppm"):
        if getattr(machine, name):
            raise Mistake(
                (*place, name),
                "the kernel engine's machines share one clock",
                INSTEAD,
            )


def _check_nat(nat: NatModel, place: Place) -> None:
    if nat.is_one_to_one:
        return
    if nat.mapping is Mapping.ADDRESS_DEPENDENT:
        raise Mistake(
            (*place, "mapping"),
            "Linux has no address-dependent mapping",
            f"use {Mapping.ADDRESS_AND_PORT_DEPENDENT} or {Mapping.ENDPOINT_INDEPENDENT}, or the "
            "simulator",
        )
    if nat.ports is PortAssignment.CONTIGUOUS:
        raise Mistake(
            (*place, "ports"),
            "Linux assigns no ports one after the other",
            "use preserving or random, or the simulator",
        )
    if nat.mapping is Mapping.ENDPOINT_INDEPENDENT:
        return
    if nat.ports is not PortAssignment.RANDOM:
        raise Mistake(
            (*place, "ports"),
            f"with {nat.mapping} mapping Linux assigns random ports",
            'use ports = "random", or the simulator',
        )
    if nat.filtering is not Filtering.ADDRESS_AND_PORT_DEPENDENT or nat.hairpins:
        key = "hairpins" if nat.hairpins else "filtering"
        raise Mistake(
            (*place, key),
            f"with {nat.mapping} mapping Linux filters by address and port, and does not hairpin",
            INSTEAD,
        )


def _check_kind(kind: type[Fault], place: Place) -> None:
    why = SIMULATED_ALONE.get(kind)
    if why is not None:
        raise Mistake(place, f"the kernel engine has no {KIND_NAMES[kind]}: {why}", INSTEAD)


def _check_fault(scenario: Scenario, fault: Fault, place: Place) -> None:
    _check_kind(type(fault), (*place, "kind"))
    if isinstance(fault, Partition):
        behind = {site.name: site.behind for site in scenario.sites}
        for key, names in (("one", fault.one), ("other", fault.other)):
            for index, name in enumerate(names):
                outer = behind.get(name)
                if outer is not None and outer not in names:
                    raise Mistake(
                        (*place, key, index),
                        f"{name} is behind {outer}, whose address it has on the kernel engine's "
                        "internet",
                        f"name {outer} on the same side, too, or use the simulator",
                    )
