"""Peers go from state to state as the table of the product says, and none skips any."""

from typing import Final

from sims.checks.check import Check
from sims.checks.findings import Findings, pair_name
from sims.checks.names import Names
from sims.checks.quiet import Quiet
from sims.model.world import World
from wice.events import Event, PeerTransitioned
from wice.peer.states import TRANSITIONS, State

_LEGAL: Final = {(str(old), str(why)): str(new) for (old, why), new in TRANSITIONS.items()}


class Transitions(Check):
    """Each change is in ``TRANSITIONS``, and starts where the one before ended."""

    name = "transitions"

    def __init__(self, world: World, quiet: Quiet, findings: Findings) -> None:
        super().__init__(world, quiet, findings)
        self._names = Names(world)
        self._states: dict[tuple[str, str], str] = {}

    def on_event(self, machine: str, event: Event) -> None:
        if not isinstance(event, PeerTransitioned):
            return
        self.looked()
        peer = self._names.of(event.peer)
        legal = _LEGAL.get((event.old, event.cause))
        if event.new != legal:
            self.violation(
                pair_name(machine, peer),
                f"went from {event.old} to {event.new} because of {event.cause!r}; the table of "
                f"states says {legal or 'nothing'} for that",
            )
        before = self._states.get((machine, peer), str(State.SEEKING))
        # A daemon that was started again knows nobody.
        if event.old not in (before, str(State.SEEKING)):
            self.violation(
                pair_name(machine, peer),
                f"left {event.old} for {event.new}, but what it entered last was {before}",
            )
        self._states[machine, peer] = event.new
