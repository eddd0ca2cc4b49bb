"""How far each pair of homes has come, and when; seconds since the daemons were started."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from itertools import permutations
from typing import Any, Final, NamedTuple

import trio

from wice.peer.machine import NO_PATH_REASON


class Stage(StrEnum):
    """What a peer goes through, in order; the values are those of ``wice status``."""

    JOINED = "joined"
    FOUND = "found"
    DESCRIBED = "described"
    CHECKING = "checking"
    SELECTED = "selected"
    HANDSHAKE = "handshake"
    PING = "ping"


LABELS: Final = {
    Stage.JOINED: "overlay joined",
    Stage.FOUND: "peer found",
    Stage.DESCRIBED: "description exchanged",
    Stage.CHECKING: "checks",
    Stage.SELECTED: "path selected",
    Stage.HANDSHAKE: "WireGuard handshake",
    Stage.PING: "ping",
}
"""What a person reads."""

_REPORTED_BY_PEER: Final = (
    Stage.FOUND,
    Stage.DESCRIBED,
    Stage.CHECKING,
    Stage.SELECTED,
    Stage.HANDSHAKE,
)


class Pair(NamedTuple):
    """One direction: ``source`` pings ``destination``."""

    source: str
    destination: str

    def __str__(self) -> str:
        return f"{self.source} → {self.destination}"


class Progress:
    """The stages that each ordered pair has reached."""

    def __init__(
        self, names: Sequence[str], on_reached: Callable[[Pair, Stage, float], None]
    ) -> None:
        self.pairs = tuple(Pair(*names) for names in permutations(names, 2))
        self.reached: dict[Pair, dict[Stage, float]] = {pair: {} for pair in self.pairs}
        self.without_path: dict[Pair, str] = {}
        """Why a pair has no path; only for pairs that have none at the moment."""
        self._on_reached = on_reached
        self._changed = trio.Event()
        self._reached_events: defaultdict[tuple[Pair, Stage], trio.Event] = defaultdict(trio.Event)

    @property
    def connected(self) -> tuple[Pair, ...]:
        """Pairs that had a handshake and a first reply to a ping."""
        return tuple(pair for pair in self.pairs if self._is_connected(pair))

    def reach(self, pair: Pair, stage: Stage, at_s: float) -> None:
        """Note that ``pair`` came to ``stage``; only the first time counts."""
        if stage in self.reached[pair]:
            return
        self.reached[pair][stage] = round(at_s, 3)
        self._on_reached(pair, stage, at_s)
        self._reached_events[pair, stage].set()
        self._changed.set()

    def read_status(
        self, source: str, peers: Mapping[str, str], status: Mapping[str, Any], now_s: float
    ) -> None:
        """Take over what the daemon of ``source`` says at ``now_s``.

        peers: the names of its peers by public key.
        """
        started_s = now_s - status["uptime_s"]
        overlay = status["overlay"]
        if overlay.get("joined"):
            joined_s = overlay.get("joined_s")
            joined_at_s = now_s if joined_s is None else started_s + joined_s
            for pair in self.pairs:
                if pair.source == source:
                    self.reach(pair, Stage.JOINED, joined_at_s)
        for interface in status["interfaces"]:
            for peer in interface["peers"]:
                pair = Pair(source, peers[peer["public_key"]])
                self._note_reason(pair, peer["path"], peer["reason"])
                for stage in _REPORTED_BY_PEER:
                    reached_s = peer["stages"].get(stage)
                    if reached_s is not None:
                        self.reach(pair, stage, started_s + reached_s)

    async def wait_reached(self, pair: Pair, stage: Stage) -> None:
        """Wait until ``pair`` came to ``stage``."""
        await self._reached_events[pair, stage].wait()

    async def wait_settled(self) -> None:
        """Wait until every pair is connected, or both of its sides say that it has no path."""
        while not all(map(self._is_settled, self.pairs)):
            await self._changed.wait()
            self._changed = trio.Event()

    def _is_connected(self, pair: Pair) -> bool:
        return {Stage.HANDSHAKE, Stage.PING} <= self.reached[pair].keys()

    def _is_settled(self, pair: Pair) -> bool:
        reverse = Pair(pair.destination, pair.source)
        return self._is_connected(pair) or {pair, reverse} <= self.without_path.keys()

    def _note_reason(self, pair: Pair, path: str | None, reason: str) -> None:
        if path is None and reason.startswith(NO_PATH_REASON):
            self.without_path[pair] = reason
            self._changed.set()
        else:
            self.without_path.pop(pair, None)
