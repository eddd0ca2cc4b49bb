"""What a cable does to what is sent through it: latency, jitter, loss, rate."""

import re
from dataclasses import dataclass
from typing import Final, Self

LATENCY_MAX_S: Final = 10.0

_ITEM: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|%|kbit|mbit|gbit)")
_RATE_UNITS: Final = {"kbit": 1e3, "mbit": 1e6, "gbit": 1e9}


@dataclass(frozen=True, slots=True)
class Link:
    """One direction of a cable.

    latency_s, one way, varies evenly by up to jitter_s both ways, and packets keep their order.
    loss: the share of packets that vanish, each by itself. rate_bits_s: None is no limit.
    """

    latency_s: float = 0.0
    jitter_s: float = 0.0
    loss: float = 0.0
    rate_bits_s: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.jitter_s <= self.latency_s <= LATENCY_MAX_S:
            raise ValueError(f"jitter <= latency <= {LATENCY_MAX_S:g} s must hold")
        if not 0 <= self.loss < 1:
            raise ValueError("a loss is less than 100%")
        if self.rate_bits_s is not None and self.rate_bits_s <= 0:
            raise ValueError("a rate is more than nothing")

    @property
    def is_plain(self) -> bool:
        """Whether it does nothing."""
        return self == PLAIN

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``25ms,1%`` or ``25ms,5ms,1%,20mbit``; the second time is the jitter.

        Raise ValueError.
        """
        times_s: list[float] = []
        loss: float | None = None
        rate_bits_s: float | None = None
        for item in text.split(","):
            found = _ITEM.fullmatch(item.strip().lower())
            if found is None:
                raise ValueError(f"{item!r} is neither 25ms nor 1% nor 20mbit")
            value, unit = float(found[1]), found[2]
            if unit in ("ms", "s") and len(times_s) < 2:
                times_s.append(value / 1000 if unit == "ms" else value)
            elif unit == "%" and loss is None:
                loss = value / 100
            elif unit in _RATE_UNITS and rate_bits_s is None:
                rate_bits_s = value * _RATE_UNITS[unit]
            else:
                raise ValueError(f"{item!r} is one too many")
        latency_s, jitter_s = (*times_s, 0.0, 0.0)[:2]
        return cls(latency_s, jitter_s, loss or 0.0, rate_bits_s)


PLAIN: Final = Link()
"""A cable that does nothing."""
