"""A mistake in a scenario, wherever it was written."""

import math
from typing import Final

from wice.section import Place, place_text

QUOTED_MAX: Final = 40
"""Characters of somebody's text that a message repeats."""


class Mistake(Exception):  # noqa: N818 - never leaves the readers of scenarios: a ConfigError does
    """place: keys and indexes in the scenario; why: what is wrong there; hint: the remedy."""

    def __init__(self, place: Place, why: str, hint: str) -> None:
        super().__init__(place, why, hint)
        self.place = place
        self.why = why
        self.hint = hint


def check_number(
    value: float,
    place: Place,
    *,
    lowest: float = 0.0,
    highest: float = math.inf,
    unit: str = "",
) -> None:
    """Raise Mistake unless ``value`` is finite and within the two.

    unit: with a space before it, where it is not the one that people write.
    """
    span = f"{lowest:g} or more" if highest == math.inf else f"{lowest:g} to {highest:g}{unit}"
    if not math.isfinite(value):
        raise Mistake(place, "is no finite number", f"use {span}")
    if value < lowest:
        why = "is negative" if value < 0 else f"is less than {lowest:g}{unit}"
        raise Mistake(place, why, f"use {span}")
    if value > highest:
        raise Mistake(place, f"is more than {highest:g}{unit}", f"use {span}")


def check_share(value: float, place: Place) -> None:
    """Raise Mistake unless ``value`` is a part of one."""
    if not 0 <= value <= 1:
        raise Mistake(place, f"{value:g} is no share", "use 0 to 1, as 0.02 for 2 %")


def check_positive(value: float, place: Place) -> None:
    if not (math.isfinite(value) and value > 0):
        raise Mistake(place, f"{value:g} is no span of time", "use more than 0")


def shortened(text: str) -> str:
    """As much of ``text`` as a message of one line has room for."""
    return text if len(text) <= QUOTED_MAX else text[: QUOTED_MAX - 1] + "…"


def where(place: Place) -> str:
    """``place`` as people write it, however long its names are."""
    return place_text(tuple(part if isinstance(part, int) else shortened(part) for part in place))
