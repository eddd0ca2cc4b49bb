"""The page of a run: its parts in their order."""

from collections.abc import Iterator
from typing import Final
from xml.etree.ElementTree import Element

from sims.model.result import SIMULATOR
from sims.report.connect_times import connect_times
from sims.report.connectivity import connectivity
from sims.report.data import RunData
from sims.report.document import SIMULATION, Part, document
from sims.report.explanations import explanations
from sims.report.findings import checks, faults, violations
from sims.report.headline import KINDS, headline, verdict
from sims.report.markup import append, element
from sims.report.timelines import timelines
from sims.report.topology import path_rules, topology

NO_SIMULATION: Final = (
    "No simulation: daemons in processes, on network namespaces and the kernel's NATs, in real "
    "time. All times count from the start of the run, when all processes were ready."
)


def report(data: RunData) -> str:
    """The HTML document; the same run gives the same bytes."""
    title = f"{data.result.scenario}, seed {data.result.seed} – {KINDS[data.result.engine]}"
    parts = list(_parts(data))
    return document(title, verdict(data), headline(data), parts, _colophon(data), path_rules(data))


def _parts(data: RunData) -> Iterator[Part]:
    result = data.result
    if result.violations:
        yield Part("violations", "What did not hold", violations(data))
    yield Part("topology", "The mesh", topology(data))
    if result.pairs:
        yield Part("connectivity", "Who reaches whom", connectivity(data))
        yield Part("why", "Why not direct", explanations(data))
        yield Part("times", "Time to connect", connect_times(data))
    yield Part("faults", "What went wrong, by plan", faults(data))
    yield Part("timelines", "What each machine went through", timelines(data))
    yield Part("checks", "What was checked", checks(data))


def _colophon(data: RunData) -> Element:
    result = data.result
    footer = element("footer")
    if result.engine == SIMULATOR:
        append(
            footer,
            element("p", SIMULATION),
            element("p", "Trace of this run, SHA-256: ", element("code", result.trace_sha256)),
        )
    else:
        append(footer, element("p", NO_SIMULATION))
    append(
        footer,
        element(
            "p",
            f"{result.packets:,} packets, {result.events:,} events.".replace(",", "\u202f"),
        ),
    )
    return footer
