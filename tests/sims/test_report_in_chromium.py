"""The page in a real browser: no complaint of its console, and no scrolling sideways on a phone."""

import re
import subprocess
from dataclasses import replace
from html import escape
from itertools import product
from pathlib import Path

import pytest

from sims.many.grid import Cell
from sims.model.nat import GRID_KINDS
from sims.report.grid_page import grid_report
from sims.report.page import report
from tests.sims.results import a_result, a_violation
from tests.sims.stories import hundred_machines, some_data, with_odd_names
from tests.sims.test_report_of_many import a_failed_seed, a_grid, a_seed, a_swarm, swarm_text

PHONE_WIDTH = 360


class Browser:
    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def open(self, text: str) -> tuple[str, list[str]]:
        """The document as the browser has it in the end, and what its console says."""
        page = self._directory / "page.html"
        page.write_text(text, "utf-8")
        finished = subprocess.run(
            [
                "chromium",
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                f"--user-data-dir={self._directory / 'profile'}",
                "--enable-logging=stderr",
                "--dump-dom",
                page.as_uri(),
            ],
            capture_output=True,
            text=True,
            timeout=300,
            check=True,
        )
        return finished.stdout, re.findall(r".*CONSOLE.*", finished.stderr)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Browser:
    return Browser(tmp_path_factory.mktemp("chromium"))


def overflows_of(browser: Browser, *texts: str) -> list[int]:
    """By how many pixels each page is wider than a phone."""
    frames = "".join(
        f'<iframe width="{PHONE_WIDTH}" height="800" srcdoc="{escape(text)}"></iframe>'
        for text in texts
    )
    script = (
        "onload=()=>{document.title='told '+[...document.querySelectorAll('iframe')]"
        ".map(f=>f.contentDocument.documentElement).map(e=>e.scrollWidth-e.clientWidth).join(' ')}"
    )
    dom, _ = browser.open(f"<!DOCTYPE html><body><script>{script}</script>{frames}")
    told = re.search(r"<title>told ([\d ]+)</title>", dom)
    assert told is not None
    return [int(text) for text in told[1].split()]


def test_the_console_has_nothing_to_say(browser: Browser) -> None:
    data = with_odd_names()
    result = replace(data.result, violations=(a_violation(),))
    dom, complaints = browser.open(report(replace(data, result=result)))
    assert "What was checked" in dom
    assert complaints == []


def test_a_page_that_breaks_its_own_policy_would_be_seen(browser: Browser) -> None:
    text = report(some_data()).replace("<main>", '<main style="color:red">')
    _, complaints = browser.open(text)
    assert any("Content Security Policy" in complaint for complaint in complaints)


def test_a_phone_need_not_scroll_sideways(browser: Browser) -> None:
    small = report(some_data(a_result(violations=(a_violation(),))))
    wide = small.replace("<main>", '<main><svg width="1000"></svg>')
    small_by, hundred_by, wide_by = overflows_of(browser, small, report(hundred_machines()), wide)
    assert (small_by, hundred_by) == (0, 0)
    assert wide_by > 500


def test_pages_of_many_fit_a_phone_and_break_no_policy_of_theirs(browser: Browser) -> None:
    seeds = [a_failed_seed(n, 1.0) if n % 9 == 0 else a_seed(n) for n in range(300)]
    swarm = swarm_text(a_swarm(*seeds, has_listened=True))
    pairs = product(GRID_KINDS, repeat=2)
    cells = [Cell(pair, "direct", "relayed", "", 0.5) for pair in pairs]
    grid = grid_report(replace(a_grid(*cells), kinds=GRID_KINDS), "wice sim grid")
    assert overflows_of(browser, swarm, grid) == [0, 0]
    for text in (swarm, grid):
        assert browser.open(text)[1] == []
