"""Daemons come to an understanding by signaling, and are then silent."""

import math
from dataclasses import dataclass
from typing import Final

from sims.checks.check import Check
from sims.checks.findings import Findings, pair_name
from sims.checks.names import Names
from sims.checks.quiet import Quiet
from sims.checks.snapshot import PeerView, Snapshot
from sims.model.world import World
from wice.events import EnvelopeDelivered, Event
from wice.signaling.session import SessionTiming

REPETITION_SPACING_S: Final = (
    2 * SessionTiming().news.interval_s + SessionTiming().answers.interval_s
)
"""Between two messages that count as repetitions: an answer had time to be made and to come."""

REPETITIONS_MAX: Final = 3
"""Deliveries in a row without an understanding. One that is answered suffices."""

ANSWERED_WITHIN_S: Final = 5.0
"""How long the answer to the last of them may be on its way."""

SETTLES_WITHIN_S: Final = 60.0
"""How long two may lack an understanding without saying a word, in a quiet network. What went
unanswered for long is repeated as rarely: twice the longest disturbance comes on top."""

SETTLES_AGAIN_WITHIN_S: Final = 30.0
"""The same for those who had one since the network is quiet: six repetitions fit in."""

WORDS_MAX: Final = 4
"""Messages between two looks that are more than a word: news takes some, there and back."""

TALKING_LOOKS_MAX: Final = 3
"""Looks in a row at which those who understand each other were still talking."""


@dataclass(slots=True)
class _Talk:
    """Of one daemon to another, since ``since_s``; None where nothing can be expected of it.

    has_settled: since something could be expected.
    """

    since_s: float | None = None
    is_settled: bool = False
    has_settled: bool = False
    repetitions: int = 0
    last_repetition_s: float = 0.0
    deliveries: int = 0
    talking_looks: int = 0

    def begin(self, now_s: float, *, is_settled: bool) -> None:
        self.since_s, self.is_settled = now_s, is_settled
        self.has_settled = self.has_settled or is_settled
        self.repetitions = self.deliveries = self.talking_looks = 0


class Acknowledgements(Check):
    """Once both are in the overlay and nothing disturbs them, sessions settle (DESIGN D9)."""

    name = "acknowledgements"

    def __init__(self, world: World, quiet: Quiet, findings: Findings) -> None:
        super().__init__(world, quiet, findings)
        self._names = Names(world)
        self._talks: dict[tuple[str, str], _Talk] = {}

    def is_due(self) -> bool:
        return any(
            math.isfinite(self.quiet.longest_signaling_s(*pair))
            for pair in self.quiet.healed_pairs()
        )

    def on_event(self, machine: str, event: Event) -> None:
        if not isinstance(event, EnvelopeDelivered):
            return
        talk = self._talks.get((machine, self._names.of(event.peer)))
        if talk is None or talk.since_s is None:
            return
        now_s = self.world.now_s
        talk.deliveries += 1
        is_apart = now_s - max(talk.last_repetition_s, talk.since_s) >= REPETITION_SPACING_S
        # Those after them do not put off when the answer is due.
        if is_apart and talk.repetitions < REPETITIONS_MAX:
            talk.repetitions += 1
            talk.last_repetition_s = now_s

    def look(self, snapshot: Snapshot) -> None:
        views = snapshot.by_pair()
        for pair, view in views.items():
            talk = self._talks.setdefault(pair, _Talk())
            theirs = views.get((view.peer, view.machine))
            can_talk = (
                theirs is not None
                and self.quiet.signaling_since_s(*pair) is not None
                and snapshot.has_overlay(view.machine)
                and snapshot.has_overlay(view.peer)
            )
            if not can_talk or theirs is None:
                talk.since_s, talk.has_settled = None, False
                continue
            self.looked()
            is_settled = view.is_settled and theirs.is_settled
            if talk.since_s is None or talk.is_settled != is_settled:
                talk.begin(self.world.now_s, is_settled=is_settled)
            elif is_settled:
                self._judge_settled(pair, talk)
            else:
                self._judge_unsettled(pair, view, talk)

    def _judge_settled(self, pair: tuple[str, str], talk: _Talk) -> None:
        talk.talking_looks = talk.talking_looks + 1 if talk.deliveries > WORDS_MAX else 0
        if talk.talking_looks >= TALKING_LOOKS_MAX:
            self.violation(
                pair_name(*pair),
                f"{talk.deliveries} messages were delivered since the last look, and as many "
                f"before it, though both sides are settled; the settled are silent",
            )
        talk.deliveries = 0

    def _judge_unsettled(self, pair: tuple[str, str], view: PeerView, talk: _Talk) -> None:
        assert talk.since_s is not None
        now_s = self.world.now_s
        lasted_s = now_s - talk.since_s
        who = "this side" if not view.is_settled else "the other side"
        is_answer_due = now_s - talk.last_repetition_s >= ANSWERED_WITHIN_S
        if talk.repetitions >= REPETITIONS_MAX and is_answer_due:
            self.violation(
                pair_name(*pair),
                f"{talk.repetitions} repetitions were delivered in {lasted_s:.0f} s, and still "
                f"{who} lacks an acknowledgement; one should do",
            )
            talk.begin(now_s, is_settled=False)
        elif lasted_s > self._settles_within_s(pair, talk):
            self.violation(
                pair_name(*pair),
                f"{who} lacks an acknowledgement for {lasted_s:.0f} s in a quiet network, and "
                f"{talk.repetitions} repetitions were delivered; they should have settled",
            )
            talk.begin(now_s, is_settled=False)

    def _settles_within_s(self, pair: tuple[str, str], talk: _Talk) -> float:
        if talk.has_settled:
            return SETTLES_AGAIN_WITHIN_S
        return SETTLES_WITHIN_S + 2 * self.quiet.longest_signaling_s(*pair)
