"""Who should reach whom, and by when."""

import math
from typing import Final

from sims.checks.check import Check
from sims.checks.findings import Findings, pair_name
from sims.checks.names import Names
from sims.checks.quiet import Quiet, chain_of
from sims.checks.replies import Replies
from sims.checks.snapshot import Snapshot
from sims.model.link import LinkModel
from sims.model.world import World
from sims.oracle import DIRECT, RELAYED
from wice.events import Event, PeerTransitioned
from wice.peer.states import Stimulus

FRESH_SILENT_MAX_S: Final = 20.0
"""How long pings through a tunnel may stay unanswered that was connected when all was quiet, or
that answered since."""

OLD_SILENT_MAX_S: Final = 60.0
"""The same where a disturbance may have killed the path before: consent takes 30 s to expire, and
what WireGuard heard last puts that off by 15 s."""

RELAYED_MAX_S: Final = 60.0
"""How long who can be direct may stay relayed: pairs that failed are tried again every 30 s, and
one such round may meet a mapping of the last."""

PING_AGAIN_S: Final = 1.0
"""A ping that was lost is followed by the next within so long."""

LOST_BY_CHANCE: Final = 1e-8
"""Rarer runs of lost pings are no chance."""

BURSTS: Final = 3.0
"""Losses in runs make longer runs of lost pings than losses one by one."""


class AllPairs(Check):
    """``expect.all_pairs_connected_by_s``."""

    name = "all-pairs-connected"

    def __init__(self, world: World, quiet: Quiet, findings: Findings, replies: Replies) -> None:
        super().__init__(world, quiet, findings)
        self._replies = replies
        self._is_judged = False

    def look(self, _: Snapshot) -> None:
        self._judge()

    def finish(self) -> None:
        """A run may end at the very time."""
        self._judge()

    def is_due(self) -> bool:
        by_s = self.world.scenario.expect.all_pairs_connected_by_s
        return by_s is not None and by_s <= self.world.now_s

    def _judge(self) -> None:
        by_s = self.world.scenario.expect.all_pairs_connected_by_s
        if by_s is None or self._is_judged or self.world.now_s < by_s:
            return
        self._is_judged = True
        for pair in self.world.scenario.pairs:
            if not self.world.is_reachable(*pair):
                continue
            self.looked()
            first_at_s = self._replies.first_at_s.get(pair)
            if first_at_s is None or first_at_s > by_s:
                when = "never" if first_at_s is None else f"only after {first_at_s:.3f} s"
                self.violation(
                    pair_name(*pair),
                    f"a ping was answered {when}; expected by {by_s:g} s, and they can reach each "
                    "other",
                )


class Healed(Check):
    """So long after the last fault, all are connected who can be, and ping."""

    name = "healed"

    def __init__(self, world: World, quiet: Quiet, findings: Findings, replies: Replies) -> None:
        super().__init__(world, quiet, findings)
        self._replies = replies
        self._healed_at_s = quiet.healed_at_s()
        self._is_judged = False
        self._last = Snapshot({})

    def look(self, snapshot: Snapshot) -> None:
        self._last = snapshot
        by_s = self.quiet.healed_by_s()
        if self._is_judged or self.world.now_s < by_s:
            return
        self._is_judged = True
        views = snapshot.by_pair()
        for pair in self.world.scenario.pairs:
            if not self._is_expected(pair):
                continue
            self.looked()
            view = views.get(pair)
            replied_at_s = self._replies.last_at_s.get(pair, -math.inf)
            if view is not None and view.is_connected and replied_at_s >= self._healed_at_s:
                continue
            state = "no status" if view is None else view.status["state"]
            reason = f" ({view.status['reason']})" if view and view.status["reason"] else ""
            when = f"at {replied_at_s:.1f} s" if math.isfinite(replied_at_s) else "never"
            self.violation(
                pair_name(*pair),
                f"is {state}{reason} and had its last answer {when}; the last fault was over at "
                f"{self._healed_at_s:.1f} s, and by {by_s:.1f} s they should be connected and "
                "ping: they can reach each other",
            )

    def finish(self) -> None:
        """A run may end at the very time."""
        self.look(self._last)

    def _is_expected(self, pair: tuple[str, str]) -> bool:
        since_s = [self.world.running_since_s(machine) for machine in pair]
        is_there = all(since is not None and since <= self._healed_at_s + 1.0 for since in since_s)
        return is_there and self.world.is_reachable(*pair) and not self.quiet.is_cut_for_good(*pair)


