"""The published JSON schema is what the readers of scenario files read."""

import copy
import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from sims.commands.command import sim
from sims.files.new_scenario import TEMPLATE
from sims.files.scenario_file import find_scenario, parse_scenario, scenario_names
from sims.files.schema import scenario_schema
from sims.model.presets import LINE_PRESETS
from tests.sims.json_schema import is_valid
from tests.sims.test_scenario_file import GOOD
from wice.errors import ConfigError
from wice.section import Place

SCHEMA = scenario_schema()
PUBLISHED = Path(__file__).parents[2] / "docs" / "reference" / "scenario.schema.json"

STRANGE: tuple[Any, ...] = (
    *(-1, 0, 0.5, 2, 3, 1e9, "", "x y", "none", "4g", True, [], {}, ["a"], [1, 2], {"zz": 1}),
    *([{}], [["a", "b"]], ["a"] * 3, "bootstrap-1"),
)


def test_the_published_schema_is_that_of_the_program() -> None:
    printed = CliRunner().invoke(sim, ["schema"], catch_exceptions=False).stdout
    assert PUBLISHED.read_text("utf-8") == printed, (
        "write it anew: wice sim schema > docs/reference/scenario.schema.json"
    )
    assert json.loads(printed) == SCHEMA


@pytest.mark.parametrize("path", [*map(find_scenario, scenario_names()), TEMPLATE], ids=str)
def test_every_scenario_that_comes_with_the_program_fits(path: Path) -> None:
    assert is_valid(tomllib.loads(path.read_text("utf-8")), SCHEMA)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("duration_s = 120", "duration = 120"),
        ("duration_s = 120", "duration_s = 0.5"),
        ("duration_s = 120", 'duration_s = "120"'),
        ("duration_s = 120\n", ""),
        ("bootstraps = 2", "bootstraps = 17"),
        ("bootstraps = 2", "bootstraps = 2.5"),
        ('ip = "dual"', "ip = 4"),
        ('preset = "dsl"', 'preset = "dls"'),
        ('"port-restricted"', '"port-restriced"'),
        ("loss = 0.01", "loss = 1.5"),
        ("mtu = 1400", "mtu = 100"),
        ('up = "none"', 'up = "dead"'),
        ("lifetime_s = 30", "lifetime_s = 0"),
        ('kind = "crash"', 'kind = "crush"'),
        ("loses_disk = true", "looses_disk = true"),
        ('one = ["flat", "carrier"]', "one = []"),
        ('"sleep", "nat-reboot"', '"sleep", "nap"'),
        ("between_s = [10, 20]", "between_s = [10]"),
        ('[["laptop", "flat-1"]]', '[["laptop"]]'),
        ("[sites.flat]", '[sites."my flat"]'),
    ],
)
def test_a_mistake_does_not_fit(old: str, new: str) -> None:
    assert is_valid(tomllib.loads(GOOD), SCHEMA)
    changed = GOOD.replace(old, new)
    assert changed != GOOD
    assert not is_valid(tomllib.loads(changed), SCHEMA)


def test_what_does_not_fit_is_refused_by_the_reader_too() -> None:
    """Every value of a good file in turn as something else: an editor cries for no wrong reason."""
    unfit = 0
    for place, changed in changes(tomllib.loads(GOOD)):
        if is_valid(changed, SCHEMA):
            continue
        unfit += 1
        try:
            parse_scenario(toml(changed), Path("story.toml"))
        except ConfigError:
            continue
        pytest.fail(f"the schema refuses what the reader takes, at {place}")
    assert unfit > 500


def test_every_key_says_what_it_means() -> None:
    for place, key in keys(SCHEMA):
        assert key.get("description", "").endswith("."), place


def test_a_line_is_completed_by_the_names_of_presets() -> None:
    preset, table = SCHEMA["definitions"]["line"]["anyOf"]
    assert preset["enum"] == table["properties"]["preset"]["enum"] == list(LINE_PRESETS)


def changes(document: Any) -> Iterator[tuple[Place, Any]]:
    for place in places(document):
        for strange in STRANGE:
            changed = copy.deepcopy(document)
            inside = changed
            for part in place[:-1]:
                inside = inside[part]
            inside[place[-1]] = strange
            yield place, changed


def places(value: Any, above: Place = ()) -> Iterator[Place]:
    inside = value.items() if isinstance(value, dict) else enumerate(value)
    for part, each in list(inside):
        yield (*above, part)
        if isinstance(each, dict | list):
            yield from places(each, (*above, part))


def keys(schema: Any, above: Place = ()) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Every property that any table of the schema has."""
    if not isinstance(schema, dict | list):
        return
    inside = schema.items() if isinstance(schema, dict) else enumerate(schema)
    for part, each in inside:
        if part == "properties":
            yield from (((*above, name), key) for name, key in each.items())
        yield from keys(each, (*above, part))


def toml(document: dict[str, Any]) -> str:
    return "".join(f"{key} = {inline(value)}\n" for key, value in document.items())


def inline(value: Any) -> str:
    if isinstance(value, dict):
        said = (f"{json.dumps(key)} = {inline(each)}" for key, each in value.items())
        return f"{{ {', '.join(said)} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(inline, value))}]"
    return repr(value) if isinstance(value, float) else json.dumps(value)
