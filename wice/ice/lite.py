"""The agent that sends no checks (RFC 8445 section 2.5): for a host that everybody can reach."""

from collections.abc import Callable

from wice.ice.checklist import CheckList
from wice.ice.messages import encode_keepalive
from wice.ice.outbox import Outbox
from wice.ice.pair import Pair, State
from wice.ice.selection import Selection
from wice.ice.timing import Timing
from wice.stun import TRANSACTION_ID_SIZE_BYTES


class Lite:
    """Selects what the full side nominates, keeps its NAT open, and notices when it goes silent."""

    def __init__(
        self,
        checklist: CheckList,
        selection: Selection,
        outbox: Outbox,
        timing: Timing,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._list = checklist
        self._selection = selection
        self._outbox = outbox
        self._timing = timing
        self._random_bytes = random_bytes
        self._kept_alive_at = float("-inf")

    def hear(self, pair: Pair, now: float) -> None:
        """A check on ``pair``: nominated, it is valid (RFC 8445 section 7.3.2)."""
        if pair.nomination or pair is self._selection.pair:
            pair.state = State.SUCCEEDED
            pair.valid_until = now + self._timing.consent_expiry_s
            self._selection.follow(pair, now)

    def select_unchecked(self, now: float) -> None:
        """The remote is lite too, and nobody checks: the best pair is it (RFC 8445 section 8.2)."""
        if self._selection.is_settled:
            return
        controlling = self._list.controlling
        best = max(self._list, key=lambda pair: pair.priority(controlling), default=None)
        if best is not None:
            best.state, best.valid_until = State.SUCCEEDED, float("inf")
            self._selection.select(best, now)

    def handle_timeout(self, now: float) -> None:
        pair = self._selection.pair
        if pair is None:
            return
        if now >= pair.valid_until:
            self._selection.lose(f"no check for {self._timing.consent_expiry_s:g} s", now)
        elif now >= self._keepalive_at:
            self._kept_alive_at = now
            keepalive = encode_keepalive(self._random_bytes(TRANSACTION_ID_SIZE_BYTES))
            self._outbox.send(keepalive, pair.path)

    def deadline(self) -> float | None:
        pair = self._selection.pair
        return None if pair is None else min(pair.valid_until, self._keepalive_at)

    @property
    def _keepalive_at(self) -> float:
        since = max(self._selection.selected_at, self._kept_alive_at)
        return since + self._timing.keepalive_s
