"""``wice demo`` and ``make demo`` where no lab can be built."""

import importlib.util
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner, Result

from sims.commands import simulated_demo
from sims.commands.simulated_demo import LATENCY_S, Story, demo_scenario
from sims.lab import requirements
from sims.lab.command import demo
from sims.lab.link import PLAIN, Link
from sims.lab.progress import Pair, Stage
from sims.lab.topology import IpVersions
from sims.model.nat import Firewall
from sims.model.result import RunResult
from sims.model.scenario import Scenario
from sims.model.scenario_check import check_scenario
from tests.sims.results import a_pair, a_result

ROOT = Path(__file__).parents[2]
LACKING = "the lab needs root to make network namespaces: run it with sudo"
KEYS = {"alice": "A" * 43 + "=", "bob": "B" * 43 + "="}


def play(pings: int = 20, is_complete: bool = True) -> Callable[..., RunResult]:
    """A run that both homes connect in, with ``pings`` replies each way."""

    def run(
        scenario: Scenario, seed: int, *, trace_path: Path | None = None, progress: Any = None
    ) -> RunResult:
        check_scenario(scenario)
        assert trace_path is not None
        with trace_path.open("w") as file:
            for line in a_trace(pings):
                file.write(json.dumps(line, separators=(",", ":")) + "\n")
        pairs = tuple(
            a_pair(*pair, sent=pings + 3, received=pings, reason="" if pings else "UDP is blocked")
            for pair in scenario.pairs
        )
        return a_result(scenario, seed, pairs=pairs, is_complete=is_complete)

    return run


def a_trace(pings: int) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = [
        {"at_s": 0.0, "kind": "machine", "machine": name, "public_key": key}
        for name, key in KEYS.items()
    ]
    for name, peer in (("alice", "bob"), ("bob", "alice")):
        about = {"machine": name, "peer": KEYS[peer]}
        lines += [
            {"at_s": 0.4, "kind": "OverlayJoined", "machine": name},
            {"at_s": 0.5, "kind": "sent", "where": name},
            {"at_s": 0.9, "kind": "PeerFound", **about},
        ]
        lines += [
            {"at_s": at_s, "kind": "PeerTransitioned", "old": "", "new": new, **about}
            for at_s, new in ((1.0, "checking"), (1.1, "selected"), (1.2, "connected"))
        ]
        for number in range(pings + 3):
            # The first two find no path; the last is under way when the run ends.
            ping = {"machine": name, "destination": peer, "number": number}
            at_s = -0.75 + number
            lines.append({"at_s": at_s, "kind": "ping", **ping})
            if 2 <= number < pings + 2:
                lines.append({"at_s": at_s + 0.002, "kind": "pong", **ping})
    return lines


