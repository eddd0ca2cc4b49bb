"""The supervisor: hosts that die before they were used, and hosts that keep dying."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
import trio

from p2p import backend as backend_module
from p2p.backend import RESTARTS_MAX, OverlayTransport
from wice.errors import SignalingError

if TYPE_CHECKING:
    from tests.p2p.conftest import Overlay

NOBODY = "/ip4/127.0.0.1/tcp/9/p2p/12D3KooWCDsLVXtNg7ZCt4nLtAQDFvQeN15BGx5TtnW7fiHYPaBD"
LIVES_S = 30.0
"""A start or a give-up that takes longer is none."""


class MortalNode:
    """Stands for ``run_node``: dies at once where told, else runs until cancelled."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.starts = 0
        self.dies_before_use: Callable[[int], bool] = lambda _: False
        self.dies_after_use: Callable[[int], bool] = lambda _: False
        self.error: Exception = OSError("something the library did not think of")
        self._node: Any = None
        monkeypatch.setattr(backend_module, "run_node", self.run)
        monkeypatch.setattr(OverlayTransport, "_set_node", lambda *_: None)

    async def run(self, _state: Any, use: Any, _own_errors: Any) -> None:
        self.starts += 1
        await trio.lowlevel.checkpoint()
        if self.dies_before_use(self.starts):
            raise self.error
        use(self._node)
        if self.dies_after_use(self.starts):
            raise self.error
        await trio.sleep_forever()


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> MortalNode:
    return MortalNode(monkeypatch)


async def test_a_host_that_dies_before_it_was_used_is_started_again(
    overlay: "Overlay", node: MortalNode, autojump_clock: Any
) -> None:
    node.dies_before_use = lambda start: start == 1
    with trio.fail_after(LIVES_S):
        async with overlay.open_bootstrap("bootstrap") as transport:
            assert transport.status()["restarts"] == 1


async def test_a_host_that_never_lives_is_given_up(
    overlay: "Overlay", node: MortalNode, autojump_clock: Any
) -> None:
    node.dies_before_use = lambda _: True
    with trio.fail_after(LIVES_S), pytest.raises(SignalingError, match="keeps dying"):
        async with overlay.open_peer("a", bootstrap=[NOBODY]):
            pass
    assert node.starts == RESTARTS_MAX + 1


async def test_a_peer_outlives_its_hosts(
    overlay: "Overlay", node: MortalNode, autojump_clock: Any
) -> None:
    """Tunnels that work must not end because the overlay does."""
    node.dies_after_use = lambda start: start <= 4 * RESTARTS_MAX
    async with overlay.open_peer("a", bootstrap=[NOBODY]) as transport:
        await trio.sleep(backend_module.RESTART_WINDOW_S)
        # It has become slow to try, and says why.
        assert RESTARTS_MAX < node.starts < 4 * RESTARTS_MAX
        assert transport.status()["last_death"] == f"OSError: {node.error}"
        await trio.sleep(4 * RESTARTS_MAX * backend_module.RESTART_BACKOFF_S)
        assert node.starts == 4 * RESTARTS_MAX + 1


@pytest.mark.parametrize("role", ["peer", "bootstrap"])
async def test_a_port_that_is_taken_when_the_host_starts_again_is_tried_again(
    overlay: "Overlay", node: MortalNode, autojump_clock: Any, role: str
) -> None:
    node.error = SignalingError("cannot listen on /ip4/127.0.0.1/tcp/4001")
    node.dies_after_use = lambda start: start == 1
    node.dies_before_use = lambda start: start in (2, 3)
    opening = (
        overlay.open_peer("a", bootstrap=[NOBODY])
        if role == "peer"
        else overlay.open_bootstrap("bootstrap")
    )
    async with opening:
        await trio.sleep(10 * backend_module.RESTART_BACKOFF_S)
    assert node.starts == 4
