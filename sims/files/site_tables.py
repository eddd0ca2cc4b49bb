"""``[sites.NAME]`` of a scenario file."""

from dataclasses import replace
from typing import Any, Final

import msgspec

from sims.files.line_tables import LineReader, Origins, choose, convert, read_nats
from sims.model.mistake import Mistake, check_number
from sims.model.nat import Firewall
from sims.model.scenario import LAN, MACHINES_MAX, SITES_MAX, Machine, Site
from wice.section import Place

LINK_DEFAULT: Final = "fibre"
NAT_DEFAULT: Final = "none"


class SiteSection(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    count: int | None = None
    nat: str | dict[str, Any] | list[dict[str, Any]] = NAT_DEFAULT
    firewall: str | None = None
    link: str | dict[str, Any] = LINK_DEFAULT
    lan: dict[str, Any] | None = None
    machines: list[str | dict[str, Any]] | None = None
    behind: str | None = None
    isolating: bool = False


class MachineSection(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    name: str
    starts_at_s: float = 0.0
    clock_offset_s: float = 0.0
    clock_drift_ppm: float = 0.0
    address: str | None = None
    peers: list[str] | None = None


class SiteReader:
    """Reads sites; remembers which sites a counted name stands for."""

    def __init__(self, origins: Origins) -> None:
        self.counted: dict[str, tuple[str, ...]] = {}
        self._origins = origins
        self._lines = LineReader(origins)
        self._sites: dict[str, Site] = {}

    def read(self, tables: dict[str, dict[str, Any]]) -> tuple[Site, ...]:
        for name, table in tables.items():
            self._read(name, table)
        return tuple(self._sites.values())

    def _read(self, name: str, table: dict[str, Any]) -> None:
        origin: Place = ("sites", name)
        section = convert(table, SiteSection, origin)
        first = name if section.count is None else f"{name}-1"
        site = self._site(first, section, origin)
        count = 1 if section.count is None else section.count
        check_number(count, (*origin, "count"), lowest=1, highest=SITES_MAX)
        if count + len(self._sites) > SITES_MAX:
            raise Mistake(
                (*origin, "count"),
                f"makes {count + len(self._sites)} sites in all",
                f"use at most {SITES_MAX}",
            )
        machines_count = len(section.machines or ()) * count
        if machines_count > MACHINES_MAX:
            raise Mistake(
                (*origin, "machines"),
                f"{machines_count} machines are too many",
                f"use at most {MACHINES_MAX} in all",
            )
        if section.count is None:
            self._add(replace(site, machines=self._machines(name, section, origin, "")), origin)
            return
        names = tuple(f"{name}-{number}" for number in range(1, count + 1))
        for number, each in enumerate(names, start=1):
            machines = self._machines(each, section, origin, f"-{number}")
            self._add(replace(site, name=each, machines=machines), origin)
        self.counted[name] = names

    def _add(self, site: Site, origin: Place) -> None:
        if site.name in self._sites:
            raise Mistake(origin, f"makes a second site {site.name}", "rename one")
        self._sites[site.name] = site
        self._origins.note(("sites", site.name), origin)

    def _site(self, name: str, section: SiteSection, origin: Place) -> Site:
        """Without its machines."""
        place: Place = ("sites", name)
        nats, firewall = read_nats(section.nat, (*origin, "nat"), (*place, "nats"), self._origins)
        if section.firewall is not None:
            firewalls = {kind.value: kind for kind in Firewall}
            firewall = choose(section.firewall, firewalls, (*origin, "firewall"), "firewalls")
        lan = LAN
        if section.lan is not None:
            lan = self._lines.direction(LAN, section.lan, (*origin, "lan"), (*place, "lan"))
        return Site(
            name=name,
            line=self._lines.line(section.link, (*origin, "link"), (*place, "line")),
            nats=nats,
            firewall=firewall,
            behind=section.behind,
            is_isolating=section.isolating,
            lan=lan,
        )

    def _machines(
        self, site: str, section: SiteSection, origin: Place, suffix: str
    ) -> tuple[Machine, ...]:
        if section.machines is None:
            # A counted site without machines named is a home with one of its name.
            return (Machine(name=site),) if suffix else ()
        machines = []
        for index, entry in enumerate(section.machines):
            at: Place = (*origin, "machines", index)
            place: Place = ("sites", site, "machines", index)
            if isinstance(entry, str):
                self._origins.note((*place, "name"), at)
                machines.append(Machine(name=entry + suffix))
                continue
            table = convert(entry, MachineSection, at)
            self._origins.note((*place, "tunnel_address"), (*at, "address"))
            if table.address is not None and section.count is not None and section.count > 1:
                raise Mistake(
                    (*at, "address"),
                    f"{table.address} would be the address of {section.count} machines",
                    "leave it out, or write the sites one by one",
                )
            machines.append(
                Machine(
                    name=table.name + suffix,
                    starts_at_s=table.starts_at_s,
                    clock_offset_s=table.clock_offset_s,
                    clock_drift_ppm=table.clock_drift_ppm,
                    tunnel_address=table.address,
                    peers=None if table.peers is None else tuple(table.peers),
                )
            )
        return tuple(machines)
