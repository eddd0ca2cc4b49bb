"""Handing an envelope to a node that can deliver it (``/wice/envelope/1``)."""

from collections.abc import Callable

import trio

from p2p.anchors import AnchorServer, Status, blinded_key_from
from p2p.frames import parse
from p2p.host import Host
from p2p.inboxes import Inboxes, check_envelope
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
        self._host = host
        self._nursery = nursery
        self._count_fault = count_fault
        self._streams: dict[str, _Outbound] = {}

    async def send(
        self, peer_id: str, blinded_key: BlindedKey, envelope_id: bytes, envelope: bytes
    ) -> "Status":
        """Hand an envelope to a connected node; what became of it. Raise StreamClosedError."""
        outbound = self._streams.get(peer_id)
        if outbound is None:
            stream = await self._host.open_stream(peer_id, ENVELOPE_PROTOCOL)
            outbound = self._streams.setdefault(peer_id, _Outbound(stream))
            if outbound.stream is not stream:
                await stream.aclose()
            else:
                self._nursery.start_soon(self._read, peer_id, outbound)
        return await outbound.send(blinded_key, envelope_id, envelope)

    async def _read(self, peer_id: str, outbound: "_Outbound") -> None:
        try:
            await outbound.run()
        except RemoteProtocolError as error:
            self._count_fault(f"{ENVELOPE_PROTOCOL}: {error}")
        finally:
            del self._streams[peer_id]


class _Outbound:
    def __init__(self, stream: FrameStream) -> None:
        self.stream = stream
        self._is_closed = False
        self._next_id = 0
        self._pending: dict[int, _Result] = {}

    async def send(self, blinded_key: BlindedKey, envelope_id: bytes, envelope: bytes) -> "Status":
        if self._is_closed:
            raise StreamClosedError("the stream is closed")
        if len(self._pending) >= SENDS_PENDING_MAX:
            raise StreamClosedError("too many envelopes wait for one node")
        self._next_id += 1
        send_id = self._next_id
        result = self._pending[send_id] = _Result()
        message = EnvelopeMessage(
            send=EnvelopeMessage.Send(
                id=send_id,
                blinded_key=blinded_key.raw,
                envelope_id=envelope_id,
                envelope=envelope,
            )
        )
        try:
            with trio.move_on_after(RESULT_TIMEOUT_S):
                await self.stream.send(message.SerializeToString())
                await result.arrived.wait()
        finally:
            self._pending.pop(send_id, None)
        if result.status is None:
            raise StreamClosedError("no answer")
        return result.status

    async def run(self) -> None:
        """Hand out results until the stream ends; raise RemoteProtocolError."""
        try:
            while True:
                message = EnvelopeMessage()
                parse(message, await self.stream.receive())
                result = self._pending.pop(message.result.id, None)
                if result is not None:  # else nobody waits for it any more
                    result.set(message.result.status)
        except StreamClosedError:
            return
        finally:
            self._is_closed = True
            for result in self._pending.values():
                result.set(None)
            await self.stream.aclose()


class _Result:
    def __init__(self) -> None:
        self.arrived = trio.Event()
        self.status: Status | None = None

    def set(self, status: "Status | None") -> None:
        self.status = status
        self.arrived.set()


def _check(send: EnvelopeMessage.Send) -> None:
    """Raise RemoteProtocolError for what no sender of ours sends."""
    blinded_key_from(send.blinded_key)
    check_envelope(send.envelope_id, send.envelope)
