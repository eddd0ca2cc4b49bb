"""JUnit XML as CI systems read it: the shape that Jenkins' schema has, and what is in it."""

from dataclasses import replace
from typing import Final
from xml.etree.ElementTree import Element, fromstring

import pytest

from sims.many.grid import Cell, GridResult
from sims.many.swarm import SeedResult, SwarmResult
from sims.report.junit import junit_of_grid, junit_of_run, junit_of_swarm
from tests.sims.results import a_result, a_violation

REPLAY = "wice sim replay homes --seed 1"

SUITES_ATTRIBUTES: Final = {"name", "time", "tests", "failures", "errors", "disabled"}
SUITE_ATTRIBUTES: Final = {
    *("name", "tests", "failures", "errors", "time", "disabled", "skipped", "timestamp"),
    *("hostname", "id", "package"),
}
CASE_ATTRIBUTES: Final = {"name", "assertions", "time", "classname", "status"}
OUTCOMES: Final = ("skipped", "error", "failure")


def suite_of(text: str) -> Element:
    """The only suite of a document that the schema of the xUnit plugin (junit-10.xsd) allows."""
    assert text.startswith('<?xml version="1.0" encoding="UTF-8"?>\n')
    suites = fromstring(text.encode())
    assert suites.tag == "testsuites"
    assert set(suites.attrib) <= SUITES_ATTRIBUTES
    (suite,) = suites
    assert suite.tag == "testsuite"
    assert {"name", "tests"} <= set(suite.attrib) <= SUITE_ATTRIBUTES
    for case in suite:
        assert case.tag == "testcase"
        assert {"name", "classname"} <= set(case.attrib) <= CASE_ATTRIBUTES
        float(case.attrib["time"])
        for outcome in case:
            assert outcome.tag in OUTCOMES
            assert set(outcome.attrib) <= {"message", "type"}
    assert suite.get("tests") == suites.get("tests") == str(len(suite))
    for plural, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        assert suite.get(plural) == str(len(suite.findall(f"testcase/{tag}")))
    return suite


def outcome_of(suite: Element, name: str) -> Element | None:
    (case,) = suite.findall(f"testcase[@name='{name}']")
    return case[0] if len(case) else None


def test_each_check_is_a_test_case_and_one_that_had_nothing_to_judge_is_skipped() -> None:
    suite = suite_of(junit_of_run(a_result(), REPLAY))
    assert [case.get("name") for case in suite] == ["no-replay", "task-alive"]
    assert outcome_of(suite, "no-replay") is None
    skipped = outcome_of(suite, "task-alive")
    assert skipped is not None
    assert skipped.tag == "skipped"


def test_violations_are_a_failure_with_all_that_is_known_and_how_to_see_it_again() -> None:
    violations = (a_violation(1.0), a_violation(2.0, subject="pc-2 to pc-1"))
    suite = suite_of(junit_of_run(a_result(violations=violations), REPLAY))
    failure = outcome_of(suite, "connected")
    assert failure is not None
    assert failure.tag == "failure"
    assert failure.get("message") == "pc-1 to pc-2: no ping since 3 s"
    assert failure.get("type") == "connected"
    assert (failure.text or "").splitlines() == [
        "1.000 s  connected  pc-1 to pc-2: no ping since 3 s",
        "2.000 s  connected  pc-2 to pc-1: no ping since 3 s",
        f"replay: {REPLAY}",
    ]


@pytest.mark.parametrize(
    ("failure", "message"), [("no disk", "no disk"), ("", "interrupted after 30.0 virtual seconds")]
)
def test_a_run_that_did_not_end_is_an_error(failure: str, message: str) -> None:
    suite = suite_of(junit_of_run(a_result(is_complete=False, failure=failure), REPLAY))
    error = outcome_of(suite, "run")
    assert error is not None
    assert (error.tag, error.get("message")) == ("error", message)


def test_what_xml_cannot_say_is_replaced_and_the_rest_escaped() -> None:
    odd = replace(a_violation(), detail='<&">\x00\x1b\ud800 ]]>', check="'\"<&>")
    suite = suite_of(junit_of_run(a_result(violations=(odd,)), REPLAY))
    failure = suite[-1][0]
    assert failure.get("message") == 'pc-1 to pc-2: <&">\ufffd\ufffd\ufffd ]]>'
    assert suite[-1].get("name") == "'\"<&>"


def test_each_seed_of_a_swarm_is_a_test_case() -> None:
    swarm = SwarmResult(
        scenario="homes",
        first_seed=1,
        seeds=4,
        is_complete=False,
        real_s=3.0,
        results=(
            SeedResult(seed=1, checks={}, real_s=0.5),
            SeedResult(seed=2, checks={}, violations=(a_violation(),), violations_count=30),
            SeedResult(seed=3, checks={}, failure="died of signal 9", stderr="out of memory"),
        ),
    )
    suite = suite_of(junit_of_swarm(swarm, lambda seed: f"replay {seed}"))
    assert [case.get("name") for case in suite] == ["seed 1", "seed 2", "seed 3", "swarm"]
    assert suite[0].get("time") == "0.500"
    assert outcome_of(suite, "seed 1") is None
    failure, error = outcome_of(suite, "seed 2"), outcome_of(suite, "seed 3")
    assert failure is not None
    assert "… and 29 more\nreplay: replay 2" in (failure.text or "")
    assert error is not None
    assert (error.tag, error.get("message")) == ("error", "died of signal 9")
    assert error.text == "replay 3\nout of memory"
    last = outcome_of(suite, "swarm")
    assert last is not None
    assert last.get("message") == "interrupted after 3 of 4 seeds"


def test_each_cell_of_a_grid_is_a_test_case() -> None:
    cells = (
        Cell(("none", "none"), "direct", "direct", "", 0.3),
        Cell(("none", "cgnat"), "direct", "no path", "silence", 25.0),
    )
    grid = GridResult(
        ip_version=4,
        kinds=("none", "cgnat"),
        first_seed=1,
        is_complete=False,
        real_s=1.0,
        cpu_s=1.0,
        cells=cells,
    )
    suite = suite_of(junit_of_grid(grid))
    assert outcome_of(suite, "none - none") is None
    failure = outcome_of(suite, "none - cgnat")
    assert failure is not None
    assert failure.get("message") == "no path, expected: direct"
