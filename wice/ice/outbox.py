"""What an agent has to send and to report, until its driver takes it."""

from collections import deque
from typing import Final

from wice.datagram import Path
from wice.ice.events import AgentEvent, Transmit

TRANSMITS_MAX: Final = 512
"""Datagrams waiting for ``poll_transmit``; who drains after each change never has so many."""

EVENTS_MAX: Final = 512
"""Events waiting for ``poll_event``."""


class Outbox:
    """Two bounded queues; the oldest give way."""

    def __init__(self) -> None:
        self._transmits: deque[Transmit] = deque(maxlen=TRANSMITS_MAX)
        self._events: deque[AgentEvent] = deque(maxlen=EVENTS_MAX)

    def send(self, data: bytes, path: Path) -> None:
        self._transmits.append(Transmit(data, path))

    def transmit(self, transmit: Transmit) -> None:
        self._transmits.append(transmit)

    def report(self, event: AgentEvent) -> None:
        self._events.append(event)

    def poll_transmit(self) -> Transmit | None:
        return self._transmits.popleft() if self._transmits else None

    def poll_event(self) -> AgentEvent | None:
        return self._events.popleft() if self._events else None
