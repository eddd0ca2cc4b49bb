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
from p2p.inboxes import check_envelope
from p2p.replies import ReplyStreams
from wice.errors import RemoteProtocolError
from wice.keys import BlindedKey
from wice.proto.overlay_pb2 import TopicMessage

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
    check_envelope(publish.envelope_id, publish.envelope)
    if len(publish.nonce) != NONCE_SIZE_BYTES:
        raise RemoteProtocolError("a nonce of the wrong size")
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
        self._streams = ReplyStreams(
            host,
            TOPIC_PROTOCOL,
            nursery,
            count_fault,
            read_reply=_read_taken,
            pending_max=PUBLISHED_PENDING_MAX,
            timeout_s=ACKNOWLEDGED_TIMEOUT_S,
        )

    async def publish(self, peer_id: str, publish: TopicMessage.Publish) -> "Status":
        """Publish by way of a connected anchor and wait until the recipient took the envelope.

        Raise StreamClosedError, also where nobody acknowledges.
        """
        message = TopicMessage(publish=publish)
        return await self._streams.send(peer_id, message_id(publish), message.SerializeToString())


def _read_taken(frame: bytes) -> "tuple[bytes, Status] | None":
    message = TopicMessage()
    parse(message, frame)
    if message.WhichOneof("kind") != "taken":
        return None
    return taken_id(message.taken), Status.TAKEN
