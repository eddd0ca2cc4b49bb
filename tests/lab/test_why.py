"""``wice why`` between real daemons behind real NATs, and whether what it promises comes true."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from sims.lab.lab import open_lab
from sims.lab.mesh import NO_ANSWER, WICE, Mesh
from sims.lab.nat import NAT_KINDS
from sims.lab.process import start_process
from sims.lab.topology import Site, Topology
from wice.daemon.control import request_async
from wice.keys import PresharedKey

pytestmark = pytest.mark.root

TIMEOUT_S = 60.0
POLL_S = 0.1
SETTLED_S = 10.0
"""Two healthy homes are connected long before."""

BOTH_SYMMETRIC = "both NATs map per destination"

FORWARDING = """
table ip forwarded {
    chain prerouting {
        type nat hook prerouting priority dstnat;
        iifname "wan" udp dport 51820 dnat to 192.168.2.2:51820
    }
}
"""
FORWARDED_COMES_IN = "nft insert rule ip wice_nat forward ct status dnat accept"

Answer = dict[str, Any]


@asynccontextmanager
async def homes_behind(
    short_labs: Path, *kinds: str, relay: bool, spoil_bob: str = ""
) -> AsyncIterator[Mesh]:
    """alice and bob behind these NATs; ``relay``: the bootstrap node is one, too. spoil_bob: a
    mistake in bob's configuration.
    """
    sites = [
        Site(name, NAT_KINDS[kind]) for name, kind in zip(("alice", "bob"), kinds, strict=True)
    ]
    with open_lab(Topology(tuple(sites)), short_labs) as lab:
        async with trio.open_nursery() as nursery:
            mesh = Mesh(lab, nursery, ("alice", "bob"))
            node = mesh.bootstrap
            argv = [*WICE, "bootstrap", *["--relay"] * relay, str(node.config)]
            mesh.daemons[node.name] = start_process(nursery, lab, node.name, argv, node.log)
            with trio.fail_after(TIMEOUT_S):
                await mesh.wait_listening()
                if spoil_bob:
                    spoil(mesh.homes["bob"].config, spoil_bob)
                mesh.start("alice")
                mesh.start("bob")
                yield mesh
            nursery.cancel_scope.cancel()


async def why(mesh: Mesh, home: str, peer: str, is_wanted: Callable[[Answer], bool]) -> Answer:
    """What the daemon says of ``peer`` once it is what is waited for."""
    while True:
        try:
            answer = await request_async(mesh.homes[home].control_socket, "why", peer=peer)
            if is_wanted(answer):
                return answer
        except NO_ANSWER:
            pass
        await trio.sleep(POLL_S)


async def test_a_direct_path_is_explained(short_labs: Path) -> None:
    async with homes_behind(short_labs, "port-restricted", "full-cone", relay=False) as mesh:
        for home, peer in (("alice", "bob"), ("bob", "alice")):
            said = await why(mesh, home, peer, lambda a: a["finding"] == "direct")
            assert said["path"] == "direct"
            assert said["nat"] == {"here": "endpoint-independent", "there": "endpoint-independent"}
            outside = mesh.lab.nodes[peer].public_address
            assert f"→ {outside}:" in said["sentence"]


async def test_two_symmetric_nats_without_a_relay_are_explained(short_labs: Path) -> None:
    async with homes_behind(short_labs, "symmetric", "symmetric", relay=False) as mesh:
        said = await why(mesh, "alice", "bob", lambda a: a["finding"] == "unanswered")
        assert said["path"] is None
        assert BOTH_SYMMETRIC in said["sentence"]
        assert "neither side has a relay" in said["sentence"]
        assert "opening UDP 51820 at bob would make it direct" in said["hints"]
        assert "wice bootstrap --relay" in said["hints"][-1]
        assert all("no answer" in [a["outcome"] for a in p["attempts"]] for p in said["pairs"])


@pytest.mark.nightly
async def test_opening_the_port_that_is_named_makes_a_relayed_path_direct(short_labs: Path) -> None:
    async with homes_behind(short_labs, "symmetric", "symmetric", relay=True) as mesh:
        said = await why(mesh, "alice", "bob", lambda a: BOTH_SYMMETRIC in a["sentence"])
        assert said["sentence"] == (
            f"relayed: {BOTH_SYMMETRIC}; opening UDP 51820 at bob would make it direct"
        )
        mesh.lab["bob-nat"].run(["nft", "-f", "-"], FORWARDING)
        mesh.lab["bob-nat"].run(FORWARDED_COMES_IN.split())
        said = await why(mesh, "alice", "bob", lambda a: a["path"] == "direct")
        outside = mesh.lab.nodes["bob"].public_address
        assert f"→ {outside}:51820 (srflx)" in said["sentence"]
        assert "; relayed until " in said["sentence"]


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("mistake", "finding"),
    [
        ("preshared key", "no handshake"),
        ("peers", "not described"),
        ("community", "not found"),
    ],
)
async def test_a_mistake_in_the_peers_configuration_is_told(
    short_labs: Path, mistake: str, finding: str
) -> None:
    kinds = ("port-restricted", "port-restricted")
    async with homes_behind(short_labs, *kinds, relay=False, spoil_bob=mistake) as mesh:
        said = await why(mesh, "alice", "bob", lambda a: a["finding"] == finding)
        # Before bob is there, and the overlay joined, it is not found either.
        await trio.sleep(SETTLED_S)
        assert (await why(mesh, "alice", "bob", lambda _: True))["finding"] == finding
        assert said["hints"]


def spoil(config: Path, mistake: str) -> None:
    text = config.read_text()
    match mistake:
        case "preshared key":
            key_file = config.with_name("psk")
            key_file.touch(0o600)
            key_file.write_text(PresharedKey(bytes(range(32))).reveal_base64())
            text = text.replace("public_key", 'preshared_key_file = "psk"\npublic_key', 1)
        case "peers":
            text = text.partition("[[interfaces")[0]
        case "community":
            text = text.replace('community = "', 'community = "another ')
    assert text != config.read_text()
    config.write_text(text)
