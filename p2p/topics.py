"""Topics: an envelope for whoever is subscribed to a key, at whatever anchor (``/wice/topic/1``).

The third way to a recipient, where neither it nor one of its anchors is to be had. A sender gives
the message to an anchor that it is connected to; anchors pass it on among themselves
(p2p/gossip.py), and what comes back, on the way the message took, is that the recipient took it.
"""

import hashlib
from collections.abc import Callable

import trio

from p2p.anchors import Status, blinded_key_from
from p2p.frames import parse
from p2p.host import Host
from p2p.inboxes import ENVELOPE_ID_SIZE_BYTES
from p2p.streams import FrameStream, StreamClosedError
from wice.errors import RemoteProtocolError
from wice.keys import BlindedKey
from wice.proto.overlay_pb2 import TopicMessage
from wice.signaling.transport import ENVELOPE_SIZE_MAX_BYTES

TOPIC_PROTOCOL = "/wice/topic/1"
NONCE_SIZE_BYTES = 8
MESSAGE_ID_SIZE_BYTES = hashlib.sha256().digest_size
HOPS_MAX = 8
"""Anchors that pass a message on, one after the other: a bound where a copy outlives its id."""
PUBLISHED_PENDING_MAX = 64
"""Messages given to one anchor that are not acknowledged."""
ACKNOWLEDGED_TIMEOUT_S = 6.0
"""A little longer than an anchor waits for the recipient."""

CountFault = Callable[[str], None]


def make_publish(
    blinded_key: BlindedKey, envelope_id: bytes, envelope: bytes, nonce: bytes
) -> TopicMessage.Publish:
    """A message to the topic of ``blinded_key``; nonce: 8 random bytes, new for each attempt."""
    return TopicMessage.Publish(
        blinded_key=blinded_key.raw,
        envelope_id=envelope_id,
        envelope=envelope,
        nonce=nonce,
        hops_left=HOPS_MAX,
    )


def message_id(publish: TopicMessage.Publish) -> bytes:
    """What makes a message this one: topic and content, computed by everybody who holds it.

    Raise RemoteProtocolError for a message that no sender of ours sends.
    """
    topic = blinded_key_from(publish.blinded_key).topic()
    if len(publish.envelope_id) != ENVELOPE_ID_SIZE_BYTES:
        raise RemoteProtocolError("an envelope id of the wrong size")
    if len(publish.nonce) != NONCE_SIZE_BYTES:
        raise RemoteProtocolError("a nonce of the wrong size")
    if len(publish.envelope) > ENVELOPE_SIZE_MAX_BYTES:
        raise RemoteProtocolError("an envelope that is too long")
    # All fields but the last have a fixed size.
    content = (topic.encode(), publish.envelope_id, publish.nonce, publish.envelope)
    return hashlib.sha256(b"".join(content)).digest()


def taken_id(taken: TopicMessage.Taken) -> bytes:
    """Raise RemoteProtocolError for an id of the wrong size."""
    if len(taken.message_id) != MESSAGE_ID_SIZE_BYTES:
        raise RemoteProtocolError("a message id of the wrong size")
    return taken.message_id


class TopicClient:
    """Publishes over one stream an anchor, which stays open; its readers run in ``nursery``."""

    def __init__(self, host: Host, nursery: trio.Nursery, count_fault: CountFault) -> None:
        self._host = host
        self._nursery = nursery
        self._count_fault = count_fault
        self._streams: dict[str, _Outbound] = {}

    async def publish(self, peer_id: str, publish: TopicMessage.Publish) -> "Status":
        """Publish by way of a connected anchor and wait until the recipient took the envelope.

        Raise StreamClosedError, also where nobody acknowledges.
        """
        outbound = self._streams.get(peer_id)
        if outbound is None:
            stream = await self._host.open_stream(peer_id, TOPIC_PROTOCOL)
            outbound = self._streams.setdefault(peer_id, _Outbound(stream))
            if outbound.stream is not stream:
                await stream.aclose()
            else:
                self._nursery.start_soon(self._read, peer_id, outbound)
        await outbound.publish(publish)
        return Status.TAKEN

    async def _read(self, peer_id: str, outbound: "_Outbound") -> None:
        try:
            await outbound.run()
        except RemoteProtocolError as error:
            self._count_fault(f"{TOPIC_PROTOCOL}: {error}")
        finally:
            del self._streams[peer_id]


class _Outbound:
    def __init__(self, stream: FrameStream) -> None:
        self.stream = stream
        self._is_closed = False
        self._pending: dict[bytes, _Published] = {}

    async def publish(self, publish: TopicMessage.Publish) -> None:
        if self._is_closed:
            raise StreamClosedError("the stream is closed")
        if len(self._pending) >= PUBLISHED_PENDING_MAX:
            raise StreamClosedError("too many messages wait at one anchor")
        own_id = message_id(publish)
        published = self._pending[own_id] = _Published()
        message = TopicMessage(publish=publish)
        try:
            with trio.move_on_after(ACKNOWLEDGED_TIMEOUT_S):
                await self.stream.send(message.SerializeToString())
                await published.ended.wait()
        finally:
            self._pending.pop(own_id, None)
        if not published.is_taken:
            raise StreamClosedError("nobody acknowledged")

    async def run(self) -> None:
        """Hand out acknowledgements until the stream ends; raise RemoteProtocolError."""
        try:
            while True:
                message = TopicMessage()
                parse(message, await self.stream.receive())
                if message.WhichOneof("kind") != "taken":
                    continue
                published = self._pending.pop(taken_id(message.taken), None)
                if published is not None:  # else nobody waits for it any more
                    published.end(is_taken=True)
        except StreamClosedError:
            return
        finally:
            self._is_closed = True
            for published in self._pending.values():
                published.end(is_taken=False)
            await self.stream.aclose()


class _Published:
    def __init__(self) -> None:
        self.ended = trio.Event()
        self.is_taken = False

    def end(self, *, is_taken: bool) -> None:
        self.is_taken = is_taken
        self.ended.set()
