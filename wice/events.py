"""The one event stream: the log, the status, the metrics and the trace are views of it."""

from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import trio

from wice.keys import PublicKey

SUBSCRIBER_QUEUE_MAX = 1_024
"""Events that wait for one slow subscriber; older ones are dropped and counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened at ``at_s``, on trio's monotonic clock."""

    at_s: float = field(default_factory=trio.current_time)

    def as_json(self) -> dict[str, Any]:
        """Plain values for a JSON line; keys as base64."""
        fields = {
            name: str(value) if isinstance(value, PublicKey) else value
            for name, value in asdict(self).items()
        }
        return {"event": type(self).__name__, **fields}


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlayJoined(Event):
    """The first usable connection to a bootstrap node or anchor stands."""

    peer_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlayLost(Event):
    """No connection to any node of the overlay is left; dialling goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlayUnreachable(Event):
    """A node of the configuration does not answer, the first time since it last did."""

    peer_id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PresencePublished(Event):
    """``replicas`` nodes hold our presence record of ``epoch``."""

    epoch: int
    replicas: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerFound(Event):
    """The overlay knows where to reach ``peer``: its presence record was found and verified."""

    peer: PublicKey


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvelopeDelivered(Event):
    """``way`` (``stream``, ``anchor``, ``topic``) acknowledged an envelope to ``peer``."""

    peer: PublicKey
    way: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerTransitioned(Event):
    """The peer machine of ``peer`` on ``interface`` went from ``old`` to ``new``."""

    interface: str
    peer: PublicKey
    old: str
    new: str
    cause: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped(Event):
    """Bytes from the network were refused. ``room`` is who refused, ``reason`` has no secrets."""

    room: str
    reason: str


class EventSink(Protocol):
    """Where rooms put what happens in them."""

    def emit(self, event: Event) -> None: ...


class EventStream:
    """Fans events out to subscribers without ever waiting for one.

    counts, first_at_s: by the event's class name, how many came and when the first did.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.first_at_s: dict[str, float] = {}
        self._subscribers: list[_Subscriber] = []

    def emit(self, event: Event) -> None:
        name = type(event).__name__
        if isinstance(event, Dropped):
            name = f"{name}.{event.room}"
        self.counts[name] += 1
        self.first_at_s.setdefault(name, event.at_s)
        for subscriber in self._subscribers:
            subscriber.put(event)

    @contextmanager
    def subscribe(self) -> Iterator[AsyncIterator[Event]]:
        """Every event from now on; a subscriber that falls behind loses the oldest ones."""
        subscriber = _Subscriber(self.counts)
        self._subscribers.append(subscriber)
        try:
            yield subscriber
        finally:
            self._subscribers.remove(subscriber)


class _Subscriber:
    def __init__(self, counts: Counter[str]) -> None:
        self._counts = counts
        self._waiting: deque[Event] = deque()
        self._arrived = trio.Event()

    def put(self, event: Event) -> None:
        if len(self._waiting) >= SUBSCRIBER_QUEUE_MAX:
            self._waiting.popleft()
            self._counts["events_lost"] += 1
        self._waiting.append(event)
        self._arrived.set()

    def __aiter__(self) -> "_Subscriber":
        return self

    async def __anext__(self) -> Event:
        while not self._waiting:
            self._arrived = trio.Event()
            await self._arrived.wait()
        return self._waiting.popleft()
