"""The lab's internet as data: no root needed."""

from ipaddress import IPv4Address
from typing import Any

import pytest
import trio

from sims.lab.demo import transfer_problems
from sims.lab.mesh import Cost
from sims.lab.nat import NAT_KINDS
from sims.lab.ping import PingStatistics
from sims.lab.progress import Pair, Progress, Stage
from sims.lab.report import PairReport, Report
from sims.lab.topology import CORE, IpVersions, Role, Site, Topology, sites_of
from wice.peer.machine import NO_PATH_REASON

NONE, PORT_RESTRICTED = NAT_KINDS["none"], NAT_KINDS["port-restricted"]


def test_parents_come_before_children_and_addresses_differ() -> None:
    sites = (
        Site("alice", PORT_RESTRICTED),
        Site("office", PORT_RESTRICTED, ("bob", "carol")),
        Site("dave", NONE),
    )
    nodes = Topology(sites, ("boot1", "boot2")).nodes()
    seen = set()
    for node in nodes:
        assert node.uplink is None or node.uplink.parent in seen
        seen.add(node.name)
    addresses = [node.address for node in nodes if node.uplink]
    assert len(set(addresses)) == len(addresses)
    by_name = {node.name: node for node in nodes}
    assert by_name["bob"].public_address == by_name["carol"].public_address
    assert by_name["bob"].public_address == by_name["office-nat"].address
    assert by_name["bob"].address.is_private
    assert by_name["dave"].public_address == by_name["dave"].address
    assert by_name["boot2"].address == IPv4Address("203.0.113.11")


def test_hosts_and_the_world_are_told_apart() -> None:
    nodes = Topology((Site("alice", PORT_RESTRICTED),)).nodes()
    assert {node.name: node.role for node in nodes} == {
        CORE: Role.CORE,
        "bootstrap": Role.HOST,
        "alice-nat": Role.ROUTER,
        "alice": Role.HOST,
    }
    assert [node.name for node in nodes if node.forwards] == [CORE, "alice-nat"]


@pytest.mark.parametrize(
    "sites",
    [
        (Site("alice", NONE), Site("alice", NONE)),
        (Site("alice", NONE, ("bob",)), Site("carol", NONE, ("bob",))),
        (Site("Alice", NONE),),
        (Site("alice-nat", NONE),),
        (Site("averylongname", NONE),),
        (Site("internet", NONE),),
        (Site("bootstrap", NONE),),
        tuple(Site(f"site{number}", NONE) for number in range(33)),
    ],
)
def test_bad_topologies_are_refused(sites: tuple[Site, ...]) -> None:
    with pytest.raises(ValueError):
        Topology(sites)


def test_a_site_is_bounded() -> None:
    with pytest.raises(ValueError):
        Site("alice", NONE, tuple(f"host{number}" for number in range(17)))


async def test_progress_counts_from_the_start_of_the_daemons() -> None:
    seen: list[tuple[Pair, Stage, float]] = []
    progress = Progress(("alice", "bob"), lambda *reached: seen.append(reached))
    peer = {"public_key": "B", "path": None, "reason": ""}
    status = {
        "uptime_s": 2.0,
        "overlay": {"joined": True, "joined_s": 0.5},
        "interfaces": [{"peers": [{**peer, "stages": {"found": 1.0, "checking": None}}]}],
    }
    for _ in range(2):
        progress.read_status("alice", {"B": "bob"}, status, 2.75)
    pair = Pair("alice", "bob")
    assert seen == [(pair, Stage.JOINED, 1.25), (pair, Stage.FOUND, 1.75)]
    assert progress.reached[Pair("bob", "alice")] == {}


