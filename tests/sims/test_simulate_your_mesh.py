"""What docs/how-to/simulate-your-mesh.md and its workflow file show is what happens."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from sims.model.presets import SITE_PRESETS

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to"
PAGE = (HOW_TO / "simulate-your-mesh.md").read_text("utf-8")
WORKFLOW = (HOW_TO / "simulate-your-mesh.workflow.yml").read_text("utf-8")

HANG_S = 300.0
SHOWN_SEEDS, TRIED_SEEDS = "--seeds 20", "--seeds 2"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


ALICE, BOB, MESH, *_ = blocks("toml")


def shown_commands() -> Iterator[tuple[str, list[str]]]:
    """Each of wice's on the page, and the lines that are printed below it."""
    for block in blocks("console"):
        for command, *output in (
            part.splitlines() for part in re.split(r"^\$ ", block, flags=re.M)[1:]
        ):
            if " sim " in command:
                yield command, output


def run(command: str, directory: Path) -> tuple[int, list[str]]:
    """Exit status, and what a person sees."""
    _, _, arguments = command.replace(SHOWN_SEEDS, TRIED_SEEDS).partition("wice ")
    done = subprocess.run(
        [sys.executable, "-m", "wice", *shlex.split(arguments)],
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=HANG_S,
    )
    return done.returncode, done.stdout.splitlines()


def alike(line: str) -> str:
    """What a line says beside its numbers, which are another machine's and version's."""
    return " ".join(re.sub(r"\d[\d.]*", "#", line).split())


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the commands of the page were run, one after the other."""
    directory = tmp_path_factory.mktemp("mesh")
    (directory / "alice.toml").write_text(ALICE)
    (directory / "bob.toml").write_text(BOB)
    for command, shown in shown_commands():
        status, printed = run(command, directory)
        is_mistake = shown[0].startswith("wice: ")
        assert status == (2 if is_mistake else 0), printed
        left = iter([alike(line) for line in printed])
        for line in shown:
            if line.strip() and line != "...":
                assert alike(line) in left, f"{command}: {line}"
        if "from-config" in command:
            assert printed == shown
    return directory


def test_four_commands_lead_from_pip_to_a_report(directory: Path) -> None:
    block = blocks("console")[0]
    assert len(re.findall(r"^\$ ", block, re.MULTILINE)) == 4
    assert (directory / "mesh.toml").read_text("utf-8") == MESH
    page = alike(re.sub(r"<[^>]*>", " ", (directory / "mesh.html").read_text("utf-8")))
    (head,) = re.findall(r"^`mesh.html`[^`]*```\n(.*?)```", PAGE, re.DOTALL | re.MULTILINE)
    assert alike(head).removeprefix("✓ ") in page


def test_the_page_lists_every_kind_of_site() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \| `([\w-]+)` \| `([\w-]+)` \|$", PAGE, re.MULTILINE)
    presets = {name: (preset.nat, preset.line) for name, preset in SITE_PRESETS.items()}
    assert {name: (nat, line) for name, nat, line in rows} == presets


def test_the_workflow_does_what_it_says(directory: Path) -> None:
    commands = re.findall(r"^        run: (.*wice sim .*)$", WORKFLOW, re.MULTILINE)
    assert len(commands) == WORKFLOW.count("wice sim ") == 2
    for command in commands:
        status, printed = run(command, directory)
        assert status == 0, printed
    kept = WORKFLOW.partition("path: |\n")[2].split()
    assert kept == ["mesh.html", "mesh.xml", "swarm.html", "swarm.xml"]
    assert "✓ Everything held with " in (directory / "swarm.html").read_text("utf-8")
    for name in ("mesh.xml", "swarm.xml"):
        suite = ElementTree.parse(directory / name).getroot()
        assert list(suite.iter("testcase"))
    shell = blocks("sh")[0]
    assert all(command in shell for command in commands)


def test_the_workflow_is_a_tree_of_keys_two_spaces_apart() -> None:
    """No parser of YAML is at hand; what people break by hand is the indent."""
    depth, in_text = 0, 100
    for line in filter(str.strip, WORKFLOW.splitlines()):
        indent = len(line) - len(line.lstrip())
        if indent > in_text or line.startswith("#"):
            continue
        in_text = indent if line.endswith("|") else 100
        assert "\t" not in line
        assert indent % 2 == 0
        assert indent <= depth + 4, line
        assert re.fullmatch(r" *(- )?([\w-]+: ?.*|#.*)", line), line
        depth = indent
