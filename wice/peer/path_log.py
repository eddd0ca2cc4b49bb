"""Which paths a peer had, and when: the facts behind ``wice why``."""

from collections import deque
from dataclasses import dataclass

from wice.datagram import Path

PATH_CHANGES_MAX = 16
"""Changes that are remembered; the oldest are forgotten first."""


@dataclass(frozen=True, slots=True)
class PathChange:
    """From ``at_s`` on the peer had ``path``, None for none."""

    at_s: float
    path: Path | None
    is_relayed: bool


class PathLog:
    """The last changes of one peer's path, oldest first."""

    def __init__(self) -> None:
        self._changes: deque[PathChange] = deque(maxlen=PATH_CHANGES_MAX)

    def note(self, path: Path | None, is_relayed: bool, now: float) -> None:
        """The path is ``path`` now; harmless when it was before."""
        last = self._changes[-1] if self._changes else None
        known = (last.path, last.is_relayed) if last is not None else (None, False)
        if known != (path, is_relayed):
            self._changes.append(PathChange(now, path, is_relayed))

    @property
    def changes(self) -> tuple[PathChange, ...]:
        return tuple(self._changes)
