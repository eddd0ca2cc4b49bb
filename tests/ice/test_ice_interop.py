"""Our driver and agent against ``aioice.Connection`` over loopback sockets."""

import os

import pytest
import trio

from tests.ice.interop import AIOICE, OtherAgent, Selected, SocketPort
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

TIMEOUT_S = 60
LATE_S = 0.1
HELLO = "hello from aioice"


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
        peer = await OtherAgent.start([*AIOICE, theirs, "--address", address])
        try:
            ufrag, password = (await peer.hear("credentials")).split(" ")
            candidate = await peer.hear("candidate")
            await peer.hear("end-of-candidates")
            if lite:
                await peer.tell("lite")
            await peer.tell("credentials", agent.local.ufrag, agent.local.password)
            if told_late:
                await peer.tell("candidate", f"9 1 udp 9 {address} 9 typ host")
                await peer.tell("connect")
                await trio.sleep(LATE_S)
            for told in driver.candidates:
                await peer.tell("candidate", format_candidate(told))
            if not told_late:
                await peer.tell("connect")
            await peer.tell("end-of-candidates")
            agent.set_remote(Credentials(ufrag, password), trio.current_time())
            if heard_late:
                driver.wake(agent)
                await selected.wait()
                assert agent.selected is not None and agent.selected.remote_type == "prflx"
            agent.add_remote_candidate(parse_candidate(candidate), trio.current_time())
            agent.end_of_candidates(trio.current_time())
            driver.wake(agent)
            theirs_selected = Selected.read(await peer.hear("selected"))
            await selected.wait()
            assert agent.selected is not None
            await peer.tell("send", HELLO)
            await port.data_came.wait()
            port.send(b"hello from wice", agent.selected.path)
            assert await peer.hear("received") == "hello from wice"
        finally:
            await peer.aclose()
        assert port.data == [(HELLO.encode(), agent.selected.path.remote)]
        assert (theirs_selected.role == "controlling") is not agent.controlling
        assert theirs_selected.local == agent.selected.path.remote
        assert theirs_selected.remote == (address, port.port)
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
