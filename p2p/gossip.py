"""Gossip among anchors: each message once to every one of them, the acknowledgement back.

A flood with a memory, as in libp2p's floodsub, on streams of our own; why the library's gossip is
not used is in docs/adr/0009-own-gossip-among-anchors.md. A message names no author and no relay:
a key, an envelope, and random bytes.
"""

from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random
from typing import NoReturn

import trio

from p2p.anchors import AnchorServer, Status, blinded_key_from
from p2p.dht import KadClient
from p2p.frames import parse
from p2p.guards import network_of
from p2p.host import Host
from p2p.kad import RoutingTable, ServerNode
from p2p.signal import Signal
from p2p.streams import FrameStream, StreamClosedError
from p2p.topics import HOPS_MAX, TOPIC_PROTOCOL, message_id, taken_id
from wice.errors import RemoteProtocolError, SignalingUnavailableError
from wice.proto.overlay_pb2 import TopicMessage
from wice.signaling.rate_limit import Rate, RateLimit

DEGREE = 8
"""Anchors to which one keeps a stream of its own."""
LINKS_MAX = 32
"""Anchors to which one passes a message on, those included that opened the stream."""
QUEUE_SIZE_MAX_BYTES = 1024 * 1024
"""What waits for one remote to read; beyond, messages are dropped and counted."""
SEEN_MAX = 16_384
SEEN_LIFETIME_S = 60.0
"""Much longer than a message travels, or than a sender waits."""
ORIGINS_MAX = 4
"""Who is told of one message that it was taken."""
DELIVERIES_MAX = 1_024
"""Messages that wait for recipients subscribed here."""
HEAD_START_S = 0.5
"""For a recipient subscribed here to answer before the message is passed on."""
PUBLISHER_RATE = Rate(burst=256, interval_s=1 / 32)
"""Messages of all peers at one address (IPv6: one /64). What is above waits unread."""
PUBLISHERS_MAX = 4_096
RELAYED_RATE = Rate(burst=1_024, interval_s=1 / 256)
"""Messages from one other anchor, and those of all publishers together."""
LOOK_S = 5.0
"""Between looks for anchors to be linked to."""
RETRY_S = 30.0

CountFault = Callable[[str], None]


@dataclass(slots=True)
class _Message:
    """One that was met: who is to hear that it was taken, and whether it was."""

    expires_at: float
    origins: list["_Link"] = field(default_factory=list)
    is_taken: bool = False


