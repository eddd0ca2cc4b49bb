"""The pair that an agent settled on: nominated, held by consent, left for a better one (RFC 8445
section 8, RFC 7675, draft-thatcher-ice-renomination).
"""

from collections.abc import Callable, Iterable
from typing import Final

from wice.ice.checklist import CheckList
from wice.ice.consent import Consent
from wice.ice.events import (
    PairSelected,
    PairValidated,
    SelectedPath,
    SelectedPathDoubted,
    SelectedPathLost,
    SelectedPathTrusted,
)
from wice.ice.outbox import Outbox
from wice.ice.pair import Effort, Pair, State
from wice.ice.renomination import NOMINATION_MAX, Hysteresis, best_pair, remark, replacement
from wice.ice.report import Purpose
from wice.ice.run import Run
from wice.ice.spares import Spares
from wice.ice.timing import Timing

SPARES_TRIED_MAX: Final = 3
"""Pairs of one kind that are tried at once, only to stand by for the selected one."""

_UPGRADE_BACKOFF: Final = 1.5


class Selection:
    """Decides which pair is selected and which is to be nominated; sends nothing itself.

    remote_renominates: it follows a later nomination. consent: None while nothing is selected, and
    for a side that ``asks_consent`` of nobody.
    """

    def __init__(
        self,
        checklist: CheckList,
        run: Run,
        outbox: Outbox,
        *,
        timing: Timing,
        hysteresis: Hysteresis,
        random_bytes: Callable[[int], bytes],
        asks_consent: bool,
        now: float,
    ) -> None:
        self.pair: Pair | None = None
        self.selected_at = now
        self.consent: Consent | None = None
        self.remote_renominates = False
        self._list = checklist
        self._run = run
        self._outbox = outbox
        self._timing = timing
        self._hysteresis = hysteresis
        self._random_bytes = random_bytes
        self._asks_consent = asks_consent
        self._spares = Spares(timing)
        self._upgrade_at = self._upgrade_tried_at = now
        self._upgrade_wait_s = timing.upgrade_s
        self._nominating: Pair | None = None
        self._nomination = self._nomination_heard = 0
        self._is_switch_due = False

    # What is known

    @property
    def path(self) -> SelectedPath | None:
        pair = self.pair
        if pair is None:
            return None
        return SelectedPath(pair.path, pair.local_type, pair.candidate.type, pair.rtt_s)

    @property
    def is_settled(self) -> bool:
        """A pair of the current remote is selected."""
        return self.pair is not None and self.pair.remote is self._list.remote

    @property
    def is_relayed(self) -> bool:
        return self.pair is not None and self.pair.is_relayed

    @property
    def consented_at(self) -> float | None:
        """When the remote answered along the selected pair last, as consent has it."""
        return None if self.consent is None else self.consent.answered_at

    def remark(self, pair: Pair) -> str:
        """Why ``pair`` is not the selected one, for a person."""
        if pair.state is State.RESERVED:
            return "not checked: another pair of its kind works and stands by"
        if pair.state is not State.SUCCEEDED:
            return ""
        return remark(self.pair, pair, self._hysteresis, knows_renomination=self.remote_renominates)

    def deadline(self) -> float | None:
        """When spares or failed direct pairs are next due, while a pair is selected."""
        later = (self._spares.next_at, self._upgrade_at if self.is_relayed else None)
        return min((at for at in later if at is not None), default=None)

    # What is worth a check

    @property
    def _holds(self) -> Pair | None:
        """The selected pair, while nothing says that another may have to take over."""
        is_held = self.is_settled and not (self.consent is not None and self.consent.is_doubted)
        return self.pair if is_held else None

    def is_replaceable(self, pair: Pair, now: float) -> bool:
        """Whether ``pair`` could only stand by for the selected one, and another like it does, or
        enough are being tried.
        """
        selected = self._holds
        if selected is None or pair.relay_count <= selected.relay_count:
            return False
        others = [other for other in self._list if other.spare_kind == pair.spare_kind]
        trying = sum(other.state is State.IN_PROGRESS for other in others)
        return trying >= SPARES_TRIED_MAX or any(other.is_valid(now) for other in others)

    def effort_on(self, pair: Pair) -> Effort:
        """Of a check on a pair that was not checked before."""
        selected = self._holds
        if selected is None or pair.relay_count < selected.relay_count:
            return Effort.FULL
        controlling = self._list.controlling
        is_lower = pair.priority(controlling) < selected.priority(controlling)
        return Effort.SPARE if pair.is_relayed or is_lower else Effort.FULL

    @staticmethod
    def _look_at_reserved(pairs: Iterable[Pair]) -> None:
        """What stood by in their place may do so no longer."""
        for pair in pairs:
            if pair.state is State.RESERVED:
                pair.state = State.WAITING

    # Nomination

    def pair_to_nominate(self, now: float) -> Pair | None:
        """As the controlling side, begin to nominate the first valid pair (RFC 8445 section
        8.1.1); later another one that has a reason to be better.
        """
        if not self._list.controlling or self._nominating is not None:
            return None
        if not self.is_settled or (self.consent is not None and self.consent.is_doubted):
            pair = self._best_valid(now)
        elif self._is_switch_due:
            pair = self._better_valid(now)
        else:
            return None
        if pair is not None:
            self._nomination = min(self._nomination + 1, NOMINATION_MAX)
            self._nominating = pair
        return pair

    def nomination_on(self, pair: Pair) -> int:
        """The number that a check on ``pair`` carries, 0 where it does not nominate.

        One pair at a time: two with one number, and the remote would follow whichever it heard
        last.
        """
        is_nominated = self._list.controlling and pair is (self._nominating or self.pair)
        return self._nomination if is_nominated else 0

    def hear_nomination(self, pair: Pair, number: int) -> None:
        """The highest number wins; a nomination without one is later than all before."""
        if number == 0:
            is_repeated = pair.nomination and pair.nomination == self._nomination_heard
            number = self._nomination_heard + (not is_repeated)
        if number >= self._nomination_heard:
            pair.nomination = self._nomination_heard = number

    def follow(self, pair: Pair, now: float) -> None:
        """As the controlled side, select a valid pair if it has the latest nomination."""
        if self._list.controlling or not pair.nomination:
            return
        if not self.is_settled or pair.nomination >= self._nomination_heard:
            self.select(pair, now)

    def forget_nominations(self) -> None:
        """Our role turned: what was nominated in the other one means nothing."""
        self._nominating, self._nomination_heard = None, 0
        for pair in self._list:
            pair.nomination = 0

    # What happens to pairs

    def remote_changed(self) -> None:
        """The list is of another remote; the selected pair stays until that one has a better."""
        if self.pair is not None:
            self.pair.check = None
        self._nominating, self._nomination_heard = None, 0

    def candidates_changed(self, now: float) -> None:
        """A selected pair whose local address is gone is lost."""
        if self._nominating is not None and self._nominating not in self._list:
            self._nominating = None
        if self.pair is not None and not self._list.is_base(self.pair.base.address):
            self.lose("its local address is gone", now, others_stay=True)

    def answered(self, pair: Pair, nomination: int, now: float) -> None:
        """``pair`` works, says the answer to a check that carried ``nomination``."""
        self._is_switch_due = True
        if pair is self.pair:
            assert self.consent is not None and pair.rtt_s is not None
            if self.consent.is_doubted:
                trusted = SelectedPathTrusted(pair.path, pair.rtt_s, pair.is_relayed)
                self._outbox.report(trusted)
            self.consent.answered(now)
        elif not self._list.controlling:
            self.follow(pair, now)
        elif pair is self._nominating and nomination:
            self.select(pair, now)
        elif self._may_be_better(pair):
            self._spares.hurry(now)

    def failed(self, pair: Pair) -> None:
        if pair is self._nominating:
            # The remote may have heard of it, and what stays selected has to be told as later.
            self._nomination = min(self._nomination + 1, NOMINATION_MAX)
            self._nominating = None
        self._look_at_reserved(p for p in self._list if p.spare_kind == pair.spare_kind)

    def select(self, pair: Pair, now: float) -> None:
        """The last nomination wins: the other side may have lost the pair of the one before."""
        if pair is self.pair:
            return
        self.pair, self._nominating = pair, None
        self.selected_at = self._upgrade_tried_at = now
        self._upgrade_wait_s = self._timing.upgrade_s
        self._upgrade_at = now + self._upgrade_wait_s
        if self._asks_consent:
            self.consent = Consent(self._timing, self._random_bytes, now)
            self._spares.restart(now)
        self._is_switch_due = True
        for other in self._list:
            if other is not pair and other.state is State.IN_PROGRESS:
                other.effort = self.effort_on(other)
        self._run.restart(now)
        self._run.is_started = True
        self._outbox.report(
            PairSelected(pair.path, pair.local_type, pair.candidate.type, pair.rtt_s)
        )

    def lose(self, reason: str, now: float, *, others_stay: bool = False) -> None:
        """others_stay: it was no fault of the network; pairs that worked a moment ago still do."""
        pair = self.pair
        assert pair is not None
        self.pair = self.consent = self._nominating = None
        self._spares.stop()
        pair.state, pair.check = State.FAILED, None
        pair.history.note(Purpose.CONSENT, reason, self.selected_at, 0, now)
        self._outbox.report(SelectedPathLost(pair.path, reason))
        working = []
        for other in self._list:
            other.nomination = 0
            other.effort = Effort.FULL
            if others_stay and other.is_valid(now):
                working.append(other)
                self._list.trigger(other)
            elif other.check is None:
                other.state = State.WAITING
        self._run.restart(now)
        best = best_pair(working, self._list.controlling)
        if best is not None:
            self._outbox.report(PairValidated(best.path, best.rtt_s or 0.0, best.is_relayed))

    def doubt(self, now: float) -> None:
        """Something else says that the selected path may be gone."""
        if self.consent is not None:
            self.consent.doubt(now)
            self._check_others()

    # What is due

    def pair_to_ask(self, now: float) -> Pair | None:
        """The selected pair when its consent is to be asked for; it is lost with its consent."""
        pair, consent = self.pair, self.consent
        if pair is None or consent is None:
            return None
        if now >= consent.expires_at:
            self.lose(f"no answer for {self._timing.consent_expiry_s:g} s", now)
            return None
        if not consent.is_due(now):
            return None
        was_doubted = consent.is_doubted
        consent.asked(now, pair.rtt_s or 0.0)
        if consent.is_doubted and not was_doubted:
            self._check_others()
        return pair

    def spares_to_check(self, now: float) -> list[Pair]:
        """The pairs that could take over, when it is time to keep them warm."""
        selected = self.pair
        if selected is None or not self._spares.is_due(now):
            return []
        for pair in self._list:
            has_lapsed = pair.state is State.SUCCEEDED and not pair.is_valid(now)
            if has_lapsed and pair.check is None and pair.relay_count > selected.relay_count:
                pair.state = State.RESERVED
        self._look_at_reserved(self._list)
        return self._spares.take_due(self._list, selected, now)

    def retry_direct(self, now: float) -> None:
        """While the path is relayed, have direct pairs that fail tried again, ever slower."""
        if not self.is_relayed or now < self._upgrade_at:
            return
        self._upgrade_tried_at = now
        longer_s = _UPGRADE_BACKOFF * self._upgrade_wait_s
        self._upgrade_wait_s = min(longer_s, self._timing.upgrade_max_s)
        self._upgrade_at = now + self._upgrade_wait_s
        for pair in self._list:
            worked_once = pair.state is State.SUCCEEDED and not pair.is_valid(now)
            is_over = pair.state is State.FAILED or (worked_once and pair.check is None)
            if is_over and not pair.is_relayed:
                pair.state, pair.effort = State.WAITING, Effort.RETRY

    def retry_direct_soon(self, now: float) -> None:
        """An address or a NAT of either side changed: what failed may work now."""
        self._upgrade_wait_s = self._timing.upgrade_s
        soonest_at = max(now, self._upgrade_tried_at + self._timing.upgrade_min_s)
        self._upgrade_at = min(self._upgrade_at, soonest_at)

    def _may_be_better(self, pair: Pair) -> bool:
        """Whether ``pair`` is of a better kind, and its round trip not known well enough."""
        return (
            self.remote_renominates
            and self.pair is not None
            and pair.relay_count < self.pair.relay_count
            and pair.rtt_samples < self._hysteresis.rtt_samples_min
        )

    def _best_valid(self, now: float) -> Pair | None:
        """The pair to nominate while there is none; one that is relayed may have to wait, where
        the first nomination is the last.
        """
        valid = [pair for pair in self._list if pair.is_valid(now) and pair is not self.pair]
        best = best_pair(valid, self._list.controlling)
        if best is None or not best.is_relayed:
            return best
        is_last = not self.remote_renominates and self.pair is None
        if not is_last or all(p.is_relayed or p.state is State.FAILED for p in self._list):
            return best
        patience_s = self._hysteresis.relay_patience_s
        return None if self._run.leaves_direct_time(patience_s, now) else best

    def _better_valid(self, now: float) -> Pair | None:
        """The pair that replaces the selected one, which works."""
        self._is_switch_due = False
        selected = self.pair
        if selected is None or not self.remote_renominates:
            return None
        valid = [pair for pair in self._list if pair.is_valid(now) and pair is not selected]
        return replacement(selected, valid, self._hysteresis, now - self.selected_at)

    def _check_others(self) -> None:
        """Check the other pairs now instead of when consent has expired; nothing is given up."""
        assert self.pair is not None
        self._outbox.report(SelectedPathDoubted(self.pair.path))
        for other in self._list:
            if other is self.pair:
                continue
            other.effort = Effort.FULL
            if other.check is None:
                other.state = State.WAITING
