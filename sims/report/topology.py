"""The mesh as a drawing: internet, nodes, sites with what is in front of them, machines."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple
from xml.etree.ElementTree import Element

from sims.model.scenario import Site
from sims.oracle import DIRECT, RELAYED
from sims.report.data import RunData
from sims.report.markup import append, element
from sims.report.words import counted, line_name, listed, nat_name, shortened

SITES_MAX: Final = 24
"""More are drawn by their kinds."""
MACHINES_AT_SITE_MAX: Final = 8
"""More are drawn as their number."""
CHOICES_MAX: Final = 24
"""Machines whose paths can be asked for one by one."""
ALL_PATHS_MAX: Final = 15
"""Lines in one drawing that an eye can still follow."""

FAILED_MARK: Final = " ⚠"

LINE_HEIGHT: Final = 17
HEAD_LINES: Final = 3
PADDING: Final = 10
GUTTER: Final = 22
ROW_GAP: Final = 16
NODE_HEIGHT: Final = 34
BAR_HEIGHT: Final = 26
INDENT: Final = 16
CHARACTER_WIDTH: Final = 6.9
"""Of a font of 12 pixels, on average."""
BOLD: Final = 1.25
SMALL: Final = 0.88
"""How much wider titles are, and how much narrower what stands below them."""


class Point(NamedTuple):
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Card:
    """A site, or several that are alike. lines: below its name."""

    name: str
    title: str
    lines: tuple[str, ...]
    machines: tuple[str, ...]
    behind: str | None

    @property
    def height(self) -> float:
        rows = 1 + len(self.lines) + len(self.machines)
        return 2 * PADDING + rows * LINE_HEIGHT - 5 + (4 if self.machines else 0)


@dataclass(frozen=True, slots=True)
class Size:
    """Of a drawing that is ``columns`` cards wide."""

    css_class: str
    columns: int
    card_width: float

    @property
    def width(self) -> float:
        return self.columns * (self.card_width + GUTTER)

    def column_x(self, column: int) -> float:
        return column * (self.card_width + GUTTER) + GUTTER


WIDE: Final = Size("wide", 4, 214)
NARROW: Final = Size("narrow", 2, 146)


def topology(data: RunData) -> Element:
    """Both drawings, of which a page shows the one that fits, and what chooses their paths."""
    cards = list(_cards(data))
    shows_paths = len(data.story.scenario.sites) <= SITES_MAX and all(
        name in {machine for card in cards for machine in card.machines} for name in data.machines
    )
    figure = element("figure", class_="topology")
    if shows_paths and data.pairs:
        append(figure, *_choices(data))
    for size in (WIDE, NARROW):
        figure.append(_Drawing(data, cards, size, shows_paths=shows_paths).svg())
    append(figure, element("figcaption", _caption(data, cards)))
    return figure


def path_rules(data: RunData) -> str:
    """The style that shows the paths which are asked for."""
    rules = ["#paths-all:checked~svg .path{display:inline}"]
    rules += [
        f"#paths-{n}:checked~svg .of-{n}{{display:inline}}"
        for n in range(min(len(data.machines), CHOICES_MAX))
    ]
    return "\n".join(rules)


def _cards(data: RunData) -> Iterator[Card]:
    sites = data.story.scenario.sites
    if len(sites) <= SITES_MAX:
        for site in sites:
            yield _card(site)
        return
    alike: dict[tuple[str, str, str | None, int], list[Site]] = {}
    for site in sites:
        key = (nat_name(site), line_name(site.line), site.behind, len(site.machines))
        alike.setdefault(key, []).append(site)
    for (nat, line, behind, machines), group in alike.items():
        if len(group) == 1:
            yield _card(group[0])
            continue
        names = f"{group[0].name} … {group[-1].name}"
        totals = (f"{len(group)} sites", counted(machines * len(group), "machine"))
        yield Card(group[0].name, names, (nat, line, *totals), (), behind)


def _card(site: Site) -> Card:
    names = tuple(machine.name for machine in site.machines)
    lines = [nat_name(site), line_name(site.line)]
    if site.is_isolating and len(names) > 1:
        lines.append("guests are kept apart")
    if len(names) > MACHINES_AT_SITE_MAX or not names:
        lines.append(counted(len(names), "machine") if names else "no machine")
        names = ()
    return Card(site.name, site.name, tuple(lines), names, site.behind)


def _choices(data: RunData) -> Iterator[Element | str]:
    named = list(enumerate(data.machines)) if len(data.machines) <= CHOICES_MAX else []
    choices = [("none", "none")]
    if len(data.unordered_pairs) <= ALL_PATHS_MAX:
        choices.append(("all", "all"))
    choices += [(str(number), name) for number, name in named]
    if len(choices) == 1:
        return
    yield element("span", "Show paths of ", class_="label")
    for number, name in choices:
        yield element(
            "input",
            type="radio",
            name="paths",
            id=f"paths-{number}",
            checked=number == "none",
        )
        yield element("label", name, for_=f"paths-{number}")


def _caption(data: RunData, cards: Sequence[Card]) -> str:
    scenario = data.story.scenario
    also = " that also relay" if scenario.bootstraps > 1 else " that also relays"
    relays = also if scenario.has_relay else ""
    text = (
        f"{counted(len(data.machines), 'machine')} at {counted(len(scenario.sites), 'site')}; "
        f"{counted(scenario.bootstraps, 'bootstrap node')}{relays}. A box is a LAN: its name, "
        "what its router does, its line to the internet, its machines."
    )
    if len(cards) < len(scenario.sites):
        text += " Sites that are alike share a box."
    elif any(data.violations_of.get(name) for name in data.machines):
        text += f" A check that did not hold is about who has{FAILED_MARK}."
    return text


class _Drawing:
    """One drawing: places are found first, then everything is drawn."""

    def __init__(
        self, data: RunData, cards: Sequence[Card], size: Size, *, shows_paths: bool
    ) -> None:
        self._data = data
        self._size = size
        self._shows_paths = shows_paths
        self._nodes: dict[str, Point] = {}
        self._machines: dict[str, Point] = {}
        self._boxes: list[tuple[Card, Point, float]] = []
        self._trunks: list[tuple[Point, Point]] = []
        self._place_nodes()
        self._bar_y = self._nodes_bottom + 12
        self._place(cards)

    def svg(self) -> Element:
        size = self._size
        drawing = element(
            "svg",
            class_=size.css_class,
            viewBox=f"0 0 {size.width + 1:.0f} {self._height:.0f}",
            role="img",
            aria_label=self._label(),
        )
        for name, place in self._nodes.items():
            drawing.append(self._node(name, place))
        drawing.append(self._bar())
        for start, end in self._trunks:
            drawing.append(_line(start, end, "wire"))
        for card, place, width in self._boxes:
            drawing.append(self._box(card, place, width))
        if self._shows_paths:
            append(drawing, *self._paths())
        return drawing

    # Places

    def _place_nodes(self) -> None:
        names = self._data.story.scenario.bootstrap_names
        across = self._size.columns
        for number, name in enumerate(names):
            row, column = divmod(number, across)
            self._nodes[name] = Point(self._size.column_x(column), 1 + row * (NODE_HEIGHT + 8))
        self._nodes_bottom = ((len(names) - 1) // across + 1) * (NODE_HEIGHT + 8) - 8

    def _place(self, cards: Sequence[Card]) -> None:
        """Each tree of sites goes to the column that is shortest so far."""
        top = self._bar_y + BAR_HEIGHT + ROW_GAP
        bottoms: list[float] = [top] * self._size.columns
        names = {card.name for card in cards}
        for card in cards:
            if card.behind in names:
                continue
            column = min(range(len(bottoms)), key=lambda at: bottoms[at])
            x = self._size.column_x(column)
            trunk_top = Point(x - GUTTER / 2, self._bar_y + BAR_HEIGHT)
            bottoms[column] = self._place_tree(
                cards, card, Point(x, bottoms[column]), self._size.card_width, trunk_top
            )
        self._height = max(bottoms) - ROW_GAP + 2

    def _place_tree(
        self, cards: Sequence[Card], card: Card, place: Point, width: float, trunk_top: Point
    ) -> float:
        """Give where the next card may begin."""
        self._boxes.append((card, place, width))
        joint = Point(trunk_top.x, place.y + PADDING + 7)
        self._trunks.append((trunk_top, joint))
        self._trunks.append((joint, Point(place.x, joint.y)))
        first_row = 1 + len(card.lines)
        for row, name in enumerate(card.machines, start=first_row):
            y = place.y + PADDING + 12 + row * LINE_HEIGHT
            self._machines[name] = Point(place.x + PADDING + 5, y - 4)
        bottom = place.y + card.height
        trunk = Point(place.x + INDENT / 2, bottom)
        bottom += ROW_GAP
        for child in cards:
            if child.behind == card.name:
                at = Point(place.x + INDENT, bottom)
                bottom = self._place_tree(cards, child, at, width - INDENT, trunk)
        return bottom

    # Drawing

    def _label(self) -> str:
        sites = [f"{card.title} ({', '.join(card.lines)})" for card, _, _ in self._boxes]
        return f"Topology: {listed(list(self._nodes))} on the internet; sites: {'; '.join(sites)}"

    def _node(self, name: str, place: Point) -> Element:
        width = self._size.card_width
        what = "bootstrap node, relay" if self._data.story.scenario.has_relay else "bootstrap node"
        middle = place.x + width / 2
        return element(
            "g",
            _line(Point(middle, place.y + NODE_HEIGHT), Point(middle, self._bar_y), "wire"),
            element(
                "rect", class_="node", x=place.x, y=place.y, width=width, height=NODE_HEIGHT, rx=17
            ),
            _text(Point(middle, place.y + 15), name, "name middle"),
            _text(Point(middle, place.y + 28), what, "detail middle"),
        )

    def _bar(self) -> Element:
        versions = self._data.story.scenario.ip_versions
        label = f"internet, {' and '.join(f'IPv{version}' for version in versions)}"
        width = self._size.width
        return element(
            "g",
            element(
                "rect", class_="bar", x=1, y=self._bar_y, width=width - 2, height=BAR_HEIGHT, rx=4
            ),
            _text(Point(width / 2, self._bar_y + 17), label, "bar-label middle"),
        )

    def _box(self, card: Card, place: Point, width: float) -> Element:
        box = element(
            "g",
            element("title", f"{card.title}: {', '.join(card.lines)}"),
            element(
                "rect",
                class_="site",
                x=place.x,
                y=place.y,
                width=width,
                height=card.height,
                rx=5,
            ),
            element(
                "rect",
                class_="router",
                x=place.x - 5,
                y=place.y + PADDING + 2,
                width=10,
                height=10,
                rx=2,
            ),
        )
        x, y, inside = place.x + PADDING, place.y + PADDING + 11, width - 2 * PADDING
        box.append(_text(Point(x, y), _fitting(card.title, inside / BOLD), "name"))
        for row, line in enumerate(card.lines, start=1):
            at = Point(x, y + row * LINE_HEIGHT - 2)
            box.append(_text(at, _fitting(line, inside / SMALL), "detail"))
        for name in card.machines:
            at = self._machines[name]
            has_failed = bool(self._data.violations_of.get(name))
            box.append(
                element("circle", class_="machine failed" if has_failed else "machine",
                        cx=at.x, cy=at.y, r=4.5)
            )  # fmt: skip
            mark = FAILED_MARK if has_failed else ""
            shown = _fitting(name, inside - 16 - len(mark) * 1.5 * CHARACTER_WIDTH) + mark
            box.append(_text(Point(at.x + 11, at.y + 4), shown, "label"))
        return box

    def _paths(self) -> Iterator[Element]:
        numbers = {name: number for number, name in enumerate(self._data.machines)}
        for one, other in self._data.unordered_pairs:
            path = self._data.path_of(one, other)
            start, end = self._machines[one], self._machines[other]
            relay = self._nodes.get(self._data.relay_of(one, other)) if path == RELAYED else None
            classes = f"path of-{numbers[one]} of-{numbers[other]} {path or 'no-path'}"
            yield element(
                "path",
                element("title", f"{one} – {other}: {path or 'no path'}"),
                class_=classes,
                d=_curve(start, end, self._via(relay), is_straight=path == DIRECT),
            )

    def _via(self, node: Point | None) -> Point | None:
        if node is None:
            return None
        return Point(node.x + self._size.card_width / 2, node.y + NODE_HEIGHT)


def _curve(start: Point, end: Point, via: Point | None, *, is_straight: bool) -> str:
    """Through ``via`` where there is one; else bent, so that lines of one column stay apart."""
    if via is not None:
        return (
            f"M{start.x:.0f} {start.y:.0f}Q{start.x:.0f} {via.y + 40:.0f} {via.x:.0f} {via.y:.0f}"
            f"Q{end.x:.0f} {via.y + 40:.0f} {end.x:.0f} {end.y:.0f}"
        )
    middle = Point((start.x + end.x) / 2, (start.y + end.y) / 2)
    is_upright = abs(start.x - end.x) < 1
    lift = abs(start.y - end.y) / 3 + 14 if is_upright else 0.0
    sag = 0.0 if is_upright else (28 if is_straight else 52)
    return (
        f"M{start.x:.0f} {start.y:.0f}Q{middle.x + lift:.0f} {middle.y + sag:.0f} "
        f"{end.x:.0f} {end.y:.0f}"
    )


def _line(start: Point, end: Point, css_class: str) -> Element:
    return element(
        "path", class_=css_class, d=f"M{start.x:.0f} {start.y:.0f}L{end.x:.0f} {end.y:.0f}"
    )


def _text(place: Point, text: str, css_class: str) -> Element:
    return element("text", text, class_=css_class, x=place.x, y=place.y)


def _fitting(text: str, width: float) -> str:
    return shortened(text, int(width / CHARACTER_WIDTH))
