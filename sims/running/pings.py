"""The workload of a run: every ordered pair of machines pings through its tunnel, all the time."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Protocol

from sims.model.world import PING_MARKER

FIRST_PING_EVERY_S: Final = 0.25
"""How often a pair pings that never got an answer; as long as it is young."""
AGAIN_PING_EVERY_S: Final = 1.0
"""How often a pair pings that lost its last ping."""
SLOWER_AFTER_S: Final = 10.0
"""Without an answer for so long, a pair pings less and less often."""
SLOWER: Final = 1.5
FULL_SIZE_EVERY: Final = 5
"""Each such ping of a pair is as large as the tunnel lets it be, and so are those after it until
one is answered: lines that let small packets pass and no others would show in no ping else."""
WAITING_MAX: Final = 64
"""Pings of a pair whose answers are still counted; older ones are lost."""


@dataclass(slots=True)
class PairPings:
    """One ordered pair. last_reply_at_s, first_reply_at_s: on the clock of the run."""

    source: str
    destination: str
    sent: int = 0
    received: int = 0
    first_reply_at_s: float | None = None
    last_reply_at_s: float | None = None
    unanswered_since_s: float | None = None
    is_last_full_size: bool = False
    wait_s: float = FIRST_PING_EVERY_S
    waiting: deque[bytes] = field(default_factory=lambda: deque(maxlen=WAITING_MAX))

    @property
    def is_full_size_due(self) -> bool:
        if self.first_reply_at_s is None:
            return False
        is_lost = self.is_last_full_size and self.unanswered_since_s is not None
        return is_lost or self.sent % FULL_SIZE_EVERY == FULL_SIZE_EVERY - 1


class PingClock(Protocol):
    """Seconds, and what is done after some of them."""

    @property
    def now_s(self) -> float: ...

    def call_later(self, wait_s: float, callback: Callable[[], object]) -> object: ...


class Pinger(Protocol):
    """A machine that sends echo requests into its tunnel."""

    @property
    def is_running(self) -> bool: ...

    def ping(self, destination: str, payload: bytes, *, is_full_size: bool = False) -> bool:
        """False where no daemon is awake."""
        ...


class Pings:
    """Sends them and counts what comes back.

    addresses: inside of the tunnel, by machine. every_s: how often a connected pair pings.
    tell: the source, destination and number of each ping that is sent.
    """

    def __init__(
        self,
        clock: PingClock,
        machines: Mapping[str, Pinger],
        addresses: Mapping[str, str],
        pairs: Sequence[tuple[str, str]],
        every_s: float,
        tell: Callable[[str, str, int], None],
    ) -> None:
        self.pairs = {pair: PairPings(*pair) for pair in pairs}
        self._clock = clock
        self._machines = machines
        self._addresses = addresses
        self._names = {address: name for name, address in addresses.items()}
        self._every_s = every_s
        self._tell = tell
        self._connected = 0

    def start(self) -> None:
        """Pairs take turns, so that not all of them ping in the same instant."""
        for number, pings in enumerate(self.pairs.values()):
            share = number / len(self.pairs)
            self._clock.call_later(share * FIRST_PING_EVERY_S, partial(self._ping, pings))

    @property
    def connected(self) -> int:
        """How many pairs got an answer at some time."""
        return self._connected

    def replied(self, machine: str, source: str, payload: bytes) -> tuple[str, str, int] | None:
        """An echo reply came out of the tunnel of ``machine``.

        Give source, destination and number of its ping, once.
        """
        payload = payload.rstrip()
        pings = self.pairs.get((machine, self._names.get(source, "")))
        if pings is None or payload not in pings.waiting:
            return None
        pings.waiting.remove(payload)
        pings.received += 1
        pings.unanswered_since_s = None
        pings.last_reply_at_s = self._clock.now_s
        if pings.first_reply_at_s is None:
            pings.first_reply_at_s = self._clock.now_s
            self._connected += 1
        return pings.source, pings.destination, int(payload.rpartition(b"#")[2])

    def _ping(self, pings: PairPings) -> None:
        payload = PING_MARKER + f"{pings.source}>{pings.destination}#{pings.sent}".encode()
        is_full_size = pings.is_full_size_due
        if self._machines[pings.destination].is_running and self._machines[pings.source].ping(
            self._addresses[pings.destination], payload, is_full_size=is_full_size
        ):
            pings.is_last_full_size = is_full_size
            self._tell(pings.source, pings.destination, pings.sent)
            pings.sent += 1
            pings.waiting.append(payload)
            if pings.unanswered_since_s is None:
                pings.unanswered_since_s = self._clock.now_s
        self._clock.call_later(self._wait_s(pings), partial(self._ping, pings))

    def _wait_s(self, pings: PairPings) -> float:
        now_s = self._clock.now_s
        if pings.unanswered_since_s in (None, now_s) and pings.first_reply_at_s is not None:
            return self._every_s
        if pings.first_reply_at_s is not None:
            return min(AGAIN_PING_EVERY_S, self._every_s)
        since_s = now_s if pings.unanswered_since_s is None else pings.unanswered_since_s
        if now_s - since_s > SLOWER_AFTER_S:
            pings.wait_s = min(pings.wait_s * SLOWER, max(self._every_s, FIRST_PING_EVERY_S))
        return pings.wait_s
