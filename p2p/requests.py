"""Requests and answers in order on one stream a peer, kept open between them."""

from collections import deque
from collections.abc import Callable
from typing import Final

import trio

from p2p.host import Host
from p2p.lock import PromptLock
from p2p.streams import FrameStream, StreamClosedError
from wice.errors import RemoteProtocolError

REQUESTS_IN_FLIGHT_MAX: Final = 64
"""Requests on one stream that wait for their answers; further ones wait to be sent."""


class RequestPool:
    """One request stream of ``protocol`` to each peer that is asked; readers run in ``nursery``."""

    def __init__(
        self,
        host: Host,
        protocol: str,
        nursery: trio.Nursery,
        count_fault: Callable[[str], None],
    ) -> None:
        self._host = host
        self._protocol = protocol
        self._nursery = nursery
        self._count_fault = count_fault
        self._streams: dict[str, _RequestStream] = {}

    async def request(self, peer_id: str, payload: bytes) -> bytes:
        """Ask a connected peer and wait; raise StreamClosedError."""
        stream = self._streams.get(peer_id)
        if stream is None:
            stream = self._streams[peer_id] = _RequestStream()
            try:
                stream.open(await self._host.open_stream(peer_id, self._protocol))
            except BaseException:
                # A cancelled opening, too, must not leave the others waiting for it.
                stream.fail()
                if self._streams.get(peer_id) is stream:
                    del self._streams[peer_id]
                raise
            self._nursery.start_soon(self._read, peer_id, stream)
        return await stream.request(payload)

    async def drop(self, peer_id: str) -> None:
        """Close the stream to a peer that does not answer; the next request opens another."""
        stream = self._streams.pop(peer_id, None)
        if stream is not None:
            await stream.aclose()

    async def _read(self, peer_id: str, stream: "_RequestStream") -> None:
        try:
            await stream.run()
        except RemoteProtocolError as error:
            self._count_fault(f"{self._protocol}: {error}")
        finally:
            if self._streams.get(peer_id) is stream:
                del self._streams[peer_id]


class _RequestStream:
    """A request that nobody waits for any more keeps its place in the order of answers."""

    def __init__(self) -> None:
        self._stream: FrameStream | None = None
        self._is_over = False
        self._opened = trio.Event()
        self._sending = PromptLock()
        self._room = trio.Semaphore(REQUESTS_IN_FLIGHT_MAX, max_value=REQUESTS_IN_FLIGHT_MAX)
        self._waiting: deque[_Answer] = deque()

    def open(self, stream: FrameStream) -> None:
        self._stream = stream
        self._opened.set()

    def fail(self) -> None:
        self._is_over = True
        self._opened.set()

    async def request(self, payload: bytes) -> bytes:
        if not self._opened.is_set():
            await self._opened.wait()
        answer = _Answer()
        async with self._sending:
            try:
                self._room.acquire_nowait()  # until the answer is there, whoever waits for it
            except trio.WouldBlock:
                await self._room.acquire()
            if self._stream is None or self._is_over:
                self._room.release()
                raise StreamClosedError("the stream is closed")
            self._waiting.append(answer)
            try:
                await self._stream.send(payload)
            except BaseException:
                # Whether the request went out is not known, so neither is whose answer is next.
                await self.aclose()
                raise
        await answer.arrived.wait()
        if answer.payload is None:
            raise StreamClosedError("the stream closed before the answer")
        return answer.payload

    async def run(self) -> None:
        """Hand out answers until the stream ends; raise RemoteProtocolError."""
        assert self._stream is not None
        try:
            while True:
                payload = await self._stream.receive()
                if not self._waiting:
                    raise RemoteProtocolError("an answer to no request")
                self._waiting.popleft().set(payload)
                self._room.release()
        except StreamClosedError:
            return
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        self._is_over = True
        for answer in self._waiting:
            answer.set(None)
            self._room.release()
        self._waiting.clear()
        if self._stream is not None:
            await self._stream.aclose()


class _Answer:
    def __init__(self) -> None:
        self.arrived = trio.Event()
        self.payload: bytes | None = None

    def set(self, payload: bytes | None) -> None:
        self.payload = payload
        self.arrived.set()