class Gossip:
    """Passes messages on, on a node in anchor role."""

    def __init__(
        self,
        host: Host,
        table: RoutingTable,
        dht: KadClient,
        anchor: AnchorServer,
        nursery: trio.Nursery,
        random: Random,
        count_fault: CountFault,
    ) -> None:
        """nursery: for deliveries, which outlive the streams that brought them."""
        self._host = host
        self._table = table
        self._dht = dht
        self._anchor = anchor
        self._nursery = nursery
        self._random = random
        self._count_fault = count_fault
        self._own_links: dict[str, _Link] = {}
        self._inbound: dict[_Link, None] = {}
        self._retry_at: dict[str, float] = {}
        self._seen: OrderedDict[bytes, _Message] = OrderedDict()
        self._publishers: OrderedDict[str, RateLimit] = OrderedDict()
        self._published_rate = RateLimit(RELAYED_RATE)
        self._deliveries = 0

    @property
    def neighbours(self) -> tuple[str, ...]:
        """Peer ids of the anchors that messages are passed on to."""
        return tuple(self._links())

    async def serve(self, stream: FrameStream) -> None:
        link = _Link(stream, RateLimit(RELAYED_RATE))
        self._inbound[link] = None
        try:
            await self._run_link(link)
        finally:
            del self._inbound[link]

    async def run(self, connected: Signal) -> NoReturn:
        """Keep links to other anchors; ``connected``: one more may be there."""
        async with trio.open_nursery() as nursery:
            while True:
                seen = connected.count
                for node in self._choose():
                    # A second look must not find the place free again.
                    self._own_links[node.peer_id] = _Link(None, RateLimit(RELAYED_RATE))
                    nursery.start_soon(self._keep_link, node)
                with trio.move_on_after(LOOK_S):
                    await connected.wait_beyond(seen)

    # Links

    def _choose(self) -> list[ServerNode]:
        """Anchors at random: a random graph of this degree is connected."""
        now = trio.current_time()
        known = self._table.nodes()
        self._retry_at = {
            node.peer_id: self._retry_at[node.peer_id]
            for node in known
            if self._retry_at.get(node.peer_id, 0.0) > now
        }
        free = [
            node
            for node in known
            if node.peer_id not in self._own_links and node.peer_id not in self._retry_at
        ]
        room = max(DEGREE - len(self._own_links), 0)
        return self._random.sample(free, min(room, len(free)))

    async def _keep_link(self, node: ServerNode) -> None:
        link = self._own_links[node.peer_id]
        try:
            await self._dht.connect(node)
            link.stream = await self._host.open_stream(node.peer_id, TOPIC_PROTOCOL)
            await self._run_link(link)
        except SignalingUnavailableError:
            pass
        except RemoteProtocolError as error:
            self._count_fault(f"{TOPIC_PROTOCOL}: {error}")
        finally:
            del self._own_links[node.peer_id]
            if self._host.is_connected(node.peer_id):  # it will not serve us
                self._retry_at[node.peer_id] = trio.current_time() + RETRY_S
            if link.stream is not None:
                await link.stream.aclose()

    def _links(self) -> dict[str, "_Link"]:
        """By peer id; a stream that we opened is preferred."""
        links = {
            peer_id: link for peer_id, link in self._own_links.items() if link.stream is not None
        }
        for link in self._inbound:
            if len(links) >= LINKS_MAX:
                break
            if link.peer_id in self._table:
                links.setdefault(link.peer_id, link)
        return links

    async def _run_link(self, link: "_Link") -> None:
        """Raise RemoteProtocolError, StreamClosedError."""
        assert link.stream is not None
        ended: list[StreamClosedError | RemoteProtocolError] = []
        async with trio.open_nursery() as nursery:

            async def run(task: Callable[["_Link"], Awaitable[None]]) -> None:
                try:
                    await task(link)
                except (StreamClosedError, RemoteProtocolError) as error:
                    ended.append(error)
                    nursery.cancel_scope.cancel()

            nursery.start_soon(run, _Link.write_out)
            nursery.start_soon(run, self._listen)
        link.close()
        raise ended[0]

    async def _listen(self, link: "_Link") -> NoReturn:
        assert link.stream is not None
        while True:
            message = TopicMessage()
            parse(message, await link.stream.receive())
            kind = message.WhichOneof("kind")
            if kind == "publish":
                await self._wait_for_rate(link)
                self._hear(message.publish, link)
            elif kind == "taken":
                message_taken = taken_id(message.taken)
                if self._is_anchor(link):
                    self._taken(message_taken)
                else:
                    self._count_fault("an acknowledgement from who is no anchor")

    def _is_anchor(self, link: "_Link") -> bool:
        return link.peer_id in self._table

    async def _wait_for_rate(self, link: "_Link") -> None:
        """Not read, a stream's window fills up, and its remote waits."""
        limit = link.relayed_rate if self._is_anchor(link) else self._publisher_rate(link.peer_id)
        while True:  # several streams may wait for one limit
            if limit.take(trio.current_time()):
                return
            await trio.sleep_until(limit.ready_at())

    def _publisher_rate(self, peer_id: str) -> RateLimit:
        """Of an address, kept beyond its connections: coming back gains nothing."""
        source = min(map(network_of, self._host.remote_hosts(peer_id)), default="")
        limit = self._publishers.setdefault(source, RateLimit(PUBLISHER_RATE))
        self._publishers.move_to_end(source)
        if len(self._publishers) > PUBLISHERS_MAX:
            self._publishers.popitem(last=False)
        return limit

    # Messages

    def _hear(self, publish: TopicMessage.Publish, link: "_Link") -> None:
        own_id = message_id(publish)
        now = trio.current_time()
        known = self._seen.get(own_id)
        if known is not None:
            if known.is_taken:
                link.send_taken(own_id)
            elif not self._is_anchor(link) and len(known.origins) < ORIGINS_MAX:
                known.origins.append(link)
            return
        if not self._is_anchor(link) and not self._published_rate.take(now):
            self._count_fault("more messages to topics than are passed on")
            return
        self._remember(own_id, link, now)
        if not self._anchor.is_subscribed(blinded_key_from(publish.blinded_key)):
            self._pass_on(publish, link)
        elif self._deliveries < DELIVERIES_MAX:
            self._deliveries += 1
            self._nursery.start_soon(self._deliver, publish, own_id, link)
        else:
            self._count_fault("too many messages wait for recipients")

    def _remember(self, own_id: bytes, link: "_Link", now: float) -> None:
        while self._seen:
            oldest = next(iter(self._seen))
            if self._seen[oldest].expires_at > now and len(self._seen) < SEEN_MAX:
                break
            del self._seen[oldest]
        self._seen[own_id] = _Message(now + SEEN_LIFETIME_S, [link])

    async def _deliver(self, publish: TopicMessage.Publish, own_id: bytes, origin: "_Link") -> None:
        """Hand it to the recipient subscribed here, and on if that one does not answer soon."""
        ended = trio.Event()

        async def hand_over() -> None:
            status = await self._anchor.deliver(
                blinded_key_from(publish.blinded_key), publish.envelope_id, publish.envelope
            )
            if status == Status.TAKEN:
                self._taken(own_id)
                nursery.cancel_scope.cancel()
            ended.set()

        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(hand_over)
                with trio.move_on_after(HEAD_START_S):
                    await ended.wait()
                self._pass_on(publish, origin)
        finally:
            self._deliveries -= 1

    def _pass_on(self, publish: TopicMessage.Publish, origin: "_Link") -> None:
        hops_left = min(publish.hops_left, HOPS_MAX)
        if not hops_left:
            return
        onward = TopicMessage.Publish(
            blinded_key=publish.blinded_key,
            envelope_id=publish.envelope_id,
            envelope=publish.envelope,
            nonce=publish.nonce,
            hops_left=hops_left - 1,
        )
        frame = TopicMessage(publish=onward).SerializeToString()
        for peer_id, link in self._links().items():
            if peer_id != origin.peer_id and not link.send(frame):
                self._count_fault("an anchor that takes no messages")

    def _taken(self, own_id: bytes) -> None:
        known = self._seen.get(own_id)
        if known is None or known.is_taken:
            return
        known.is_taken = True
        for origin in known.origins:
            origin.send_taken(own_id)
        known.origins.clear()


