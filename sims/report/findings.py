"""What did not hold, what was looked at, and what went wrong by plan."""

from collections import Counter
from collections.abc import Iterable
from typing import Final
from xml.etree.ElementTree import Element

from sims.model.result import RunResult, Violation
from sims.report.data import RunData
from sims.report.fault_words import fault_name, lasting
from sims.report.markup import append, element
from sims.report.timelines import fault_numbers
from sims.report.words import CHECK_MEANINGS, counted, spaced

VIOLATIONS_MAX: Final = 12
"""Of one check; the JSON has all."""
FAULTS_MAX: Final = 200


def check_names(result: RunResult) -> tuple[str, ...]:
    """Those that looked, then those that only found something."""
    found = dict.fromkeys(violation.check for violation in result.violations)
    return (*result.checks, *(name for name in found if name not in result.checks))


def violations(data: RunData) -> Element:
    """By check, in the order of time."""
    section = element("div")
    by_check: dict[str, list[Violation]] = {}
    for violation in data.result.violations:
        by_check.setdefault(violation.check, []).append(violation)
    for check, found in by_check.items():
        items = element("ol", class_="violations")
        for violation in found[:VIOLATIONS_MAX]:
            items.append(
                element(
                    "li",
                    element("time", f"{violation.at_s:.3f} s"),
                    element("b", violation.subject),
                    element("p", violation.detail),
                )
            )
        part = element("section", element("h3", f"✗ {check}"), class_="finding")
        meaning = CHECK_MEANINGS.get(check)
        append(part, element("p", f"Should hold: {meaning}") if meaning else None, items)
        if len(found) > VIOLATIONS_MAX:
            more = f"… and {len(found) - VIOLATIONS_MAX} more, which --json has."
            part.append(element("p", more, class_="note"))
        section.append(part)
    return section


def checks(data: RunData) -> Element:
    """A table: what should be, how often that was looked at, how often it was not so."""
    result = data.result
    found = Counter(violation.check for violation in result.violations)
    rows = [(name, result.checks.get(name, 0), found[name]) for name in check_names(result)]
    return check_table(rows, "violations")


def check_table(rows: Iterable[tuple[str, int, int]], found_what: str) -> Element:
    """rows: a check's name, how often it looked, and how many ``found_what`` it has."""
    head = element("tr")
    for name in ("", "check", "looked", found_what):
        is_number = name in ("looked", found_what)
        head.append(element("th", name, scope="col", class_="number" if is_number else None))
    body = element("tbody")
    for name, looked, found in rows:
        state = "failed" if found else "held" if looked else "unjudged"
        sign, said = {
            "failed": ("✗", "did not hold"),
            "held": ("✓", "held"),
            "unjudged": ("–", "not judged"),
        }[state]
        row = element(
            "tr",
            element("td", sign, class_=f"sign {state}", title=said, aria_label=said),
            element(
                "th",
                element("span", name, class_="check"),
                element("span", CHECK_MEANINGS.get(name, ""), class_="meaning"),
                scope="row",
            ),
            element("td", spaced(looked) if looked else "not judged", class_="number"),
            element("td", spaced(found), class_="number"),
        )
        body.append(row)
    return element("table", element("thead", head), body, class_="checks")


def faults(data: RunData) -> Element:
    """A table of all that was planned to go wrong, with the numbers that timelines have."""
    planned = fault_numbers(data)
    if not planned:
        return element("p", "Nothing: no fault was planned.")
    body = element("tbody")
    for n, fault in planned[:FAULTS_MAX]:
        body.append(
            element(
                "tr",
                element("td", str(n), class_="number"),
                element("td", f"{fault.at_s:.1f} s", class_="number"),
                element("th", fault_name(fault), scope="row"),
                element("td", lasting(fault)),
            )
        )
    head = element("tr")
    for name in ("no.", "at", "what", "for"):
        is_number = name in ("no.", "at")
        head.append(element("th", name, scope="col", class_="number" if is_number else None))
    section = element("div", element("table", element("thead", head), body, class_="faults"))
    if len(planned) > FAULTS_MAX:
        more = f"… and {len(planned) - FAULTS_MAX} more."
        section.append(element("p", more, class_="note"))
    if data.result.faults_left_out:
        left_out = counted(data.result.faults_left_out, "fault")
        text = f"{left_out} of churn had no room beside these and did not happen."
        section.append(element("p", text, class_="note"))
    return section
