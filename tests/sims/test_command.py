"""The verbs of ``wice sim``: exit codes, what goes where, Ctrl-C."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import IO, Any, Final

import pytest
from click.testing import CliRunner, Result

from sims.capture.capture import Capture
from sims.commands.command import sim
from sims.commands.pcap_option import summary
from sims.many import processes
from sims.model.result import RunResult
from sims.model.scenario import Scenario
from sims.running.story_recorder import StoryRecorder
from sims.runtime.scratch import in_memory
from tests.sims.results import a_pair, a_result, a_scenario, a_violation
from wice.errors import ConfigError

FULL: Final = "/dev/full"
NO_SPACE: Final = "No space left on device"

FakeRun = Callable[..., RunResult]


class World:
    """Stands for the runner and the loader: ``run`` is what the next run does."""

    def __init__(self, scenarios: Path) -> None:
        self.runs: list[tuple[str, int, Path | None]] = []
        self.captures: list[Capture | None] = []
        self.recorders: list[StoryRecorder | None] = []
        self.result: Callable[[Scenario, int], RunResult] = a_result
        self.trace = ""
        self.scenarios = scenarios

    def run(
        self,
        scenario: Scenario,
        seed: int,
        *,
        trace_path: Path | None = None,
        progress: Callable[[Any], None] | None = None,
        recorder: StoryRecorder | None = None,
        capture: Capture | None = None,
        **_others: Any,
    ) -> RunResult:
        self.runs.append((scenario.name, seed, trace_path))
        self.captures.append(capture)
        self.recorders.append(recorder)
        if trace_path is not None:
            with trace_path.open("w") as file:
                file.write(self.trace)
        if progress is not None:
            progress(
                SimpleNamespace(
                    virtual_s=12.0,
                    duration_s=30.0,
                    real_s=99.0,
                    events=4,
                    packets=5,
                    pairs_connected=1,
                    pairs=2,
                )
            )
        return self.result(scenario, seed)

    def scenario_names(self) -> tuple[str, ...]:
        return ("homes", "swarm")

    def find_scenario(self, name: str) -> Path:
        if name not in ("homes", "swarm"):
            raise ConfigError(name, "is no scenario", "see `wice sim list`")
        return self.scenarios / f"{name}.toml"

    def load_scenario(self, _path: Path) -> Scenario:
        return a_scenario()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> World:
    world = World(tmp_path)
    runner, loader = ModuleType("sims.running.run"), ModuleType("sims.files.scenario_file")
    runner.run = world.run  # type: ignore[attr-defined]
    loader.find_scenario = world.find_scenario  # type: ignore[attr-defined]
    loader.load_scenario = world.load_scenario  # type: ignore[attr-defined]
    loader.scenario_names = world.scenario_names  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sims.running.run", runner)
    monkeypatch.setitem(sys.modules, "sims.files.scenario_file", loader)
    monkeypatch.setattr(processes, "preload", lambda: None)
    return world


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(sim, arguments, catch_exceptions=False)


def bad(scenario: Scenario, seed: int) -> RunResult:
    return a_result(scenario, seed, violations=(a_violation(),))


def interrupted(scenario: Scenario, seed: int) -> RunResult:
    return a_result(scenario, seed, is_complete=False, virtual_s=7.0)


@pytest.mark.parametrize(("result", "code"), [(a_result, 0), (bad, 1), (interrupted, 130)])
def test_the_exit_status_of_a_run(world: World, result: FakeRun, code: int) -> None:
    world.result = result
    done = invoke("run", "homes", "--seed", "7")
    assert done.exit_code == code
    assert world.runs == [("homes", 7, None)]
    assert "homes, seed 7" in done.stdout
    assert "12 of 30 virtual seconds" in done.stderr


@pytest.mark.parametrize("verb", ["run", "replay"])
def test_a_run_is_captured_where_and_as_far_as_asked(
    world: World, tmp_path: Path, verb: str
) -> None:
    directory = tmp_path / "captures"
    options = ("--seed", "7", "--pcap", str(directory), "--pcap-max-mb", "3")
    done = invoke(verb, "homes", *options)
    assert done.exit_code == 0
    (capture,) = world.captures
    assert capture is not None
    assert (capture.directory, capture.size_max_bytes) == (directory, 3_000_000)
    assert f"{directory}: 0 captures, 0 packets, 0.0 MB, with the keys" in done.stdout
    assert invoke(verb, "homes", "--seed", "7").exit_code == 0
    assert world.captures == [capture, None]


@pytest.mark.parametrize("verb", ["run", "replay"])
def test_a_page_is_written_if_asked(world: World, tmp_path: Path, verb: str) -> None:
    page = tmp_path / "page.html"
    assert invoke(verb, "homes", "--seed", "7", "--html", str(page)).exit_code == 0
    text = page.read_text()
    assert "✓ Everything held" in text
    assert "wice sim replay homes --seed 7" in text
    assert invoke(verb, "homes", "--seed", "7").exit_code == 0
    assert [recorder is None for recorder in world.recorders] == [False, True]


def test_a_swarm_and_a_grid_have_a_page_if_asked(world: World, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    options = ("--jobs", "1", "--html", str(page))
    swarm = ("swarm", "homes", "--seeds", "2", "--first-seed", "5", "--overlay", "in-process")
    assert invoke(*swarm, *options).exit_code == 0
    text = page.read_text()
    again = "wice sim swarm homes --seeds 2 --first-seed 5 --overlay in-process"
    assert again in text and "✓ Everything held with 2 seeds." in text
    invoke("grid", "--ip", "6", "--no-relay", "--under", "loss", *options)
    assert "wice sim grid --ip 6 --no-relay --under loss" in page.read_text()


def test_a_run_that_failed_still_has_its_page_and_junit(world: World, tmp_path: Path) -> None:
    world.result = bad
    page, junit = tmp_path / "page.html", tmp_path / "junit.xml"
    done = invoke("run", "homes", "--html", str(page), "--junit", str(junit))
    assert done.exit_code == 1
    assert "no ping since 3 s" in page.read_text()
    assert "replay: wice sim replay homes --seed 1</failure>" in junit.read_text()


def test_a_swarm_and_a_grid_have_junit_if_asked(world: World, tmp_path: Path) -> None:
    junit = tmp_path / "junit.xml"
    invoke("swarm", "homes", "--seeds", "2", "--jobs", "1", "--junit", str(junit))
    assert 'name="seed 2"' in junit.read_text()
    invoke("grid", "--ip", "6", "--jobs", "2", "--junit", str(junit))
    assert 'name="stateful - none"' in junit.read_text()


@pytest.mark.parametrize("option", ["--html", "--junit"])
def test_a_report_on_a_full_disk_is_one_line(world: World, option: str) -> None:
    done = invoke("run", "homes", option, FULL)
    assert done.exit_code == 1
    assert f"wice: {FULL} cannot be written: {NO_SPACE}" in done.stderr
    assert "every expectation and check holds" in done.stdout


def test_captures_are_not_mixed(world: World, tmp_path: Path) -> None:
    (tmp_path / "home.eth0.pcapng").touch()
    done = invoke("run", "homes", "--pcap", str(tmp_path))
    assert done.exit_code == 2
    assert f"--pcap: {tmp_path}: has captures in it already; remove them" in done.stderr
    assert world.runs == []


def test_a_full_capture_is_told(tmp_path: Path) -> None:
    capture = Capture(tmp_path, 2_000_000)
    assert "\n" not in summary(capture)
    capture._disk.full_at_ns = 1_500_000_000
    last = summary(capture).splitlines()[-1]
    assert last == (
        f"{tmp_path}: full at 1.500 s, and lacks all that came later; "
        "--pcap-max-mb allows more than 2"
    )


def test_the_json_of_a_run(world: World, tmp_path: Path) -> None:
    world.result = interrupted
    file = tmp_path / "result.json"
    assert invoke("run", "homes", "--json", str(file)).exit_code == 130
    report = json.loads(file.read_text())
    assert (report["ok"], report["is_complete"], report["seed"]) == (False, False, 1)
    assert report["pairs"][0]["source"] == "pc-1"


def test_json_on_standard_output_is_alone_there(world: World) -> None:
    done = invoke("run", "homes", "--json", "-")
    assert json.loads(done.stdout)["ok"] is True
    assert "every expectation and check holds" in done.stderr


def test_the_trace_goes_where_it_should(world: World, tmp_path: Path) -> None:
    invoke("run", "homes", "--trace", str(tmp_path / "trace"))
    assert world.runs == [("homes", 1, tmp_path / "trace")]
    assert invoke("run", "homes", "--trace", "-", "--json", "-").exit_code == 2


def test_a_file_that_cannot_be_written_is_said_before_the_run(world: World, tmp_path: Path) -> None:
    for option in ("--json", "--trace"):
        done = invoke("run", "homes", option, str(tmp_path / "nowhere" / "file"))
        assert done.exit_code == 2
        assert "nowhere/file' cannot be written" in done.stderr
    assert world.runs == []


@pytest.mark.parametrize(
    ("verb", "option"),
    [
        (("run", "homes"), "--json"),
        (("run", "homes"), "--trace"),
        (("run", "homes"), "--html"),
        (("run", "homes"), "--junit"),
        (("replay", "homes", "--seed", "1"), "--html"),
        (("replay", "homes", "--seed", "1"), "--trace"),
        (("swarm", "homes", "--seeds", "1"), "--json"),
        (("swarm", "homes", "--seeds", "1"), "--html"),
        (("swarm", "homes", "--seeds", "1"), "--junit"),
        (("shrink", "homes", "--seed", "1"), "--output"),
    ],
)
def test_nothing_is_written_over_the_scenario(
    world: World, tmp_path: Path, verb: tuple[str, ...], option: str
) -> None:
    (tmp_path / "homes.toml").write_text("precious")
    link = tmp_path / "link"
    link.symlink_to("homes.toml")
    done = invoke(*verb, option, str(link))
    assert done.exit_code == 2
    assert f"{option} {str(link)!r} is SCENARIO itself; name another file" in done.stderr
    assert (tmp_path / "homes.toml").read_text() == "precious"
    assert world.runs == []


@pytest.mark.parametrize("verb", [("run", "homes"), ("swarm", "homes", "--seeds", "1"), ("grid",)])
def test_no_file_is_written_over_another(
    world: World, tmp_path: Path, verb: tuple[str, ...]
) -> None:
    file = str(tmp_path / "out")
    done = invoke(*verb, "--json", file, "--junit", f"{tmp_path}/./out")
    assert done.exit_code == 2
    assert "--junit" in done.stderr and "is the file of --json, too" in done.stderr
    assert world.runs == []


def test_a_device_keeps_nothing_and_may_be_named_twice(world: World) -> None:
    assert invoke("run", "homes", "--json", "/dev/null", "--html", "/dev/null").exit_code == 0


@pytest.mark.parametrize("option", ["--html", "--junit"])
def test_a_report_is_no_standard_output(world: World, option: str) -> None:
    done = invoke("run", "homes", option, "-")
    assert done.exit_code == 2
    assert "name a file" in done.stderr
    assert world.runs == []


@pytest.mark.parametrize("verb", [("run",), ("swarm", "--seeds", "1"), ("grid", "--ip", "6")])
def test_a_json_file_on_a_full_disk_costs_not_the_result(
    world: World, verb: tuple[str, ...]
) -> None:
    done = invoke(*verb, *(["homes"] if verb[0] != "grid" else []), "--json", FULL)
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1] == f"wice: {FULL} cannot be written: {NO_SPACE}"
    assert ("homes" if verb[0] != "grid" else "cells in") in done.stdout


@pytest.mark.parametrize("verb", [("list",), ("run", "two-homes", "--json", "FILE")])
def test_a_full_standard_output_is_one_line_and_costs_not_the_file(
    tmp_path: Path, verb: tuple[str, ...]
) -> None:
    file = tmp_path / "result.json"
    arguments = [str(file) if argument == "FILE" else argument for argument in verb]
    with Path(FULL).open("w") as full, wice_sim(*arguments, stdout=full) as process:
        _, errors = process.communicate()
    assert process.returncode == 1
    assert errors.splitlines() == [f"wice: standard output cannot be written: {NO_SPACE}"]
    if len(verb) > 1:
        assert json.loads(file.read_text())["ok"] is True


@pytest.mark.parametrize(
    "verb", [("list",), ("replay", "two-homes", "--seed", "1", "--html", "FILE")]
)
def test_who_reads_no_more_is_told_no_more(tmp_path: Path, verb: tuple[str, ...]) -> None:
    page = tmp_path / "page.html"
    arguments = [str(page) if argument == "FILE" else argument for argument in verb]
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as left, wice_sim(*arguments, stdout=left) as process:  # noqa: PTH123
        _, errors = process.communicate()
    assert (process.returncode, errors) == (1, "")
    if len(verb) > 1:
        assert "Everything held" in page.read_text()


def test_a_trace_that_cannot_be_written_ends_the_run_with_what_is_known(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    with wice_sim("run", "two-homes", "--json", file, "--trace", FULL) as process:
        out, errors = process.communicate()
    assert (process.returncode, errors) == (1, "")
    report = json.loads(file.read_text())
    assert (report["ok"], report["is_complete"]) == (False, False)
    assert report["failure"] == f"the trace cannot be written: {NO_SPACE}"
    assert 0 < report["virtual_s"] < 60
    assert out.splitlines()[-1].endswith(f"virtual seconds: {report['failure']}")


def test_a_run_that_failed_by_itself_was_not_interrupted(world: World) -> None:
    world.result = lambda scenario, seed: a_result(
        scenario, seed, is_complete=False, failure="virtual time stands still at 3.000 s"
    )
    done = invoke("run", "homes")
    assert done.exit_code == 1
    assert "homes, seed 1: ended after 30.0 virtual seconds: virtual time" in done.stdout
    assert "seed 1: virtual time stands still" in invoke("swarm", "homes", "--seeds", "1").stdout


@pytest.mark.parametrize("verb", [("run",), ("replay", "--seed", "1"), ("swarm",)])
def test_an_unknown_scenario_is_a_config_error(world: World, verb: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="is no scenario; see `wice sim list`"):
        invoke(*verb, "nowhere")


def test_the_list_has_names_and_first_comments(world: World, tmp_path: Path) -> None:
    (tmp_path / "homes.toml").write_text("# Two homes.\n# More.\n[scenario]\n")
    (tmp_path / "swarm.toml").write_text("[scenario]\n")
    assert invoke("list").stdout == "homes  Two homes.\nswarm  \n"


KEY = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
TRACE = [
    {"at_s": 0.0, "kind": "machine", "machine": "pc-2", "public_key": KEY},
    {"at_s": 0.5, "kind": "sent", "where": "pc-1", "protocol": "udp"},
    {"at_s": 0.6, "kind": "Dropped", "machine": "pc-1", "room": "ice", "reason": "stale"},
    {
        "at_s": 1.0,
        "kind": "PeerTransitioned",
        "machine": "pc-1",
        "interface": "wg0",
        "peer": KEY,
        "old": "checking",
        "new": "selected",
        "cause": "path",
        "detail": "host",
    },
    {
        "at_s": 2.0,
        "kind": "fault",
        "fault": "AddressChange",
        "phase": "begin",
        "planned_at_s": 2.0,
        "target": "home-1",
        "ip_version": None,
    },
    {
        "at_s": 3.0,
        "kind": "fault",
        "fault": "Crash",
        "phase": "begin",
        "planned_at_s": 2.0,
        "for_s": 5.0,
        "target": "pc-1",
        "loses_disk": False,
    },
    {"at_s": 4.0, "kind": "OverlayLost", "machine": "bootstrap-1"},
    {"at_s": 4.2, "kind": "ping", "machine": "pc-2", "destination": "pc-3", "number": 0},
    {"at_s": 5.0, "kind": "pong", "machine": "pc-2", "destination": "pc-3", "number": 0},
    {"at_s": 6.0, "kind": "ping", "machine": "pc-2", "destination": "pc-3", "number": 1},
    {"at_s": 6.1, "kind": "pong", "machine": "pc-2", "destination": "pc-3", "number": 1},
    {"at_s": 7.0, "kind": "ping", "machine": "pc-2", "destination": "pc-3", "number": 2},
    {"at_s": 8.0, "kind": "ping", "machine": "pc-2", "destination": "pc-3", "number": 3},
    {"at_s": 10.1, "kind": "pong", "machine": "pc-2", "destination": "pc-3", "number": 3},
    {
        "at_s": 12.5,
        "kind": "violation",
        "check": "connected",
        "subject": "pc-1 → pc-2",
        "detail": "no ping",
    },
]


def as_lines(trace: list[dict[str, Any]]) -> str:
    return "".join(f"{json.dumps(line, separators=(',', ':'))}\n" for line in trace)


def test_a_replay_tells_what_happened_in_the_order_of_time(world: World) -> None:
    world.trace, world.result = as_lines(TRACE), bad
    done = invoke("replay", "homes", "--seed", "3")
    assert done.exit_code == 1
    assert done.stdout.splitlines()[:8] == [
        "    1.000 s  pc-1 → pc-2: checking → selected (path: host)",
        "    2.000 s  FAULT address change of home-1 begins",
        "    3.000 s  FAULT crash of pc-1 begins, for_s 5.0",
        "    4.000 s  bootstrap-1: overlay lost",
        "    5.000 s  pc-2 → pc-3: first ping came back",
        "   10.100 s  pc-2 → pc-3: pings come back again, none did for 3.1 s",
        "   12.500 s  VIOLATION connected  pc-1 to pc-2: no ping since 3 s",
        "",
    ]
    assert done.stdout.splitlines()[-1] == (
        "all that they did: wice sim replay homes --seed 3 --only pc-1 --only pc-2"
    )


def test_a_replay_of_one_machine_tells_all_of_it_and_nothing_of_others(world: World) -> None:
    world.trace = as_lines(TRACE)
    done = invoke("replay", "homes", "--seed", "3", "--only", "pc-1")
    assert "    0.600 s  pc-1: dropped, room ice, reason stale" in done.stdout.splitlines()
    assert "pc-1 → pc-2: checking" in done.stdout
    assert "FAULT address change of home-1" in done.stdout
    assert "overlay lost" not in done.stdout
    assert "sent" not in done.stdout
    about_peer = invoke("replay", "homes", "--seed", "3", "--only", "pc-2").stdout
    assert "pc-1 → pc-2: checking" in about_peer
    assert invoke("replay", "homes", "--seed", "3", "--only", "pc-9").exit_code == 2


def test_a_replay_keeps_the_trace_if_asked_and_survives_half_a_line(
    world: World, tmp_path: Path
) -> None:
    world.trace, world.result = as_lines(TRACE)[:-30], interrupted
    kept = tmp_path / "trace"
    done = invoke("replay", "homes", "--seed", "3", "--trace", str(kept))
    assert done.exit_code == 130
    assert "overlay lost" in done.stdout
    assert "VIOLATION" not in done.stdout
    assert kept.read_text() == world.trace


def test_a_swarm_runs_the_named_seeds_and_says_how_to_replay(world: World, tmp_path: Path) -> None:
    world.result = lambda scenario, seed: (bad if seed == 6 else a_result)(scenario, seed)
    file = tmp_path / "swarm.json"
    options = ("--seeds", "3", "--first-seed", "5", "--jobs", "2", "--json", str(file))
    done = invoke("swarm", "homes", *options)
    assert done.exit_code == 1
    assert "  wice sim replay homes --seed 6\n" in done.stdout
    report = json.loads(file.read_text())
    assert report["failed"] == [6]
    assert [one["seed"] for one in report["results"]] == [5, 6, 7]


def test_a_swarm_has_no_seed_that_could_not_be_replayed(world: World) -> None:
    done = invoke("swarm", "homes", "--seeds", "2", "--first-seed", str(2**63 - 1), "--jobs", "1")
    assert done.exit_code == 2
    assert "beyond 9223372036854775807, the last seed" in done.stderr
    assert world.runs == []


def test_a_swarm_stops_at_a_failure_if_asked(world: World, tmp_path: Path) -> None:
    world.result = bad
    file = tmp_path / "swarm.json"
    done = invoke("swarm", "--seeds", "9", "--jobs", "1", "--fail-fast", "--json", str(file))
    assert done.exit_code == 1
    assert json.loads(file.read_text())["failed"] == [1]


def test_a_good_swarm_needs_no_name(world: World) -> None:
    done = invoke("swarm", "--seeds", "2")
    assert done.exit_code == 0
    assert "all 2 hold" in done.stdout


def test_an_interrupted_swarm_leaves_what_is_finished(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tell(self: object, *, is_ok: bool) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sims.commands.table.CountProgress.tell", tell)
    file = tmp_path / "swarm.json"
    done = invoke("swarm", "--seeds", "9", "--jobs", "1", "--json", str(file))
    assert done.exit_code == 130
    report = json.loads(file.read_text())
    assert (report["ok"], report["is_complete"], len(report["results"])) == (False, False, 1)


@pytest.mark.parametrize("verb", ["run", "replay"])
def test_ctrl_c_before_the_run_began_leaves_an_empty_result(
    world: World, tmp_path: Path, verb: str
) -> None:
    def interrupt(scenario: Scenario, seed: int) -> RunResult:
        raise KeyboardInterrupt

    world.result = interrupt
    file = tmp_path / "result.json"
    options = ("--json", str(file)) if verb == "run" else ()
    done = invoke(verb, "homes", "--seed", "4", *options)
    assert done.exit_code == 130
    assert "interrupted after 0.0 virtual seconds" in done.stdout
    if options:
        report = json.loads(file.read_text())
        assert (report["ok"], report["is_complete"], report["pairs"]) == (False, False, [])


def test_ctrl_c_before_anything_is_known(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_name: str) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["sims.files.scenario_file"], "find_scenario", interrupt)
    done = invoke("run", "homes")
    assert done.exit_code == 130
    assert done.stderr == ""


def test_a_grid_compares_every_pair(world: World, tmp_path: Path) -> None:
    world.result = lambda scenario, seed: a_result(
        scenario, seed, pairs=(a_pair("alice", "bob"), a_pair("bob", "alice"))
    )
    file = tmp_path / "grid.json"
    done = invoke("grid", "--ip", "6", "--jobs", "2", "--json", str(file))
    report = json.loads(file.read_text())
    assert len(report["pairs"]) == 9
    # Where UDP is blocked, the oracle does not believe that anything is direct.
    assert done.exit_code == 1
    assert "4 of 9 cells are as the oracle has them" in done.stdout


def wice_sim(
    *arguments: str | Path, stdout: int | IO[str] = subprocess.PIPE
) -> subprocess.Popen[str]:
    argv = [sys.executable, "-m", "wice", "sim", *map(str, arguments)]
    return subprocess.Popen(argv, stdout=stdout, stderr=subprocess.PIPE, text=True)


def test_a_real_run_connects_two_homes() -> None:
    with wice_sim("run", "two-homes", "--json", "-") as process:
        out, errors = process.communicate()
    assert process.returncode == 0, errors
    report = json.loads(out)
    assert report["ok"] is True
    assert [pair["path"] for pair in report["pairs"]] == ["direct", "direct"]


def left_by(process: subprocess.Popen[str]) -> list[Path]:
    return list(in_memory().glob(f"wice-sim-{process.pid}-*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_in_the_middle_of_a_real_run_leaves_what_is_known(
    tmp_path: Path, number: signal.Signals
) -> None:
    result, trace = tmp_path / "result.json", tmp_path / "trace"
    with wice_sim("run", "community-20", "--json", result, "--trace", trace) as process:
        while not (trace.exists() and "PeerFound" in trace.read_text()):
            assert process.poll() is None, "it ended by itself"
            time.sleep(0.01)
        assert left_by(process)
        process.send_signal(number)
        out, errors = process.communicate()
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert left_by(process) == []
    report = json.loads(result.read_text())
    assert (report["ok"], report["is_complete"], len(report["pairs"])) == (False, False, 380)
    assert report["packets"] > 0
    assert report["violations"] == []
    assert "community-20, seed 1: interrupted after" in out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_in_the_middle_of_a_real_swarm_leaves_no_directory(number: signal.Signals) -> None:
    with wice_sim("swarm", "community-20", "--seeds", "2", "--jobs", "2") as process:
        while not any(list(path.glob("*/bootstrap-1.1")) for path in left_by(process)):
            assert process.poll() is None, "it ended by itself"
            time.sleep(0.01)
        process.send_signal(number)
        _, errors = process.communicate()
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert left_by(process) == []
