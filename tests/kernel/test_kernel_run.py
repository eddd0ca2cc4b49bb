"""``wice sim run --engine kernel``: what it shows, refuses and leaves behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from sims.commands.command import sim
from sims.kernel.gate import MODULES
from sims.lab.registry import LAB_VARIABLE
from wice.errors import ConfigError, WiceError

SMALL = """
[scenario]
duration_s = 4
[sites.home-1]
nat = "port-restricted"
link = { latency_ms = 5 }
machines = ["alice"]
[sites.home-2]
nat = "port-restricted"
link = { latency_ms = 5 }
machines = ["bob"]
[expect]
all_pairs_connected_by_s = 4
"""
HANG_S = 60.0


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    return path


def start(labs: Path, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "wice", "sim", "run", *map(str, arguments), "--engine", "kernel"],
        env={**os.environ, "WICE_LABS": str(labs)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def processes_of(lab: str) -> list[str]:
    mark = f"{LAB_VARIABLE}={lab}".encode()
    found = []
    for process in Path("/proc").iterdir():
        try:
            if mark in (process / "environ").read_bytes().split(b"\0"):
                found.append(process.name)
        except OSError:
            continue
    return found


@pytest.mark.root
def test_a_run_is_shown_and_written_as_a_simulated_one_is(
    labs: Path, scenario: Path, tmp_path: Path
) -> None:
    files = {name: tmp_path / f"run.{name}" for name in ("json", "junit", "html")}
    options = [word for name, file in files.items() for word in (f"--{name}", file)]
    output, errors = start(labs, scenario, *options).communicate(timeout=HANG_S)
    assert "small, seed 1, kernel engine: 4.0 seconds in" in output, errors
    assert "small, seed 1: every expectation and check holds" in output
    result = json.loads(files["json"].read_text())
    assert (result["engine"], result["ok"], result["trace_sha256"]) == ("kernel", True, "")
    assert [pair["path"] for pair in result["pairs"]] == ["direct", "direct"]
    assert all(0 < pair["first_ping_s"] < 4 for pair in result["pairs"])
    assert result["checks"]["all-pairs-connected"] == 2
    assert result["checks"]["cleartext"] == 0
    assert result["packets"] > 0 and result["counters"]["PeerTransitioned"] > 0
    assert "<testcase" in files["junit"].read_text()
    page = files["html"].read_text()
    assert "No simulation" in page and "virtual time" not in page
    assert not list(labs.iterdir())


@pytest.mark.root
def test_ctrl_c_removes_everything(labs: Path, scenario: Path) -> None:
    with start(labs, scenario) as running:
        deadline_s = time.monotonic() + HANG_S
        while not (sockets := list(labs.glob("*/alice/wice.sock"))):
            assert running.poll() is None and time.monotonic() < deadline_s
            time.sleep(0.02)
        (lab,) = {path.parent.parent.name for path in sockets}
        assert processes_of(lab)
        running.send_signal(signal.SIGINT)
        output, _ = running.communicate(timeout=HANG_S)
    assert running.returncode == 130
    assert "small, seed 1: interrupted after" in output
    assert not list(labs.iterdir())
    assert not processes_of(lab)


def test_who_is_not_root_is_told_so(scenario: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1_000)
    result = CliRunner().invoke(sim, ["run", str(scenario), "--engine", "kernel"])
    assert isinstance(result.exception, WiceError)
    assert "the kernel engine needs root" in str(result.exception)


def test_too_many_machines_are_refused(scenario: Path) -> None:
    scenario.write_text(SMALL + "[sites.more]\ncount = 15\n")
    result = CliRunner().invoke(sim, ["run", str(scenario), "--engine", "kernel"])
    assert isinstance(result.exception, ConfigError)
    assert "17 machines are too many for the kernel engine" in str(result.exception)


@pytest.mark.parametrize(("option", "name"), [("--trace", "trace"), ("--pcap", "captures")])
def test_what_only_the_simulator_sees_is_refused(
    scenario: Path, tmp_path: Path, option: str, name: str
) -> None:
    arguments = ["run", str(scenario), "--engine", "kernel", option, str(tmp_path / name)]
    result = CliRunner().invoke(sim, arguments)
    assert result.exit_code == 2
    assert f"{option} is the simulator's alone" in result.output


def test_a_daemon_at_the_gate_has_imported_what_it_begins_with() -> None:
    """Else the time of its start would be counted after all."""
    program = f"""
import sys
from importlib import import_module
for name in {MODULES!r}:
    import_module(name)
before = set(sys.modules)
import p2p.backend, wice.cli.run
from wice.daemon.daemon import load_backend
load_backend("libp2p")
print(sorted(name for name in set(sys.modules) - before if name.split(".")[0] in ("wice", "p2p")))
"""
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert said.stdout.strip() == "[]", said.stderr
