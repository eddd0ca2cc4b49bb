"""libp2p streams as framed messages: opened in one flight, read by one task each."""

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

import trio
from libp2p.abc import INetStream
from libp2p.exceptions import BaseLibp2pError

from p2p.frames import FrameDecoder, encode_frame
from p2p.lock import PromptLock
from p2p.turns import Turns
from wice.errors import RemoteProtocolError, SignalingUnavailableError

FRAME_SIZE_MAX_BYTES: Final = 20 * 1024
"""The largest frame on any of our protocols: an envelope or a record and what goes around it."""
READ_SIZE_BYTES: Final = 64 * 1024

_MULTISTREAM = b"/multistream/1.0.0\n"

STREAM_ERRORS = (BaseLibp2pError, trio.BrokenResourceError, trio.ClosedResourceError, KeyError)
"""What py-libp2p raises when a stream or what is under it is gone; KeyError comes from yamux,
where a reader waits on a stream whose bookkeeping another task has just dropped."""


class StreamClosedError(SignalingUnavailableError):
    """The stream, its connection or its node is gone."""


class NotServedError(StreamClosedError):
    """The node does not speak the protocol that a stream was opened for."""


class FrameStream:
    """One libp2p stream that carries frames.

    Any number of tasks may send; one task receives, and is not cancelled in the middle of
    receiving unless the stream is then dropped: yamux may hold bytes it already took.
    """

    def __init__(self, stream: INetStream, peer_id: str, negotiation: tuple[bytes, ...] = ()):
        """negotiation: frames that must come first, as after ``open_frame_stream``."""
        self.peer_id = peer_id
        self._stream = stream
        self._negotiation = deque(negotiation)
        self._decoder = FrameDecoder(FRAME_SIZE_MAX_BYTES)
        self._sending = PromptLock()
        self._turns = Turns()
        self._is_broken = False

    async def send(self, payload: bytes) -> None:
        """Send one frame; raise StreamClosedError."""
        assert len(payload) <= FRAME_SIZE_MAX_BYTES
        await self.send_raw(encode_frame(payload))

    async def send_raw(self, data: bytes) -> None:
        async with self._sending:
            if self._is_broken:
                raise StreamClosedError("the stream is closed")
            self._is_broken = True
            try:
                await self._stream.write(data)
                self._is_broken = False
            except STREAM_ERRORS as error:
                raise StreamClosedError(f"the stream broke: {type(error).__name__}") from error
            finally:
                if self._is_broken:
                    # Half a frame may be out, should this be cancelled. Whoever reads the stream
                    # keeps it in use, and learns by its end that it is of none.
                    await self.aclose()

    async def receive(self) -> bytes:
        """Wait for the next frame; raise StreamClosedError, RemoteProtocolError.

        NotServedError may come in place of the first frame on a stream that we opened.
        """
        await self._turns.step()
        while True:
            frame = self._decoder.next_frame()
            if frame is None:
                self._decoder.feed(await self._read())
            elif self._negotiation:
                self._check_negotiation(frame)
            else:
                return frame

    async def _read(self) -> bytes:
        try:
            data: bytes = await self._stream.read(READ_SIZE_BYTES)
        except STREAM_ERRORS as error:
            raise StreamClosedError(f"the stream ended: {type(error).__name__}") from error
        if not data:
            raise StreamClosedError("the stream ended")
        return data

    def _check_negotiation(self, frame: bytes) -> None:
        if frame == self._negotiation[0]:
            self._negotiation.popleft()
            return
        if frame == b"na\n":
            protocol = self._negotiation[-1].decode().strip()
            raise NotServedError(f"{self.peer_id} does not serve {protocol}")
        raise RemoteProtocolError("multistream negotiation went wrong")

    async def aclose(self) -> None:
        """Reset the stream; whatever was on its way may be lost."""
        self._is_broken = True
        with trio.CancelScope() as scope:
            scope.shield = True  # bounded by the guard around every write
            try:
                await self._stream.reset()
            except STREAM_ERRORS:
                return


async def open_frame_stream(stream: INetStream, peer_id: str, protocol: str) -> FrameStream:
    """Ask for ``protocol`` without waiting for the answer, which precedes the first frame.

    Stock negotiation takes two round trips before the first byte of ours goes out; this is the
    optimistic form of multistream-select 1.0, which every responder has to understand since it
    only reads on.
    """
    line = protocol.encode() + b"\n"
    framed = FrameStream(stream, peer_id, negotiation=(_MULTISTREAM, line))
    try:
        await framed.send_raw(encode_frame(_MULTISTREAM) + encode_frame(line))
    except BaseException:
        # Nobody else has it yet: who is cancelled here has to close it.
        await framed.aclose()
        raise
    return framed


FrameHandler = Callable[[FrameStream], Awaitable[None]]
"""Serves one inbound stream until it ends; may raise StreamClosedError, RemoteProtocolError."""
