"""The demo as a user runs it: real daemons, real NATs, real pings."""

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sims.lab.progress import Stage
from sims.lab.registry import LAB_VARIABLE, NAMES_DIRECTORY, namespace_name

HANG_S = 120.0
"""A demo that has not ended after this time never will."""


@pytest.fixture
def labs() -> Iterator[Path]:
    """This test's own place for labs, with a name short enough for Unix sockets in it."""
    with tempfile.TemporaryDirectory(prefix="wice-") as directory:
        yield Path(directory)


def demo_argv(*options: str) -> list[str]:
    return [sys.executable, "-m", "wice", "demo", *options]


def environment(labs: Path) -> Mapping[str, str]:
    return {**os.environ, "WICE_LABS": str(labs)}


def run_demo(labs: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        demo_argv(*options), env=environment(labs), capture_output=True, text=True, timeout=HANG_S
    )


def run_json(labs: Path, *options: str) -> tuple[int, dict[str, Any], str]:
    done = run_demo(labs, "--json", *options)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout), done.stderr


@pytest.mark.root
@pytest.mark.parametrize(
    "kinds", ["port-restricted,port-restricted", "none,port-restricted", "none,none"]
)
def test_homes_connect_directly_and_every_ping_comes_back(labs: Path, kinds: str) -> None:
    status, report, errors = run_json(labs, "--nat", kinds)
    assert report["connected"] is True, errors
    assert status == 0
    assert [(pair["from"], pair["to"]) for pair in report["pairs"]] == [
        ("alice", "bob"),
        ("bob", "alice"),
    ]
    for pair in report["pairs"]:
        assert pair["path"] == "direct"
        assert isinstance(pair["reason"], str)
        assert pair["ping"]["sent"] == pair["ping"]["received"] == 10
        assert pair["ping"]["rtt_ms_median"] > 0
        assert pair["time_to_first_ping_s"] > 0
        stages = report["stages"][pair["from"]][pair["to"]]
        assert stages.keys() == {stage.value for stage in Stage}
        assert None not in stages.values()
    assert list(labs.iterdir()) == []


@pytest.mark.root
def test_three_homes_connect(labs: Path) -> None:
    kinds = "port-restricted,port-restricted,port-restricted"
    status, report, errors = run_json(labs, "--nat", kinds)
    assert status == 0, errors
    assert len(report["pairs"]) == 6


@pytest.mark.root
def test_homes_that_cannot_be_direct_are_relayed_and_others_are_not(labs: Path) -> None:
    status, report, errors = run_json(labs, "--nat", "symmetric,none", "--peers", "3")
    assert status == 0, errors
    for pair in report["pairs"]:
        is_punched = "bob" in (pair["from"], pair["to"])
        assert pair["path"] == ("direct" if is_punched else "relayed"), errors
        assert pair["ping"]["received"] == 10


@pytest.mark.root
def test_a_person_sees_that_homes_are_relayed_and_why(labs: Path) -> None:
    done = run_demo(labs, "--nat", "symmetric,symmetric")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("state: connected, relayed") >= 2
    for one, other in (("alice", "bob"), ("bob", "alice")):
        why = f"{one}$ wice why {other}\nrelayed: both NATs map per destination; opening UDP 51820"
        assert why in done.stdout
        assert f"{one} → {other}: 10 of 10 pings came back" in done.stdout


@pytest.mark.root
def test_pairs_without_a_path_are_reported_with_the_reason(labs: Path) -> None:
    """And kinds are taken over and over, and the pairs that can connect do."""
    kinds = ("--nat", "symmetric,none", "--peers", "3")
    status, report, errors = run_json(labs, "--no-relay", *kinds)
    assert status == 1
    for pair in report["pairs"]:
        is_punched = "bob" in (pair["from"], pair["to"])
        assert pair["path"] == ("direct" if is_punched else None), errors
        assert pair["ping"]["received"] == (10 if is_punched else 0)
        assert pair["reason"].startswith("no path so far") is not is_punched
    assert "alice → carol: no path so far" in errors


@pytest.mark.root
@pytest.mark.parametrize(
    "options", [("--ip", "6"), ("--nat", "hairpin"), ("--ip", "dual"), ("--link", "10ms,2ms,1%")]
)
def test_other_internets(labs: Path, options: tuple[str, ...]) -> None:
    status, report, errors = run_json(labs, *options)
    assert status == 0, errors
    assert {pair["path"] for pair in report["pairs"]} == {"direct"}


@pytest.mark.root
@pytest.mark.nightly
@pytest.mark.parametrize("peers", [5, 12])
def test_many_homes_connect_every_way(labs: Path, peers: int) -> None:
    kinds = "port-restricted,full-cone,cgnat,none,address-restricted,hairpin"
    kinds = ",".join(kinds.split(",")[:peers])
    status, report, errors = run_json(labs, "--peers", str(peers), "--nat", kinds)
    assert status == 0, errors
    assert len(report["pairs"]) == peers * (peers - 1)
    assert {pair["path"] for pair in report["pairs"]} == {"direct"}
    assert len(report["daemons"]) == peers + 1


