"""Defects planted in a copy of the product are found by the swarm as it is shipped."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("wice", "p2p", "sims")
SEEDS = 200
"""Within which each defect is to be found."""

SESSION = "wice/signaling/session.py"
CONSENT = "wice/ice/consent.py"
MACHINE = "wice/peer/machine.py"
REPLAY = "wice/wireguard/replay.py"
PEER = "wice/wireguard/peer.py"


@dataclass(frozen=True)
class Edit:
    """What stands once in a file, and what stands there instead."""

    file: str
    before: str
    after: str


@dataclass(frozen=True)
class Defect:
    """check: the one whose business it is; others may find it too.

    is_nightly: it takes more than the first seeds, or is much like another.
    """

    name: str
    check: str
    edits: tuple[Edit, ...]
    is_nightly: bool = False


LOST_ACKNOWLEDGEMENTS = (
    Defect(
        "what is acknowledged is never learned",
        "acknowledgements",
        (
            Edit(
                SESSION,
                "            local.acknowledged_version = max("
                "local.acknowledged_version, heard.acknowledged.version)\n",
                "",
            ),
        ),
    ),
    Defect(
        "who asks for an acknowledgement is not answered",
        "acknowledgements",
        (
            Edit(
                SESSION,
                "            self._answer_due = Acknowledgement(remote.id, remote.version)\n",
                "            pass\n",
            ),
        ),
    ),
)

DEAD_PATHS = (
    Defect(
        "when a path is doubted, the next one is taken unchecked",
        "proved-paths",
        (
            Edit(
                MACHINE,
                "                self._is_path_doubted = True\n",
                "                self._is_path_doubted = True\n"
                "                for pair in agent.pairs():\n"
                "                    if not pair.is_selected:\n"
                "                        self._take_path(\n"
                "                            generation, pair.path, pair.rtt_s, False, now\n"
                "                        )\n"
                "                        break\n",
            ),
        ),
    ),
    Defect(
        "a path is kept without consent",
        "endpoint-is-selected",
        (
            Edit(
                CONSENT,
                "        self.expires_at = now + timing.consent_expiry_s\n",
                "        self.expires_at = now + 1e9\n",
            ),
            Edit(
                CONSENT,
                "        self.expires_at = now + self._timing.consent_expiry_s\n",
                "        self.expires_at = now + 1e9\n",
            ),
            Edit(CONSENT, "return self._unanswered > DOUBTED_AFTER", "return False"),
        ),
        is_nightly=True,
    ),
)

ACCEPTED_REPLAYS = (
    Defect(
        "the window does not look at its bits",
        "replays",
        (Edit(REPLAY, "return not block >> (counter % BLOCK_BITS) & 1", "return True"),),
    ),
    Defect(
        "the window remembers the newest counter alone",
        "replays",
        (
            Edit(
                REPLAY,
                "return not block >> (counter % BLOCK_BITS) & 1",
                "return counter != self._newest",
            ),
        ),
        is_nightly=True,
    ),
    Defect(
        "an initiation is answered again",
        "replays",
        (
            Edit(
                PEER,
                "        if initiation.timestamp <= self._latest_timestamp:\n"
                '            raise RemoteProtocolError("an initiation seen before")\n',
                "",
            ),
        ),
    ),
    Defect(
        "a session that is over is taken for new again and again",
        "sessions",
        (
            Edit(
                SESSION,
                "return self._heard.get(session_id, local.generation) < local.generation",
                "return False",
            ),
        ),
    ),
)

DEFECTS = (*LOST_ACKNOWLEDGEMENTS, *DEAD_PATHS, *ACCEPTED_REPLAYS)


def copy_of_the_product(directory: Path, edits: tuple[Edit, ...] = ()) -> Path:
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package, directory / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    for edit in edits:
        path = directory / edit.file
        text = path.read_text("utf-8")
        assert text.count(edit.before) == 1, f"{edit.file} changed: plant the defect anew"
        path.write_text(text.replace(edit.before, edit.after), "utf-8")
    return directory


def swarm(product: Path, *options: str) -> dict[str, Any]:
    """The report of ``wice sim swarm`` by the product in a directory."""
    done = subprocess.run(
        [sys.executable, "-m", "wice", "sim", "swarm", "--json", "-", *options],
        cwd=product,
        env={**os.environ, "PYTHONPATH": str(product)},
        capture_output=True,
        text=True,
    )
    assert done.returncode in (0, 1), done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_of_the_product(tmp_path_factory.mktemp("sound"))


@pytest.mark.parametrize(
    "defect",
    [
        pytest.param(defect, id=defect.name, marks=[pytest.mark.nightly] * defect.is_nightly)
        for defect in DEFECTS
    ],
)
def test_the_swarm_finds(defect: Defect, sound: Path, tmp_path: Path) -> None:
    broken = copy_of_the_product(tmp_path, defect.edits)
    report = swarm(broken, "--seeds", str(SEEDS), "--fail-fast")
    assert report["failed"], f"not found with {SEEDS} seeds"
    (found,) = (result for result in report["results"] if not result["ok"])
    assert defect.check in {violation["check"] for violation in found["violations"]}, found

    report = swarm(sound, "--seeds", "1", "--first-seed", str(found["seed"]))
    assert report["ok"], report["results"]
