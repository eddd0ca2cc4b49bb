"""One line on standard error that says how far a long work has come."""

import shutil
from contextlib import suppress
from types import TracebackType
from typing import Final, Self, TextIO

REDRAW_INTERVAL_S: Final = 0.1
LINE_INTERVAL_S: Final = 10.0
"""Between lines where none can be drawn anew: in a log."""
BAR_WIDTH: Final = 24
WIDTH_MIN: Final = 20

_TO_LINE_START_AND_CLEAR: Final = "\r\x1b[K"


class ProgressLine:
    """Drawn anew on a terminal, and a line now and then elsewhere; use it as a context.

    The caller says what time it is: during a run, the clock of this process is a simulated one.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._next_at_s = 0.0 if self._is_terminal else LINE_INTERVAL_S

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._is_terminal:
            self._write(_TO_LINE_START_AND_CLEAR)

    def show(self, text: str, real_s: float) -> None:
        """Say ``text`` if it is time to; ``real_s`` is seconds since the work began."""
        if real_s < self._next_at_s:
            return
        if self._is_terminal:
            self._next_at_s = real_s + REDRAW_INTERVAL_S
            width = max(shutil.get_terminal_size().columns - 1, WIDTH_MIN)
            self._write(_TO_LINE_START_AND_CLEAR + text[:width])
        else:
            self._next_at_s = real_s + LINE_INTERVAL_S
            self._write(text + "\n")

    def _write(self, text: str) -> None:
        # Whoever watched has gone; the work goes on.
        with suppress(OSError):
            self._stream.write(text)
            self._stream.flush()


def bar(done: int, total: int) -> str:
    """As ``[######······]``."""
    filled = BAR_WIDTH * done // max(total, 1)
    return f"[{'#' * filled}{'·' * (BAR_WIDTH - filled)}]"
