"""The lab's internet as data: no root needed."""

from ipaddress import IPv4Address

import pytest

from sims.lab.demo import PING_COUNT, transfer_problems
from sims.lab.nat import NAT_KINDS
from sims.lab.ping import PACKET_SIZE_BYTES, PingStatistics
from sims.lab.progress import Pair, Progress, Stage
from sims.lab.report import PairReport, Report
from sims.lab.topology import CORE, Role, Site, Topology

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
    status = {
        "uptime_s": 2.0,
        "overlay": {"joined": True, "joined_s": 0.5},
        "interfaces": [
            {"peers": [{"public_key": "B", "stages": {"found": 1.0, "checking": None}}]}
        ],
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
    )
    value = report.as_json()
    assert value["stages"]["alice"]["bob"].pop("joined") == 0.5
    assert set(value["stages"]["alice"]["bob"].values()) == {None}
    del value["stages"]
    assert value == {
        "connected": True,
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
    pinged = 2 * PING_COUNT * PACKET_SIZE_BYTES
    assert list(transfer_problems(pair, (5, 7), (5 + pinged, 7 + pinged))) == []
    (problem,) = transfer_problems(pair, (5, 7), (5 + pinged, 7))
    assert "sent 0 bytes more" in problem
    assert len(list(transfer_problems(pair, (5, 7), (4 + pinged, 6 + pinged)))) == 2
