"""The table and the JSON file of the benchmarks: medians, goals, and what was skipped."""

import json
from importlib import import_module
from pathlib import Path

import pytest

from tests.bench.__main__ import GROUPS
from tests.bench.report import Goal, Machine, Row, print_table, write_json

FAST = Row("mesh", "start", "s", [3.0, 1.0, 2.0], Goal(2.0))
SLOW = Row("mesh", "a new peer", "s", [3.0, 2.1, 2.2], Goal(2.0))
RATIO = Row("stun", "theirs / ours", "×", [2.9], Goal(3.0, is_least=True))
SKIPPED = Row("idle", "a pair", "B", goal=Goal(1.0), skipped="it needs root")


def test_a_row_is_its_median_and_knows_whether_it_misses_its_goal() -> None:
    assert FAST.value == 2.0
    assert [row.is_missed for row in (FAST, SLOW, RATIO, SKIPPED)] == [False, True, True, False]


def test_the_table_says_what_was_missed_and_why_a_row_is_empty(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_table([FAST, SLOW, RATIO, SKIPPED], Machine())
    lines = capsys.readouterr().out.splitlines()
    verdicts = {row.name: next(line for line in lines if row.name in line) for row in (FAST, SLOW)}
    assert "met" in verdicts["start"]
    assert "missed" in verdicts["a new peer"]
    assert any("it needs root" in line for line in lines)


def test_the_file_holds_every_sample(tmp_path: Path) -> None:
    path = tmp_path / "new" / "bench.json"
    write_json(path, [SLOW, SKIPPED], Machine())
    written = json.loads(path.read_text())
    assert written["version"] == 1
    slow, skipped = written["rows"]
    assert (slow["median"], slow["samples"], slow["missed"]) == (2.2, [3.0, 2.1, 2.2], True)
    assert (skipped["median"], skipped["skipped"]) == (None, "it needs root")


@pytest.mark.parametrize("group", GROUPS)
def test_every_group_is_there(group: str) -> None:
    module, function = GROUPS[group]
    assert callable(getattr(import_module(f"tests.bench.{module}"), function))
