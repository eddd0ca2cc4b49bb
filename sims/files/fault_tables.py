"""``[[faults]]`` and ``[[churn]]`` of a scenario file."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from sims.files.line_tables import LineReader, Origins, choose, convert
from sims.model.faults import FAULT_KINDS, Degrade, Fault, MachineFault, Partition
from sims.model.mistake import Mistake
from sims.model.presets import BOOTSTRAP_LINE
from sims.model.scenario import FAULTS_MAX, Churn, Scenario
from wice.section import Place


class FaultSection(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    kind: str
    at_s: float


class TargetSection(FaultSection, forbid_unknown_fields=True, kw_only=True):
    target: str | list[str]


class LastingSection(TargetSection, forbid_unknown_fields=True, kw_only=True):
    for_s: float | None = None


class CrashSection(LastingSection, forbid_unknown_fields=True, kw_only=True):
    loses_disk: bool = False


class MoveSection(LastingSection, forbid_unknown_fields=True, kw_only=True):
    to: str
    gap_s: float = 0.0


class AddressChangeSection(TargetSection, forbid_unknown_fields=True, kw_only=True):
    ip_version: int | None = None


class LinkDownSection(LastingSection, forbid_unknown_fields=True, kw_only=True):
    direction: str = "both"


class DegradeSection(LastingSection, forbid_unknown_fields=True, kw_only=True):
    link: str | dict[str, Any]


class CorruptSection(LastingSection, forbid_unknown_fields=True, kw_only=True):
    share: float


class ReplayPacketsSection(LastingSection, forbid_unknown_fields=True, kw_only=True):
    share: float
    after_s: float


class ReplayEnvelopesSection(LastingSection, forbid_unknown_fields=True, kw_only=True):
    after_s: float
    spread_s: float = 0.0


class DelayEnvelopesSection(LastingSection, forbid_unknown_fields=True, kw_only=True):
    up_to_s: float


class PartitionSection(FaultSection, forbid_unknown_fields=True, kw_only=True):
    one: list[str]
    other: list[str] | None = None
    one_way: bool = False
    for_s: float | None = None


class ChurnSection(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    count: int
    kinds: list[str]
    between_s: tuple[float, float]
    for_s: tuple[float, float] = (5.0, 30.0)


FAULT_SECTIONS: Final[dict[str, type[FaultSection]]] = {
    "crash": CrashSection,
    "stop": LastingSection,
    "sleep": LastingSection,
    "move": MoveSection,
    "address-change": AddressChangeSection,
    "nat-reboot": TargetSection,
    "link-down": LinkDownSection,
    "degrade": DegradeSection,
    "partition": PartitionSection,
    "corrupt": CorruptSection,
    "replay-packets": ReplayPacketsSection,
    "replay-envelopes": ReplayEnvelopesSection,
    "delay-envelopes": DelayEnvelopesSection,
}


def read_churn(tables: list[dict[str, Any]]) -> tuple[Churn, ...]:
    """All ``[[churn]]``."""
    sections = [
        convert(table, ChurnSection, ("churn", index)) for index, table in enumerate(tables)
    ]
    return tuple(
        Churn(
            count=section.count,
            kinds=tuple(section.kinds),
            between_s=section.between_s,
            for_s=section.for_s,
        )
        for section in sections
    )


class FaultReader:
    """Reads the faults of ``scenario``, which has its sites already.

    counted: names that stand for several sites.
    """

    def __init__(
        self, scenario: Scenario, counted: Mapping[str, tuple[str, ...]], origins: Origins
    ) -> None:
        self._site_names = tuple(site.name for site in scenario.sites)
        self._bootstraps = scenario.bootstrap_names
        self._base_lines = {site.name: site.line for site in scenario.sites}
        self._machines_of = {
            site.name: tuple(machine.name for machine in site.machines) for site in scenario.sites
        }
        self._counted = counted
        self._origins = origins
        self._lines = LineReader(origins)
        self._faults: list[Fault] = []

    def read(self, tables: list[dict[str, Any]]) -> tuple[Fault, ...]:
        for index, table in enumerate(tables):
            self._read(table, ("faults", index))
        return tuple(self._faults)

    def _read(self, table: dict[str, Any], origin: Place) -> None:
        kind = table.get("kind")
        if not isinstance(kind, str):
            raise Mistake((*origin, "kind"), "is missing", f"known kinds: {', '.join(FAULT_KINDS)}")
        section = convert(
            table, choose(kind, FAULT_SECTIONS, (*origin, "kind"), "kinds of fault"), origin
        )
        if isinstance(section, PartitionSection):
            self._add(self._partition(section, origin), origin)
        elif isinstance(section, TargetSection):
            for target, at in self._targets(section.target, FAULT_KINDS[kind], origin):
                self._add(self._fault(section, kind, target, origin), origin)
                self._origins.note(("faults", len(self._faults) - 1, "target"), at)

    def _add(self, fault: Fault, origin: Place) -> None:
        if len(self._faults) >= FAULTS_MAX:
            raise Mistake(origin, "is one fault too many", f"use at most {FAULTS_MAX}")
        self._origins.note(("faults", len(self._faults)), origin)
        self._faults.append(fault)

    def _fault(self, section: TargetSection, kind: str, target: str, origin: Place) -> Fault:
        fields = msgspec.structs.asdict(section)
        del fields["kind"]
        fields["target"] = target
        if isinstance(section, DegradeSection):
            del fields["link"]
            base = self._base_lines.get(target, BOOTSTRAP_LINE)
            place = ("faults", len(self._faults), "line")
            line = self._lines.changed(base, section.link, (*origin, "link"), place)
            return Degrade(line=line, **fields)
        make: Any = FAULT_KINDS[kind]
        fault: Fault = make(**fields)
        return fault

    def _partition(self, section: PartitionSection, origin: Place) -> Fault:
        index = len(self._faults)
        self._origins.note(("faults", index, "is_one_way"), (*origin, "one_way"))
        one = self._sites(section.one, ("faults", index, "one"), (*origin, "one"))
        if section.other is None:
            everybody = (*self._site_names, *self._bootstraps)
            other = tuple(name for name in everybody if name not in one)
        else:
            other = self._sites(section.other, ("faults", index, "other"), (*origin, "other"))
        return Partition(
            at_s=section.at_s,
            for_s=section.for_s,
            one=one,
            other=other,
            is_one_way=section.one_way,
        )

    def _sites(self, names: Iterable[str], place: Place, origin: Place) -> tuple[str, ...]:
        sites: list[str] = []
        seen: set[str] = set()
        for index, name in enumerate(names):
            for site in self._counted.get(name, (name,)):
                if site in seen:
                    raise Mistake((*origin, index), f"{site} is here already", "name it once")
                seen.add(site)
                self._origins.note((*place, len(sites)), (*origin, index))
                sites.append(site)
        return tuple(sites)

    def _targets(
        self, target: str | list[str], kind: type[Fault], origin: Place
    ) -> Iterator[tuple[str, Place]]:
        """Each target of a fault and where it is written: a counted name is all that it counts."""
        at: Place = (*origin, "target")
        written = (
            [(target, at)]
            if isinstance(target, str)
            else [(name, (*at, index)) for index, name in enumerate(target)]
        )
        if not written:
            raise Mistake(at, "is empty", "name one, or leave the fault out")
        for name, place in written:
            sites = self._counted.get(name)
            if sites is None:
                yield name, place
            elif issubclass(kind, MachineFault):
                for site in sites:
                    yield from ((machine, place) for machine in self._machines_of[site])
            else:
                yield from ((site, place) for site in sites)