class Tunnels(Check):
    """In a quiet network, a peer that both daemons call connected answers pings."""

    name = "tunnels"

    def __init__(self, world: World, quiet: Quiet, findings: Findings, replies: Replies) -> None:
        super().__init__(world, quiet, findings)
        self._replies = replies
        self._names = Names(world)
        self._connected_since_s: dict[tuple[str, str], float] = {}
        self._selected_at_s: dict[tuple[str, str], float] = {}
        self._loss: dict[tuple[str, str], float] = {}

    def on_event(self, machine: str, event: Event) -> None:
        if isinstance(event, PeerTransitioned) and event.cause == str(Stimulus.PATH_SELECTED):
            pair = (machine, self._names.of(event.peer))
            self._selected_at_s[pair] = self.world.now_s

    def look(self, snapshot: Snapshot) -> None:
        now_s = self.world.now_s
        views = snapshot.by_pair()
        for pair, view in views.items():
            theirs = views.get((view.peer, view.machine))
            is_connected = view.is_connected and theirs is not None and theirs.is_connected
            has_relay = not self.world.can_be_direct(*pair) or any(
                each is not None and each.is_relayed for each in (view, theirs)
            )
            quiet_since_s = self.quiet.paths_since_s(*pair, has_relay=has_relay)
            if not is_connected or quiet_since_s is None:
                self._connected_since_s.pop(pair, None)
                continue
            self.looked()
            since_s = self._connected_since_s.setdefault(pair, now_s)
            self._judge(pair, since_s, quiet_since_s)

    def _judge(self, pair: tuple[str, str], since_s: float, quiet_since_s: float) -> None:
        now_s, (one, other) = self.world.now_s, pair
        replied_at_s = self._replies.last_at_s.get(pair, -math.inf)
        selected_at_s = [self._selected_at_s.get(each, -math.inf) for each in (pair, (other, one))]
        limits = [(since_s, OLD_SILENT_MAX_S)]
        if min(selected_at_s) > quiet_since_s:
            # Both sides chose when nothing was wrong: this path has no excuse.
            limits.append((max(since_s, *selected_at_s), FRESH_SILENT_MAX_S))
        if replied_at_s > quiet_since_s:
            limits.append((since_s, FRESH_SILENT_MAX_S))
        by_chance_s = self._by_chance_s(pair)
        for begun_s, silent_max_s in limits:
            silent_s = now_s - max(begun_s, replied_at_s)
            if silent_s > silent_max_s + by_chance_s:
                self.violation(
                    pair_name(one, other),
                    f"both daemons say connected and no fault touches them, but no ping was "
                    f"answered for {silent_s:.0f} s; paths were selected at "
                    f"{selected_at_s[0]:.1f} s here and {selected_at_s[1]:.1f} s there; at most "
                    f"{silent_max_s + by_chance_s:.0f} s of silence are to be expected",
                )
                return

    def _by_chance_s(self, pair: tuple[str, str]) -> float:
        """How much longer silence may last because of pings that lines lose."""
        if pair not in self._loss:
            self._loss[pair] = 1 - math.prod(1 - self._line_loss(machine) for machine in pair)
        loss = self._loss[pair]
        lost_pings = math.log(LOST_BY_CHANCE) / math.log(loss) if loss > 0 else 0.0
        ping_every_s = self.world.scenario.ping_every_s
        return ping_every_s + lost_pings * min(PING_AGAIN_S, ping_every_s)

    def _line_loss(self, machine: str) -> float:
        """The share of round trips that the lines of a machine lose."""
        sites = {site.name: site for site in self.world.scenario.sites}
        chain = chain_of(self.world.scenario, self.world.site_of(machine))
        kept = math.prod(
            1 - loss_of(direction)
            for name in chain
            for direction in (sites[name].line.up, sites[name].line.down)
        )
        return min(1 - kept, 0.9)


