"""Who reaches whom: a table of all pairs, or where they are many a drawing of them."""

from typing import Final
from xml.etree.ElementTree import Element

from sims.model.result import PairResult
from sims.oracle import DIRECT, RELAYED
from sims.report.data import PATHS, RunData
from sims.report.markup import append, element, number
from sims.report.words import counted, moment, shortened

TABLE_MACHINES_MAX: Final = 20
"""More do not fit a page with figures in their cells."""

CELL: Final = 8
"""Pixels of a side in the drawing."""
NAME_CHARACTERS_MAX: Final = 20
COLUMN_CHARACTERS_MAX: Final = 12
"""Of a column's name in the table, whose columns are as wide as their names."""
CHARACTER_WIDTH: Final = 4.8
"""Of a font of 8 pixels, on average."""

_CLASSES: Final = {DIRECT: "direct", RELAYED: "relayed", None: "no-path"}
_DOTS: Final = {DIRECT: "h6v6h-6z", RELAYED: "h6l-6 6z", None: "m1.5 2.5h3v1h-3z"}
"""Full, half and nearly nothing: colour alone need not tell them apart."""


def connectivity(data: RunData) -> Element:
    """The grid with its legend, in a box of its own that scrolls."""
    is_table = len(data.machines) <= TABLE_MACHINES_MAX
    grid = _table(data) if is_table else _drawing(data)
    legend = element("p", class_="legend")
    for path in PATHS:
        css_class = _CLASSES[path]
        legend.append(element("span", _MEANINGS[path], class_=f"key {css_class}"))
    box = element(
        "div", grid, class_="scrolls", role="region", tabindex=0, aria_label="Connectivity grid"
    )
    return element("div", legend, box, element("p", _note(data, is_table), class_="note"))


_MEANINGS: Final = {DIRECT: "direct", RELAYED: "relayed", None: "no path at the end"}


def _note(data: RunData, is_table: bool) -> str:
    note = "From the machine of the row to that of the column"
    if is_table:
        note += ": seconds until the first ping came back through the tunnel, r where a relay "
        note += "carries it at the end, – where there is no path at the end"
    unlike = sum(not pair.is_as_expected for pair in data.result.pairs)
    if not unlike:
        return f"{note}. All are as NATs and firewalls alone would have it."
    mark = " (!)" if is_table else ""
    count = counted(unlike, "pair is", "pairs are")
    return f"{note}. {count} not as NATs and firewalls alone would have it{mark}."


def _table(data: RunData) -> Element:
    head = element("tr", element("td"))
    append(head, *(_name(name, COLUMN_CHARACTERS_MAX, "col") for name in data.machines))
    body = element("tbody")
    for source in data.machines:
        row = element("tr", _name(source, NAME_CHARACTERS_MAX, "row"))
        append(row, *(_cell(data, source, destination) for destination in data.machines))
        body.append(row)
    caption = element("caption", "Seconds to the first ping", class_="unseen")
    return element("table", caption, element("thead", head), body, class_="grid")


def _name(name: str, characters_max: int, scope: str) -> Element:
    """A heading no longer than lets a phone show cells beside it."""
    shown = shortened(name, characters_max)
    return element("th", shown, scope=scope, title=None if shown == name else name)


def _cell(data: RunData, source: str, destination: str) -> Element:
    pair = data.pairs.get((source, destination))
    if pair is None:
        return element("td", "·", class_="nobody") if source == destination else element("td")
    mark = {RELAYED: "\u202fr", None: "\u202f–"}.get(pair.path, "")
    text = f"{pair.first_ping_s:.1f}{mark}" if pair.first_ping_s is not None else "–"
    text += "" if pair.is_as_expected else "!"
    return element("td", text, class_=_CLASSES[pair.path], title=_described(pair))


def _described(pair: PairResult) -> str:
    first = "never" if pair.first_ping_s is None else f"after {moment(pair.first_ping_s)}"
    return (
        f"{pair.source} to {pair.destination}: {pair.path or 'no path'}, first ping {first}, "
        f"{pair.received} of {pair.sent} pings came back"
    )


def _drawing(data: RunData) -> Element:
    names = data.machines
    longest = max(min(len(name), NAME_CHARACTERS_MAX) for name in names)
    margin = longest * CHARACTER_WIDTH + 6
    side = margin + len(names) * CELL
    counts = {path: sum(p.path == path for p in data.result.pairs) for path in PATHS}
    said = ", ".join(f"{count} {_MEANINGS[path]}" for path, count in counts.items())
    drawing = element(
        "svg",
        class_="matrix",
        width=side,
        height=side,
        viewBox=f"0 0 {number(side)} {number(side)}",
        role="img",
        aria_label=f"Grid of {len(data.result.pairs)} pairs: {said}",
    )
    for place, name in enumerate(names):
        at = margin + place * CELL + CELL - 1.5
        shown = shortened(name, NAME_CHARACTERS_MAX)
        drawing.append(element("text", shown, x=margin - 4, y=at, class_="row"))
        turn = f"translate({number(at)} {number(margin - 4)}) rotate(-90)"
        drawing.append(element("text", shown, transform=turn))
    for path in PATHS:
        drawing.append(element("path", class_=_CLASSES[path], d=_dots(data, path, margin)))
    return drawing


def _dots(data: RunData, path: str | None, margin: float) -> str:
    """All pairs of one path in one shape, or a page of a hundred machines grows too large."""
    order = {name: place for place, name in enumerate(data.machines)}
    return "".join(
        f"M{number(margin + order[pair.destination] * CELL + 1)} "
        f"{number(margin + order[pair.source] * CELL + 1)}{_DOTS[path]}"
        for pair in data.result.pairs
        if pair.path == path
    )
