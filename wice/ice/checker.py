"""Sends an agent's checks when they are due, and takes the answers (RFC 8445 section 7.2)."""

from wice.datagram import Endpoint
from wice.errors import RemoteProtocolError
from wice.ice.budget import HostBudget
from wice.ice.checklist import CheckList
from wice.ice.checks import Checks
from wice.ice.events import (
    ChecksExhausted,
    ChecksStarted,
    ConnectivityFailed,
    PairValidated,
)
from wice.ice.generations import Generations
from wice.ice.messages import ROLE_CONFLICT, read_response
from wice.ice.outbox import Outbox
from wice.ice.pair import Check, Effort, Pair, State
from wice.ice.report import WITHHELD, Purpose
from wice.ice.roles import Roles
from wice.ice.run import Run
from wice.ice.selection import Selection
from wice.ice.timing import Timing
from wice.stun import Message


class Checker:
    """The checks of one agent: consent, nominations, triggered and ordinary ones, spares, retries.

    What is selected and nominated is the selection's to say.
    """

    def __init__(
        self,
        checklist: CheckList,
        selection: Selection,
        roles: Roles,
        run: Run,
        generations: Generations,
        checks: Checks,
        outbox: Outbox,
        timing: Timing,
    ) -> None:
        self._list = checklist
        self._selection = selection
        self._roles = roles
        self._run = run
        self._generations = generations
        self._checks = checks
        self._outbox = outbox
        self._timing = timing
        self._budget = HostBudget()

    def handle_timeout(self, now: float) -> None:
        """Send what is due; harmless when nothing is."""
        self._run.pass_time(now)
        self._ask_consent(now)
        self._retransmit(now)
        self._nominate(now)
        self._retry(now)
        self._check_triggered(now)
        self._check_ordinary(now)
        for pair in self._selection.spares_to_check(now):
            self._start(pair, now, Purpose.SPARE)

    def deadline(self) -> float | None:
        """When ``handle_timeout`` is next needed, or None."""
        selection = self._selection
        is_settled = selection.is_settled
        deadlines = []
        for pair in self._list:
            if pair.check is not None:
                deadlines.append(pair.check.next_at_s)
            elif not is_settled and pair.state is State.SUCCEEDED:
                deadlines.append(pair.valid_until)
        if selection.consent is not None:
            deadlines.append(selection.consent.deadline())
        if self._list.has_triggered:
            deadlines.append(self._run.next_triggered_at)
        if self._list.remote is not None and self._list.next_ordinary() is not None:
            deadlines.append(self._run.next_ordinary_at)
        later = selection.deadline() if is_settled else self._run.deadline()
        if later is not None:
            deadlines.append(later)
        return min(deadlines, default=None)

    def receive(
        self, message: Message, source: Endpoint, destination: str | None, now: float
    ) -> None:
        """Take a response; raise RemoteProtocolError for one that is dropped."""
        check = self._checks.match(message.transaction_id, source, destination, now)
        pair = check.pair
        if pair not in self._list and pair is not self._selection.pair:
            raise RemoteProtocolError("an answer to a check on a pair that is gone")
        result = read_response(message, pair.remote.key)
        if isinstance(result, Endpoint):
            pair.local_type = self._list.local_type(pair.base.address, result)
            self._succeed(check, now)
            return
        was_current = pair.check is check
        self._checks.refused(check, result, now)
        if result == ROLE_CONFLICT:
            self._roles.refused(check.role)
            if was_current:
                pair.state = State.WAITING
                self._list.trigger(pair)
        elif was_current:
            self._fail(pair)

    def _succeed(self, check: Check, now: float) -> None:
        pair = check.pair
        was_valid = pair.is_valid(now)
        self._checks.answered(check, now)
        assert pair.rtt_s is not None
        if not was_valid:
            self._budget.answered(pair.candidate.endpoint.host)
            self._outbox.report(PairValidated(pair.path, pair.rtt_s, pair.is_relayed))
            self._list.thaw(pair.foundation)
        self._selection.answered(pair, check.nomination, now)

    def _fail(self, pair: Pair) -> None:
        pair.state = State.FAILED
        self._selection.failed(pair)

    def _ask_consent(self, now: float) -> None:
        pair = self._selection.pair_to_ask(now)
        if pair is not None:
            # Nominating again tells a controlled side that has lost its path which one to take.
            ask = self._checks.ask(
                pair,
                self._roles.now,
                now,
                nomination=self._selection.nomination_on(pair),
                is_numbered=self._selection.remote_renominates,
            )
            self._outbox.transmit(ask)

    def _retransmit(self, now: float) -> None:
        transmits, failed = self._checks.time_out(self._list, now)
        for transmit in transmits:
            self._outbox.transmit(transmit)
        for pair in failed:
            self._fail(pair)

    def _nominate(self, now: float) -> None:
        pair = self._selection.pair_to_nominate(now)
        if pair is not None:
            pair.effort = Effort.FULL
            self._start(pair, now, Purpose.NOMINATION)

    def _check_triggered(self, now: float) -> None:
        """Start the next triggered check: at once, but no more than one every Ta."""
        while now >= self._run.next_triggered_at:
            pair = self._list.next_triggered()
            if pair is None:
                return
            self._start(pair, now, Purpose.TRIGGERED)
            self._run.sent_triggered(pair.kind, now)

    def _check_ordinary(self, now: float) -> None:
        """Start the next check of the list (RFC 8445 section 6.1.4.2)."""
        while self._list.remote is not None:
            pair = self._list.next_ordinary()
            if pair is None:
                return
            if self._selection.is_replaceable(pair, now):
                pair.state = State.RESERVED
                continue
            if not self._run.may_send_ordinary(pair.kind, now):
                return
            if pair.effort is not Effort.RETRY:
                pair.effort = self._selection.effort_on(pair)
            self._run.sent_ordinary(pair.kind, now)
            self._start(pair, now, Purpose.ORDINARY)

    def _start(self, pair: Pair, now: float, purpose: Purpose) -> None:
        if not self._run.is_started:
            self._run.is_started = True
            self._outbox.report(ChecksStarted())
        self._list.untrigger(pair)
        if not pair.is_valid(now):
            if not self._budget.take(pair.candidate.endpoint.host, now):
                pair.history.note(purpose, WITHHELD, now, 0, now)
                self._fail(pair)
                return
            pair.state = State.IN_PROGRESS
        check = self._checks.start(
            pair,
            self._roles.now,
            now,
            purpose,
            nomination=self._selection.nomination_on(pair),
            is_numbered=self._selection.remote_renominates,
            load=self._list.load if self._timing.is_rto_by_load else 0,
        )
        self._outbox.transmit(check)

    def _retry(self, now: float) -> None:
        """While there is no path, or only a relayed one, go on with pairs that failed, slowly."""
        if self._list.remote is None:
            return
        if self._selection.is_settled:
            self._selection.retry_direct(now)
            return
        for pair in self._list:
            if pair.state is State.SUCCEEDED and pair.check is None and now >= pair.valid_until:
                pair.state = State.FAILED
        if any(pair.state is not State.FAILED for pair in self._list):
            self._run.retry_at = None
        else:
            self._retry_all(now)
        if self._run.is_exhausted and not self._run.is_failed and now >= self._run.patient_until:
            self._run.is_failed = True
            self._outbox.report(ConnectivityFailed(self._list.describe_failure()))

    def _retry_all(self, now: float) -> None:
        """Every pair failed, if there is one."""
        if not self._run.is_exhausted and (len(self._list) or self._generations.is_complete):
            self._run.is_exhausted = True
            self._outbox.report(ChecksExhausted(self._list.describe_failure()))
        if not len(self._list):
            self._run.retry_at = None
        elif self._run.is_retry_due(now):
            for pair in self._list:
                pair.state, pair.effort = State.WAITING, Effort.RETRY
