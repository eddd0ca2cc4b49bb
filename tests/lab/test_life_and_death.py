"""Daemons, bootstrap nodes and links die and come back; nobody tells the others.

Each test starts from a fresh healthy mesh behind port-restricted NATs. How long a recovery took
``pytest -rP`` shows; it is bounded only by what would be no recovery at all.
"""

import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from sims.lab.lab import open_lab
from sims.lab.mesh import Mesh
from sims.lab.nat import NAT_KINDS
from sims.lab.ping import PING_INTERVAL_S
from sims.lab.progress import Pair
from sims.lab.topology import Site, Topology

pytestmark = pytest.mark.root

START_TIMEOUT_S = 60.0
BACK_TIMEOUT_S = 120.0
OUTAGE_S = 60.0
REJECT_AFTER_S = 180.0
"""WireGuard's REJECT_AFTER_TIME: what goes on for longer has agreed on new keys."""

HOMES = ("alice", "bob")


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Callable[[float], None]:
    """Writes how long a recovery took to what ``pytest -rP`` shows."""

    def record(seconds: float) -> None:
        sys.stdout.write(f"{request.node.name}: after {seconds:.1f} s\n")

    return record


Record = Callable[[float], None]


@asynccontextmanager
async def healthy_mesh(
    short_labs: Path, running: Sequence[str] = HOMES, waiting: Sequence[str] = ()
) -> AsyncIterator[Mesh]:
    """A mesh whose ``running`` homes ping each other; ``waiting`` ones are known, but not there."""
    sites = tuple(Site(name, NAT_KINDS["port-restricted"]) for name in (*running, *waiting))
    with open_lab(Topology(sites), short_labs) as lab:
        async with trio.open_nursery() as nursery:
            mesh = Mesh(lab, nursery, (*running, *waiting))
            mesh.start_bootstrap()
            with trio.fail_after(START_TIMEOUT_S):
                await mesh.wait_listening()
                for name in running:
                    mesh.start(name)
                await seconds_until_pings(mesh, *running)
            yield mesh
            nursery.cancel_scope.cancel()


async def seconds_until_pings(mesh: Mesh, *homes: str) -> float:
    """Wait until pings come back both ways between every two of ``homes``."""
    started_s = trio.current_time()
    async with trio.open_nursery() as nursery:
        for source in homes:
            for destination in homes:
                if source != destination:
                    nursery.start_soon(mesh.wait_first_reply, Pair(source, destination))
    return trio.current_time() - started_s


async def lost_pings(mesh: Mesh, seconds: float) -> int:
    """Ping both ways for a time; give how many did not come back."""
    count = round(seconds / PING_INTERVAL_S)
    lost = 0

    async def ping_one(pair: Pair) -> None:
        nonlocal lost
        lost += count - (await mesh.ping(pair, count)).received

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ping_one, Pair("alice", "bob"))
        nursery.start_soon(ping_one, Pair("bob", "alice"))
    return lost


@pytest.mark.parametrize(
    "seconds", [3.0, pytest.param(REJECT_AFTER_S + 20, marks=pytest.mark.nightly)]
)
async def test_pings_go_on_when_the_bootstrap_node_dies(short_labs: Path, seconds: float) -> None:
    async with healthy_mesh(short_labs) as mesh:
        await mesh.kill("bootstrap")
        assert await lost_pings(mesh, seconds) == 0


@pytest.mark.parametrize("victim", HOMES)
async def test_a_killed_daemon_comes_back_without_the_other_side_being_touched(
    short_labs: Path, victim: str, record: Record
) -> None:
    async with healthy_mesh(short_labs) as mesh:
        (other,) = set(HOMES) - {victim}
        untouched = mesh.daemons[other].pid
        await mesh.kill(victim)
        mesh.start(victim)
        with trio.fail_after(BACK_TIMEOUT_S):
            record(await seconds_until_pings(mesh, *HOMES))
        assert mesh.daemons[other].pid == untouched
        assert mesh.daemons[other].returncode is None
        assert await lost_pings(mesh, 2.0) == 0


async def test_a_new_peer_joins_by_a_bootstrap_node_started_from_its_state(
    short_labs: Path, record: Record
) -> None:
    async with healthy_mesh(short_labs, waiting=("carol",)) as mesh:
        peer_id = (await mesh.status("bootstrap"))["overlay"]["peer_id"]
        await mesh.kill("bootstrap")
        mesh.start_bootstrap()
        with trio.fail_after(BACK_TIMEOUT_S):
            await mesh.wait_listening()
            assert (await mesh.status("bootstrap"))["overlay"]["peer_id"] == peer_id
            mesh.start("carol")
            record(await seconds_until_pings(mesh, *HOMES, "carol"))


@pytest.mark.nightly
async def test_pings_are_back_after_an_uplink_was_down(short_labs: Path, record: Record) -> None:
    async with healthy_mesh(short_labs) as mesh:
        mesh.lab.set_cable("alice-nat", is_whole=False)
        await trio.sleep(OUTAGE_S)
        assert await lost_pings(mesh, 0.5) > 0
        mesh.lab.set_cable("alice-nat", is_whole=True)
        with trio.fail_after(BACK_TIMEOUT_S):
            record(await seconds_until_pings(mesh, *HOMES))
        assert await lost_pings(mesh, 2.0) == 0


@pytest.mark.nightly
async def test_pings_are_back_after_a_public_address_changed(
    short_labs: Path, record: Record
) -> None:
    async with healthy_mesh(short_labs) as mesh:
        old = mesh.lab.nodes["alice"].public_address
        new = mesh.lab.renumber("alice-nat")
        assert new != old
        with trio.fail_after(BACK_TIMEOUT_S):
            record(await seconds_until_pings(mesh, *HOMES))
        assert await lost_pings(mesh, 2.0) == 0
