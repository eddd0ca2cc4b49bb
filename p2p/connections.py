"""Keeps an ordinary node connected to a handful of public nodes, and says when it is."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from random import Random

import trio

from p2p.host import Host
from p2p.section import NodeAddress, TcpAddress
from p2p.signal import Signal
from p2p.streams import StreamClosedError
from wice.errors import RemoteProtocolError, SignalingUnavailableError
from wice.events import EventSink, OverlayJoined, OverlayLost, OverlayUnreachable

KEPT_MAX = 6
"""Public nodes that one node stays connected to."""
BACKOFF_MIN_S = 0.5
BACKOFF_MAX_S = 15.0
"""Waits between dials to a node that does not answer, doubling, up to a half more at random."""
STABLE_AFTER_S = 30.0
"""A connection that lasted this long starts the backoff anew."""


@dataclass(slots=True)
class _Candidate:
    peer_id: str
    addresses: tuple[TcpAddress, ...]
    not_before: float = 0.0
    backoff_s: float = BACKOFF_MIN_S
    is_taken: bool = False
    last_error: str = ""
    is_told: bool = False


class Connections:
    """Dials the configured nodes all at once, and each again for as long as it runs.

    ``changed`` tells when ``connected`` does. With more nodes than ``KEPT_MAX``, those that do
    not answer are exchanged for others.
    """

    def __init__(
        self,
        host: Host,
        nodes: Sequence[NodeAddress],
        events: EventSink,
        random: Random,
        use: Callable[[str], Awaitable[None]],
    ) -> None:
        """use: run for as long as a connection stands; raises StreamClosedError or
        RemoteProtocolError, or returns, when the connection is of no more use.
        """
        self.changed = Signal()
        self._hurry = Signal()
        self._host = host
        self._events = events
        self._random = random
        self._use = use
        self._connected: dict[str, None] = {}
        addresses: dict[str, list[TcpAddress]] = {}
        for node in nodes:
            if node.peer_id != host.peer_id:
                addresses.setdefault(node.peer_id, []).append(node.address)
        self._candidates = [
            _Candidate(peer_id, tuple(known)) for peer_id, known in addresses.items()
        ]
        random.shuffle(self._candidates)

    @property
    def connected(self) -> tuple[str, ...]:
        return tuple(self._connected)

    def is_kept(self, peer_id: str) -> bool:
        """Whether the connection to ``peer_id`` is kept up, or being dialled, here."""
        return any(
            candidate.peer_id == peer_id and candidate.is_taken for candidate in self._candidates
        )

    def last_errors(self) -> dict[str, str]:
        """Why the nodes that are not connected are not."""
        return {
            candidate.peer_id: candidate.last_error
            for candidate in self._candidates
            if candidate.last_error and candidate.peer_id not in self._connected
        }

    def hurry(self) -> None:
        """Dial again now: the network has changed."""
        for candidate in self._candidates:
            candidate.not_before = 0.0
            candidate.backoff_s = BACKOFF_MIN_S
        self._hurry.notify()

    async def wait_connected(self) -> None:
        while not self._connected:
            await self.changed.wait_beyond(self.changed.count)

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(min(KEPT_MAX, len(self._candidates))):
                nursery.start_soon(self._keep_one)

    async def _keep_one(self) -> None:
        while True:
            free = (candidate for candidate in self._candidates if not candidate.is_taken)
            candidate = min(free, key=lambda candidate: candidate.not_before)
            candidate.is_taken = True
            try:
                with trio.move_on_at(candidate.not_before):
                    await self._hurry.wait_beyond(self._hurry.count)
                await self._keep(candidate)
            finally:
                candidate.is_taken = False

    async def _keep(self, candidate: _Candidate) -> None:
        try:
            await self._host.connect(candidate.peer_id, candidate.addresses)
        except SignalingUnavailableError as error:
            candidate.last_error = str(error)
            if not candidate.is_told:
                candidate.is_told = True
                self._events.emit(
                    OverlayUnreachable(peer_id=candidate.peer_id, reason=candidate.last_error)
                )
            self._back_off(candidate)
            return
        candidate.is_told = False
        since = trio.current_time()
        self._set_connected(candidate.peer_id)
        try:
            await self._use(candidate.peer_id)
        except (StreamClosedError, RemoteProtocolError) as error:
            candidate.last_error = str(error)
        self._set_disconnected(candidate.peer_id)
        if trio.current_time() - since > STABLE_AFTER_S:
            candidate.backoff_s = BACKOFF_MIN_S
        # A connection of no use may still look alive to the library.
        await self._host.disconnect(candidate.peer_id)
        self._back_off(candidate)

    def _back_off(self, candidate: _Candidate) -> None:
        wait_s = candidate.backoff_s * (1 + self._random.random() / 2)
        candidate.not_before = trio.current_time() + wait_s
        candidate.backoff_s = min(candidate.backoff_s * 2, BACKOFF_MAX_S)

    def _set_connected(self, peer_id: str) -> None:
        if not self._connected:
            self._events.emit(OverlayJoined(peer_id=peer_id))
        self._connected[peer_id] = None
        self.changed.notify()

    def _set_disconnected(self, peer_id: str) -> None:
        del self._connected[peer_id]
        self.changed.notify()
        if not self._connected:
            self._events.emit(OverlayLost())
