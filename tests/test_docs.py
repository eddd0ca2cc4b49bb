"""What the documents point to is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
SOURCES = [path for room in ("wice", "p2p", "sims") for path in (ROOT / room).rglob("*.py")]
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")
DOCUMENT = re.compile(r"docs/[\w/.-]+\.md")
DECISION = re.compile(r"(?:docs/adr/|\bADR )(\d+)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text("utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_documents_and_decisions_that_code_cites_are_there() -> None:
    decisions = {int(path.name[:4]) for path in (ROOT / "docs" / "adr").glob("*.md")}
    for source in SOURCES:
        text = source.read_text("utf-8")
        for cited in DOCUMENT.findall(text):
            assert (ROOT / cited).exists(), f"{source}: {cited}"
        for number in DECISION.findall(text):
            assert int(number) in decisions, f"{source}: ADR {number}"


def test_decisions_are_numbered_once() -> None:
    numbers = [path.name[:4] for path in (ROOT / "docs" / "adr").glob("*.md")]
    assert len(numbers) == len(set(numbers))
