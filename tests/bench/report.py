"""What a benchmark found: rows for the table and for the JSON file."""

import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

TABLE_WIDTH_MIN = 132


@dataclass(frozen=True, slots=True)
class Goal:
    """What is good enough; ``text`` is how people say it."""

    limit: float
    is_least: bool = False

    def is_met(self, value: float) -> bool:
        return value >= self.limit if self.is_least else value <= self.limit

    def __str__(self) -> str:
        return f"{'≥' if self.is_least else '≤'} {self.limit:g}"


@dataclass(frozen=True, slots=True)
class Row:
    """A figure: the median of ``samples``. skipped: why there are none."""

    group: str
    name: str
    unit: str
    samples: Sequence[float] = ()
    goal: Goal | None = None
    note: str = ""
    skipped: str = ""

    @property
    def value(self) -> float | None:
        return statistics.median(self.samples) if self.samples else None

    @property
    def is_missed(self) -> bool:
        return self.goal is not None and self.value is not None and not self.goal.is_met(self.value)

    def as_json(self) -> dict[str, Any]:
        return {
            "group": self.group,
            "name": self.name,
            "unit": self.unit,
            "median": self.value,
            "samples": list(self.samples),
            "goal": str(self.goal) if self.goal else None,
            "missed": self.is_missed,
            "note": self.note,
            "skipped": self.skipped or None,
        }


@dataclass(slots=True)
class Machine:
    """Where it ran, and how busy that was: other work slows absolutes, ratios less."""

    cores: int = field(default_factory=lambda: os.cpu_count() or 0)
    kernel: str = field(default_factory=platform.release)
    python: str = field(default_factory=platform.python_version)
    load_before: float = field(default_factory=lambda: os.getloadavg()[0])
    load_after: float = 0.0

    def finish(self) -> None:
        self.load_after = os.getloadavg()[0]


def print_table(rows: Sequence[Row], machine: Machine) -> None:
    table = Table(title="wice benchmarks: medians", title_justify="left")
    for column in ("group", "what"):
        table.add_column(column)
    for column in ("median", "least", "most", "runs"):
        table.add_column(column, justify="right")
    for column in ("unit", "goal", ""):
        table.add_column(column)
    group = ""
    for row in rows:
        if row.group != group and group:
            table.add_section()
        shown_group, group = (row.group if row.group != group else ""), row.group
        table.add_row(shown_group, row.name, *_figures(row))
    console = Console()
    console.width = max(console.width, TABLE_WIDTH_MIN)
    console.print(table)
    console.print(
        f"{machine.cores} cores, Linux {machine.kernel}, Python {machine.python}; "
        f"load {machine.load_before:.1f} before, {machine.load_after:.1f} after"
    )


def _figures(row: Row) -> tuple[str, ...]:
    goal = str(row.goal or "")
    if row.value is None:
        return "–", "", "", "0", row.unit, goal, f"skipped: {row.skipped}"
    verdict = ("missed" if row.is_missed else "met") if row.goal else ""
    return (
        _number(row.value),
        _number(min(row.samples)),
        _number(max(row.samples)),
        str(len(row.samples)),
        row.unit,
        goal,
        "; ".join(filter(None, (verdict, row.note))),
    )


def _number(value: float) -> str:
    if value == 0 or abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"


def write_json(path: Path, rows: Sequence[Row], machine: Machine) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    report: Mapping[str, Any] = {
        "version": 1,
        "machine": asdict(machine),
        "rows": [row.as_json() for row in rows],
    }
    path.write_text(json.dumps(report, indent=2) + "\n")
