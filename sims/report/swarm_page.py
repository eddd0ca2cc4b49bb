"""The page of a swarm: why seeds failed, which, and what never happened."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final
from xml.etree.ElementTree import Element

from sims.many.causes import Group
from sims.many.coverage import GroupCoverage
from sims.many.swarm import SeedResult, SwarmResult
from sims.model.scenario import OVERLAYS
from sims.report.document import MANY_KICKER, Part, document, footer_of_many, header_of
from sims.report.findings import check_table
from sims.report.markup import element
from sims.report.words import CHECK_MEANINGS, counted, duration, spaced

CAUSES_MAX: Final = 40
SEEDS_LISTED_MAX: Final = 40
"""Of one cause."""
SEEDS_DRAWN_MAX: Final = 2_000
"""Of a larger swarm the first are drawn."""


def swarm_report(swarm: SwarmResult, command: str, replay_command: Callable[[int], str]) -> str:
    """The HTML document; the same seeds give the same bytes. command: runs them again."""
    done, failed = len(swarm.results), len(swarm.failed)
    pinged = sum(seed.pairs_pinged for seed in swarm.results)
    pairs = sum(seed.pairs for seed in swarm.results)
    figures = [
        (spaced(done - failed), "seeds held"),
        (spaced(failed), "seeds failed"),
        (spaced(len(swarm.causes)), "causes"),
        (f"{pinged}/{pairs}", "pairs connected"),
        (spaced(sum(seed.violations_count for seed in swarm.results)), "violations"),
        (duration(sum(seed.virtual_s for seed in swarm.results)), "of virtual time"),
    ]
    said = _verdict(swarm)
    seeds = f"seeds {swarm.first_seed} to {swarm.first_seed + swarm.seeds - 1}"
    header = header_of(
        MANY_KICKER,
        swarm.scenario,
        seeds,
        said,
        " ".join(_sentences(swarm)),
        figures,
        [("The same again:", command)],
        is_ok=swarm.is_ok,
    )
    title = f"{swarm.scenario}, {seeds} – wice simulation"
    return document(title, said, header, list(_parts(swarm, replay_command)), footer_of_many())


def _verdict(swarm: SwarmResult) -> str:
    """One sentence, or two of a swarm that was interrupted."""
    done, failed = len(swarm.results), len(swarm.failed)
    count = f"{spaced(failed)} of {counted(done, 'seed')} failed"
    causes = f", of {counted(len(swarm.causes), 'cause')}." if failed else "."
    if not swarm.is_complete:
        until = f" Until then {count}{causes}" if failed else ""
        return f"The swarm was interrupted after {done} of {counted(swarm.seeds, 'seed')}.{until}"
    return f"{count}{causes}" if failed else f"Everything held with {counted(done, 'seed')}."


def _sentences(swarm: SwarmResult) -> Iterator[str]:
    yield "Each seed is a run of its own: other chances, losses and faults of churn."
    if swarm.overlay != OVERLAYS[0]:
        yield "The overlay was not simulated: messages went from daemon to daemon in one process."
    left_out = sum(seed.faults_left_out for seed in swarm.results)
    if left_out:
        yield f"{counted(left_out, 'fault')} of churn had no room and did not happen."


def _parts(swarm: SwarmResult, replay_command: Callable[[int], str]) -> Iterator[Part]:
    if swarm.causes:
        yield Part("violations", "Why seeds failed", _causes(swarm, replay_command))
    yield Part("seeds", "Seeds", _seeds(swarm.results))
    first_found = Counter(seed.violations[0].check for seed in swarm.failed if seed.violations)
    looked = swarm.checks
    names = dict.fromkeys((*CHECK_MEANINGS, *looked, *sorted(first_found)))
    rows = [
        (name, looked.get(name, 0), first_found[name])
        for name in names
        if name in looked or name in first_found
    ]
    note = element("p", "Of a seed that failed, the first violation counts.", class_="note")
    table = check_table(rows, "seeds failed")
    yield Part("checks", "What was checked", element("div", table, note if first_found else None))
    if swarm.coverage:
        yield Part("coverage", "What happened, and what never did", _coverage(swarm.coverage))


def _causes(swarm: SwarmResult, replay_command: Callable[[int], str]) -> Element:
    section = element("div")
    by_seed = {seed.seed: seed for seed in swarm.failed}
    for group in swarm.causes[:CAUSES_MAX]:
        section.append(_cause(group, by_seed[group.fastest], replay_command(group.fastest)))
    if len(swarm.causes) > CAUSES_MAX:
        more = f"… and {len(swarm.causes) - CAUSES_MAX} more causes, which --json has."
        section.append(element("p", more, class_="note"))
    return section


def _cause(group: Group, seed: SeedResult, replay_command: str) -> Element:
    listed = ", ".join(str(number) for number in group.seeds[:SEEDS_LISTED_MAX])
    more = len(group.seeds) - SEEDS_LISTED_MAX
    which = f"{listed} and {spaced(more)} more" if more > 0 else listed
    meaning = CHECK_MEANINGS.get(group.cause.check)
    if seed.violations:
        first = seed.violations[0]
        item = element(
            "li",
            element("time", f"{first.at_s:.3f} s"),
            element("b", first.subject),
            element("p", first.detail),
        )
    else:
        item = element("li", element("time", ""), element("b", "run"), element("p", seed.failure))
    return element(
        "section",
        element("h3", f"✗ {group.cause.check}"),
        element("p", f"Should hold: {meaning}") if meaning else None,
        element("ol", item, class_="violations"),
        element("p", f"{counted(len(group.seeds), 'seed')}: {which}.", class_="note"),
        element("p", "Told in the order of time: ", element("code", replay_command), class_="note"),
        class_="finding",
    )


def _seeds(seeds: Sequence[SeedResult]) -> Element:
    if not seeds:
        return element("p", "None was finished.")
    shown = element("ol", class_="seeds")
    for seed in seeds[:SEEDS_DRAWN_MAX]:
        pinged = f"{seed.pairs_pinged} of {seed.pairs} pairs connected"
        first = str(seed.violations[0].check) if seed.violations else seed.failure
        said = f"seed {seed.seed}: {pinged}" if seed.is_ok else f"seed {seed.seed}: {first}"
        text = str(seed.seed) if seed.is_ok else f"✗ {seed.seed}"
        state = "held" if seed.is_ok else "failed"
        shown.append(element("li", text, class_=state, title=said))
    section = element("div", shown)
    if len(seeds) > SEEDS_DRAWN_MAX:
        more = f"… and {spaced(len(seeds) - SEEDS_DRAWN_MAX)} more, which --json has."
        section.append(element("p", more, class_="note"))
    return section


def _coverage(groups: Iterable[GroupCoverage]) -> Element:
    section = element("div")
    for group in groups:
        head = element("tr")
        for name in ("what", "count", "first seed"):
            css_class = None if name == "what" else "number"
            head.append(element("th", name, scope="col", class_=css_class))
        body = element("tbody")
        for name, told in group.told.items():
            row = element("tr", element("th", name, scope="row"))
            for value in (spaced(told.count), str(told.first_seed)):
                row.append(element("td", value, class_="number"))
            body.append(row)
        share = f" {len(group.told)} of {len(group.told) + len(group.never)}"
        summary = element("summary", group.group, element("small", share))
        details = element("details", summary)
        if group.told:
            details.append(element("table", element("thead", head), body, class_="faults"))
        section.append(details)
        if group.never:
            section.append(element("p", f"Never: {'; '.join(group.never)}.", class_="note"))
    return section