class _Link:
    """A stream and what waits to be written to it. ``stream`` is None while it is being opened."""

    def __init__(self, stream: FrameStream | None, relayed_rate: RateLimit) -> None:
        self.stream = stream
        self.relayed_rate = relayed_rate
        self._frames: deque[bytes] = deque()
        self._size_bytes = 0
        self._has_frames = trio.Event()
        self._is_closed = False

    @property
    def peer_id(self) -> str:
        assert self.stream is not None
        return self.stream.peer_id

    def send(self, frame: bytes) -> bool:
        """Queue ``frame``; False where it was dropped."""
        if self._is_closed or self._size_bytes + len(frame) > QUEUE_SIZE_MAX_BYTES:
            return False
        self._frames.append(frame)
        self._size_bytes += len(frame)
        self._has_frames.set()
        return True

    def send_taken(self, own_id: bytes) -> None:
        # Where it is dropped, the sender tries again, and hears of it then.
        self.send(TopicMessage(taken=TopicMessage.Taken(message_id=own_id)).SerializeToString())

    def close(self) -> None:
        self._is_closed = True
        self._frames.clear()

    async def write_out(self) -> NoReturn:
        """Write what is queued; raise StreamClosedError."""
        assert self.stream is not None
        while True:
            await self._has_frames.wait()
            self._has_frames = trio.Event()
            while self._frames:
                frame = self._frames.popleft()
                await self.stream.send(frame)
                self._size_bytes -= len(frame)
