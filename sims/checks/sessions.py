"""A session is made anew for a reason, and a replayed envelope is none."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sims.checks.check import Check
from sims.checks.findings import Findings, pair_name
from sims.checks.names import Names
from sims.checks.quiet import Quiet
from sims.checks.snapshot import PeerView, Snapshot
from sims.model.faults import Crash, Fault, ReplayEnvelopes, Stop
from sims.model.world import World
from wice.events import Event, PeerTransitioned
from wice.peer.states import Stimulus

SESSIONS_SPARE: Final = 1
"""Beyond those that have a reason, at the start and at each restart of the peer: both sides may
begin anew at once."""


@dataclass(slots=True)
class _Relation:
    """What one daemon said of its sessions with a peer. earlier: of all its lives before. lives:
    how many of them were looked at, this one too.
    """

    started_at_s: float = 0.0
    sessions: int = 0
    earlier: int = 0
    lives: int = 1


class Sessions(Check):
    """Begun: one at the start, one for each path lost on either side, one for each of the peer's
    restarts.

    Where a bootstrap node replays envelopes, a daemon that was started again remembers no old
    sessions, and each may cost one new one on both sides (docs/reference/signaling.md).
    """

    name = "sessions"

    def __init__(self, world: World, quiet: Quiet, findings: Findings) -> None:
        super().__init__(world, quiet, findings)
        self._names = Names(world)
        self._relations: dict[tuple[str, str], _Relation] = {}
        self._paths_lost: dict[tuple[str, str], int] = {}

    def on_event(self, machine: str, event: Event) -> None:
        if isinstance(event, PeerTransitioned) and event.cause == str(Stimulus.PATH_LOST):
            pair = (machine, self._names.of(event.peer))
            self._paths_lost[pair] = self._paths_lost.get(pair, 0) + 1

    def look(self, snapshot: Snapshot) -> None:
        now_s = self.world.now_s
        for view in snapshot.peers():
            started_at_s = now_s - snapshot.statuses[view.machine]["uptime_s"]
            self._note(view, started_at_s)
        for view in snapshot.peers():
            self.looked()
            sessions_max, reasons = self._due(view.machine, view.peer)
            sessions = self._relations[view.machine, view.peer].sessions
            if sessions > sessions_max:
                self.violation(
                    pair_name(view.machine, view.peer),
                    f"began {sessions} sessions; {reasons} are reason for {sessions_max} at most",
                )

    def _note(self, view: PeerView, started_at_s: float) -> None:
        relation = self._relations.setdefault((view.machine, view.peer), _Relation(started_at_s))
        if started_at_s - relation.started_at_s > 0.5:
            relation.earlier += relation.sessions
            relation.started_at_s = started_at_s
            relation.lives += 1
        relation.sessions = view.status["signaling"]["sessions"]

    def _due(self, machine: str, peer: str) -> tuple[int, str]:
        lost = self._paths_lost.get((machine, peer), 0) + self._paths_lost.get((peer, machine), 0)
        now_s = self.world.now_s
        begun = [fault for fault in self.world.faults if fault.at_s <= now_s]
        restarts = _ends_of(peer, begun)
        replayed = 0
        if any(isinstance(fault, ReplayEnvelopes) for fault in begun):
            replayed = self._forgotten(machine, peer, begun) + self._forgotten(peer, machine, begun)
        reasons = f"{lost} paths lost, {restarts} restarts of the peer, {replayed} old sessions"
        spare = SESSIONS_SPARE * (1 + restarts)
        return 1 + lost + restarts + replayed + spare, reasons

    def _forgotten(self, machine: str, peer: str, begun: Sequence[Fault]) -> int:
        """Sessions of a machine's lives before; one for each life that was over before a look."""
        relation = self._relations.get((machine, peer), _Relation(lives=0))
        is_running = self.world.running_since_s(machine) is not None
        unseen = _ends_of(machine, begun) + is_running - relation.lives
        return relation.earlier + max(unseen, 0)


def _ends_of(machine: str, begun: Sequence[Fault]) -> int:
    """How often its daemon was ended."""
    return sum(isinstance(fault, Crash | Stop) and fault.target == machine for fault in begun)
