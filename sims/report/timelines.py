"""What each machine went through: its paths as they came and went, and faults around it."""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple
from xml.etree.ElementTree import Element

from sims.model.faults import Fault, MachineFault, Partition, SiteFault
from sims.model.scenario import Site
from sims.model.story import PairStory, PathChange
from sims.oracle import DIRECT, RELAYED
from sims.report.data import RunData
from sims.report.fault_words import fault_name
from sims.report.markup import append, element, percent
from sims.report.words import clock, counted, duration, line_name, nat_name

ROWS_MAX: Final = 132
"""Pairs that get a row each; more are summed up by machine."""
SAMPLES: Final = 240
"""Moments at which a sum of pairs is looked at."""
ROW_HEIGHT: Final = 14
SUM_HEIGHT: Final = 34
AXIS_HEIGHT: Final = 30
TICKS_S: Final = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1_800, 3_600, 7_200, 21_600, 86_400)
TICKS_MAX: Final = 7
MARK_SHARE: Final = 0.0022
"""Of the width, for what lasts shorter than can be seen."""
NUMBERS_APART: Final = 0.035
"""Of the width, between the numbers of two faults."""


class Segment(NamedTuple):
    began_s: float
    ended_s: float
    change: PathChange


def timelines(data: RunData) -> Element:
    """A part for each machine."""
    section = element("div", _legend())
    sites = {site.name: site for site in data.story.scenario.sites}
    numbers = fault_numbers(data)
    for name in data.machines:
        section.append(_machine(data, name, sites[data.site_of[name]], numbers))
    return section


def fault_numbers(data: RunData) -> list[tuple[int, Fault]]:
    """As they are counted throughout a report."""
    return list(enumerate(data.story.faults, start=1))


def _legend() -> Element:
    keys = [
        ("direct", "direct path"),
        ("relayed", "relayed path"),
        ("no-path", "no path"),
        ("silent", "pings unanswered"),
        ("fault", "fault, with its number below"),
    ]
    return element("p", *(element("span", text, class_=f"key {c}") for c, text in keys),
                   class_="legend")  # fmt: skip


def _machine(data: RunData, name: str, site: Site, numbers: Sequence[tuple[int, Fault]]) -> Element:
    scenario = data.story.scenario
    touching = [(n, fault) for n, fault in numbers if _touches(fault, name, site)]
    peers = [data.stories[name, peer] for peer in scenario.peers_of(name)]
    scale = _Scale(max(data.result.virtual_s, 1e-3))
    part = element(
        "section",
        element(
            "h3", name, element("small", f" {site.name}: {nat_name(site)}, {line_name(site.line)}")
        ),
        class_="timeline",
    )
    append(part, *_troubles(data, name))
    rows = element("div", class_="rows")
    if len(data.pairs) <= ROWS_MAX:
        for story in peers:
            append(rows, *_row(story.destination, _pair_row(story, scale, touching)))
    elif peers:
        text = counted(len(peers), "peer")
        append(rows, *_row(text, _sum_row(name, peers, scale, touching)))
    append(rows, *_row("", _axis(scale, touching)))
    part.append(rows)
    left_out = sum(story.left_out for story in peers)
    if left_out:
        part.append(element("p", f"{left_out} later changes are not drawn.", class_="note"))
    return part


def _troubles(data: RunData, name: str) -> Iterator[Element]:
    violations = data.violations_of.get(name, ())
    if violations:
        checks = ", ".join(dict.fromkeys(violation.check for violation in violations))
        first = f"first at {violations[0].at_s:.1f} s"
        what = f"✗ {counted(len(violations), 'violation')}, {first}: {checks}"
        yield element("p", what, class_="trouble")
    losses = data.story.overlay_losses.get(name, ())
    if losses:
        spans = [
            f"from {loss.began_s:.1f} s "
            + ("on" if loss.ended_s is None else f"to {loss.ended_s:.1f} s")
            for loss in losses[:3]
        ]
        more = f" and {len(losses) - 3} more times" if len(losses) > 3 else ""
        yield element("p", f"Out of the overlay {', '.join(spans)}{more}.", class_="note")


def _row(label: str, drawing: Element) -> tuple[Element, Element]:
    return element("span", label, class_="peer", title=label or None), drawing


