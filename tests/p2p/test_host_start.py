"""A host that is told to stop while it starts."""

import os
from collections.abc import Callable
from typing import Any

import pytest
import trio

from p2p import host as host_module
from p2p.host import open_host
from p2p.identity import Identity
from p2p.section import TcpAddress

CHECKPOINTS_MAX = 200
"""More than a start has."""
HUNG_AFTER_S = 5.0


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


async def cancelled_after(checkpoints: int, address: TcpAddress) -> bool:
    """Cancel the opening of a host at that checkpoint; whether it was open by then."""
    is_open = False

    async def cancel() -> None:
        for _ in range(checkpoints):
            await trio.lowlevel.checkpoint()
        scope.cancel()

    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cancel)
            async with open_host(
                Identity.from_seed(os.urandom(32)),
                [address],
                connections_max=8,
                is_valuable=lambda _: False,
                count_fault=lambda _: None,
            ):
                is_open = True
                scope.cancel()
    return is_open


async def test_a_host_stops_at_every_checkpoint_of_its_start(
    hung: list[str], free_port: Callable[[], int]
) -> None:
    address = TcpAddress("127.0.0.1", free_port())
    for checkpoints in range(CHECKPOINTS_MAX):
        # The next one could not listen if this left its socket open.
        is_open = await cancelled_after(checkpoints, address)
        assert not hung, f"after {checkpoints} checkpoints"
        if is_open:
            return
    pytest.fail("the host never opened")
