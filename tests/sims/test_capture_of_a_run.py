"""What a run captured, as Wireshark reads it: tunnels, relays, drops, checksums, names."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from sims.capture.capture import Capture
from sims.files.scenario_file import load_scenario
from sims.model.result import RunResult
from sims.running.run import run
from tests.sims.captures import Frame, read

ROOM: Final = 100_000_000

WITH_A_RELAYED_PAIR: Final = """
[scenario]
duration_s = 12
ping_every_s = 1
[sites.left]
nat = "symmetric"
link = { preset = "dsl", loss = 0.015 }
machines = ["left-pc"]
[sites.right]
nat = "symmetric"
link = "fibre"
machines = ["right-pc"]
[sites.open]
nat = "full-cone"
link = "fibre"
machines = ["open-pc"]
[[faults]]
at_s = 8
kind = "crash"
target = "right-pc"
for_s = 2
"""
WITH_IPV6: Final = """
[scenario]
duration_s = 8
ip = "6"
ping_every_s = 1
[sites.home]
count = 2
nat = "none"
firewall = "stateful"
link = "lan"
"""


class Captured:
    """A run, and the frames of its captures by file."""

    def __init__(self, scenario: str, directory: Path) -> None:
        file = directory / "mesh.toml"
        file.write_text(scenario)
        self.scenario = load_scenario(file)
        self.directory = directory / "captures"
        self.trace = directory / "trace"
        self.capture = Capture(self.directory, ROOM)
        self.result: RunResult = run(self.scenario, 1, trace_path=self.trace, capture=self.capture)
        self.frames = {path.name: read(path) for path in sorted(self.directory.iterdir())}

    def all_frames(self) -> Iterator[Frame]:
        for frames in self.frames.values():
            yield from frames


@pytest.fixture(scope="module")
def relayed(tmp_path_factory: pytest.TempPathFactory) -> Captured:
    return Captured(WITH_A_RELAYED_PAIR, tmp_path_factory.mktemp("relayed"))


@pytest.fixture(scope="module")
def ipv6(tmp_path_factory: pytest.TempPathFactory) -> Captured:
    return Captured(WITH_IPV6, tmp_path_factory.mktemp("ipv6"))


@pytest.fixture(params=["relayed", "ipv6"])
def captured(request: pytest.FixtureRequest) -> Captured:
    both: Captured = request.getfixturevalue(request.param)
    return both


def test_there_is_a_file_for_each_interface_and_each_outside(relayed: Captured) -> None:
    machines = ("left-pc", "right-pc", "open-pc")
    assert set(relayed.frames) == {
        *(f"{name}.eth0.pcapng" for name in ("bootstrap-1", *machines)),
        *(f"{name}.wg0.pcapng" for name in machines),
        *(f"{name}.outside.pcapng" for name in ("bootstrap-1", "left", "right", "open")),
    }
    assert all(relayed.frames.values())
    assert relayed.capture.files == len(relayed.frames)
    assert relayed.capture.packets == sum(map(len, relayed.frames.values()))
    on_disk = sum(path.stat().st_size for path in relayed.directory.iterdir())
    assert relayed.capture.size_bytes == on_disk


def test_nothing_is_malformed_and_all_checksums_are_right(captured: Captured) -> None:
    assert [frame for frame in captured.all_frames() if frame.is_malformed] == []
    assert [frame for frame in captured.all_frames() if not frame.has_good_checksums] == []


def test_every_ping_in_a_tunnel_is_read_where_it_passed_encrypted(captured: Captured) -> None:
    tunnels = [name for name in captured.frames if ".wg0." in name]
    assert tunnels
    for name in tunnels:
        outbound = [frame for frame in captured.frames[name] if frame.is_outbound]
        assert len(outbound) > 5
        assert all({"icmp", "icmpv6"} & set(frame.protocols) for frame in captured.frames[name])
        encrypted = captured.frames[name.replace("wg0", "eth0")]
        read_there = [one for one in encrypted if one.is_tunnelled_ping and one.is_outbound]
        # What waits in the tunnel while there is no session comes later, or never.
        assert len(read_there) >= len(outbound) - 6
        sealed = [
            one for one in encrypted if one.protocol == "WireGuard" and "Transport Data" in one.info
        ]
        assert sealed == []


def test_a_relayed_tunnel_is_read_beside_what_carries_it(relayed: Captured) -> None:
    frames = relayed.frames["left-pc.eth0.pcapng"] + relayed.frames["right-pc.eth0.pcapng"]
    carried = [
        frame for frame in frames if frame.protocol == "STUN" and "ChannelData" in frame.info
    ]
    assert carried
    inside = [frame for frame in frames if frame.interface == "relayed"]
    assert any(frame.is_tunnelled_ping for frame in inside)
    assert all("wg" in frame.protocols for frame in inside)


def test_stun_is_told_from_the_tunnel_on_the_same_port(captured: Captured) -> None:
    for name, frames in captured.frames.items():
        udp = [frame for frame in frames if "udp" in frame.protocols]
        assert all({"stun", "wg"} & set(frame.protocols) for frame in udp), name
    infos = {frame.info.split(" Response")[0] for frame in captured.all_frames()}
    assert {"Binding Success"} <= infos


def test_interfaces_are_named_and_described(relayed: Captured) -> None:
    frames = relayed.frames["open-pc.eth0.pcapng"]
    assert {(one.interface, one.interface_text) for one in frames} == {("eth0", "machine open-pc")}
    assert {one.is_outbound for one in frames} == {True, False}


def test_a_drop_is_a_comment_where_the_packet_was_seen(relayed: Captured) -> None:
    outside = relayed.frames["left.outside.pcapng"]
    lost = [frame for frame in outside if frame.comment == "dropped: lost on the line"]
    assert {(frame.interface, frame.is_outbound) for frame in lost} == {
        ("outside", True),
        ("dropped", False),
    }
    filtered = [frame for frame in outside if frame.comment == "dropped: filtered by the NAT"]
    assert {frame.interface for frame in filtered} == {"outside"}
    dropped = [frame for frames in relayed.frames.values() for frame in frames if frame.comment]
    relayed_twice = sum(frame.interface == "relayed" for frame in dropped)
    trace = [json.loads(line) for line in relayed.trace.read_text().splitlines()]
    assert len(dropped) - relayed_twice == sum(line["kind"] == "dropped" for line in trace)


def test_times_and_sizes_are_those_of_the_trace(relayed: Captured) -> None:
    lines = [json.loads(line) for line in relayed.trace.read_text().splitlines()]
    traced = [
        line
        for line in lines
        if line["kind"] in ("sent", "received") and line["where"] == "open-pc"
    ]
    frames = relayed.frames["open-pc.eth0.pcapng"]
    assert len(frames) == len(traced)
    first_s = float(frames[0].at_s)
    for frame, line in zip(frames, traced, strict=True):
        since_first_s = float(frame.at_s) - first_s
        assert since_first_s == pytest.approx(line["at_s"] - traced[0]["at_s"], abs=1e-5)
        is_syn = "SYN" in line.get("flags", "")
        # The options of a SYN do not count in the simulation.
        assert frame.size_bytes == line["size_bytes"] + 8 * is_syn


def test_tcp_that_lost_nothing_has_nothing_to_remark(ipv6: Captured) -> None:
    remarks = {frame.tcp_remarks for frame in ipv6.frames["home-1.eth0.pcapng"]}
    assert remarks == {""}


def test_a_run_does_the_same_with_a_capture(relayed: Captured, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    without = run(relayed.scenario, 1, trace_path=trace)
    assert without.trace_sha256 == relayed.result.trace_sha256
    assert trace.read_bytes() == relayed.trace.read_bytes()


def test_the_same_run_makes_the_same_captures(relayed: Captured, tmp_path: Path) -> None:
    again = tmp_path / "again"
    run(relayed.scenario, 1, capture=Capture(again, ROOM))
    for path in relayed.directory.iterdir():
        assert (again / path.name).read_bytes() == path.read_bytes()


def test_a_full_capture_ends_and_says_when(relayed: Captured, tmp_path: Path) -> None:
    capture = Capture(tmp_path / "full", size_max_bytes=200_000)
    result = run(relayed.scenario, 1, capture=capture)
    assert result.trace_sha256 == relayed.result.trace_sha256
    assert capture.full_at_s is not None
    assert 0 < capture.full_at_s < 12
    # Statistics still come at the end of each file.
    assert capture.size_bytes <= 200_000 + capture.files * 200
    frames = [frame for path in capture.directory.iterdir() for frame in read(path)]
    assert 0 < len(frames) == capture.packets < relayed.capture.packets


def test_a_capture_that_cannot_be_written_ends_the_run(relayed: Captured, tmp_path: Path) -> None:
    capture = Capture(tmp_path / "gone", ROOM)
    capture.directory.rmdir()
    result = run(relayed.scenario, 1, capture=capture)
    assert result.failure == "captures cannot be written: No such file or directory"
    assert not result.is_complete
