"""How a person follows a demo: a live table on a terminal, lines anywhere else."""

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Final, Protocol, Self

import trio
from rich.box import SIMPLE
from rich.console import Console
from rich.live import Live
from rich.table import Table

from sims.lab.progress import LABELS, Pair, Stage

COLUMNS_MAX: Final = 2
"""Pairs that a table of stages has a column for."""
REDRAW_INTERVAL_S: Final = 0.05
"""Twelve homes come to hundreds of stages in a second, and a table costs as much as a handshake."""
WHOLE_NAMES_WIDTH_MAX: Final = 64
"""Characters of a grid with whole names on top; twelve homes fit on a terminal of 80 columns."""
SHORT_NAME_SIZE: Final = 4

SHORT_LABELS: Final = {
    Stage.HANDSHAKE: "wg",
    Stage.SELECTED: "path",
    Stage.CHECKING: "chck",
    Stage.DESCRIBED: "desc",
    Stage.FOUND: "find",
    Stage.JOINED: "join",
}
"""How far a pair has come, the last first."""


class Display(Protocol):
    """What a demo tells while it runs."""

    def say(self, line: str) -> None: ...

    def reached(self, pair: Pair, stage: Stage, at_s: float) -> None:
        """``pair`` came to ``stage``, ``at_s`` after the start of the daemons."""
        ...


class SilentDisplay:
    """Tells nothing."""

    def say(self, line: str) -> None:
        pass

    def reached(self, pair: Pair, stage: Stage, at_s: float) -> None:
        pass


class PlainDisplay:
    """Tells everything in lines."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def reached(self, pair: Pair, stage: Stage, at_s: float) -> None:
        self.say(f"{at_s:7.3f} s  {pair}: {LABELS[stage]}")


class BriefDisplay(PlainDisplay):
    """Of many pairs, tells only who reached whom."""

    def reached(self, pair: Pair, stage: Stage, at_s: float) -> None:
        if stage is Stage.PING:
            super().reached(pair, stage, at_s)


class LiveDisplay:
    """A table that fills; use it as a context.

    Of few pairs it shows when each came to each stage, of many how far each has come.
    """

    def __init__(self, console: Console, pairs: tuple[Pair, ...]) -> None:
        self._console = console
        self._pairs = pairs
        self._times: dict[tuple[Pair, Stage], float] = {}
        self._drawn_at_s = 0.0
        # Drawn when something happens, so rich needs no thread that redraws.
        self._live = Live(console=console, auto_refresh=False)

    def __enter__(self) -> Self:
        self._live.__enter__()
        self._draw()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._live.update(self._table(), refresh=True)
        self._live.__exit__(kind, error, traceback)

    def say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def reached(self, pair: Pair, stage: Stage, at_s: float) -> None:
        self._times[pair, stage] = at_s
        if trio.current_time() - self._drawn_at_s >= REDRAW_INTERVAL_S:
            self._draw()

    def _draw(self) -> None:
        self._drawn_at_s = trio.current_time()
        self._live.update(self._table(), refresh=True)

    def _table(self) -> Table:
        return self._stages() if len(self._pairs) <= COLUMNS_MAX else self._progress()

    def _stages(self) -> Table:
        table = Table("stage", *(str(pair) for pair in self._pairs))
        for column in table.columns[1:]:
            column.justify = "right"
        for stage in Stage:
            times = (self._times.get((pair, stage)) for pair in self._pairs)
            table.add_row(
                LABELS[stage], *("…" if at_s is None else f"{at_s:.3f} s" for at_s in times)
            )
        return table

    def _progress(self) -> Table:
        def cell(pair: Pair) -> str:
            at_s = self._times.get((pair, Stage.PING))
            if at_s is not None:
                return f"{at_s:.1f}"
            return next((SHORT_LABELS[s] for s in SHORT_LABELS if (pair, s) in self._times), "…")

        return pair_grid(self._pairs, cell)


def pair_grid(pairs: Sequence[Pair], cell: Callable[[Pair], str]) -> Table:
    """Who pings in rows, who is pinged in columns."""
    names = list(dict.fromkeys(pair.source for pair in pairs))
    rows, columns = _titles(names)
    table = Table("", *columns, box=SIMPLE, padding=(0, 1, 0, 0))
    for column in table.columns[1:]:
        column.justify = "right"
        column.no_wrap = True
    for source, row in zip(names, rows, strict=True):
        cells = (cell(Pair(source, name)) if name != source else "·" for name in names)
        table.add_row(row, *cells)
    return table


def _titles(names: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """What rows and columns are called: columns in short where whole names would not fit."""
    if sum(len(name) + 2 for name in names) <= WHOLE_NAMES_WIDTH_MAX:
        return names, names
    short = [name[:SHORT_NAME_SIZE] for name in names]
    if len(set(short)) == len(names):
        return names, short
    numbers = [str(number) for number in range(1, len(names) + 1)]
    return [f"{number} {name}" for number, name in zip(numbers, names, strict=True)], numbers
