"""How far a run is, for who watches it."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is."""

    virtual_s: float
    duration_s: float
    real_s: float
    events: int
    packets: int
    pairs_connected: int
    pairs: int


OnProgress = Callable[[Progress], None]
