"""The overlay keeps the contract of Backend, over real sockets and real py-libp2p."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from typing import TYPE_CHECKING

import pytest

from wice.keys import KeyHolder
from wice.signaling import conformance
from wice.signaling.backend import Backend
from wice.signaling.conformance import OpenBackend
from wice.signaling.sealed import SealedBackend

if TYPE_CHECKING:
    from tests.p2p.conftest import Overlay

CHECKS = (
    conformance.check_wildcard_sender,
    conformance.check_several_subscriptions,
    conformance.check_only_the_recipient,
    conformance.check_unavailable,
    conformance.check_stateless,
    conformance.check_closed,
)


@pytest.fixture
def open_backend(overlay: "Overlay") -> OpenBackend:
    """Opens a backend on a node of its own."""
    numbers = count()

    @asynccontextmanager
    async def open_one(holder: KeyHolder) -> AsyncIterator[Backend]:
        sink = overlay.make_sink()
        async with (
            overlay.open_peer(f"peer{next(numbers)}", sink=sink) as transport,
            SealedBackend.open(transport, [holder], os.urandom, sink) as backend,
        ):
            yield backend

    return open_one


@pytest.fixture(autouse=True)
def _brief_silences(monkeypatch: pytest.MonkeyPatch) -> None:
    # The checks listen for what must not come, inbox after inbox.
    monkeypatch.setattr(conformance, "QUIET_S", 0.2)


@pytest.mark.parametrize("bootstraps", [1, 2])
async def test_every_ordered_pair(
    overlay: "Overlay",
    open_backend: OpenBackend,
    free_port: Callable[[], int],
    bootstraps: int,
) -> None:
    for number in range(bootstraps):
        overlay.place_bootstrap(f"bootstrap{number}", free_port())
    async with overlay.open_bootstrap("bootstrap0"):
        if bootstraps == 1:
            await conformance.check_every_pair(open_backend, peers=4)
        else:
            async with overlay.open_bootstrap("bootstrap1"):
                await conformance.check_every_pair(open_backend, peers=3)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_conforms(
    overlay: "Overlay",
    open_backend: OpenBackend,
    free_port: Callable[[], int],
    check: Callable[[OpenBackend], object],
) -> None:
    overlay.place_bootstrap("bootstrap", free_port())
    async with overlay.open_bootstrap("bootstrap"):
        await check(open_backend)
