"""``wice sim run --engine kernel``: what it shows, refuses and leaves behind."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from sims.commands.command import sim
from sims.files.scenario_file import load_scenario
from sims.kernel.gate import MODULES
from sims.kernel.network import KernelNetwork, open_network
from sims.kernel.run import run_on_kernel
from sims.lab.namespaces import LabError
from sims.lab.registry import LAB_VARIABLE
from sims.machines import mesh_files
from sims.running.progress import Progress
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
HANG_S = 300.0


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
    # The clock is the machine's, and nothing that is due waits for it to be exact.
    assert re.search(r"^small, seed 1, kernel engine: [\d.]+ seconds in ", output, re.M), errors
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
    assert "wice kernel run report" in page and "wice simulation" not in page
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


@pytest.mark.root
def test_a_bootstrap_node_that_cannot_start_is_named_at_once(
    labs: Path, scenario: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mesh_files, "bootstrap_config", lambda *_, **__: "nonsense")
    with pytest.raises(LabError, match=r"^bootstrap-1: the daemon ended with status 2: wice: "):
        run_on_kernel(load_scenario(scenario), 1, labs=labs)
    assert not list(labs.iterdir())


@pytest.mark.root
def test_a_run_whose_lines_are_gone_ends_and_says_so(labs: Path, scenario: Path) -> None:
    def kill_lines(_: Progress) -> None:
        (lab,) = (directory.name for directory in labs.iterdir())
        for pid in processes_of(lab):
            if b"sims.kernel.wires_process" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(int(pid), signal.SIGKILL)

    result = run_on_kernel(load_scenario(scenario), 1, progress=kill_lines, labs=labs)
    assert result.failure == "the process of the lines ended: no word"
    assert not result.is_complete and not result.is_ok
    assert result.virtual_s < 4
    assert not list(labs.iterdir())


@pytest.mark.root
def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path, scenario: Path) -> None:
    labs = tmp_path / "missing" / "labs"
    with pytest.raises(LabError, match=f"^the machine refuses: {labs}: No such file or directory"):
        run_on_kernel(load_scenario(scenario), 1, labs=labs)


@pytest.mark.root
def test_a_network_that_is_removed_is_removed_whenever_ctrl_c_comes(
    labs: Path, scenario: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def close(self: KernelNetwork) -> None:
        signal.raise_signal(signal.SIGINT)
        really_close(self)

    really_close = KernelNetwork.close
    monkeypatch.setattr(KernelNetwork, "close", close)
    with pytest.raises(KeyboardInterrupt), open_network(load_scenario(scenario), 1, labs):
        pass
    assert not list(labs.iterdir())


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
