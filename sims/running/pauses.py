"""When the pings of a pair came back first, and when they did again."""

from typing import Final, NamedTuple

PAUSE_MIN_S: Final = 2.0
"""Pings that are answered later than that, or not at all for so long, are worth a word."""

Pair = tuple[str, str]


class Pong(NamedTuple):
    """An answer. waited_s: for how long the pair had none."""

    waited_s: float
    is_first: bool

    @property
    def ends_pause(self) -> bool:
        return not self.is_first and self.waited_s >= PAUSE_MIN_S


class Pauses:
    """Told of every ping and every answer of every pair, in the order of time."""

    def __init__(self) -> None:
        self._waits_since_s: dict[Pair, float] = {}
        self._connected: dict[Pair, None] = {}

    def ping(self, pair: Pair, at_s: float) -> None:
        self._waits_since_s.setdefault(pair, at_s)

    def pong(self, pair: Pair, at_s: float) -> Pong:
        is_first = pair not in self._connected
        self._connected[pair] = None
        return Pong(at_s - self._waits_since_s.pop(pair, at_s), is_first)

    def silent_since_s(self, pair: Pair) -> float | None:
        """Since when a pair that was connected has no answer; None where it has."""
        return self._waits_since_s.get(pair) if pair in self._connected else None
