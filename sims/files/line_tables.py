"""Lines and NATs as scenario files write them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, TypeVar

import msgspec

from sims.model.link import BurstLoss, LineModel, LinkModel
from sims.model.mistake import Mistake, shortened
from sims.model.nat import (
    NAT_KINDS,
    UDP_REPLIED_S,
    UDP_UNREPLIED_S,
    Filtering,
    Firewall,
    Mapping,
    NatModel,
    PortAssignment,
)
from sims.model.presets import LINE_PRESETS
from wice.section import Place, StructT, convert_section, suggest

ValueT = TypeVar("ValueT")


class DirectionSection(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    latency_ms: float | None = None
    jitter_ms: float | None = None
    jitter_correlation: float | None = None
    latencies_ms: list[float] | None = None
    loss: float | None = None
    burst_loss: dict[str, Any] | None = None
    reorder: float | None = None
    duplicate: float | None = None
    corrupt: float | None = None
    rate_mbps: float | None = None
    buffer_kb: int | None = None
    mtu: int | None = None


class LineSection(DirectionSection, forbid_unknown_fields=True, kw_only=True):
    preset: str | None = None
    up: str | dict[str, Any] | None = None
    down: str | dict[str, Any] | None = None


class BurstLossSection(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    enters: float
    leaves: float
    loss_good: float = 0.0
    loss_bad: float = 1.0


class NatSection(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    mapping: str = Mapping.ENDPOINT_INDEPENDENT.value
    filtering: str = Filtering.ADDRESS_AND_PORT_DEPENDENT.value
    ports: str = PortAssignment.PRESERVING.value
    lifetime_s: float = UDP_REPLIED_S
    lifetime_unreplied_s: float = UDP_UNREPLIED_S
    hairpins: bool = False
    one_to_one: bool = False


_THOUSANDTHS: Final = 1e-3

_FIELDS: Final[dict[str, tuple[str, Callable[[Any], Any]]]] = {
    "latency_ms": ("latency_s", lambda value: value * _THOUSANDTHS),
    "jitter_ms": ("jitter_s", lambda value: value * _THOUSANDTHS),
    "jitter_correlation": ("jitter_correlation", float),
    "latencies_ms": ("latencies_s", lambda table: tuple(each * _THOUSANDTHS for each in table)),
    "loss": ("loss", float),
    "reorder": ("reorder", float),
    "duplicate": ("duplicate", float),
    "corrupt": ("corrupt", float),
    "rate_mbps": ("rate_bits_s", lambda value: value * 1e6),
    "buffer_kb": ("queue_bytes", lambda value: value * 1_000),
    "mtu": ("mtu_bytes", int),
}
"""Of each key: the field of LinkModel that it sets, and how to get its unit."""


class Origins:
    """Where in the file a value of the scenario was written, if it is elsewhere there."""

    def __init__(self) -> None:
        self._origins: dict[Place, Place] = {}

    def note(self, place: Place, origin: Place) -> None:
        self._origins[place] = origin

    def of(self, place: Place) -> Place:
        for length in range(len(place), 0, -1):
            origin = self._origins.get(place[:length])
            if origin is not None:
                return (*origin, *place[length:])
        return place


def convert(table: Any, kind: type[StructT], place: Place) -> StructT:
    """``table``, which is at ``place`` in the file, as a ``kind``; raise Mistake."""

    def error(within: Place, why: str, hint: str) -> Mistake:
        return Mistake((*place, *within), why, hint)

    return convert_section(table, kind, error, reference="docs/reference/scenarios.md has all keys")


def choose(text: str, known: dict[str, ValueT], place: Place, what: str) -> ValueT:
    """What ``text`` names among ``known``, which are ``what`` in the plural; raise Mistake."""
    if text not in known:
        raise Mistake(
            place, f"{shortened(text)!r} is not among the {what}", suggest(text, tuple(known), what)
        )
    return known[text]


class LineReader:
    """Reads lines, and notes where each value of them was written."""

    def __init__(self, origins: Origins) -> None:
        self._origins = origins

    def line(self, value: str | dict[str, Any], origin: Place, place: Place) -> LineModel:
        """A preset's name, or a table: by itself without latency, loss or limit."""
        return self.changed(LineModel(LinkModel(), LinkModel()), value, origin, place)

    def changed(
        self, base: LineModel, value: str | dict[str, Any], origin: Place, place: Place
    ) -> LineModel:
        """``base`` with what the file says at ``origin``; it will be at ``place``."""
        self._origins.note(place, origin)
        if isinstance(value, str):
            return choose(value, LINE_PRESETS, origin, "presets")
        section = convert(value, LineSection, origin)
        if section.preset is not None:
            base = choose(section.preset, LINE_PRESETS, (*origin, "preset"), "presets")
        ends: list[LinkModel | None] = []
        for direction, link, own in (
            ("up", base.up, section.up),
            ("down", base.down, section.down),
        ):
            to = (*place, direction)
            self._origins.note(to, origin)
            if isinstance(own, str):
                choose(own, {"none": None}, (*origin, direction), "one-way lines")
                ends.append(None)
                continue
            link = self._direction(link or LinkModel(), section, origin, to)
            if own is not None:
                link = self.direction(link, own, (*origin, direction), to)
            ends.append(link)
        return LineModel(*ends)

    def direction(
        self, base: LinkModel, table: dict[str, Any], origin: Place, place: Place
    ) -> LinkModel:
        return self._direction(base, convert(table, DirectionSection, origin), origin, place)

    def _direction(
        self, base: LinkModel, section: DirectionSection, origin: Place, place: Place
    ) -> LinkModel:
        changes: dict[str, Any] = {}
        for key, (name, to_unit) in _FIELDS.items():
            value = getattr(section, key)
            if value is not None:
                changes[name] = to_unit(value)
                self._origins.note((*place, name), (*origin, key))
        if section.burst_loss is not None:
            at = (*origin, "burst_loss")
            burst = convert(section.burst_loss, BurstLossSection, at)
            changes["burst_loss"] = BurstLoss(**msgspec.structs.asdict(burst))
            self._origins.note((*place, "burst_loss"), at)
        return replace(base, **changes)


