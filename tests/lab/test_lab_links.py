"""The links of a lab, measured by ping and UDP. Bounds are loose where the machine has its say."""

import os
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from sims.lab.lab import Lab, open_lab
from sims.lab.link import Link
from sims.lab.nat import NAT_KINDS
from sims.lab.registry import LAB_VARIABLE
from sims.lab.topology import CORE, CORE_BRIDGE, IpVersions, Site, Topology

pytestmark = pytest.mark.root

PINGS = 40
REPLY_TIMEOUT_S = 15
SILENCE_S = 1
"""After this time nothing more comes, most likely."""
FRAMES = 2_000
FRAME_SIZE_BYTES = 1_000
RATE_BITS_S = 8e6

BuildLinked = Callable[..., Lab]


@pytest.fixture
def build_linked(labs: Path) -> Iterator[BuildLinked]:
    with ExitStack() as stack:

        def build_linked(link: str, ip: IpVersions = IpVersions.V4) -> Lab:
            sites = (Site("alice", NAT_KINDS["port-restricted"]), Site("bob", NAT_KINDS["none"]))
            return stack.enter_context(
                open_lab(Topology(sites, ip=ip, link=Link.parse(link)), labs)
            )

        yield build_linked


def ping(lab: Lab, destination: str, timeout_s: int = REPLY_TIMEOUT_S) -> tuple[int, float, float]:
    """Replies, least and mean round trip in ms."""
    argv = ["ping", "-q", "-c", str(PINGS), "-i", "0.01", "-W", str(timeout_s), destination]
    output = lab["alice"].run(["sh", "-c", " ".join(argv) + " || true"])
    replies = re.search(r"(\d+) received", output)
    times = re.search(r"= ([0-9.]+)/([0-9.]+)/", output)
    assert replies and times, output
    return int(replies[1]), float(times[1]), float(times[2])


@pytest.mark.parametrize("ip", [IpVersions.V4, IpVersions.V6])
def test_a_round_trip_takes_the_latency_twice(build_linked: BuildLinked, ip: IpVersions) -> None:
    lab = build_linked("25ms", ip)
    for name in ("bob", "bootstrap"):
        replies, least_ms, _ = ping(lab, str(lab.nodes[name].public_address))
        assert replies == PINGS
        assert 50 <= least_ms < 100


def test_jitter_varies_the_round_trip(build_linked: BuildLinked) -> None:
    lab = build_linked("20ms,15ms")
    _, least_ms, mean_ms = ping(lab, str(lab.nodes["bob"].public_address))
    assert 10 <= least_ms < 60
    assert mean_ms > 1.1 * least_ms


def test_loss_takes_its_share_each_way(build_linked: BuildLinked) -> None:
    lab = build_linked("50%")
    replies, _, _ = ping(lab, str(lab.nodes["bob"].public_address), SILENCE_S)
    assert 0 < replies < PINGS * 0.6


def test_a_rate_holds_what_is_sent_back(build_linked: BuildLinked) -> None:
    """Nothing comes before its turn, and what would wait for too long is lost."""
    lab = build_linked(f"{RATE_BITS_S / 1e6:g}mbit")
    ping(lab, str(lab.nodes["bob"].public_address))  # until all are known on the wire
    with lab["alice"].entered():
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with lab["bob"].entered():
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sender, receiver:
        receiver.bind(("0.0.0.0", 5000))
        receiver.settimeout(REPLY_TIMEOUT_S)
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        began_s = arrived_s = time.monotonic()
        for _ in range(FRAMES):
            sender.sendto(bytes(FRAME_SIZE_BYTES), (str(lab.nodes["bob"].public_address), 5000))
        received = 0
        try:
            while True:
                received += len(receiver.recv(2 * FRAME_SIZE_BYTES)) == FRAME_SIZE_BYTES
                arrived_s = time.monotonic()
                receiver.settimeout(SILENCE_S)
        except TimeoutError:
            pass
    assert 0 < received < FRAMES
    assert arrived_s - began_s > received * FRAME_SIZE_BYTES * 8 / RATE_BITS_S


def test_without_links_there_is_no_process(build: Callable[..., Lab]) -> None:
    lab = build(alice="none")
    assert switches_of(lab) == []
    assert "bridge" in lab[CORE].run(["ip", "-details", "link", "show", CORE_BRIDGE])


def switches_of(lab: Lab) -> list[int]:
    """Processes of the lab."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            variables = (entry / "environ").read_bytes() if entry.name.isdigit() else b""
        except OSError:
            continue
        if f"{LAB_VARIABLE}={lab.id}".encode() in variables.split(b"\0"):
            found.append(int(entry.name))
    return found


@contextmanager
def pidfd(pid: int) -> Iterator[int]:
    descriptor = os.pidfd_open(pid)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def test_the_switch_ends_with_the_lab(labs: Path) -> None:
    topology = Topology((Site("alice", NAT_KINDS["none"]),), link=Link(0.001))
    with open_lab(topology, labs) as lab:
        (pid,) = switches_of(lab)
        with pidfd(pid) as switch:
            signal.pidfd_send_signal(switch, 0)
    assert switches_of(lab) == []
    assert list(labs.iterdir()) == []
