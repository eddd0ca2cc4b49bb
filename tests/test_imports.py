"""The rooms' walls (DESIGN D1), and what must stay light."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_rooms_import_one_way() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    checked = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


def test_status_imports_nothing_heavy() -> None:
    program = (
        "import sys, wice.cli.commands, wice.cli.status, wice.cli.why;"
        "import wice.daemon.control_protocol;"
        "print(*sorted({'libp2p', 'trio', 'nacl', 'google.protobuf'} & set(sys.modules)))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert loaded.stdout.strip() == ""
