"""How a person follows a demo: a live table on a terminal, lines anywhere else."""

from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from sims.lab.progress import LABELS, Pair, Stage


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


class LiveDisplay:
    """A table of stages and times that fills; use it as a context."""

    def __init__(self, console: Console, pairs: tuple[Pair, ...]) -> None:
        self._console = console
        self._pairs = pairs
        self._times: dict[tuple[Pair, Stage], float] = {}
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
        self._live.__exit__(kind, error, traceback)

    def say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def reached(self, pair: Pair, stage: Stage, at_s: float) -> None:
        self._times[pair, stage] = at_s
        self._draw()

    def _draw(self) -> None:
        table = Table("stage", *(str(pair) for pair in self._pairs))
        for column in table.columns[1:]:
            column.justify = "right"
        for stage in Stage:
            times = (self._times.get((pair, stage)) for pair in self._pairs)
            table.add_row(
                LABELS[stage], *("…" if at_s is None else f"{at_s:.3f} s" for at_s in times)
            )
        self._live.update(table, refresh=True)
