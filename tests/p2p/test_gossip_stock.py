"""Why gossip is our own (docs/adr/0009): what the library's loses, and what it tells.

Where one of these fails, upstream has changed, and the decision may be looked at again.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio
from libp2p import new_host
from libp2p.abc import IHost
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.peerinfo import PeerInfo
from libp2p.pubsub.gossipsub import GossipSub
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import Pubsub, get_content_addressed_msg_id
from libp2p.tools.anyio_service import background_trio_service
from multiaddr import Multiaddr

MESHSUB = "/meshsub/1.1.0"
MESSAGES = 20
PATIENCE_S = 30.0
SILENCE_S = 0.5
"""So long is waited for what shall not come."""


@asynccontextmanager
async def node(protocol: str) -> AsyncIterator[tuple[IHost, Any]]:
    host = new_host(key_pair=create_new_key_pair())
    gossip = GossipSub(
        [protocol],
        degree=12,
        degree_low=6,
        degree_high=64,
        heartbeat_interval=1,
        adaptive_gossip_enabled=False,
        spam_protection_enabled=False,
    )
    pubsub = Pubsub(
        host, gossip, strict_signing=False, msg_id_constructor=get_content_addressed_msg_id
    )
    async with (
        host.run([Multiaddr("/ip4/127.0.0.1/tcp/0")]),
        background_trio_service(pubsub),
        background_trio_service(gossip),
    ):
        await pubsub.wait_until_ready()
        yield host, pubsub
        await host.close()


async def gossip_arrives(protocol: str, *, with_author: bool) -> tuple[int, bool]:
    """How many of 20 messages arrive, and whether a packet names the host that sent it."""
    async with node(protocol) as (sender, ours), node(protocol) as (recipient, theirs):
        await sender.connect(PeerInfo(recipient.get_id(), recipient.get_transport_addrs()))
        await ours.subscribe("topic")
        inbox = await theirs.subscribe("topic")
        # The mesh is made at a heartbeat.
        with trio.move_on_after(PATIENCE_S if protocol == MESHSUB else 1.5):
            while not ours.router.mesh.get("topic"):  # noqa: ASYNC110
                await trio.sleep(0.01)
        packets: list[bytes] = []
        write = ours.write_msg

        async def spy(stream: Any, packet: Any) -> Any:
            packets.append(packet.SerializeToString())
            return await write(stream, packet)

        ours.write_msg = spy
        for number in range(MESSAGES):
            message = rpc_pb2.Message(data=b"%d" % number, topicIDs=["topic"])
            if with_author:
                message.from_id, message.seqno = ours.my_id.to_bytes(), bytes([number])
            await ours.push_msg(ours.my_id, message)
            await trio.sleep(0.01)
        arrived = 0
        silence_s = PATIENCE_S if protocol == MESHSUB and with_author else SILENCE_S
        with trio.move_on_after(silence_s):
            while arrived < MESSAGES:
                await inbox.get()
                arrived += 1
        return arrived, any(sender.get_id().to_bytes() in packet for packet in packets)


async def test_stock_gossip_loses_messages_without_an_author() -> None:
    arrived, names_sender = await gossip_arrives(MESHSUB, with_author=False)
    assert arrived <= 1
    assert names_sender


async def test_stock_gossip_carries_messages_with_an_author() -> None:
    assert await gossip_arrives(MESHSUB, with_author=True) == (MESSAGES, True)


async def test_stock_gossip_works_under_no_protocol_id_but_its_own() -> None:
    arrived, _ = await gossip_arrives("/wice/meshsub/1", with_author=True)
    assert arrived == 0
