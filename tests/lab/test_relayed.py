"""Homes that cannot reach each other meet through the community's relay, and leave it by themselves
as soon as a direct path can be.
"""

import re
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest
import trio

from sims.lab.lab import open_lab
from sims.lab.mesh import Mesh, peers_of
from sims.lab.nat import NAT_KINDS
from sims.lab.process import start_process
from sims.lab.progress import Pair
from sims.lab.topology import Site, Topology

pytestmark = pytest.mark.root

HOMES = ("alice", "bob")
START_TIMEOUT_S = 60.0
CHANGE_TIMEOUT_S = 180.0
POLL_S = 0.1
PINGS_MIN = 20
"""So many have to come back before and after what happens."""
PING_INTERVAL_S = 0.05
SEQUENCE = re.compile(r"icmp_seq=(\d+) ttl")


@asynccontextmanager
async def relayed_mesh(short_labs: Path) -> AsyncIterator[Mesh]:
    """Two homes behind symmetric NATs, who ping through the bootstrap node's relay and have tried
    every direct way.
    """
    sites = tuple(Site(name, NAT_KINDS["symmetric"]) for name in HOMES)
    with open_lab(Topology(sites), short_labs) as lab:
        async with trio.open_nursery() as nursery:
            mesh = Mesh(lab, nursery, HOMES)
            mesh.start_bootstrap()
            with trio.fail_after(START_TIMEOUT_S):
                await mesh.wait_listening()
                for name in HOMES:
                    mesh.start(name)
                await mesh.wait_first_reply(Pair(*HOMES))
            await wait_path(mesh, "relayed")
            for pair in (Pair(*HOMES), Pair(*HOMES[::-1])):
                await mesh.wait_tried(pair)
            yield mesh
            nursery.cancel_scope.cancel()


async def wait_path(mesh: Mesh, path: str) -> None:
    """Wait until both homes say that theirs is such a path."""
    with trio.fail_after(CHANGE_TIMEOUT_S):
        while True:
            peers = [peer for name in HOMES for peer in peers_of(await mesh.status(name))]
            if [peer["path"] for peer in peers] == [path] * len(HOMES):
                return
            await trio.sleep(POLL_S)


class Pings:
    """Pings from alice to bob, one after the other; which came back."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        self.sequences: list[int] = []
        self._came = trio.Event()

    async def run(self) -> None:
        alice, bob = (str(self._mesh.homes[name].tunnel_address) for name in HOMES)
        argv = ["ping", "-n", "-i", str(PING_INTERVAL_S), "-I", alice, bob]
        async with trio.open_nursery() as nursery:
            process = start_process(nursery, self._mesh.lab, "alice", argv)
            async with aclosing(process.lines()) as lines:
                async for line in lines:
                    if reply := SEQUENCE.search(line):
                        self.sequences.append(int(reply[1]))
                        self._came.set()
                        self._came = trio.Event()

    async def wait_more(self) -> None:
        """Wait until ``PINGS_MIN`` more have come back."""
        enough = len(self.sequences) + PINGS_MIN
        while len(self.sequences) < enough:
            await self._came.wait()

    @property
    def lost(self) -> list[int]:
        """Those that did not come back, though a later one did."""
        return sorted(set(range(1, max(self.sequences) + 1)) - set(self.sequences))


@asynccontextmanager
async def pinging(mesh: Mesh) -> AsyncIterator[Pings]:
    """Ping all the while, and before and after it until some have come back."""
    async with trio.open_nursery() as nursery:
        pings = Pings(mesh)
        nursery.start_soon(pings.run)
        await pings.wait_more()
        yield pings
        await pings.wait_more()
        nursery.cancel_scope.cancel()


async def test_a_relayed_path_becomes_direct_without_a_lost_ping(short_labs: Path) -> None:
    async with relayed_mesh(short_labs) as mesh:
        async with pinging(mesh) as pings:
            mesh.lab.change_nat("alice", NAT_KINDS["full-cone"], forgets=False)
            await wait_path(mesh, "direct")
        assert pings.lost == []


@pytest.mark.nightly
@pytest.mark.parametrize("kind", ["full-cone", "address-restricted"])
async def test_a_nat_that_forgets_its_flows_costs_pings_but_not_the_direct_path(
    short_labs: Path, kind: str
) -> None:
    """The relay knows its client by a port that such a NAT gives it no more."""
    async with relayed_mesh(short_labs) as mesh:
        async with pinging(mesh):
            mesh.lab.change_nat("alice", NAT_KINDS[kind], forgets=True)
            await wait_path(mesh, "direct")
        async with pinging(mesh) as pings:
            pass
        assert pings.lost == []


@pytest.mark.nightly
async def test_a_direct_path_that_a_nat_closes_becomes_relayed(short_labs: Path) -> None:
    async with relayed_mesh(short_labs) as mesh, pinging(mesh):
        mesh.lab.change_nat("alice", NAT_KINDS["full-cone"], forgets=True)
        await wait_path(mesh, "direct")
        mesh.lab.change_nat("alice", NAT_KINDS["symmetric"], forgets=True)
        await wait_path(mesh, "relayed")
