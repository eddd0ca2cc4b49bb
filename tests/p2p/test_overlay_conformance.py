"""The overlay keeps the contract of Backend, over real sockets and real py-libp2p.

By every way, and by gossip alone, where every stream that the other ways need is refused.
"""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from typing import TYPE_CHECKING

import pytest

from p2p import node
from p2p.envelopes import EnvelopeServer
from p2p.streams import FrameStream, StreamClosedError
from wice.events import EnvelopeDelivered
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
def ways() -> set[str]:
    """The ways by which envelopes were delivered in a test."""
    return set()


@pytest.fixture
def open_backend(overlay: "Overlay", ways: set[str]) -> OpenBackend:
    """Opens a backend on a node of its own."""
    return _open_backend(overlay, ways, anchors_each=None)


@pytest.fixture
def open_apart(overlay: "Overlay", ways: set[str]) -> OpenBackend:
    """The same, each connected to one of the bootstrap nodes, in turn."""
    return _open_backend(overlay, ways, anchors_each=1)


def _open_backend(overlay: "Overlay", ways: set[str], anchors_each: int | None) -> OpenBackend:
    numbers = count()

    @asynccontextmanager
    async def open_one(holder: KeyHolder) -> AsyncIterator[Backend]:
        number = next(numbers)
        known = overlay.bootstrap
        if anchors_each is not None:
            known = [known[number % len(known)]]
        sink = overlay.make_sink()
        async with (
            overlay.open_peer(f"peer{number}", sink=sink, bootstrap=known) as transport,
            SealedBackend.open(transport, [holder], os.urandom, sink) as backend,
        ):
            yield backend
        ways.update(event.as_json()["way"] for event in sink.of(EnvelopeDelivered))

    return open_one


@pytest.fixture
def _refuse_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every node resets the streams that envelopes travel on otherwise."""

    async def refuse(_server: EnvelopeServer, _stream: FrameStream) -> None:
        raise StreamClosedError("refused")

    monkeypatch.setattr(EnvelopeServer, "serve", refuse)


@asynccontextmanager
async def bootstrap_nodes(
    overlay: "Overlay", free_port: Callable[[], int], number: int
) -> AsyncIterator[None]:
    names = [f"bootstrap{index}" for index in range(number)]
    for name in names:
        overlay.place_bootstrap(name, free_port())
    async with AsyncExitStack() as stack:
        for name in names:
            await stack.enter_async_context(overlay.open_bootstrap(name))
        yield


@pytest.fixture
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A later way waits until the earlier ones have answered, however busy this machine is."""
    monkeypatch.setattr(node, "WAY_STAGGER_S", 60.0)
    monkeypatch.setattr(node, "TOPIC_STAGGER_S", 60.0)
    monkeypatch.setattr(node, "WAY_TIMEOUT_S", 60.0)


@pytest.fixture(autouse=True)
def _brief_silences(monkeypatch: pytest.MonkeyPatch) -> None:
    # The checks listen for what must not come, inbox after inbox.
    monkeypatch.setattr(conformance, "QUIET_S", 0.2)


@pytest.mark.usefixtures("_patient")
@pytest.mark.parametrize(("bootstraps", "peers"), [(1, 4), (2, 3), (2, 10)])
async def test_every_ordered_pair(
    overlay: "Overlay",
    open_backend: OpenBackend,
    ways: set[str],
    free_port: Callable[[], int],
    bootstraps: int,
    peers: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(conformance, "QUIET_S", 0.05)  # of up to 90 inboxes
    async with bootstrap_nodes(overlay, free_port, bootstraps):
        await conformance.check_every_pair(open_backend, peers=peers)
    assert ways == {"anchor"}


@pytest.mark.usefixtures("_refuse_streams")
async def test_every_ordered_pair_by_gossip_alone(
    overlay: "Overlay",
    open_apart: OpenBackend,
    ways: set[str],
    free_port: Callable[[], int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(conformance, "QUIET_S", 0.05)  # of 90 inboxes
    async with bootstrap_nodes(overlay, free_port, 3):
        await conformance.check_every_pair(open_apart, peers=10)
    assert ways == {"topic"}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_conforms(
    overlay: "Overlay",
    open_backend: OpenBackend,
    free_port: Callable[[], int],
    check: Callable[[OpenBackend], object],
) -> None:
    async with bootstrap_nodes(overlay, free_port, 1):
        await check(open_backend)


@pytest.mark.usefixtures("_refuse_streams")
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_conforms_by_gossip_alone(
    overlay: "Overlay",
    open_apart: OpenBackend,
    ways: set[str],
    free_port: Callable[[], int],
    check: Callable[[OpenBackend], object],
) -> None:
    async with bootstrap_nodes(overlay, free_port, 2):
        await check(open_apart)
    assert ways <= {"topic"}
