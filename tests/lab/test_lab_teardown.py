"""A lab leaves nothing behind, whatever end its owner takes."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, aclosing, contextmanager
from pathlib import Path

import pytest
import trio

from sims.lab.lab import Lab, open_lab
from sims.lab.namespaces import LabError
from sims.lab.nat import NAT_KINDS, Nat
from sims.lab.process import start_process
from sims.lab.registry import LAB_VARIABLE, NAMES_DIRECTORY, clean
from sims.lab.topology import Site, Topology

pytestmark = pytest.mark.root

HANG_S = 60.0
"""A process that has not ended after this time never will."""

TOPOLOGY = Topology((Site("alice", NAT_KINDS["port-restricted"]), Site("bob", NAT_KINDS["none"])))

OWNER = """
import sys, json, pathlib, trio
from sims.lab.lab import open_lab
from sims.lab.nat import NAT_KINDS
from sims.lab.process import start_process
from sims.lab.topology import Site, Topology

async def main():
    sites = (Site("alice", NAT_KINDS["port-restricted"]), Site("bob", NAT_KINDS["none"]))
    with open_lab(Topology(sites), pathlib.Path(sys.argv[1])) as lab:
        async with trio.open_nursery() as nursery:
            processes = [start_process(nursery, lab, n, ["sleep", "600"]) for n in ("alice", "bob")]
            for process in processes:
                while pathlib.Path(f"/proc/{process.pid}/comm").read_text() != "sleep\\n":
                    await trio.sleep(0.01)  # until then it is on no leash
            print(json.dumps({"id": lab.id, "pids": [p.pid for p in processes]}), flush=True)
            await trio.sleep_forever()

trio.run(main)
"""


def open_namespaces() -> list[str]:
    """The network namespaces that this process holds by a descriptor."""
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = str(entry.readlink())
        except FileNotFoundError:
            continue
        if target.startswith("net:"):
            found.append(target)
    return found


def has_ended(pidfd: int) -> bool:
    return bool(select.select([pidfd], [], [], HANG_S)[0])


def is_running(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def test_nothing_of_the_lab_is_in_the_namespace_of_the_machine(labs: Path) -> None:
    interfaces = socket.if_nameindex()
    forwarding = Path("/proc/sys/net/ipv4/ip_forward").read_text()
    own = Path("/proc/thread-self/ns/net").readlink()
    with open_lab(TOPOLOGY, labs):
        assert socket.if_nameindex() == interfaces
        assert Path("/proc/sys/net/ipv4/ip_forward").read_text() == forwarding
        assert Path("/proc/thread-self/ns/net").readlink() == own


def test_a_normal_end_leaves_nothing(labs: Path) -> None:
    before = open_namespaces()
    with open_lab(TOPOLOGY, labs) as lab:
        assert len(open_namespaces()) == len(before) + len(lab.nodes)
    assert open_namespaces() == before
    assert list(labs.iterdir()) == []


def test_a_failure_while_building_leaves_nothing(labs: Path) -> None:
    before = open_namespaces()
    broken = Nat("broken", "", ("this is no ruleset",))
    with pytest.raises(LabError, match="nft"), open_lab(Topology((Site("alice", broken),)), labs):
        pass
    assert open_namespaces() == before
    assert list(labs.iterdir()) == []


async def test_a_process_ends_with_its_nursery(build: Callable[..., Lab]) -> None:
    lab = build(alice="none")
    stubborn = ["sh", "-c", "trap '' TERM; sleep 600 & echo $!; wait; wait"]
    with trio.fail_after(HANG_S):
        async with trio.open_nursery() as nursery:
            polite = start_process(nursery, lab, "alice", ["sleep", "600"])
            deaf = start_process(nursery, lab, "alice", stubborn)
            async with aclosing(deaf.lines()) as lines:
                child = os.pidfd_open(int(await anext(lines)))
            nursery.cancel_scope.cancel()
    assert polite.returncode == -signal.SIGTERM
    assert deaf.returncode == -signal.SIGKILL
    assert has_ended(child)
    os.close(child)


def marked_processes(lab_id: str) -> list[int]:
    """Living processes that bear the mark of the lab, children of children too."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            environment = (entry / "environ").read_bytes() if entry.name.isdigit() else b""
        except OSError:
            continue
        if f"{LAB_VARIABLE}={lab_id}".encode() in environment.split(b"\0"):
            found.append(int(entry.name))
    return found


@contextmanager
def owner(labs: Path) -> Iterator[tuple[subprocess.Popen[str], str, list[int]]]:
    """Another process with a lab: the process, the lab's id, and pidfds of what runs in it."""
    with ExitStack() as stack:
        process = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-c", OWNER, str(labs)],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        )
        stack.callback(process.kill)
        assert process.stdout is not None
        hello = json.loads(process.stdout.readline())
        pidfds = [os.pidfd_open(pid) for pid in hello["pids"]]
        for pidfd in pidfds:
            stack.callback(os.close, pidfd)
        yield process, hello["id"], pidfds


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_to_the_owner_leaves_nothing(labs: Path, number: signal.Signals) -> None:
    with owner(labs) as (process, lab_id, pidfds):
        process.send_signal(number)
        assert process.wait(HANG_S) != 0
        assert all(has_ended(pidfd) for pidfd in pidfds)
    # Whom nothing warns can remove no directory; who comes next does.
    if number is not signal.SIGINT:
        assert clean(labs=labs) == [lab_id]
    assert list(labs.iterdir()) == []
    assert marked_processes(lab_id) == []


def test_the_sweep_spares_labs_whose_owner_lives(labs: Path) -> None:
    with owner(labs) as (_, lab_id, pidfds):
        assert clean(labs=labs, kept=True) == []
        assert (labs / lab_id).is_dir()
        assert not any(select.select(pidfds, [], [], 0))


def test_the_sweep_ends_processes_that_outlived_their_owner(labs: Path) -> None:
    with open_lab(TOPOLOGY, labs) as lab:
        pass
    abandoned = labs / lab.id
    abandoned.mkdir()
    environment = {**os.environ, LAB_VARIABLE: lab.id}
    bystander = {**os.environ, LAB_VARIABLE: lab.id + "0"}
    with (
        subprocess.Popen(["sleep", "600"], env=environment) as left,
        subprocess.Popen(["sleep", "600"], env=bystander) as other,
    ):
        try:
            assert clean(labs=labs) == [lab.id]
            assert left.wait(HANG_S) == -signal.SIGTERM
            assert other.poll() is None
        finally:
            left.kill()
            other.kill()
    assert list(labs.iterdir()) == []


async def test_a_kept_lab_stays_until_it_is_cleaned(labs: Path) -> None:
    with open_lab(TOPOLOGY, labs, is_kept=True) as lab:
        async with trio.open_nursery() as nursery:
            argv = ["sleep", "600"]
            process = start_process(nursery, lab, "alice", argv, outlives_owner=True)
            names = lab.keep()
            process.release()
            nursery.cancel_scope.cancel()
    try:
        assert is_running(process.pid)
        enter = ["ip", "netns", "exec", names["alice"], "ping", "-c", "1", "203.0.113.10"]
        await trio.run_process(enter, capture_stdout=True)
        assert clean(labs=labs) == []
    finally:
        removed = clean(labs=labs, kept=True)
    assert removed == [lab.id]
    assert not any((NAMES_DIRECTORY / name).exists() for name in names.values())
    assert marked_processes(lab.id) == []
    assert list(labs.iterdir()) == []
