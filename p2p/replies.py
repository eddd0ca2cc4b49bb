"""Messages whose replies name them, on one stream a node that stays open between them.

Replies come in any order. Where they come in that of the requests, see p2p/requests.py.
"""

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

import trio

from p2p.host import Host
from p2p.streams import FrameStream, StreamClosedError
from wice.errors import RemoteProtocolError

MessageId = TypeVar("MessageId", bound=Hashable)
Reply = TypeVar("Reply")


class ReplyStreams(Generic[MessageId, Reply]):
    """A stream of ``protocol`` to each node that is sent to; their readers run in ``nursery``.

    read_reply: which message a frame replies to and with what, None where it is no reply; raises
    RemoteProtocolError, which ends the stream. pending_max: messages on one stream that wait.
    """

    def __init__(
        self,
        host: Host,
        protocol: str,
        nursery: trio.Nursery,
        count_fault: Callable[[str], None],
        *,
        read_reply: Callable[[bytes], tuple[MessageId, Reply] | None],
        pending_max: int,
        timeout_s: float,
    ) -> None:
        self._host = host
        self._protocol = protocol
        self._nursery = nursery
        self._count_fault = count_fault
        self._read_reply = read_reply
        self._pending_max = pending_max
        self._timeout_s = timeout_s
        self._streams: dict[str, _Stream[MessageId, Reply]] = {}

    async def send(self, peer_id: str, message_id: MessageId, message: bytes) -> Reply:
        """Send to a connected node and wait for its reply; raise StreamClosedError."""
        stream = self._streams.get(peer_id)
        if stream is None:
            opened = await self._host.open_stream(peer_id, self._protocol)
            stream = self._streams.setdefault(peer_id, _Stream(opened))
            if stream.frames is not opened:
                await opened.aclose()
            else:
                self._nursery.start_soon(self._read, peer_id, stream)
        if len(stream.pending) >= self._pending_max:
            raise StreamClosedError("too many messages wait for one node")
        with trio.move_on_after(self._timeout_s):
            return await stream.send(message_id, message)
        raise StreamClosedError("no answer")

    async def _read(self, peer_id: str, stream: "_Stream[MessageId, Reply]") -> None:
        try:
            await stream.run(self._read_reply)
        except RemoteProtocolError as error:
            self._count_fault(f"{self._protocol}: {error}")
        finally:
            del self._streams[peer_id]


class _Stream(Generic[MessageId, Reply]):
    def __init__(self, frames: FrameStream) -> None:
        self.frames = frames
        self.pending: dict[MessageId, _Waiting[Reply]] = {}
        self._is_closed = False

    async def send(self, message_id: MessageId, message: bytes) -> Reply:
        if self._is_closed:
            raise StreamClosedError("the stream is closed")
        waiting = self.pending[message_id] = _Waiting[Reply]()
        try:
            await self.frames.send(message)
            await waiting.ended.wait()
        finally:
            self.pending.pop(message_id, None)
        if not waiting.replies:
            raise StreamClosedError("the stream was closed")
        return waiting.replies[0]

    async def run(self, read_reply: Callable[[bytes], tuple[MessageId, Reply] | None]) -> None:
        """Hand out replies until the stream ends; raise RemoteProtocolError."""
        try:
            while True:
                read = read_reply(await self.frames.receive())
                waiting = self.pending.pop(read[0], None) if read is not None else None
                if read is not None and waiting is not None:  # else nobody waits any more
                    waiting.replies.append(read[1])
                    waiting.ended.set()
        except StreamClosedError:
            return
        finally:
            self._is_closed = True
            for waiting in self.pending.values():
                waiting.ended.set()
            await self.frames.aclose()


class _Waiting(Generic[Reply]):
    """Ended with one reply, or with none when the stream is gone."""

    def __init__(self) -> None:
        self.ended = trio.Event()
        self.replies: list[Reply] = []