@pytest.mark.root
def test_with_one_daemon_stopped_the_pings_fail(labs: Path) -> None:
    """The homes have no way to each other but the tunnel."""
    status, report, errors = run_json(labs, "--stop", "bob")
    assert status == 1
    assert report["connected"] is False
    for pair in report["pairs"]:
        assert pair["time_to_first_ping_s"] is not None, "it was connected before"
        assert pair["ping"]["received"] == 0
    assert "alice → bob: 0 of 10 pings came back" in errors
    assert "the daemon of bob ended with status 0" in errors
    assert list(labs.iterdir()) == []


@pytest.mark.root
def test_a_person_sees_every_stage_and_the_status_of_both_sides(labs: Path) -> None:
    done = run_demo(labs)
    assert done.returncode == 0, done.stderr
    for words in ("overlay joined", "path selected", "WireGuard handshake"):
        assert f"alice → bob: {words}" in done.stdout
        assert f"bob → alice: {words}" in done.stdout
    for name in ("alice", "bob"):
        assert f"{name}$ wice status" in done.stdout
    assert done.stdout.count("interface: wg0") == 2
    assert "alice → bob: 10 of 10 pings came back" in done.stdout


@contextmanager
def running_demo(labs: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """A demo whose daemons were started: the process, and pidfds of what runs in its lab."""
    with subprocess.Popen(
        demo_argv(*options),
        env=environment(labs),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        pidfds = []
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if " s  " in line:
                    break
            pidfds = [os.pidfd_open(pid) for pid in marked_processes(labs)]
            yield process, pidfds
        finally:
            process.kill()
            for pidfd in pidfds:
                os.close(pidfd)


def marked_processes(labs: Path) -> list[int]:
    """The processes of the only lab that is registered in ``labs``."""
    (directory,) = labs.iterdir()
    mark = f"{LAB_VARIABLE}={directory.name}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        try:
            variables = (entry / "environ").read_bytes() if entry.name.isdigit() else b""
        except OSError:
            continue
        if mark in variables.split(b"\0"):
            found.append(int(entry.name))
    return found


@pytest.mark.root
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_demo_leaves_nothing(labs: Path, number: signal.Signals) -> None:
    with running_demo(labs) as (process, pidfds):
        assert len(pidfds) >= 3
        process.send_signal(number)
        assert process.wait(HANG_S) == 128 + number
        # It was in order: everything had ended before the demo itself did.
        assert len(select.select(pidfds, [], [], 0)[0]) == len(pidfds)
    assert list(labs.iterdir()) == []


@pytest.mark.root
def test_what_a_killed_demo_left_the_next_one_removes(labs: Path) -> None:
    with running_demo(labs) as (process, pidfds):
        process.kill()
        process.wait(HANG_S)
        for pidfd in pidfds:
            assert select.select([pidfd], [], [], HANG_S)[0]
    assert len(list(labs.iterdir())) == 1
    done = run_demo(labs, "--clean")
    assert done.returncode == 0
    assert list(labs.iterdir()) == []


@pytest.mark.root
@pytest.mark.parametrize("options", [(), ("--link", "1ms")])
def test_a_kept_lab_can_be_entered_and_removed(labs: Path, options: tuple[str, ...]) -> None:
    try:
        done = run_demo(labs, "--keep", *options)
        assert done.returncode == 0, done.stderr
        (directory,) = labs.iterdir()
        alice = namespace_name(directory.name, "alice")
        assert f"ip netns exec {alice} bash" in done.stdout
        enter = ["ip", "netns", "exec", alice]
        route = subprocess.run(
            [*enter, "ip", "route", "get", "10.77.0.2"], capture_output=True, text=True
        )
        assert "dev wg0" in route.stdout
        ping = [*enter, "ping", "-c", "2", "-i", "0.2", "10.77.0.2"]
        assert subprocess.run(ping, capture_output=True).returncode == 0
    finally:
        removed = run_demo(labs, "--clean")
    assert directory.name in removed.stdout
    assert list(labs.iterdir()) == []
    assert not (NAMES_DIRECTORY / alice).exists()


def test_what_only_a_lab_can_do_says_in_one_line_what_it_needs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from wice.cli import main

    monkeypatch.setattr("sims.lab.requirements.os.geteuid", lambda: 1000)
    monkeypatch.setattr(sys, "argv", ["wice", "demo", "--stop", "alice"])
    with pytest.raises(SystemExit) as exit_info:
        main()
    assert exit_info.value.code == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "root" in said.err


@pytest.mark.parametrize("kinds", ["moonbeam", "none,moonbeam", "", ",".join(["none"] * 17)])
def test_an_unknown_nat_is_a_mistake_of_usage(kinds: str) -> None:
    done = subprocess.run(demo_argv("--nat", kinds), capture_output=True, text=True)
    assert done.returncode == 2
    assert "--nat" in done.stderr


@pytest.mark.parametrize(
    "options",
    [
        ("--peers", "1"),
        ("--peers", "17"),
        ("--peers", "2", "--nat", "none,none,none"),
        ("--ip", "5"),
        ("--ip", "6", "--nat", "hairpin"),
        ("--link", "fast"),
        ("--link", "100%"),
    ],
)
def test_other_mistakes_of_usage(options: tuple[str, ...]) -> None:
    assert subprocess.run(demo_argv(*options), capture_output=True).returncode == 2
