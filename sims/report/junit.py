"""JUnit XML, as CI systems read it: a test case for each check, seed or cell."""

from collections.abc import Callable, Iterable
from typing import Final
from xml.etree.ElementTree import Element, indent, tostring

from sims.many.grid import Cell, GridResult
from sims.many.swarm import SeedResult, SwarmResult
from sims.model.result import RunResult, Violation
from sims.report.findings import check_names
from sims.report.markup import append, element

VIOLATIONS_MAX: Final = 20
"""Of one test case; the JSON has more."""


def junit_of_run(result: RunResult, replay_command: str) -> str:
    """A test case for each check and expectation; skipped are those that had nothing to judge."""
    suite = f"{result.scenario}, seed {result.seed}"
    found: dict[str, list[Violation]] = {}
    for violation in result.violations:
        found.setdefault(violation.check, []).append(violation)
    cases = []
    for name in check_names(result):
        case = _case(f"wice.sim.{result.scenario}", name, 0.0)
        if name in found:
            case.append(_failure(found[name], len(found[name]), replay_command))
        elif not result.checks.get(name):
            case.append(element("skipped", message="not judged: there was nothing to look at"))
        cases.append(case)
    if not result.is_complete:
        why = result.failure or f"interrupted after {result.virtual_s:.1f} {result.seconds}"
        cases.append(_case(f"wice.sim.{result.scenario}", "run", 0.0, _error(why, replay_command)))
    return _document(suite, result.real_s, cases)


def junit_of_swarm(swarm: SwarmResult, replay_command: Callable[[int], str]) -> str:
    """A test case for each seed; those that never ran are none."""
    cases = [_seed_case(swarm.scenario, seed, replay_command(seed.seed)) for seed in swarm.results]
    if not swarm.is_complete:
        why = f"interrupted after {len(swarm.results)} of {swarm.seeds} seeds"
        cases.append(_case(f"wice.sim.{swarm.scenario}", "swarm", 0.0, _error(why, "")))
    return _document(f"{swarm.scenario}, seeds from {swarm.first_seed}", swarm.real_s, cases)


def junit_of_grid(grid: GridResult) -> str:
    """A test case for each pair of kinds."""
    suite = f"grid of NATs, IPv{grid.ip_version}"
    cases = [_cell_case(cell, grid.ip_version) for cell in grid.cells]
    if not grid.is_complete:
        why = f"interrupted after {len(grid.cells)} of {len(grid.kinds) ** 2} cells"
        cases.append(_case("wice.sim.grid", "grid", 0.0, _error(why, "")))
    return _document(suite, grid.real_s, cases)


def _seed_case(scenario: str, seed: SeedResult, replay_command: str) -> Element:
    case = _case(f"wice.sim.{scenario}", f"seed {seed.seed}", seed.real_s)
    if seed.failure:
        case.append(_error(seed.failure, f"{replay_command}\n{seed.stderr}".rstrip()))
    elif seed.violations_count:
        case.append(_failure(seed.violations, seed.violations_count, replay_command))
    return case


def _cell_case(cell: Cell, ip_version: int) -> Element:
    case = _case(f"wice.sim.grid.ipv{ip_version}", " - ".join(cell.kinds), cell.time_s)
    if not cell.is_as_expected:
        message = f"{cell.seen}, expected: {cell.expected}"
        case.append(element("failure", str(cell), message=message, type="grid"))
    return case


def _case(class_name: str, name: str, time_s: float, outcome: Element | None = None) -> Element:
    case = element("testcase", outcome, classname=class_name, name=name)
    case.set("time", f"{time_s:.3f}")
    return case


def _failure(violations: Iterable[Violation], count: int, replay_command: str) -> Element:
    shown = list(violations)[:VIOLATIONS_MAX]
    first = shown[0]
    lines = [f"{v.at_s:.3f} s  {v.check}  {v.subject}: {v.detail}" for v in shown]
    if count > len(shown):
        lines.append(f"… and {count - len(shown)} more")
    text = "\n".join([*lines, f"replay: {replay_command}"])
    message = f"{first.subject}: {first.detail}"
    return element("failure", text, message=message, type=first.check)


def _error(why: str, details: str) -> Element:
    return element("error", details, message=why, type="run")


def _document(name: str, real_s: float, cases: list[Element]) -> str:
    counts = {
        "tests": len(cases),
        **{
            plural: sum(case.find(tag) is not None for case in cases)
            for plural, tag in (
                ("failures", "failure"),
                ("errors", "error"),
                ("skipped", "skipped"),
            )
        },
    }
    suite = element("testsuite", name=name, **counts)
    suite.set("time", f"{real_s:.3f}")
    append(suite, *cases)
    total = {key: value for key, value in counts.items() if key != "skipped"}
    suites = element("testsuites", suite, name="wice sim", **total)
    suites.set("time", f"{real_s:.3f}")
    indent(suites)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{tostring(suites, encoding="unicode")}\n'
