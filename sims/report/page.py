"""The whole page: one file that needs nothing else, and no script."""

from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Final
from xml.etree.ElementTree import Element

from sims.model.result import SIMULATOR
from sims.report.connect_times import connect_times
from sims.report.connectivity import connectivity
from sims.report.data import RunData
from sims.report.explanations import explanations
from sims.report.findings import checks, faults, violations
from sims.report.headline import KINDS, headline, verdict
from sims.report.markup import append, element, html
from sims.report.timelines import timelines
from sims.report.topology import path_rules, topology

SIMULATION: Final = (
    "A simulation: the real daemons, on simulated lines, NATs and firewalls, in virtual time. "
    "The same scenario and seed make the same run. All times count from its start."
)
NO_SIMULATION: Final = (
    "No simulation: daemons in processes, on network namespaces and the kernel's NATs, in real "
    "time. All times count from the start of the run, when all processes were ready."
)

STYLE: Final = Path(__file__).with_name("report.css")


def report(data: RunData) -> str:
    """The HTML document; the same run gives the same bytes.

    Nothing is loaded, and nothing runs: its own policy (Content Security Policy Level 3) forbids
    everything but the style in it.
    """
    style = f"{STYLE.read_text('utf-8')}\n{path_rules(data)}\n"
    digest = b64encode(sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element(
            "title",
            f"{data.result.scenario}, seed {data.result.seed} – {KINDS[data.result.engine]}",
        ),
        element("meta", name="description", content=verdict(data)),
        element("style", style),
    )
    main = element("main", headline(data))
    parts = list(_parts(data))
    contents = element("nav", aria_label="Contents")
    for name, title, _ in parts:
        contents.append(element("a", title, href=f"#{name}"))
    main.append(contents)
    for name, title, content in parts:
        main.append(element("section", element("h2", title), content, id=name, class_="part"))
    main.append(_colophon(data))
    return html(element("html", head, element("body", main), lang="en"))


def _parts(data: RunData) -> Iterator[tuple[str, str, Element]]:
    result = data.result
    if result.violations:
        yield "violations", "What did not hold", violations(data)
    yield "topology", "The mesh", topology(data)
    if result.pairs:
        yield "connectivity", "Who reaches whom", connectivity(data)
        yield "why", "Why not direct", explanations(data)
        yield "times", "Time to connect", connect_times(data)
    yield "faults", "What went wrong, by plan", faults(data)
    yield "timelines", "What each machine went through", timelines(data)
    yield "checks", "What was checked", checks(data)


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
