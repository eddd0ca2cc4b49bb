"""Pairs without a direct path at the end, and what ``wice why`` says of them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final
from xml.etree.ElementTree import Element

from sims.model.result import PairResult
from sims.oracle import DIRECT
from sims.report.data import RunData
from sims.report.markup import element
from sims.report.words import counted

OPEN_MAX: Final = 30
"""Explanations that are simply there; more are folded."""

NAMED_MAX: Final = 16
"""Pairs of one explanation whose names are simply there; those of more are folded."""

ANY_PEER: Final = "the peer"
"""Stands in a sentence for the names of several peers that it is said of."""

_CAN: Final = {"direct": "could be direct", "relayed": "could be relayed"}


@dataclass(slots=True)
class Group:
    """Pairs of which daemons say the same but for the peer's name, at whose places it is split."""

    parts: tuple[str, ...]
    path: str | None
    is_as_allowed: bool
    pairs: list[PairResult] = field(default_factory=list)

    @property
    def sentence(self) -> str:
        peers = dict.fromkeys(pair.destination for pair in self.pairs)
        return (ANY_PEER if len(peers) > 1 else next(iter(peers))).join(self.parts)

    def pairs_named(self) -> Iterator[str]:
        """As ``a, b → c``: sources that it is said at of the same peers stand together."""
        peers_of: dict[str, list[str]] = {}
        for pair in self.pairs:
            peers_of.setdefault(pair.source, []).append(pair.destination)
        sources_of: dict[tuple[str, ...], list[str]] = {}
        for source, peers in peers_of.items():
            sources_of.setdefault(tuple(peers), []).append(source)
        for of, sources in sources_of.items():
            yield f"{', '.join(sources)} → {', '.join(of)}"


def explanations(data: RunData) -> Element:
    """Each sentence once, with all pairs that it is said of."""
    groups = _groups(data)
    if not groups:
        return element("p", "Every pair has a direct path at the end.")
    section = element("div", _list(groups[:OPEN_MAX]))
    if len(groups) > OPEN_MAX:
        summary = element("summary", f"{len(groups) - OPEN_MAX} more")
        section.append(element("details", summary, _list(groups[OPEN_MAX:])))
    if data.story.not_asked:
        left = counted(data.story.not_asked, "further pair")
        section.append(element("p", f"Of {left} the daemons were not asked.", class_="note"))
    return section


def _groups(data: RunData) -> list[Group]:
    """Those that are not as NATs and firewalls allow first, then those of most pairs."""
    groups: dict[tuple[object, ...], Group] = {}
    for pair in data.result.pairs:
        if pair.path == DIRECT:
            continue
        name = re.escape(pair.destination)
        parts = tuple(re.split(rf"(?<![\w-]){name}(?![\w-])", _sentence(data, pair)))
        group = Group(parts, pair.path, pair.path == pair.best_path)
        groups.setdefault((parts, pair.path, pair.best_path), group).pairs.append(pair)
    return sorted(groups.values(), key=lambda group: (group.is_as_allowed, -len(group.pairs)))


def _sentence(data: RunData, pair: PairResult) -> str:
    explanation = data.stories[pair.source, pair.destination].explanation
    if explanation is not None:
        return explanation.sentence
    return pair.reason or "the daemon was not asked, or did not answer: it may be asleep or gone"


def _list(groups: list[Group]) -> Element:
    items = element("ul", class_="why")
    for group in groups:
        item = element("li", _who(group), _tag(group.path or "no path", group.path or "no-path"))
        if not group.is_as_allowed:
            can = _CAN.get(group.pairs[0].best_path or "", "should have no path")
            item.append(_tag(can, "unlike"))
        item.append(element("p", group.sentence))
        items.append(item)
    return items


def _who(group: Group) -> Element:
    lines = [element("b", line) for line in group.pairs_named()]
    if len(group.pairs) <= NAMED_MAX:
        return element("div", *lines)
    summary = element("summary", counted(len(group.pairs), "pair"))
    return element("details", summary, *lines)


def _tag(text: str, css_class: str) -> Element:
    return element("span", text, class_=f"tag {css_class}")