class _Scale:
    """From seconds to shares of the width."""

    def __init__(self, length_s: float) -> None:
        self.length_s = length_s

    def at(self, time_s: float) -> float:
        return min(max(time_s / self.length_s, 0.0), 1.0)

    def ticks_s(self) -> list[float]:
        step_s = next((s for s in TICKS_S if self.length_s / s <= TICKS_MAX), TICKS_S[-1])
        return [step_s * place for place in range(int(self.length_s // step_s) + 1)]


def _touches(fault: Fault, name: str, site: Site) -> bool:
    if isinstance(fault, Partition):
        return site.name in fault.one or site.name in fault.other
    if isinstance(fault, MachineFault):
        return fault.target == name
    return isinstance(fault, SiteFault) and fault.target in (site.name, site.behind)


def segments(story: PairStory, ended_at_s: float) -> Iterator[Segment]:
    """What a pair's path was from when to when; nothing for where it had none."""
    ends_s = [change.at_s for change in story.changes[1:]] + [ended_at_s]
    for change, end_s in zip(story.changes, ends_s, strict=False):
        if change.path is not None and end_s > change.at_s:
            yield Segment(change.at_s, end_s, change)


def _pair_row(story: PairStory, scale: _Scale, touching: Sequence[tuple[int, Fault]]) -> Element:
    drawing = _flowing(ROW_HEIGHT, _pair_label(story, scale.length_s))
    append(drawing, *_fault_bands(touching, scale, ROW_HEIGHT))
    drawing.append(_span_rect(scale, 0, scale.length_s, "no-path", 7, 1))
    for began_s, ended_s, change in segments(story, scale.length_s):
        css_class = "direct" if change.path == DIRECT else "relayed"
        y, height = (2, 10) if change.path == DIRECT else (4.5, 5)
        rect = _span_rect(scale, began_s, ended_s, css_class, y, height)
        through = f" through {change.relay}" if change.relay else ""
        said = f"{began_s:.1f}–{ended_s:.1f} s: {change.path} to {change.towards}{through}"
        rect.append(element("title", said))
        drawing.append(rect)
    for silence in story.silences:
        ended_s = scale.length_s if silence.ended_s is None else silence.ended_s
        rect = _span_rect(scale, silence.began_s, ended_s, "silent", 11, 3)
        rect.append(element("title", f"{silence.began_s:.1f}–{ended_s:.1f} s: pings unanswered"))
        drawing.append(rect)
    return drawing


def _pair_label(story: PairStory, ended_at_s: float) -> str:
    times_s: dict[str | None, float] = {DIRECT: 0.0, RELAYED: 0.0}
    for began_s, ended_s, change in segments(story, ended_at_s):
        times_s[change.path] += ended_s - began_s
    said = [f"{path} for {duration(time_s)}" for path, time_s in times_s.items() if time_s]
    return f"{story.source} to {story.destination}: {', '.join(said) or 'never a path'}"


def _sum_row(
    name: str,
    peers: Sequence[PairStory],
    scale: _Scale,
    touching: Sequence[tuple[int, Fault]],
) -> Element:
    shares = {kind: [0] * SAMPLES for kind in ("direct", "relayed", "silent")}
    for story in peers:
        for began_s, ended_s, change in segments(story, scale.length_s):
            _count(
                shares["direct" if change.path == DIRECT else "relayed"], scale, began_s, ended_s
            )
        for silence in story.silences:
            end_s = scale.length_s if silence.ended_s is None else silence.ended_s
            _count(shares["silent"], scale, silence.began_s, end_s)
    both = [sum(counts) for counts in zip(shares["direct"], shares["relayed"], strict=True)]
    label = (
        f"{name}: at the end {shares['direct'][-1]} of {len(peers)} peers direct, "
        f"{shares['relayed'][-1]} relayed"
    )
    drawing = _flowing(SUM_HEIGHT, label)
    append(drawing, *_fault_bands(touching, scale, SUM_HEIGHT))
    inner = element(
        "svg",
        width="100%",
        height=SUM_HEIGHT,
        viewBox=f"0 0 {SAMPLES} {len(peers)}",
        preserveAspectRatio="none",
        aria_hidden="true",
    )
    for kind, counts in (
        ("relayed", both),
        ("direct", shares["direct"]),
        ("silent", shares["silent"]),
    ):
        if any(counts):
            inner.append(element("path", class_=kind, d=_steps(counts, len(peers))))
    append(drawing, inner, _span_rect(scale, 0, scale.length_s, "no-path", SUM_HEIGHT - 1, 1))
    return drawing


def _count(counts: list[int], scale: _Scale, began_s: float, ended_s: float) -> None:
    for place in range(_sample(scale, began_s), _sample(scale, ended_s)):
        counts[place] += 1


def _sample(scale: _Scale, time_s: float) -> int:
    return round(scale.at(time_s) * SAMPLES)


def _steps(counts: Sequence[int], top: int) -> str:
    """An area under a line of steps; only where it changes is anything written."""
    parts, last = [f"M0 {top}"], 0
    for place, count in enumerate(counts):
        if count != last:
            parts.append(f"H{place}V{top - count}")
            last = count
    return "".join([*parts, f"H{len(counts)}V{top}z"])


def _fault_bands(
    touching: Sequence[tuple[int, Fault]], scale: _Scale, height: float
) -> Iterator[Element]:
    for _, fault in touching:
        if fault.at_s <= scale.length_s:
            yield _span_rect(scale, fault.at_s, fault.ends_at_s, "fault", 0, height)


def _axis(scale: _Scale, touching: Sequence[tuple[int, Fault]]) -> Element:
    """Times, and below them the numbers of faults."""
    said = "; ".join(f"{n}: {fault_name(fault)} at {fault.at_s:.1f} s" for n, fault in touching)
    drawing = _flowing(AXIS_HEIGHT if touching else 16, f"Faults: {said}" if said else "Time")
    ticks_s = scale.ticks_s()
    for tick_s in ticks_s:
        share = scale.at(tick_s)
        x = percent(share)
        drawing.append(element("line", class_="axis", x1=x, x2=x, y1=0, y2=4))
        side = "starts" if share < 0.03 else "ends" if share > 0.95 else "middle"
        text = clock(tick_s)
        drawing.append(element("text", text, class_=f"tick {side}", x=x, y=14))
    free_from = 0.0
    for n, fault in touching:
        share = scale.at(fault.at_s)
        if share < free_from or fault.at_s > scale.length_s:
            continue
        free_from = share + NUMBERS_APART
        mark = element("text", str(n), class_="fault-number", x=percent(share), y=AXIS_HEIGHT - 3)
        mark.append(element("title", fault_name(fault)))
        drawing.append(mark)
    return drawing


def _flowing(height: float, label: str) -> Element:
    return element("svg", class_="flows", height=height, role="img", aria_label=label)


def _span_rect(
    scale: _Scale, began_s: float, ended_s: float, css_class: str, y: float, height: float
) -> Element:
    left, right = scale.at(began_s), scale.at(ended_s)
    width = max(right - left, MARK_SHARE)
    return element(
        "rect", class_=css_class, x=percent(left), width=percent(width), y=y, height=height
    )
