"""Keeps, during a run, what its report tells of paths: within bounds, however long the run is."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from sims.model.faults import Crash, Fault, Stop
from sims.model.scenario import Scenario
from sims.model.story import Explanation, PairStory, PathChange, RunStory, Silence
from sims.oracle import DIRECT, RELAYED
from sims.running.pauses import PAUSE_MIN_S, Pauses
from wice.events import Event, OverlayJoined, OverlayLost, PeerTransitioned
from wice.peer.states import State, Stimulus

PAIR_NOTES_MAX: Final = 64
"""Changes and silences that are kept of one pair; of more, the first."""

NOTES_MAX: Final = 60_000
"""And of all pairs together."""

MACHINE_LOSSES_MAX: Final = 64
"""Losses of the overlay that are kept of one machine."""

EXPLANATIONS_MAX: Final = 2_000
"""Pairs whose daemon is asked why their path is not direct."""

WITHOUT_PATH: Final = frozenset({Stimulus.PATH_LOST, Stimulus.PEER_REMOVED})

Pair = tuple[str, str]


class StoryRecorder:
    """Told of a run of ``scenario`` as it goes on, in the order of time; ``begin`` comes first."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._faults: tuple[Fault, ...] = ()
        self._ends: dict[str, list[Fault]] = {}
        """Faults that end a machine's daemon."""
        self._names: dict[str, str] = {}
        self._relays: dict[str, str] = {}
        self._notes = 0
        self._pauses = Pauses()
        self._changes: dict[Pair, list[PathChange]] = {pair: [] for pair in scenario.pairs}
        self._silences: dict[Pair, list[Silence]] = {pair: [] for pair in scenario.pairs}
        self._left_out: dict[Pair, int] = {}
        self._overlay_losses: dict[str, list[Silence]] = {}
        self._explanations: dict[Pair, Explanation] = {}
        self._not_asked = 0

    def begin(
        self,
        faults: Sequence[Fault],
        names_of_keys: Mapping[str, str],
        relays: Mapping[str, str],
    ) -> None:
        """names_of_keys: machines by public key. relays: nodes that may relay, by address."""
        self._faults = tuple(faults)
        for fault in faults:
            if isinstance(fault, Crash | Stop):
                self._ends.setdefault(fault.target, []).append(fault)
        self._names = dict(names_of_keys)
        self._relays = dict(relays)

    # While it goes on

    def on_event(self, at_s: float, machine: str, event: Event) -> None:
        match event:
            case PeerTransitioned():
                self._on_transition(at_s, machine, event)
            case OverlayLost():
                losses = self._overlay_losses.setdefault(machine, [])
                if len(losses) < MACHINE_LOSSES_MAX:
                    losses.append(Silence(began_s=at_s, ended_s=None))
            case OverlayJoined():
                losses = self._overlay_losses.get(machine, [])
                if losses and losses[-1].ended_s is None:
                    losses[-1] = Silence(began_s=losses[-1].began_s, ended_s=at_s)

    def on_ping(self, at_s: float, source: str, destination: str) -> None:
        self._pauses.ping((source, destination), at_s)

    def on_pong(self, at_s: float, source: str, destination: str) -> None:
        pair = source, destination
        pong = self._pauses.pong(pair, at_s)
        if pong.ends_pause and self._has_room(pair):
            self._silences[pair].append(Silence(began_s=at_s - pong.waited_s, ended_s=at_s))

    def _on_transition(self, at_s: float, machine: str, event: PeerTransitioned) -> None:
        pair = machine, self._names.get(str(event.peer), "")
        if pair not in self._changes:
            return
        if event.cause == Stimulus.PATH_SELECTED:
            change = self._selected(at_s, event.detail)
        elif event.cause in WITHOUT_PATH or event.new == State.SEEKING:
            change = PathChange(at_s=at_s, path=None)
        else:
            return
        changes = self._changes[pair]
        if not self._goes_on(machine, changes, change) and self._has_room(pair):
            changes.append(change)

    def _goes_on(self, machine: str, changes: Sequence[PathChange], change: PathChange) -> bool:
        """Whether the last change says the same, and of the same life of the daemon."""
        if not changes or replace(changes[-1], at_s=change.at_s) != change:
            return False
        return not any(
            changes[-1].at_s < fault.at_s <= change.at_s for fault in self._ends.get(machine, ())
        )

    def _selected(self, at_s: float, detail: str) -> PathChange:
        """detail: as ``198.51.100.1:51820``, and `` through`` our relayed address, if any."""
        remote, _, base = detail.partition(" through ")
        ends = (_host(base), _host(remote))
        relay = next((self._relays[end] for end in ends if end in self._relays), "")
        path = RELAYED if base or relay else DIRECT
        return PathChange(at_s=at_s, path=path, towards=remote, relay=relay)

    def _has_room(self, pair: Pair) -> bool:
        kept = len(self._changes[pair]) + len(self._silences[pair])
        if kept >= PAIR_NOTES_MAX or self._notes >= NOTES_MAX:
            self._left_out[pair] = self._left_out.get(pair, 0) + 1
            return False
        self._notes += 1
        return True

    # At its end

    def to_explain(self, statuses: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
        """Whom each daemon should be asked about: peers without a direct path, by machine.

        statuses: the last of each daemon.
        """
        asked: dict[str, list[str]] = {}
        count = 0
        paths = {
            (machine, peer["name"]): peer["path"]
            for machine, status in statuses.items()
            for interface in status.get("interfaces", ())
            for peer in interface["peers"]
        }
        for source, destination in self._scenario.pairs:
            if paths.get((source, destination)) == DIRECT:
                continue
            if count >= EXPLANATIONS_MAX:
                self._not_asked += 1
                continue
            count += 1
            asked.setdefault(source, []).append(destination)
        return asked

    def explained(self, source: str, destination: str, answer: Mapping[str, Any]) -> None:
        """The daemon of ``source`` answered ``wice why``."""
        self._explanations[source, destination] = Explanation(
            finding=answer["finding"],
            sentence=answer["sentence"],
            hints=tuple(answer["hints"]),
        )

    def story(self, ended_at_s: float) -> RunStory:
        """All of it; the run ended at ``ended_at_s``."""
        return RunStory(
            scenario=self._scenario,
            faults=tuple(sorted(self._faults, key=lambda fault: fault.at_s)),
            pairs=tuple(self._pair_story(pair, ended_at_s) for pair in self._scenario.pairs),
            overlay_losses={
                machine.name: tuple(self._overlay_losses[machine.name])
                for machine in self._scenario.machines
                if machine.name in self._overlay_losses
            },
            not_asked=self._not_asked,
        )

    def _pair_story(self, pair: Pair, ended_at_s: float) -> PairStory:
        source, destination = pair
        silences = list(self._silences[pair])
        silent_since_s = self._pauses.silent_since_s(pair)
        if silent_since_s is not None and ended_at_s - silent_since_s >= PAUSE_MIN_S:
            silences.append(Silence(began_s=silent_since_s, ended_s=None))
        ends = [
            # A daemon that is gone says nothing of its paths.
            PathChange(at_s=fault.at_s, path=None)
            for fault in self._ends.get(source, ())
            if fault.at_s <= ended_at_s and self._changes[pair]
        ]
        changes = sorted([*self._changes[pair], *ends], key=lambda change: change.at_s)
        return PairStory(
            source=source,
            destination=destination,
            changes=tuple(changes),
            silences=tuple(silences),
            left_out=self._left_out.get(pair, 0),
            explanation=self._explanations.get(pair),
        )


def _host(text: str) -> str:
    """Of ``198.51.100.1:3478`` or ``[2001:db8::1]:3478``, and of either without a port."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") <= 1 else text
