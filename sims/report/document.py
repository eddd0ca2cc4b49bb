"""What every page is: one file that needs nothing else, and no script."""

from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple
from xml.etree.ElementTree import Element

from sims.report.markup import append, element, html

STYLE: Final = Path(__file__).with_name("report.css")

SIMULATION: Final = (
    "A simulation: the real daemons, on simulated lines, NATs and firewalls, in virtual time. "
    "The same scenario and seed make the same run. All times count from its start."
)

MANY_KICKER: Final = "wice simulation report"


class Part(NamedTuple):
    """A section of a page. name: that links to it have."""

    name: str
    title: str
    content: Element


def document(
    title: str,
    verdict: str,
    header: Element,
    parts: Sequence[Part],
    footer: Element,
    rules: str = "",
) -> str:
    """The HTML document; rules: of style, beside those that every page has.

    Nothing is loaded, and nothing runs: its own policy (Content Security Policy Level 3) forbids
    everything but the style in it.
    """
    style = f"{STYLE.read_text('utf-8')}\n{rules}\n"
    digest = b64encode(sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("meta", name="description", content=verdict),
        element("style", style),
    )
    contents = element("nav", aria_label="Contents")
    main = element("main", header, contents)
    for name, heading, content in parts:
        contents.append(element("a", heading, href=f"#{name}"))
        main.append(element("section", element("h2", heading), content, id=name, class_="part"))
    main.append(footer)
    return html(element("html", head, element("body", main), lang="en"))


def header_of(
    kicker: str,
    title: str,
    aside: str,
    verdict: str,
    lead: str,
    figures: Sequence[tuple[str, str]],
    commands: Sequence[tuple[str, str]],
    *,
    is_ok: bool,
) -> Element:
    """What a reader sees first. figures: values with their names. commands: what for, and what."""
    state, sign = ("held", "✓") if is_ok else ("failed", "✗")
    shown = element("dl", class_="figures")
    for value, name in figures:
        shown.append(element("div", element("dt", name), element("dd", value)))
    header = element(
        "header",
        element("p", kicker, class_="kicker"),
        element("h1", title, element("small", f" {aside}")),
        element("p", f"{sign} {verdict}", class_=f"verdict {state}"),
        element("p", lead, class_="lead"),
        shown,
    )
    if commands:
        listed = element("ul", class_="commands")
        for purpose, command in commands:
            listed.append(element("li", f"{purpose} ", element("code", command)))
        append(header, listed)
    return header


def footer_of_many() -> Element:
    """Of a page of many runs, which are all simulated."""
    return element("footer", element("p", SIMULATION))
