"""How long pairs took to connect, as a distribution with its middle and its end."""

import math
from collections import Counter
from collections.abc import Sequence
from statistics import median
from typing import Final
from xml.etree.ElementTree import Element

from sims.model.result import PairResult
from sims.report.data import RunData
from sims.report.markup import append, element, percent
from sims.report.words import counted, duration

BINS: Final = 36
HEIGHT: Final = 150
TOP: Final = 26
"""Above the highest bar, for what is written there."""
BOTTOM: Final = 20
"""Below the bars, for the axis."""
WORST_MAX: Final = 5
SHORTEST_S: Final = 0.01
TICKS_S: Final = (
    *(0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30),
    *(60, 120, 300, 600, 1_800, 3_600, 7_200, 18_000, 36_000, 86_400, 172_800, 604_800),
)


def connect_times(data: RunData) -> Element:
    """A histogram over the logarithm of time, and those that were last."""
    timed = sorted(
        (pair for pair in data.result.pairs if pair.first_ping_s is not None),
        key=lambda pair: (_time_s(pair), pair.source, pair.destination),
    )
    never = len(data.result.pairs) - len(timed)
    section = element("div")
    if not timed:
        return element("p", "No pair ever connected, so there is nothing to show.")
    times_s = [_time_s(pair) for pair in timed]
    section.append(element("figure", _histogram(times_s), class_="histogram"))
    half, most = median(times_s), times_s[math.ceil(0.95 * len(times_s)) - 1]
    append(
        section,
        element(
            "p",
            f"Half of the {counted(len(timed), 'pair')} that connected had done so after "
            f"{duration(half)}, 95 % after {duration(most)}, all after {duration(times_s[-1])}.",
            f" {counted(never, 'pair')} never connected." if never else None,
        ),
        _worst(timed),
    )
    return section


def _worst(timed: Sequence[PairResult]) -> Element:
    last = element("ol", class_="worst")
    for pair in reversed(timed[-WORST_MAX:]):
        time = element("b", duration(_time_s(pair)))
        last.append(element("li", time, f" {pair.source} to {pair.destination}"))
    return element("div", element("h3", "The last to connect"), last)


def _time_s(pair: PairResult) -> float:
    assert pair.first_ping_s is not None
    return max(pair.first_ping_s, SHORTEST_S)


class _Scale:
    """Logarithmic, from the tick below the shortest time to the one above the longest."""

    def __init__(self, times_s: Sequence[float]) -> None:
        below = [tick for tick in TICKS_S if tick <= times_s[0]]
        above = [tick for tick in TICKS_S if tick > times_s[-1]]
        self.from_s, self.to_s = below[-1], above[0] if above else times_s[-1] * 2

    def share(self, time_s: float) -> float:
        return math.log(time_s / self.from_s) / math.log(self.to_s / self.from_s)

    @property
    def ticks_s(self) -> list[float]:
        return [tick for tick in TICKS_S if self.from_s <= tick <= self.to_s]


def _histogram(times_s: Sequence[float]) -> Element:
    scale = _Scale(times_s)
    bins = Counter(min(int(scale.share(time_s) * BINS), BINS - 1) for time_s in times_s)
    highest = max(bins.values())
    floor, room = HEIGHT - BOTTOM, HEIGHT - BOTTOM - TOP
    label = f"Histogram of the seconds to connect of {len(times_s)} pairs"
    drawing = element("svg", class_="flows", height=HEIGHT, role="img", aria_label=label)
    for place, count in sorted(bins.items()):
        height = max(room * count / highest, 1.5)
        from_s = scale.from_s * (scale.to_s / scale.from_s) ** (place / BINS)
        to_s = scale.from_s * (scale.to_s / scale.from_s) ** ((place + 1) / BINS)
        said = f"{counted(count, 'pair')} between {from_s:.2f} s and {to_s:.2f} s"
        bar = element(
            "rect",
            element("title", said),
            class_="bar",
            x=percent(place / BINS),
            y=floor - height,
            width=percent(0.9 / BINS),
            height=height,
        )
        drawing.append(bar)
    drawing.append(element("line", class_="axis", x1="0", x2="100%", y1=floor, y2=floor))
    for tick_s in scale.ticks_s:
        share = scale.share(tick_s)
        x = percent(share)
        drawing.append(element("line", class_="axis", x1=x, x2=x, y1=floor, y2=floor + 4))
        name = element("text", f"{tick_s:g} s", class_=f"tick {_anchor(share)}", x=x, y=HEIGHT - 3)
        drawing.append(name)
    middle = median(times_s)
    share = scale.share(middle)
    x = percent(share)
    drawing.append(element("line", class_="median", x1=x, x2=x, y1=14, y2=floor))
    said = f"median {duration(middle)}"
    drawing.append(element("text", said, class_=f"median {_anchor(share)}", x=x, y=10))
    return drawing


def _anchor(share: float) -> str:
    """So that what is written at an end stays inside."""
    return "starts" if share < 0.12 else "ends" if share > 0.88 else "middle"
