"""Frame streams and the clients on them when a write does not go through (no network)."""

from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from p2p.envelopes import RESULT_TIMEOUT_S, EnvelopeClient
from p2p.frames import FrameDecoder, encode_frame
from p2p.requests import REQUESTS_IN_FLIGHT_MAX, RequestPool
from p2p.streams import FRAME_SIZE_MAX_BYTES, FrameStream, StreamClosedError
from p2p.turns import PROMPT_STEPS_MAX
from p2p.watches import WATCH_RENEW_S, WATCHES_PER_STREAM_MAX, WatchClient
from wice.keys import BlindedKey
from wice.proto.overlay_pb2 import EnvelopeMessage, WatchRequest

KEY = BlindedKey(bytes(32))


class HeldUpStream:
    """A libp2p stream whose first ``held_up`` writes take longer than anybody waits."""

    def __init__(self, held_up: int) -> None:
        self.held_up = held_up
        self.written = bytearray()
        self.is_reset = False
        self._ended = trio.Event()

    async def write(self, data: bytes) -> None:
        if self.held_up:
            self.held_up -= 1
            await trio.sleep(RESULT_TIMEOUT_S + 1)
        self.written += data

    async def read(self, _size: int) -> bytes:
        await self._ended.wait()
        return b""

    async def reset(self) -> None:
        self.is_reset = True
        self._ended.set()


class OneHost:
    """Opens streams, of which the first holds one write up."""

    def __init__(self) -> None:
        self.opened: list[HeldUpStream] = []
        self.holds_up = True

    async def open_stream(self, peer_id: str, _protocol: str) -> FrameStream:
        self.opened.append(HeldUpStream(held_up=self.holds_up and not self.opened))
        stream: Any = self.opened[-1]
        return FrameStream(stream, peer_id)


async def test_a_cancelled_write_ends_the_stream(autojump_clock: Any) -> None:
    held_up: Any = HeldUpStream(held_up=1)
    stream = FrameStream(held_up, "peer")
    async with trio.open_nursery() as nursery:

        async def read() -> None:
            with trio.fail_after(RESULT_TIMEOUT_S), pytest.raises(StreamClosedError):
                await stream.receive()

        nursery.start_soon(read)
        with trio.move_on_after(1):
            await stream.send(b"half of this")
    assert held_up.is_reset
    with pytest.raises(StreamClosedError):
        await stream.send(b"after the half")


async def test_an_envelope_held_up_does_not_break_the_way(autojump_clock: Any) -> None:
    host: Any = OneHost()
    async with trio.open_nursery() as nursery:
        client = EnvelopeClient(host, nursery, lambda _: None)
        for _ in range(2):
            with pytest.raises(StreamClosedError):  # nobody answers
                await client.send("peer", KEY, b"i" * 16, b"envelope")
            await wait_all_tasks_blocked()
        assert len(host.opened) == 2
        (frame,) = frames(host.opened[1])
        assert EnvelopeMessage.FromString(frame).send.envelope == b"envelope"
        nursery.cancel_scope.cancel()


async def test_a_frame_that_nobody_takes_is_not_sent() -> None:
    stream: Any = HeldUpStream(held_up=0)
    with pytest.raises(AssertionError):
        await FrameStream(stream, "peer").send(bytes(FRAME_SIZE_MAX_BYTES + 1))
    assert not stream.written


class FullStream(HeldUpStream):
    """Brings frames without end, and nobody ever has to wait for one."""

    async def read(self, size_bytes: int) -> bytes:
        return encode_frame(b"") * size_bytes


async def test_who_receives_from_a_full_stream_lets_others_run() -> None:
    full: Any = FullStream(held_up=0)
    stream = FrameStream(full, "peer")
    with trio.CancelScope() as scope:
        scope.cancel()
        for _ in range(PROMPT_STEPS_MAX + 1):
            assert await stream.receive() == b""
    assert scope.cancelled_caught, "another task that cancels this one would never have run"


