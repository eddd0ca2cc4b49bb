"""The page of a grid: every kind of NAT against every other."""

from collections import Counter
from statistics import median
from typing import Final
from xml.etree.ElementTree import Element

from sims.many.grid import NO_PATH, Cell, GridResult
from sims.oracle import DIRECT, RELAYED
from sims.report.document import MANY_KICKER, Part, document, footer_of_many, header_of
from sims.report.markup import append, element
from sims.report.words import counted, duration

_LEGEND: Final = ((DIRECT, "direct"), (RELAYED, "relayed"), ("no-path", "no path"))
_MARKS: Final = {DIRECT: "", RELAYED: "\u202fr"}
"""Beside the seconds; without a path there are none."""


def grid_report(grid: GridResult, command: str) -> str:
    """The HTML document; the same cells give the same bytes. command: runs them again."""
    seen = Counter(cell.seen for cell in grid.cells)
    times_s = [cell.time_s for cell in grid.cells if cell.seen in (DIRECT, RELAYED)]
    figures = [
        (f"{len(grid.cells)}/{len(grid.kinds) ** 2}", "pairs of kinds tried"),
        (str(seen[DIRECT]), "direct"),
        (str(seen[RELAYED]), "relayed"),
        (str(seen[NO_PATH]), "without a path"),
        (duration(median(times_s)) if times_s else "–", "median to connect"),
        (str(len(grid.disagreeing)), "not as expected"),
    ]
    said = _verdict(grid)
    kinds = "NATs" if grid.ip_version == 4 else "firewalls"
    lead = (
        f"Two homes with one machine each, every kind of {kinds.removesuffix('s')} in front of one "
        "against every kind in front of the other. What is expected is from the kinds alone, by an "
        "oracle that knows no code of wice."
    )
    header = header_of(
        MANY_KICKER,
        f"Grid of {kinds}",
        f"IPv{grid.ip_version}",
        said,
        lead,
        figures,
        [("The same again:", command)],
        is_ok=grid.is_ok,
    )
    parts = [Part("grid", "Every kind against every other", _grid(grid))]
    if grid.disagreeing:
        parts.insert(0, Part("violations", "What is not as expected", _disagreeing(grid)))
    title = f"Grid of {kinds}, IPv{grid.ip_version} – wice simulation"
    return document(title, said, header, parts, footer_of_many())


def _verdict(grid: GridResult) -> str:
    """One sentence, or two of a grid that was interrupted."""
    done, unlike = len(grid.cells), len(grid.disagreeing)
    count = f"{unlike} of {counted(done, 'pair')} of kinds are not as expected."
    if not grid.is_complete:
        until = f" Until then {count}" if unlike else ""
        return f"The grid was interrupted after {done} of {len(grid.kinds) ** 2} pairs.{until}"
    return count if unlike else f"All {counted(done, 'pair')} of kinds are as expected."


def _disagreeing(grid: GridResult) -> Element:
    items = element("ol", class_="violations")
    for cell in grid.disagreeing:
        reason = f" ({cell.reason})" if cell.reason else ""
        items.append(
            element(
                "li",
                element("time", f"{cell.time_s:.1f} s"),
                element("b", " – ".join(cell.kinds)),
                element("p", f"{cell.seen}{reason}; expected: {cell.expected}"),
            )
        )
    return items


def _grid(grid: GridResult) -> Element:
    cells = {cell.kinds: cell for cell in grid.cells}
    head = element("tr", element("td"))
    append(head, *(element("th", kind, scope="col") for kind in grid.kinds))
    body = element("tbody")
    for one in grid.kinds:
        row = element("tr", element("th", one, scope="row"))
        append(row, *(_cell(cells.get((one, other))) for other in grid.kinds))
        body.append(row)
    legend = element("p", class_="legend")
    for css_class, text in _LEGEND:
        legend.append(element("span", text, class_=f"key {css_class}"))
    table = element("table", element("thead", head), body, class_="grid kinds")
    box = element("div", table, class_="scrolls", role="region", tabindex=0, aria_label="Grid")
    note = (
        "From the first home's kind, a row each, to the second home's: seconds until both had "
        "pinged through the tunnel, r where a relay carries it, – where both say that there is no "
        "path, ! where that is not as expected."
    )
    return element("div", legend, box, element("p", note, class_="note"))


def _cell(cell: Cell | None) -> Element:
    if cell is None:
        return element("td", "", class_="nobody", title="not tried")
    mark = _MARKS.get(cell.seen)
    text = f"{cell.time_s:.1f}{mark}" if mark is not None else "–"
    css_class = cell.seen if mark is not None else "no-path"
    if not cell.is_as_expected:
        text, css_class = f"{text}!", f"{css_class} unlike"
    return element("td", text, class_=css_class, title=str(cell))
