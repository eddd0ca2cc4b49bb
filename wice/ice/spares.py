"""Pairs that could replace the selected one, kept warm: NATs forget what is not used."""

from collections.abc import Iterable
from typing import Final

from wice.ice.pair import Pair
from wice.ice.timing import Timing

HURRIES_MAX: Final = 6
"""Checks out of turn while one pair is selected."""


class Spares:
    """The best other pair of each kind: so many relays, IPv4 or IPv6. So at most six."""

    def __init__(self, timing: Timing) -> None:
        self._timing = timing
        self.next_at: float | None = None
        self._hurries = 0

    def restart(self, now: float) -> None:
        """A pair was selected."""
        self.next_at = now + self._timing.spare_s
        self._hurries = 0

    def hurry(self, now: float) -> None:
        """One may be better than the selected pair, and is not known well enough yet."""
        if self.next_at is not None and self._hurries < HURRIES_MAX:
            self._hurries += 1
            self.next_at = min(self.next_at, now + self._timing.sample_s)

    def stop(self) -> None:
        self.next_at = None

    def is_due(self, now: float) -> bool:
        return self.next_at is not None and now >= self.next_at

    def take_due(self, pairs: Iterable[Pair], selected: Pair, now: float) -> list[Pair]:
        """Those to check now that it is due."""
        self.next_at = now + self._timing.spare_s
        best: dict[tuple[int, bool], Pair] = {}
        for pair in pairs:
            if pair is selected or not pair.is_valid(now):
                continue
            known = best.get(pair.spare_kind)
            if known is None or (pair.smoothed_rtt_s or 0.0) < (known.smoothed_rtt_s or 0.0):
                best[pair.spare_kind] = pair
        return [pair for pair in best.values() if pair.check is None]
