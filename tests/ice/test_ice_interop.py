"""Our driver and agent against ``aioice.Connection`` over loopback sockets."""

import json
import os
import subprocess
import sys
from pathlib import Path as FilePath
from typing import Any

import pytest
import trio

from wice.datagram import Datagram, Endpoint, Path
from wice.errors import RemoteProtocolError
from wice.events import EventStream
from wice.ice import (
    Agent,
    AgentEvent,
    Credentials,
    IceDriver,
    PairSelected,
    format_candidate,
    parse_candidate,
)
from wice.stun import is_stun

PEER = FilePath(__file__).with_name("aioice_peer.py")
TIMEOUT_S = 20


class SocketPort:
    """A DatagramPort on one loopback address; what is not STUN goes to ``data``."""

    def __init__(self, socket: trio.socket.SocketType) -> None:
        self._socket = socket
        self._address, self.port = socket.getsockname()[:2]
        self.data: list[bytes] = []
        self.data_came = trio.Event()

    def send(self, data: bytes, path: Path) -> None:
        assert path.source in (None, self._address)
        # trio's sendto is async; a UDP socket's never waits here.
        os_socket = self._socket._sock  # type: ignore[attr-defined]
        os_socket.sendto(data, path.remote)

    async def receive(self) -> Datagram:
        while True:
            data, source = await self._socket.recvfrom(2_000)
            if is_stun(data):
                return Datagram(data, Endpoint(*source[:2]), self._address)
            self.data.append(data)
            self.data_came.set()


class AioicePeer:
    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._read = b""

    @classmethod
    async def start(cls, address: str, role: str) -> "AioicePeer":
        process = await trio.lowlevel.open_process(
            [sys.executable, str(PEER), address, role],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        return cls(process)

    async def tell(self, description: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        await self._process.stdin.send_all(json.dumps(description).encode() + b"\n")

    async def hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        while b"\n" not in self._read:
            more = await self._process.stdout.receive_some()
            assert more, "the peer ended"
            self._read += more
        line, _, self._read = self._read.partition(b"\n")
        heard: dict[str, Any] = json.loads(line)
        return heard

    async def aclose(self) -> None:
        assert self._process.stdin is not None
        await self._process.stdin.aclose()
        with trio.move_on_after(5):
            await self._process.wait()
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


ADDRESSES = pytest.mark.parametrize("address", ["127.0.0.1", "::1"])


async def _connect(
    nursery: trio.Nursery,
    address: str,
    ours: str,
    theirs: str,
    *,
    lite: bool = False,
    told_late: bool = False,
    heard_late: bool = False,
) -> Agent:
    """Connect to aioice, hear its data, and give our agent.

    told_late: aioice gets our candidate while it checks another one, that is dead. heard_late: we
    get its candidate when its checks are there already.
    """
    family = trio.socket.AF_INET6 if ":" in address else trio.socket.AF_INET
    with trio.fail_after(TIMEOUT_S), trio.socket.socket(family, trio.socket.SOCK_DGRAM) as socket:
        await socket.bind((address, 0))
        port = SocketPort(socket)
        driver = IceDriver(port, lambda: [address], os.urandom, EventStream())
        nursery.start_soon(driver.run)
        agent = Agent(
            controlling=ours == "controlling",
            local=Credentials.generate(os.urandom),
            random_bytes=os.urandom,
            now=trio.current_time(),
            lite=lite,
        )
        selected = trio.Event()

        def listen(event: AgentEvent) -> None:
            if isinstance(event, PairSelected):
                selected.set()

        driver.register(agent, listen)
        peer = await AioicePeer.start(address, theirs)
        try:
            described = await peer.hear()
            candidates = [format_candidate(c) for c in driver.candidates]
            dead = [f"9 1 udp 9 {address} 9 typ host"] if told_late else []
            await peer.tell(
                {
                    "ufrag": agent.local.ufrag,
                    "password": agent.local.password,
                    "candidates": dead or candidates,
                    "late_candidates": candidates if told_late else [],
                    "lite": lite,
                }
            )
            now = trio.current_time()
            agent.set_remote(Credentials(described["ufrag"], described["password"]), now)
            if heard_late:
                driver.wake(agent)
                await selected.wait()
                assert agent.selected is not None and agent.selected.remote_type == "prflx"
            for text in described["candidates"]:
                agent.add_remote_candidate(parse_candidate(text), trio.current_time())
            agent.end_of_candidates(trio.current_time())
            driver.wake(agent)
            connected = await peer.hear()
            await selected.wait()
            await port.data_came.wait()
        finally:
            await peer.aclose()
        assert port.data == [b"hello from aioice"]
        assert connected["controlling"] != agent.controlling
        assert agent.selected is not None
        assert agent.selected.path.source == address
        assert agent.selected.remote_type == "host"
        nursery.cancel_scope.cancel()
    return agent


@ADDRESSES
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("controlling", "controlled"),
        ("controlled", "controlling"),
        ("controlling", "controlling"),
        ("controlled", "controlled"),
    ],
)
async def test_connects_with_aioice(
    nursery: trio.Nursery, address: str, ours: str, theirs: str
) -> None:
    await _connect(nursery, address, ours, theirs)


@ADDRESSES
@pytest.mark.parametrize(
    ("ours", "theirs"), [("controlling", "controlled"), ("controlled", "controlling")]
)
@pytest.mark.parametrize(("told_late", "heard_late"), [(True, False), (False, True)])
async def test_trickles_with_aioice(
    nursery: trio.Nursery, address: str, ours: str, theirs: str, told_late: bool, heard_late: bool
) -> None:
    """aioice cannot trickle its own candidates; it takes ours late, and we take its late."""
    await _connect(nursery, address, ours, theirs, told_late=told_late, heard_late=heard_late)


@ADDRESSES
async def test_is_lite_for_aioice(nursery: trio.Nursery, address: str) -> None:
    agent = await _connect(nursery, address, "controlled", "controlling", lite=True)
    assert all(report.checks_sent == 0 for report in agent.pair_reports())


def test_aioice_accepts_what_ours_refuses() -> None:
    """Why candidates from the network pass ``parse_candidate``."""
    import aioice.candidate

    text = "1 0 udp 99999999999 host.example 99999 typ nonsense"
    assert aioice.candidate.Candidate.from_sdp(text).port == 99_999
    with pytest.raises(RemoteProtocolError):
        parse_candidate(text)
