"""The pages of a swarm and of a grid: what they say, and what they leave out."""

from dataclasses import replace
from typing import Any

import pytest

from sims.many.causes import grouped
from sims.many.coverage import GroupCoverage, Told
from sims.many.grid import Cell, GridResult
from sims.many.stories import Story
from sims.many.swarm import SeedResult, SwarmResult
from sims.report import swarm_page
from sims.report.grid_page import grid_report
from sims.report.swarm_page import swarm_report
from tests.sims.page import Page
from tests.sims.results import a_scenario, a_violation

KINDS = ("none", "symmetric")
COMMAND = "wice sim swarm homes --seeds 4 --first-seed 7"
REPORTED_MAX_BYTES = 1_000_000


def a_seed(seed: int, **changes: Any) -> SeedResult:
    good = SeedResult(seed=seed, pairs=2, pairs_pinged=2, virtual_s=30.0, checks={"tunnels": 5})
    return replace(good, **changes)


def a_failed_seed(seed: int, at_s: float) -> SeedResult:
    violations = (replace(a_violation(at_s), check="tunnels"),)
    return a_seed(seed, violations=violations, violations_count=3)


def a_swarm(*seeds: SeedResult, **changes: Any) -> SwarmResult:
    failed = [seed for seed in seeds if not seed.is_ok]
    swarm = SwarmResult(
        scenario="homes",
        first_seed=7,
        seeds=len(seeds),
        is_complete=True,
        real_s=9.0,
        results=seeds,
        causes=grouped(failed, a_scenario()),
    )
    return replace(swarm, **changes)


def swarm_text(swarm: SwarmResult) -> str:
    return swarm_report(swarm, COMMAND, lambda seed: f"wice sim replay homes --seed {seed}")


def a_grid(*cells: Cell, is_complete: bool = True) -> GridResult:
    return GridResult(
        ip_version=4,
        kinds=KINDS,
        first_seed=1,
        is_complete=is_complete,
        real_s=5.0,
        cpu_s=4.0,
        cells=cells,
    )


DIRECT = Cell(("none", "none"), "direct", "direct", "", 0.31)
RELAYED = Cell(("symmetric", "symmetric"), "relayed", "relayed", "", 0.42)
NONE = Cell(("none", "symmetric"), "no path", "no path", "UDP is blocked", 25.0)
WRONG = Cell(("symmetric", "none"), "direct", "relayed", "", 0.5)


def test_a_swarm_that_holds_says_with_how_many_seeds() -> None:
    page = Page(swarm_text(a_swarm(a_seed(7), a_seed(8))))
    assert "✓ Everything held with 2 seeds." in page.text
    assert f"The same again: {COMMAND}" in page.text
    assert "seeds 7 to 8" in page.text
    assert "4/4" in page.texts
    assert "Why seeds failed" not in page.text


def test_a_swarm_tells_each_cause_once_with_its_fastest_seed() -> None:
    page = Page(swarm_text(a_swarm(a_failed_seed(7, 20.0), a_seed(8), a_failed_seed(9, 12.5))))
    assert "✗ 2 of 3 seeds failed, of 1 cause." in page.text
    assert page.text.count("no ping since 3 s") == 1
    assert "2 seeds: 7, 9." in page.text
    assert "wice sim replay homes --seed 9" in page.text
    assert [text for text in page.texts if text.startswith("✗ ")][-2:] == ["✗ 7", "✗ 9"]
    assert ("title", "seed 8: 2 of 2 pairs connected") in page.attributes


def test_a_seed_whose_process_died_says_of_what() -> None:
    page = Page(swarm_text(a_swarm(a_seed(7, failure="ended with exit status 1: <b>"))))
    assert "✗ process" in page.text
    assert "ended with exit status 1: <b>" in page.text
    assert "b" in page.tags and page.tags.count("b") == 1


def test_an_interrupted_swarm_says_so_and_one_without_seeds_too() -> None:
    swarm = a_swarm(a_failed_seed(7, 1.0), seeds=5, is_complete=False)
    said = (
        "✗ The swarm was interrupted after 1 of 5 seeds. Until then 1 of 1 seed failed, of 1 cause."
    )
    assert said in Page(swarm_text(swarm)).text
    page = Page(swarm_text(a_swarm(seeds=5, is_complete=False)))
    assert "interrupted after 0 of 5 seeds." in page.text
    assert "None was finished." in page.text


def test_what_never_happened_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    group = GroupCoverage("events of daemons", {"OverlayJoined": Told(6, 7)}, ("OverlayLost",))
    monkeypatch.setattr(SwarmResult, "coverage", (group,))
    page = Page(swarm_text(a_swarm(a_seed(7))))
    assert "events of daemons 1 of 2" in page.text
    assert "Never: OverlayLost." in page.text
    assert "OverlayJoined67" in page.text


def test_coverage_is_that_of_the_seeds() -> None:
    heard = a_seed(7, stories={Story("events of daemons", "OverlayJoined"): 6})
    assert "OverlayJoined67" in Page(swarm_text(a_swarm(heard, has_listened=True))).text
    assert "never did" not in Page(swarm_text(a_swarm(heard))).text


def test_a_large_swarm_has_a_page_of_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds = [a_failed_seed(n, 1.0) if n % 2 else a_seed(n) for n in range(20_000)]
    text = swarm_text(a_swarm(*seeds))
    assert len(text.encode()) < REPORTED_MAX_BYTES
    page = Page(text)
    assert "and 9\u202f960 more" in text
    assert "… and 18 000 more, which --json has." in page.text
    monkeypatch.setattr(swarm_page, "CAUSES_MAX", 0)
    assert "… and 1 more causes" in Page(swarm_text(a_swarm(*seeds[:3]))).text


def test_a_grid_has_a_cell_for_each_pair_of_kinds() -> None:
    page = Page(grid_report(a_grid(DIRECT, NONE, RELAYED), "wice sim grid"))
    assert "✓ All 3 pairs of kinds are as expected." in page.text
    assert [text for text in page.texts if text in ("0.3", "–", "0.4\u202fr")] == [
        "0.3", "–", "0.4\u202fr",
    ]  # fmt: skip
    assert ("title", "not tried") in page.attributes
    assert "The same again: wice sim grid" in page.text
    assert ("title", str(NONE)) in page.attributes


def test_what_is_not_as_expected_comes_first_and_is_marked() -> None:
    text = grid_report(a_grid(DIRECT, NONE, WRONG, RELAYED), "wice sim grid")
    page = Page(text)
    assert "✗ 1 of 4 pairs of kinds are not as expected." in page.text
    assert "symmetric – none" in page.text and "relayed; expected: direct" in page.text
    assert text.count('class="relayed unlike"') == 1
    assert "0.5\u202fr!" in page.texts


def test_an_interrupted_grid_says_so() -> None:
    page = Page(grid_report(a_grid(DIRECT, WRONG, is_complete=False), "wice sim grid"))
    said = "✗ The grid was interrupted after 2 of 4 pairs. Until then 1 of 2 pairs of kinds are not"
    assert said in page.text


def test_pages_of_many_are_the_same_bytes_whatever_they_cost() -> None:
    swarm, grid = a_swarm(a_seed(7, real_s=1.0, cpu_s=1.0)), a_grid(DIRECT)
    dear = a_swarm(a_seed(7, real_s=9.0, cpu_s=8.0, memory_bytes=10**9), real_s=99.0)
    assert swarm_text(swarm) == swarm_text(dear)
    dear_grid = replace(grid, real_s=99.0, cpu_s=98.0)
    assert grid_report(grid, "again") == grid_report(dear_grid, "again")
