"""Scenario files: read, checked, and every mistake named in one line with its place."""

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import msgspec

from sims.files.fault_tables import FaultReader, read_churn
from sims.files.line_tables import Origins, choose, convert
from sims.files.site_tables import SiteReader
from sims.files.toml_lines import TomlLines
from sims.model.mistake import Mistake, shortened, where
from sims.model.scenario import OVERLAYS, Expectation, Scenario
from sims.model.scenario_check import check_run, find_mistake
from wice.errors import ConfigError
from wice.section import Place, suggest
from wice.toml_mistake import toml_mistake

SCENARIO_SIZE_MAX_BYTES: Final = 1_024 * 1_024

SCENARIOS: Final = Path(__file__).parent.parent / "scenarios"
"""Those that come with the program."""

IP_VERSIONS: Final = {"4": (4,), "6": (6,), "dual": (4, 6)}


class RunSection(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    duration_s: float
    name: str | None = None
    bootstraps: int = 1
    relay: bool = True
    ip: str = "4"
    peers_each_max: int | None = None
    ping_every_s: float = 5.0
    overlay: str = OVERLAYS[0]


class ExpectSection(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    all_pairs_connected_by_s: float | None = None
    healed_within_s: float | None = None
    direct: list[tuple[str, str]] = []
    relayed: list[tuple[str, str]] = []
    unreachable: list[tuple[str, str]] = []


class FileSection(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    scenario: dict[str, Any]
    sites: dict[str, dict[str, Any]]
    faults: list[dict[str, Any]] = []
    churn: list[dict[str, Any]] = []
    expect: dict[str, Any] = {}


def scenario_names() -> tuple[str, ...]:
    """Of those that come with the program."""
    return tuple(sorted(path.stem for path in SCENARIOS.glob("*.toml")))


def find_scenario(name_or_path: str) -> Path:
    """The file of a scenario that comes with the program, or any path; raise ConfigError."""
    names = scenario_names()
    if name_or_path in names:
        return SCENARIOS / f"{name_or_path}.toml"
    path = Path(name_or_path)
    shown = shortened(name_or_path) or "''"
    if path.suffix == ".toml" or "/" in name_or_path:
        return path
    raise ConfigError(
        f"scenario {shown}",
        "there is none of this name",
        suggest(name_or_path, names, "scenarios") + ", or give a file, as ./mine.toml",
    )


def load_scenario(path: Path) -> Scenario:
    """Read and check the file at ``path``; raise ConfigError."""
    try:
        with path.open("rb") as file:
            data = file.read(SCENARIO_SIZE_MAX_BYTES + 1)
        text = data.decode("utf-8-sig")  # some editors write a mark in front
    except OSError as error:
        raise ConfigError(
            str(path),
            f"cannot be read: {error.strerror}",
            "give the file's own path, or a name that `wice sim list` shows",
        ) from None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}", "is not UTF-8", "save the file as UTF-8") from None
    except ValueError as error:
        # A null character in the path.
        raise ConfigError(str(path), f"is no path: {error}") from None
    return parse_scenario(text, path)


def parse_scenario(text: str, path: Path) -> Scenario:
    """The scenario that ``text`` describes, checked; raise ConfigError.

    path: of the file it is from; its stem is the scenario's name where the file gives none.
    """
    if len(text) > SCENARIO_SIZE_MAX_BYTES:
        raise ConfigError(
            str(path),
            f"is larger than {SCENARIO_SIZE_MAX_BYTES} bytes",
            "count = N in a site's table stands for N sites",
        )
    table = _parse_toml(text, path)
    origins = Origins()
    try:
        scenario = _read(table, path.stem, origins)
    except Mistake as mistake:
        raise _config_error(mistake, mistake.place, text, path) from None
    try:
        find_mistake(scenario)
    except Mistake as mistake:
        raise _config_error(mistake, origins.of(mistake.place), text, path) from None
    return scenario


def _config_error(mistake: Mistake, place: Place, text: str, path: Path) -> ConfigError:
    line = TomlLines(text).line_of(place)
    return ConfigError(f"{path}:{line}: {where(place)}", mistake.why, mistake.hint)


def _parse_toml(text: str, path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise toml_mistake(path, text, error) from None


def _read(table: dict[str, Any], name: str, origins: Origins) -> Scenario:
    file = convert(table, FileSection, ())
    run = convert(file.scenario, RunSection, ("scenario",))
    expect = convert(file.expect, ExpectSection, ("expect",))
    origins.note(("scenario", "ip_versions"), ("scenario", "ip"))
    origins.note(("scenario", "has_relay"), ("scenario", "relay"))
    sites = SiteReader(origins)
    scenario = Scenario(
        name=name if run.name is None else run.name,
        duration_s=run.duration_s,
        sites=sites.read(file.sites),
        bootstraps=run.bootstraps,
        has_relay=run.relay,
        ip_versions=choose(run.ip, IP_VERSIONS, ("scenario", "ip"), "IP versions"),
        peers_each_max=run.peers_each_max,
        ping_every_s=run.ping_every_s,
        overlay=run.overlay,
        churn=read_churn(file.churn),
        expect=Expectation(
            all_pairs_connected_by_s=expect.all_pairs_connected_by_s,
            healed_within_s=expect.healed_within_s,
            direct=tuple(expect.direct),
            relayed=tuple(expect.relayed),
            unreachable=tuple(expect.unreachable),
        ),
    )
    check_run(scenario)
    faults = FaultReader(scenario, sites.counted, origins).read(file.faults)
    return replace(scenario, faults=faults)