class ByNeed(Check):
    """In a quiet network, only what cannot be direct stays relayed."""

    name = "relayed-by-need"

    def look(self, snapshot: Snapshot) -> None:
        for view in snapshot.peers():
            pair = (view.machine, view.peer)
            if view.status["path"] is None or not self.world.can_be_direct(*pair):
                continue
            # For a direct path both have to hear where the other is now.
            since_s = (self.quiet.paths_since_s(*pair), self.quiet.signaling_since_s(*pair))
            quiet_s = min(
                -math.inf if since is None else self.world.now_s - since for since in since_s
            )
            if quiet_s <= RELAYED_MAX_S:
                continue
            self.looked()
            if view.is_relayed:
                self.violation(
                    pair_name(*pair),
                    f"is still relayed after {quiet_s:.0f} s in a quiet network; they can be "
                    f"direct, and should be after {RELAYED_MAX_S:g} s",
                )

    def is_due(self) -> bool:
        """Pairs are judged where they are healed for as long again."""
        return False


class ExpectedPaths(Check):
    """``expect.direct`` and ``expect.relayed``: so at the end, on both sides."""

    name = "expected-paths"

    def __init__(self, world: World, quiet: Quiet, findings: Findings) -> None:
        super().__init__(world, quiet, findings)
        self._last = Snapshot({})

    def is_due(self) -> bool:
        expect = self.world.scenario.expect
        return bool(expect.direct or expect.relayed)

    def look(self, snapshot: Snapshot) -> None:
        self._last = snapshot

    def finish(self) -> None:
        expect, views = self.world.scenario.expect, self._last.by_pair()
        for path, pairs in ((DIRECT, expect.direct), (RELAYED, expect.relayed)):
            for one, other in pairs:
                for pair in ((one, other), (other, one)):
                    view = views.get(pair)
                    if view is None:
                        self.violation(pair_name(*pair), f"no daemon says that it is {path}")
                        continue
                    self.looked()
                    seen = view.status["path"]
                    if seen != path:
                        why = f" ({view.status['reason']})" if view.status["reason"] else ""
                        self.violation(
                            pair_name(*pair),
                            f"is {seen or 'without a path'}{why} at the end; the scenario "
                            f"expects that it is {path}",
                        )


class Unreachable(Check):
    """``expect.unreachable``: who may get no path, gets none."""

    name = "unreachable"

    def is_due(self) -> bool:
        return bool(self.world.scenario.expect.unreachable)

    def look(self, snapshot: Snapshot) -> None:
        views = snapshot.by_pair()
        for one, other in self.world.scenario.expect.unreachable:
            for pair in ((one, other), (other, one)):
                view = views.get(pair)
                if view is None:
                    continue
                self.looked()
                if view.status["path"] is not None:
                    self.violation(
                        pair_name(*pair),
                        f"has a {view.status['path']} path to {view.status['selected']}; the "
                        "scenario expects that there can be none",
                    )


def loss_of(direction: LinkModel | None) -> float:
    """The share of packets that one direction of a line loses in the long run."""
    if direction is None:
        return 0.0
    loss = 1 - (1 - direction.loss) * (1 - direction.corrupt)
    burst = direction.burst_loss
    if burst is not None:
        bad = burst.enters / (burst.enters + burst.leaves)
        in_bursts = bad * burst.loss_bad + (1 - bad) * burst.loss_good
        loss = 1 - (1 - loss) * (1 - min(BURSTS * in_bursts, 0.9))
    return loss