async def test_many_watches_go_out_in_frames_that_are_taken(autojump_clock: Any) -> None:
    """So many that the client has to say that it leaves some out, and goes on with the rest."""
    host: Any = OneHost()
    host.holds_up = False
    faults: list[str] = []
    keys = [b"/wice/%043d" % number for number in range(WATCHES_PER_STREAM_MAX + 7)]
    async with trio.open_nursery() as nursery:
        platform: Any = None
        client = WatchClient(host, nursery, platform, lambda *_: None, faults.append)
        await client.watch("node", keys)
        assert watched(host.opened[0]) == keys[:WATCHES_PER_STREAM_MAX]
        assert faults == ["more keys to watch than one node keeps"]
        await client.watch("node", keys)
        assert len(watched(host.opened[0])) == WATCHES_PER_STREAM_MAX, "none is due"
        await trio.sleep(WATCH_RENEW_S)
        await client.watch("node", keys)
        assert watched(host.opened[0]) == 2 * keys[:WATCHES_PER_STREAM_MAX], "all are renewed"
        assert len(host.opened) == 1
        nursery.cancel_scope.cancel()


def watched(stream: HeldUpStream) -> list[bytes]:
    return [
        watch.key for frame in frames(stream) for watch in WatchRequest.FromString(frame).watches
    ]


def frames(stream: HeldUpStream) -> list[bytes]:
    decoder = FrameDecoder(FRAME_SIZE_MAX_BYTES)
    decoder.feed(bytes(stream.written))
    return list(decoder)


class AnsweringStream(HeldUpStream):
    """Answers each request, but only once it is told to."""

    def __init__(self) -> None:
        super().__init__(held_up=0)
        self.answers = trio.Event()
        self._answered = 0

    async def read(self, _size: int) -> bytes:
        await self.answers.wait()
        asked = frames(self)[self._answered :]
        self._answered += len(asked)
        if not asked:
            self.answers = trio.Event()
            return await self.read(_size)
        await trio.lowlevel.checkpoint()
        return b"".join(map(encode_frame, asked))


async def test_requests_beyond_what_may_be_in_flight_wait(autojump_clock: Any) -> None:
    answering = AnsweringStream()

    class Asked:
        async def open_stream(self, peer_id: str, _protocol: str) -> FrameStream:
            stream: Any = answering
            return FrameStream(stream, peer_id)

    count = 2 * REQUESTS_IN_FLIGHT_MAX + 3
    answers: list[bytes] = []
    host: Any = Asked()
    async with trio.open_nursery() as nursery:
        pool = RequestPool(host, "/test/1", nursery, lambda _: None)

        async def ask(number: int) -> None:
            answers.append(await pool.request("peer", b"%d" % number))

        async with trio.open_nursery() as asking:
            for number in range(count):
                asking.start_soon(ask, number)
            await wait_all_tasks_blocked()
            assert len(frames(answering)) == REQUESTS_IN_FLIGHT_MAX
            with trio.move_on_after(RESULT_TIMEOUT_S):
                while len(answers) < count:
                    answering.answers.set()
                    await trio.sleep(0.1)
            asking.cancel_scope.cancel()
        nursery.cancel_scope.cancel()
    assert sorted(map(int, answers)) == list(range(count))


async def test_requests_that_wait_end_with_the_stream(autojump_clock: Any) -> None:
    answering = AnsweringStream()

    class Asked:
        async def open_stream(self, peer_id: str, _protocol: str) -> FrameStream:
            stream: Any = answering
            return FrameStream(stream, peer_id)

    host: Any = Asked()
    ended: list[StreamClosedError] = []
    async with trio.open_nursery() as nursery:
        pool = RequestPool(host, "/test/1", nursery, lambda _: None)

        async def ask() -> None:
            with pytest.raises(StreamClosedError) as caught:
                await pool.request("peer", b"?")
            ended.append(caught.value)

        with trio.fail_after(RESULT_TIMEOUT_S):
            async with trio.open_nursery() as asking:
                for _ in range(3 * REQUESTS_IN_FLIGHT_MAX):
                    asking.start_soon(ask)
                await wait_all_tasks_blocked()
                await pool.drop("peer")
        nursery.cancel_scope.cancel()
    assert len(ended) == 3 * REQUESTS_IN_FLIGHT_MAX