@pytest.fixture
def no_lab(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The runner's module, on a machine that no lab can be built on."""
    monkeypatch.setattr(requirements, "missing", lambda: LACKING)
    runner = ModuleType("sims.running.run")
    runner.run = play()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sims.running.run", runner)
    monkeypatch.setattr(simulated_demo, "preload", lambda: None)
    return runner


def invoke(*options: str) -> Result:
    return CliRunner().invoke(demo, options, catch_exceptions=False)


def test_the_same_story_is_played_and_one_line_says_where(no_lab: ModuleType) -> None:
    done = invoke()
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[0] == f"{LACKING}; the simulator plays the same instead"
    assert "alice: NAT port-restricted" in lines
    for words in ("overlay joined", "peer found", "path selected", "WireGuard handshake", "ping"):
        assert any(line.endswith(f"s  alice → bob: {words}") for line in lines), words
    assert lines[-1] == "bob → alice: 20 of 20 pings came back, median 2.0 ms"


def test_the_json_is_as_that_of_the_lab(no_lab: ModuleType) -> None:
    done = invoke("--json")
    assert done.exit_code == 0
    assert LACKING in done.stderr
    report = json.loads(done.stdout)
    assert report["simulated"] is True
    assert report["connected"] is True
    assert report["daemons"] == {}
    alice, _ = report["pairs"]
    assert (alice["from"], alice["to"], alice["path"]) == ("alice", "bob", "direct")
    assert alice["ping"] == {"sent": 20, "received": 20, "rtt_ms_median": 2.0}
    assert alice["time_to_first_ping_s"] == 1.25
    assert report["stages"]["bob"]["alice"] == {
        "joined": 0.4,
        "found": 0.9,
        "described": 1.0,
        "checking": 1.0,
        "selected": 1.1,
        "handshake": 1.2,
        "ping": 1.252,
    }
    assert list(report["stages"]["bob"]["alice"]) == [stage.value for stage in Stage]


def test_without_pings_it_fails_and_says_why(no_lab: ModuleType) -> None:
    no_lab.run = play(pings=0)  # type: ignore[attr-defined]
    done = invoke()
    assert done.exit_code == 1
    assert "wice demo: alice → bob: 0 of 0 pings came back (UDP is blocked)" in done.stderr


def test_interrupted_it_says_so(no_lab: ModuleType) -> None:
    no_lab.run = play(is_complete=False)  # type: ignore[attr-defined]
    done = invoke("--json")
    assert done.exit_code == 130
    assert json.loads(done.stdout)["simulated"] is True


def test_many_homes_are_a_matrix(no_lab: ModuleType) -> None:
    done = invoke("--peers", "3", "--keep")
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["alice", "bob", "carol"] in rows
    assert "there is nothing to keep" in done.stdout


def test_there_is_nothing_to_clean(no_lab: ModuleType) -> None:
    done = invoke("--clean")
    assert done.exit_code == 0
    assert done.stdout == f"{LACKING}; the simulator leaves nothing to remove\n"


def test_pings_that_get_lost_are_counted() -> None:
    lines = [line for line in a_trace(8) if (line["kind"], line.get("number")) != ("pong", 5)]
    story = Story([("alice", "bob"), ("bob", "alice")], lines)
    pings = story.pings(Pair("alice", "bob"))
    assert (pings.sent, pings.received) == (8, 7)


def test_mistakes_of_usage_are_those_of_the_lab(no_lab: ModuleType) -> None:
    assert invoke("--peers", "17").exit_code == 2
    assert invoke("--ip", "6", "--nat", "hairpin").exit_code == 2


def test_the_scenario_is_what_the_lab_would_have_built() -> None:
    link = Link(latency_s=0.025, jitter_s=0.003, loss=0.01)
    kinds = ("hairpin", "cgnat", "hairpin", "udp-blocked", "none")
    homes = ("alice", "bob", "carol", "dave", "erin")
    scenario = demo_scenario(homes, kinds, IpVersions.DUAL, link)
    check_scenario(scenario)
    assert scenario.ip_versions == (4, 6)
    shared, bob, dave, erin = scenario.sites
    assert [machine.name for machine in shared.machines] == ["alice", "carol"]
    assert shared.is_isolating
    assert shared.nats[0].hairpins
    assert len(bob.nats) == 2
    assert dave.firewall is Firewall.UDP_BLOCKED
    assert erin.nats == ()
    assert erin.line.up is not None
    assert (erin.line.up.latency_s, erin.line.up.loss) == (0.025, 0.01)
    plain = demo_scenario(("alice", "bob"), ("none", "none"), IpVersions.V4, PLAIN)
    assert plain.sites[0].line.up is not None
    assert plain.sites[0].line.up.latency_s == LATENCY_S


def test_root_that_may_not_build_networks_has_no_lab(monkeypatch: pytest.MonkeyPatch) -> None:
    if requirements.missing():
        pytest.skip(requirements.missing())
    requirements._refused.cache_clear()
    monkeypatch.setattr(requirements, "PROBES", (("ip", "link", "add", "x", "type", "flux"),))
    try:
        assert requirements.missing().startswith("the lab needs the right to build networks: ip ")
    finally:
        requirements._refused.cache_clear()


@pytest.fixture
def installer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    path = ROOT / "tools" / "install_debian_packages.py"
    spec = importlib.util.spec_from_file_location("install_debian_packages", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "packages.txt").write_text("libgmp-dev # a reason\nnftables\n")
    monkeypatch.setattr(sys, "argv", ["install", "packages.txt"])
    monkeypatch.setattr(module.shutil, "which", lambda _: "/usr/bin/dpkg-query")
    monkeypatch.setattr(module, "for_this_python", list)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    return module


@pytest.mark.parametrize(
    ("lacking", "status", "said"),
    [
        ([], 0, ""),
        (["nftables"], 0, "going on without Debian packages nftables"),
        (["libgmp-dev", "nftables"], 1, "as root, apt-get install libgmp-dev\n"),
    ],
)
def test_without_root_no_debian_package_is_installed(
    installer: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    lacking: list[str],
    status: int,
    said: str,
) -> None:
    monkeypatch.setattr(installer, "missing", lambda _: lacking)
    assert installer.main() == status
    errors = capsys.readouterr().err
    assert said in errors
    assert errors.count("\n") == (1 if lacking else 0)


def test_what_is_built_already_needs_no_headers(
    installer: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".venv/lib/python3.11/site-packages/fastecdsa").mkdir(parents=True)
    monkeypatch.setattr(installer, "missing", lambda _: ["libgmp-dev"])
    assert installer.main() == 0