def test_the_report_is_the_object_that_programs_read() -> None:
    pair = Pair("alice", "bob")
    ping = PingStatistics(3, 3, (1.0, 9.0, 2.0))
    report = Report(
        pairs=(PairReport(pair, "direct", "first valid pair", ping, 1.5),),
        stages={pair: {Stage.JOINED: 0.5}},
        problems=(),
        status={},
        costs={"alice": Cost(1.5, 1024)},
        settled_s=2.0,
    )
    value = report.as_json()
    assert value["stages"]["alice"]["bob"].pop("joined") == 0.5
    assert set(value["stages"]["alice"]["bob"].values()) == {None}
    del value["stages"]
    assert value == {
        "connected": True,
        "daemons": {"alice": {"cpu_s": 1.5, "memory_bytes": 1024}},
        "pairs": [
            {
                "from": "alice",
                "to": "bob",
                "path": "direct",
                "reason": "first valid pair",
                "ping": {"sent": 3, "received": 3, "rtt_ms_median": 2.0},
                "time_to_first_ping_s": 1.5,
            }
        ],
    }


def test_pings_that_no_device_counted_are_not_believed() -> None:
    pair = Pair("alice", "bob")
    pinged = 1000
    assert list(transfer_problems(pair, (5, 7), (5 + pinged, 7 + pinged), pinged)) == []
    (problem,) = transfer_problems(pair, (5, 7), (5 + pinged, 7), pinged)
    assert "sent 0 bytes more" in problem
    assert len(list(transfer_problems(pair, (5, 7), (4 + pinged, 6 + pinged), pinged))) == 2


def status_of(path: str | None, reason: str) -> dict[str, Any]:
    peer = {"public_key": "key", "path": path, "reason": reason, "stages": {}}
    return {"uptime_s": 1.0, "overlay": {}, "interfaces": [{"peers": [peer]}]}


async def test_a_pair_without_a_path_is_settled_once_both_sides_say_so(
    autojump_clock: trio.testing.MockClock,
) -> None:
    progress = Progress(("alice", "bob"), lambda *_: None)

    async def is_settled() -> bool:
        with trio.move_on_after(1) as waiting:
            await progress.wait_settled()
        return not waiting.cancelled_caught

    reason = f"{NO_PATH_REASON}: because"
    progress.read_status("alice", {"key": "bob"}, status_of(None, reason), 1.0)
    assert not await is_settled()
    progress.read_status("bob", {"key": "alice"}, status_of(None, reason), 1.0)
    assert await is_settled()
    assert set(progress.without_path.values()) == {reason}
    progress.read_status("bob", {"key": "alice"}, status_of("direct", ""), 1.0)
    assert not await is_settled()
    assert progress.connected == ()


@pytest.mark.parametrize("ip", list(IpVersions))
def test_with_ipv6_every_address_is_public_and_routed(ip: IpVersions) -> None:
    sites = (Site("alice", PORT_RESTRICTED), Site("bob", NAT_KINDS["cgnat"]))
    nodes = {node.name: node for node in Topology(sites, ip=ip).nodes()}
    for node in nodes.values():
        if node.uplink:
            assert tuple(a.version for a in node.uplink.addresses) == ip.versions
            assert tuple(a.version for a in node.public_addresses) == ip.versions
            own = [a.ip for a in node.uplink.addresses if a.version == 6]
            assert own == [a for a in node.public_addresses if a.version == 6]
    # What the core and the carrier's router must know, and nothing of private addresses.
    for name, inside in ((CORE, "alice"), (CORE, "bob"), ("bob-nat1", "bob")):
        networks = [route.network for route in nodes[name].routes]
        assert all(network.version == 6 for network in networks)
        if 6 in ip.versions:
            address = nodes[inside].public_addresses[-1]
            assert sum(address in network for network in networks) == 1


def test_homes_of_a_shared_kind_are_one_site() -> None:
    hairpin = NAT_KINDS["hairpin"]
    sites = sites_of({"alice": hairpin, "bob": PORT_RESTRICTED, "carol": hairpin})
    assert [(site.hosts, site.nat) for site in sites] == [
        (("alice", "carol"), hairpin),
        (("bob",), PORT_RESTRICTED),
    ]
