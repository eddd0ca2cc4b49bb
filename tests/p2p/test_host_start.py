"""A host that starts: told to stop meanwhile, and what it serves then."""

import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

import pytest
import trio

from p2p import host as host_module
from p2p.host import Host, open_host
from p2p.identity import Identity
from p2p.section import TcpAddress
from p2p.streams import FrameStream, StreamClosedError

if TYPE_CHECKING:
    from tests.p2p.conftest import Overlay

LIBRARY_PROTOCOLS = ("/ipfs/id/1.0.0", "/ipfs/id/push/1.0.0", "/ipfs/ping/1.0.0")

CHECKPOINTS_MAX = 200
"""More than a start has."""
HUNG_AFTER_S = 30.0


@pytest.fixture
def hung(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Gets an entry for each host that had to be told to stop because it hung."""
    found: list[str] = []
    run_host = host_module._run_host

    async def watched(*arguments: Any, **options: Any) -> None:
        (*_, stopping) = arguments

        async def rescue() -> None:
            with trio.move_on_after(HUNG_AFTER_S):
                await stopping.wait()
            if not stopping.is_set():
                found.append("it waits to be told to stop")
                stopping.set()

        trio.lowlevel.spawn_system_task(rescue)
        await run_host(*arguments, **options)

    monkeypatch.setattr(host_module, "_run_host", watched)
    return found


async def cancelled_after(checkpoints: int, opening: AbstractAsyncContextManager[Any]) -> bool:
    """Cancel what opens a host at that checkpoint; whether it was open by then."""
    is_open = False

    async def cancel() -> None:
        for _ in range(checkpoints):
            await trio.lowlevel.checkpoint()
        scope.cancel()

    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cancel)
            async with opening:
                is_open = True
                scope.cancel()
    return is_open


async def test_a_host_stops_at_every_checkpoint_of_its_start(
    hung: list[str], free_port: Callable[[], int]
) -> None:
    address = TcpAddress("127.0.0.1", free_port())
    for checkpoints in range(CHECKPOINTS_MAX):
        # The next one could not listen if this left its socket open.
        is_open = await cancelled_after(checkpoints, a_host(address))
        assert not hung, f"after {checkpoints} checkpoints"
        if is_open:
            return
    pytest.fail("the host never opened")


async def test_the_overlay_stops_at_every_checkpoint_of_its_start(
    hung: list[str], overlay: "Overlay", free_port: Callable[[], int]
) -> None:
    overlay.place_bootstrap("bootstrap", free_port())
    for checkpoints in range(CHECKPOINTS_MAX):
        is_open = await cancelled_after(checkpoints, overlay.open_bootstrap("bootstrap"))
        assert not hung, f"after {checkpoints} checkpoints"
        if is_open:
            return
    pytest.fail("the overlay never opened")


async def test_a_host_serves_nothing_but_what_is_ours(overlay: "Overlay") -> None:
    """No identify: who we are and where says no more than our own protocols do."""
    seen: list[str] = []

    async def serve(stream: FrameStream) -> None:
        seen.append(stream.peer_id)

    async with a_host() as host:
        assert not host.libp2p.get_mux().handlers
        host.serve("/test/1", serve)
        async with overlay.open_stranger(host.addresses()[0]) as stranger:
            for protocol in LIBRARY_PROTOCOLS:
                stream = await stranger.open(protocol)
                with trio.fail_after(HUNG_AFTER_S), pytest.raises(StreamClosedError, match="serve"):
                    await stream.receive()
                await stream.aclose()
            stream = await stranger.open("/test/1")
            await overlay.eventually(lambda: bool(seen))
            (connection,) = host.libp2p.get_network().get_connections()
            assert not [s for s in connection.get_streams() if s.get_protocol() != "/test/1"]
            assert not host.libp2p._identify_tasks
            assert not host.libp2p._identified_peers


def a_host(
    address: TcpAddress = TcpAddress("127.0.0.1", 0),  # noqa: B008
) -> AbstractAsyncContextManager[Host]:
    return open_host(
        Identity.from_seed(os.urandom(32)),
        [address],
        connections_max=8,
        is_valuable=lambda _: False,
        count_fault=lambda _: None,
    )