def read_nats(
    value: str | dict[str, Any] | list[dict[str, Any]],
    origin: Place,
    place: Place,
    origins: Origins,
) -> tuple[tuple[NatModel, ...], Firewall]:
    """A kind's name, a table, or tables innermost first; and the firewall that comes with it."""
    origins.note(place, origin)
    if isinstance(value, str):
        kind = choose(value, NAT_KINDS, origin, "NAT kinds")
        return kind.nats, kind.firewall
    if isinstance(value, dict):
        origins.note((*place, 0), origin)
        origins.note((*place, 0, "is_one_to_one"), (*origin, "one_to_one"))
        return (_read_nat(value, origin),), Firewall.STATEFUL
    for index in range(len(value)):
        origins.note((*place, index, "is_one_to_one"), (*origin, index, "one_to_one"))
    nats = tuple(_read_nat(table, (*origin, index)) for index, table in enumerate(value))
    return nats, Firewall.STATEFUL if nats else Firewall.NONE


def _read_nat(table: dict[str, Any], origin: Place) -> NatModel:
    section = convert(table, NatSection, origin)
    mappings = {kind.value: kind for kind in Mapping}
    filterings = {kind.value: kind for kind in Filtering}
    assignments = {kind.value: kind for kind in PortAssignment}
    return NatModel(
        mapping=choose(section.mapping, mappings, (*origin, "mapping"), "mappings"),
        filtering=choose(section.filtering, filterings, (*origin, "filtering"), "filterings"),
        ports=choose(section.ports, assignments, (*origin, "ports"), "port assignments"),
        lifetime_s=section.lifetime_s,
        lifetime_unreplied_s=section.lifetime_unreplied_s,
        hairpins=section.hairpins,
        is_one_to_one=section.one_to_one,
    )
