"""Handing an envelope to a node that can deliver it (``/wice/envelope/1``)."""

import itertools
from collections.abc import Callable

import trio

from p2p.anchors import AnchorServer, Status, blinded_key_from
from p2p.frames import parse
from p2p.host import Host
from p2p.inboxes import Inboxes, check_envelope
from p2p.replies import ReplyStreams
from p2p.streams import FrameStream, StreamClosedError
from wice.errors import RemoteProtocolError
from wice.keys import BlindedKey
from wice.proto.overlay_pb2 import EnvelopeMessage

ENVELOPE_PROTOCOL = "/wice/envelope/1"
SENDS_PENDING_MAX = 64
"""Envelopes of one sender that are on their way at once."""
RESULT_TIMEOUT_S = 6.0
"""A little longer than an anchor waits for the recipient."""

CountFault = Callable[[str], None]


class EnvelopeServer:
    """Takes envelopes for our own keys and, on an anchor, for those who subscribed there."""

    def __init__(
        self, inboxes: Inboxes, anchor: AnchorServer | None, count_fault: CountFault
    ) -> None:
        self._inboxes = inboxes
        self._anchor = anchor
        self._count_fault = count_fault

    async def serve(self, stream: FrameStream) -> None:
        limit = trio.CapacityLimiter(SENDS_PENDING_MAX)
        async with trio.open_nursery() as nursery:
            try:
                while True:
                    message = EnvelopeMessage()
                    parse(message, await stream.receive())
                    if message.WhichOneof("kind") != "send":
                        continue
                    _check(message.send)
                    nursery.start_soon(self._handle, message.send, stream, limit)
                    # Reading goes on only while there is room: the sender's window fills up.
                    async with limit:
                        pass
            except StreamClosedError:
                nursery.cancel_scope.cancel()
            except RemoteProtocolError as error:
                self._count_fault(f"{ENVELOPE_PROTOCOL}: {error}")
                nursery.cancel_scope.cancel()

    async def _handle(
        self, send: EnvelopeMessage.Send, stream: FrameStream, limit: trio.CapacityLimiter
    ) -> None:
        async with limit:
            status = await self._deliver(send)
            result = EnvelopeMessage(result=EnvelopeMessage.Result(id=send.id, status=status))
            try:
                await stream.send(result.SerializeToString())
            except StreamClosedError:
                return

    async def _deliver(self, send: EnvelopeMessage.Send) -> "Status":
        key = blinded_key_from(send.blinded_key)
        taken = self._inboxes.deliver(key, send.envelope_id, send.envelope)
        if taken is not None:
            return Status.TAKEN if taken else Status.UNAVAILABLE
        if self._anchor is None:
            return Status.NOT_HERE
        return await self._anchor.deliver(key, send.envelope_id, send.envelope)


class EnvelopeClient:
    """Sends over one stream a node, which stays open; its readers run in ``nursery``."""

    def __init__(self, host: Host, nursery: trio.Nursery, count_fault: CountFault) -> None:
        self._ids = itertools.count(1)
        self._streams = ReplyStreams(
            host,
            ENVELOPE_PROTOCOL,
            nursery,
            count_fault,
            read_reply=_read_result,
            pending_max=SENDS_PENDING_MAX,
            timeout_s=RESULT_TIMEOUT_S,
        )

    async def send(
        self, peer_id: str, blinded_key: BlindedKey, envelope_id: bytes, envelope: bytes
    ) -> "Status":
        """Hand an envelope to a connected node; what became of it. Raise StreamClosedError."""
        send = EnvelopeMessage.Send(
            id=next(self._ids),
            blinded_key=blinded_key.raw,
            envelope_id=envelope_id,
            envelope=envelope,
        )
        message = EnvelopeMessage(send=send)
        return await self._streams.send(peer_id, send.id, message.SerializeToString())


def _read_result(frame: bytes) -> "tuple[int, Status]":
    message = EnvelopeMessage()
    parse(message, frame)
    return message.result.id, message.result.status


def _check(send: EnvelopeMessage.Send) -> None:
    """Raise RemoteProtocolError for what no sender of ours sends."""
    blinded_key_from(send.blinded_key)
    check_envelope(send.envelope_id, send.envelope)
