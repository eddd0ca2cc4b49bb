"""The ICE agent of one peer, without I/O (RFC 8445, RFC 8838, RFC 8863, RFC 7675).

Put in what happens and the time, take out datagrams, events and the next deadline. Departures
from the RFCs and their reasons are in docs/reference/ice.md.
"""

from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import Final

from wice.datagram import Endpoint, Path
from wice.errors import RemoteProtocolError
from wice.ice.budget import HostBudget
from wice.ice.candidate import Candidate, endpoint_of
from wice.ice.checklist import CheckList
from wice.ice.checks import Checks
from wice.ice.consent import Consent
from wice.ice.credentials import Credentials
from wice.ice.early import EarlyCheck, EarlyChecks
from wice.ice.events import (
    AgentEvent,
    ChecksExhausted,
    ChecksStarted,
    ConnectivityFailed,
    PairSelected,
    PairStatus,
    PairValidated,
    RemoteCheckReceived,
    SelectedPath,
    SelectedPathDoubted,
    SelectedPathLost,
    SelectedPathTrusted,
    Transmit,
)
from wice.ice.generations import Generations
from wice.ice.messages import (
    ROLE_CONFLICT,
    Request,
    encode_keepalive,
    encode_role_conflict,
    encode_success,
    encode_unknown_attributes,
    read_request,
    read_response,
)
from wice.ice.pair import Check, Pair, Remote, RemoteCandidate, Role, State
from wice.ice.policy import CandidatePolicy
from wice.ice.renomination import (
    NOMINATION_MAX,
    Hysteresis,
    best_pair,
    remark,
    replacement,
)
from wice.ice.report import WITHHELD, PairReport, Purpose
from wice.ice.run import Run
from wice.ice.spares import Spares
from wice.ice.timing import Timing
from wice.stun import (
    TRANSACTION_ID_SIZE_BYTES,
    Class,
    IntegrityKey,
    Message,
    Method,
    parse,
)

TRANSMITS_MAX: Final = 512
"""Datagrams waiting for ``poll_transmit``; who drains after each change never has so many."""

EVENTS_MAX: Final = 512
"""Events waiting for ``poll_event``."""

_TIE_BREAKER_SIZE_BYTES: Final = 8


class Agent:
    """Checks, nominates and keeps consent for one peer over a shared port.

    After any call that takes ``now``, drain ``poll_transmit`` and ``poll_event``, and call
    ``handle_timeout`` at ``deadline()``. controlling: the initial role; a role conflict may turn
    it. lite: answer checks and send none (RFC 8445 section 2.5); for a host that everybody can
    reach. random_bytes: a source of bytes fit for keys.
    """

    def __init__(
        self,
        *,
        controlling: bool,
        local: Credentials,
        random_bytes: Callable[[int], bytes],
        now: float,
        timing: Timing | None = None,
        hysteresis: Hysteresis | None = None,
        lite: bool = False,
    ) -> None:
        self.local = local
        self.lite = lite
        self._timing = timing or Timing()
        self._hysteresis = hysteresis or Hysteresis()
        self._random_bytes = random_bytes
        self._role = Role(controlling, self._new_tie_breaker())
        self._key = IntegrityKey(local.password.encode())
        self._remote: Remote | None = None
        self._remote_is_lite = self._remote_renominates = False
        self._remote_ufrag_heard = ""
        self._generations = Generations()
        self._list = CheckList(controlling, is_by_the_rfc=self._timing.is_by_the_rfc)
        self._checks = Checks(self._timing, random_bytes)
        self._budget = HostBudget()
        self._early = EarlyChecks()
        # An ordered set: a pair is queued once (RFC 8445 section 6.1.4.1).
        self._triggered: dict[Pair, None] = {}
        self._spares = Spares(self._timing)
        self._transmits: deque[Transmit] = deque(maxlen=TRANSMITS_MAX)
        self._events: deque[AgentEvent] = deque(maxlen=EVENTS_MAX)
        self._nominating: Pair | None = None
        self._nomination = self._nomination_heard = 0
        self._selected: Pair | None = None
        self._selected_at = now
        self._is_switch_due = False
        self._upgrade_at = self._keepalive_at = now
        self._consent: Consent | None = None
        self._run = Run(self._timing, now)

    # What happens to the agent

    def set_remote(
        self,
        credentials: Credentials,
        now: float,
        *,
        lite: bool = False,
        renomination: bool = False,
    ) -> None:
        """Check towards the remote of ``credentials``.

        Checks of its that came before are answered with our own now. Other credentials than
        before mean a restart of the remote: its candidates and the pairs go, the selected path
        stays until a new one is selected or it stops answering. lite: it is lite, and we control.
        renomination: it follows a later nomination.
        """
        self._remote_renominates = renomination
        if self._remote is not None and self._remote.credentials == credentials:
            return
        if self._selected is not None:
            self._selected.check = None
        self._remote = Remote(credentials, self.local.ufrag)
        self._remote_is_lite = lite
        if lite != self.lite and lite != self.controlling:
            self._set_role(Role(lite, self._role.tie_breaker))
        self._list.set_remote(self._remote)
        self._triggered.clear()
        self._nominating, self._nomination_heard = None, 0
        self._run.restart(now)
        for candidate in self._generations.begin(credentials.ufrag):
            self._add_remote(candidate)
        self._take_early_checks(now)
        self.handle_timeout(now)

    def set_local_candidates(
        self,
        candidates: Sequence[Candidate],
        now: float,
        policy: CandidatePolicy = CandidatePolicy.ALL,
    ) -> None:
        """Have these candidates and no others; a path from an address that is gone is lost.

        policy: what the remote is told of them; checks tell it no more.
        """
        self._list.set_local(candidates, policy)
        if self._nominating is not None and self._nominating not in self._list:
            self._nominating = None
        if self._selected is not None and not self._list.is_base(self._selected.base.address):
            self._lose_selected("its local address is gone", now, others_stay=True)
        self._run.is_exhausted = False
        self._take_early_checks(now)
        self.handle_timeout(now)

    def add_remote_candidate(
        self, candidate: Candidate, now: float, *, ufrag: str | None = None
    ) -> None:
        """Take a candidate that ``parse_candidate`` read; one that is known already is no error.

        ufrag: of the generation it belongs to, where the signaling says so; one that is not
        described yet is waited for. Raise RemoteProtocolError for a candidate of a generation
        that is gone, and when there are more than are kept.
        """
        if self._generations.is_now(ufrag, candidate):
            self._add_remote(candidate)
            self.handle_timeout(now)

    def retain_remote_candidates(self, endpoints: Collection[Endpoint], now: float) -> None:
        """The remote has no candidates any more but those at ``endpoints``: others go, with their
        pairs. Pairs that work stay until they do not; if the selected path is one of them, it is
        doubted at once.
        """
        working = self._list.retain_remote(endpoints, now)
        if self._nominating is not None and self._nominating not in self._list:
            self._nominating = None
        if self._selected in working and self._consent is not None:
            self._consent.doubt(now)
            self._doubt_selected(self._selected)
        self.handle_timeout(now)

    def network_changed(self, now: float) -> None:
        """The host moved or slept: check at once whether the selected path is still one, and
        whether pairs that failed work now. Nothing is given up before that is known.
        """
        if self._consent is not None:
            self._consent.ask_now(now)
        for pair in self._list:
            is_wanted = not self._is_settled or (self._is_relayed and not pair.is_relayed)
            if is_wanted and pair.state is State.FAILED and pair.check is None:
                pair.state, pair.is_retry = State.WAITING, True
        self.handle_timeout(now)

    def end_of_candidates(self, now: float, *, ufrag: str | None = None) -> None:
        """The remote has no more candidates: that there is no pair at all is now a finding.

        Candidates that come nevertheless are taken: an address can return.
        """
        if self._generations.is_now(ufrag, None):
            self._generations.is_complete = True
            self.handle_timeout(now)

    def receive(self, data: bytes, source: Endpoint, destination: str | None, now: float) -> None:
        """Take a datagram; raise RemoteProtocolError for one that is dropped."""
        self.receive_message(parse(data), source, destination, now)

    def receive_message(
        self, message: Message, source: Endpoint, destination: str | None, now: float
    ) -> None:
        """``receive`` for who has parsed already."""
        if message.method is not Method.BINDING:
            raise RemoteProtocolError(f"a {message.method.name} is not for an ICE agent")
        if message.message_class is Class.REQUEST:
            self._receive_request(message, source, destination, now)
        elif message.message_class is not Class.INDICATION:
            self._receive_response(message, source, destination, now)
        self.handle_timeout(now)

    def handle_timeout(self, now: float) -> None:
        """Do what is due; harmless when nothing is."""
        if self.lite:
            self._keep_lite(now)
            return
        self._run.pass_time(now)
        self._keep_consent(now)
        transmits, failed = self._checks.time_out(self._list, now)
        self._transmits += transmits
        for pair in failed:
            self._fail(pair)
        self._nominate(now)
        self._retry(now)
        self._check_triggered(now)
        self._check_ordinary(now)
        self._check_spares(now)

    def deadline(self) -> float | None:
        """When ``handle_timeout`` is next needed, or None."""
        if self.lite:
            return self._lite_deadline()
        is_settled = self._is_settled
        deadlines = []
        for pair in self._list:
            if pair.check is not None:
                deadlines.append(pair.check.next_at_s)
            elif not is_settled and pair.state is State.SUCCEEDED:
                deadlines.append(pair.valid_until)
        if self._consent is not None:
            deadlines.append(self._consent.deadline())
        if self._triggered:
            deadlines.append(self._run.next_triggered_at)
        if self._remote is not None and self._list.next_ordinary() is not None:
            deadlines.append(self._run.next_ordinary_at)
        later = (
            (self._spares.next_at, self._upgrade_at if self._is_relayed else None)
            if is_settled
            else (self._run.deadline(),)
        )
        deadlines += [at for at in later if at is not None]
        return min(deadlines, default=None)

    def poll_transmit(self) -> Transmit | None:
        return self._transmits.popleft() if self._transmits else None

    def poll_event(self) -> AgentEvent | None:
        return self._events.popleft() if self._events else None

    # What is known

    @property
    def controlling(self) -> bool:
        return self._role.controlling

    @property
    def selected(self) -> SelectedPath | None:
        pair = self._selected
        if pair is None:
            return None
        return SelectedPath(pair.path, pair.local_type, pair.candidate.type, pair.rtt_s)

    @property
    def consented_at(self) -> float | None:
        """When the remote answered along the selected pair last, as consent has it."""
        return None if self._consent is None else self._consent.answered_at

    def pairs(self) -> list[PairStatus]:
        """Every pair, best first, and the selected one even if its generation is gone."""
        return [pair.status(self.controlling, self._selected) for pair in self._best_first()]

    def pair_reports(self) -> list[PairReport]:
        """Every pair with what was tried on it, in the order of ``pairs``."""
        return [
            pair.report(self.controlling, self._selected, self._remark(pair))
            for pair in self._best_first()
        ]

    def _best_first(self) -> list[Pair]:
        pairs = sorted(self._list, key=lambda p: p.priority(self.controlling), reverse=True)
        if self._selected is not None and self._selected not in self._list:
            pairs.insert(0, self._selected)
        return pairs

    def _remark(self, pair: Pair) -> str:
        """Why ``pair`` is not the selected one."""
        if pair.state is not State.SUCCEEDED:
            return ""
        return remark(
            self._selected, pair, self._hysteresis, knows_renomination=self._remote_renominates
        )

    # Checks of the remote

    def _receive_request(
        self, message: Message, source: Endpoint, destination: str | None, now: float
    ) -> None:
        request = read_request(message, self.local.ufrag, self._key)
        if destination is not None and self._list.has_bases and not self._list.is_base(destination):
            raise RemoteProtocolError("a check to an address that is no candidate of ours")
        path = Path(source, destination)
        if request.unknown:
            reply = encode_unknown_attributes(request.transaction_id, request.unknown, self._key)
            self._send(reply, path)
            return
        if request.is_controlling == self.controlling and not self._yield_role(request):
            self._send(encode_role_conflict(request.transaction_id, self._key), path)
            return
        self._send(encode_success(request.transaction_id, source, self._key), path)
        if request.remote_ufrag != self._remote_ufrag_heard:
            self._remote_ufrag_heard = request.remote_ufrag
            self._events.append(RemoteCheckReceived(source, request.remote_ufrag))
        self._early.add(EarlyCheck(request, source, destination))
        self._take_early_checks(now)

    def _yield_role(self, request: Request) -> bool:
        """Both claim one role (RFC 8445 section 7.3.1.1): whether ours changed."""
        if (self._role.tie_breaker >= request.tie_breaker) == self.controlling:
            return False
        self._set_role(Role(not self.controlling, self._role.tie_breaker))
        return True

    def _take_early_checks(self, now: float) -> None:
        """Trigger checks for those that came in from the remote whose credentials we have."""
        if self._remote is None or not self._list.has_bases:
            return
        for early in self._early.take(self._remote.credentials.ufrag):
            base = early.destination or self._list.default_base(early.source)
            if base is not None and self._list.is_base(base):
                self._trigger(early.request, base, early.source, now)

    def _trigger(self, request: Request, base: str, source: Endpoint, now: float) -> None:
        """Check a pair that a check came in on (RFC 8445 section 7.3.1.4)."""
        pair = self._list.learn(base, source, request.priority)
        if pair is None:
            return
        pair.history.received_check(now)
        if request.use_candidate and not self.controlling:
            self._note_nomination(pair, request.nomination)
        if self.lite:
            self._hear_as_lite(pair, now)
        elif pair.is_valid(now):
            self._follow(pair, now)
        elif pair.triggered_by != request.transaction_id:
            # A retransmission of theirs adds nothing to the check that it triggered already.
            pair.triggered_by = request.transaction_id
            pair.is_retry = False
            pair.state = State.WAITING
            self._triggered[pair] = None

    def _note_nomination(self, pair: Pair, number: int) -> None:
        """The highest number wins; a nomination without one is later than all before."""
        if number == 0:
            is_repeated = pair.nomination and pair.nomination == self._nomination_heard
            number = self._nomination_heard + (not is_repeated)
        if number >= self._nomination_heard:
            pair.nomination = self._nomination_heard = number

    def _follow(self, pair: Pair, now: float) -> None:
        """As the controlled side, select a valid pair if it has the latest nomination."""
        if self.controlling or not pair.nomination:
            return
        if not self._is_settled or pair.nomination >= self._nomination_heard:
            self._select(pair, now)

    # Answers to our checks

    def _receive_response(
        self, message: Message, source: Endpoint, destination: str | None, now: float
    ) -> None:
        check = self._checks.match(message.transaction_id, source, destination, now)
        pair = check.pair
        if pair not in self._list and pair is not self._selected:
            raise RemoteProtocolError("an answer to a check on a pair that is gone")
        result = read_response(message, pair.remote.key)
        if isinstance(result, Endpoint):
            pair.local_type = self._list.local_type(pair.base.address, result)
            self._succeed(check, now)
            return
        was_current = pair.check is check
        self._checks.refused(check, result, now)
        if result == ROLE_CONFLICT:
            self._lose_role(check)
            if was_current:
                pair.state = State.WAITING
                self._triggered[pair] = None
        elif was_current:
            self._fail(pair)

    def _succeed(self, check: Check, now: float) -> None:
        pair = check.pair
        was_valid = pair.is_valid(now)
        self._checks.answered(check, now)
        assert pair.rtt_s is not None
        self._is_switch_due = True
        if not was_valid:
            self._budget.answered(pair.candidate.endpoint.host)
            self._events.append(PairValidated(pair.path, pair.rtt_s, pair.is_relayed))
            self._list.thaw(pair.foundation)
        if pair is self._selected:
            assert self._consent is not None
            if self._consent.is_doubted:
                self._events.append(SelectedPathTrusted(pair.path, pair.rtt_s, pair.is_relayed))
            self._consent.answered(now)
        elif self.controlling:
            if pair is self._nominating and check.nomination:
                self._select(pair, now)
        else:
            self._follow(pair, now)

    def _lose_role(self, check: Check) -> None:
        """The remote keeps the role that ``check`` claimed (RFC 8445 section 7.2.5.1).

        A conflict about a role that we no longer have was settled by another check, even if we
        have the same one again.
        """
        if check.role is self._role:
            self._set_role(Role(not self.controlling, self._new_tie_breaker()))

    def _set_role(self, role: Role) -> None:
        self._role = role
        self._list.set_controlling(role.controlling)
        self._nominating, self._nomination_heard = None, 0
        for pair in self._list:
            pair.nomination = 0

    def _fail(self, pair: Pair) -> None:
        pair.state = State.FAILED
        if pair is self._nominating:
            # The remote may have heard of it, and what stays selected has to be told as later.
            self._nomination = min(self._nomination + 1, NOMINATION_MAX)
            self._nominating = None

    # Nomination and selection

    @property
    def _is_settled(self) -> bool:
        """A pair of the current remote is selected."""
        return self._selected is not None and self._selected.remote is self._remote

    @property
    def _nominated(self) -> Pair | None:
        """The one pair whose checks nominate: two with one number, and the remote would follow
        whichever it heard last.
        """
        return self._nominating or self._selected

    @property
    def _is_relayed(self) -> bool:
        return self._selected is not None and self._selected.is_relayed

    def _nominate(self, now: float) -> None:
        """As the controlling side, nominate the first valid pair (RFC 8445 section 8.1.1); later
        another one that has a reason to be better.
        """
        if not self._role.controlling or self._nominating is not None:
            return
        is_doubted = self._consent is not None and self._consent.is_doubted
        if is_doubted or not self._is_settled:
            pair = self._best_valid(now)
        elif self._is_switch_due:
            pair = self._better_valid(now)
        else:
            return
        if pair is not None:
            self._nomination = min(self._nomination + 1, NOMINATION_MAX)
            self._nominating = pair
            pair.is_retry = False
            self._start_check(pair, now, Purpose.NOMINATION)

    def _best_valid(self, now: float) -> Pair | None:
        """The pair to nominate while there is none; one that is relayed may have to wait, where
        the first nomination is the last.
        """
        valid = [pair for pair in self._list if pair.is_valid(now) and pair is not self._selected]
        best = best_pair(valid, self.controlling)
        if best is None or not best.is_relayed:
            return best
        is_last = not self._remote_renominates and self._selected is None
        if not is_last or all(p.is_relayed or p.state is State.FAILED for p in self._list):
            return best
        patience_s = self._hysteresis.relay_patience_s
        return None if self._run.leaves_direct_time(patience_s, now) else best

    def _better_valid(self, now: float) -> Pair | None:
        """The pair that replaces the selected one, which works."""
        self._is_switch_due = False
        selected = self._selected
        if selected is None or not self._remote_renominates:
            return None
        valid = [pair for pair in self._list if pair.is_valid(now) and pair is not selected]
        return replacement(selected, valid, self._hysteresis, now - self._selected_at)

    def _select(self, pair: Pair, now: float) -> None:
        """The last nomination wins: the other side may have lost the pair of the one before."""
        if pair is self._selected:
            return
        self._selected, self._nominating = pair, None
        self._selected_at, self._upgrade_at = now, now + self._timing.upgrade_s
        if self.lite:
            self._keepalive_at = now + self._timing.keepalive_s
        else:
            self._consent = Consent(self._timing, self._random_bytes, now)
            self._spares.restart(now)
        self._is_switch_due = True
        self._run.restart(now)
        self._run.is_started = True
        self._events.append(
            PairSelected(pair.path, pair.local_type, pair.candidate.type, pair.rtt_s)
        )

    def _lose_selected(self, reason: str, now: float, *, others_stay: bool = False) -> None:
        """others_stay: it was no fault of the network; pairs that worked a moment ago still do."""
        pair = self._selected
        assert pair is not None
        self._selected = self._consent = self._nominating = None
        self._spares.stop()
        pair.state, pair.check = State.FAILED, None
        pair.history.note(Purpose.CONSENT, reason, self._selected_at, 0, now)
        self._events.append(SelectedPathLost(pair.path, reason))
        working = []
        for other in self._list:
            other.nomination = 0
            other.is_retry = False
            if others_stay and other.is_valid(now):
                working.append(other)
                self._triggered[other] = None
            elif other.check is None:
                other.state = State.WAITING
        self._run.restart(now)
        best = best_pair(working, self.controlling)
        if best is not None:
            self._events.append(PairValidated(best.path, best.rtt_s or 0.0, best.is_relayed))

    def _doubt_selected(self, selected: Pair) -> None:
        """Check the other pairs now instead of when consent has expired; nothing is given up."""
        self._events.append(SelectedPathDoubted(selected.path))
        for other in self._list:
            if other is not selected and other.check is None:
                other.state = State.WAITING

    def _keep_consent(self, now: float) -> None:
        pair, consent = self._selected, self._consent
        if pair is None or consent is None:
            return
        if now >= consent.expires_at:
            self._lose_selected(f"no answer for {self._timing.consent_expiry_s:g} s", now)
        elif consent.is_due(now):
            was_doubted = consent.is_doubted
            consent.asked(now, pair.rtt_s or 0.0)
            if consent.is_doubted and not was_doubted:
                self._doubt_selected(pair)
            # Nominating again tells a controlled side that has lost its path which one to take.
            ask = self._checks.ask(
                pair,
                self._role,
                now,
                nomination=self._nomination if self.controlling and pair is self._nominated else 0,
                is_numbered=self._remote_renominates,
            )
            self._transmits.append(ask)

    # Our checks

    def _check_triggered(self, now: float) -> None:
        """Start the next triggered check: at once, but no more than one every Ta."""
        while self._triggered and now >= self._run.next_triggered_at:
            pair = next(iter(self._triggered))
            if pair not in self._list:
                del self._triggered[pair]
                continue
            self._start_check(pair, now, Purpose.TRIGGERED)
            self._run.sent_triggered(pair.kind, now)

    def _check_ordinary(self, now: float) -> None:
        """Start the next check of the list (RFC 8445 section 6.1.4.2)."""
        while self._remote is not None:
            pair = self._list.next_ordinary()
            if pair is None or not self._run.may_send_ordinary(pair.kind, now):
                return
            self._run.sent_ordinary(pair.kind, now)
            self._start_check(pair, now, Purpose.ORDINARY)

    def _check_spares(self, now: float) -> None:
        """Keep the pairs warm that could take over, and know how long they take."""
        if self._selected is not None:
            for pair in self._spares.take_due(self._list, self._selected, now):
                self._start_check(pair, now, Purpose.SPARE)

    def _start_check(self, pair: Pair, now: float, purpose: Purpose) -> None:
        if not self._run.is_started:
            self._run.is_started = True
            self._events.append(ChecksStarted())
        self._triggered.pop(pair, None)
        if not pair.is_valid(now):
            if not self._budget.take(pair.candidate.endpoint.host, now):
                pair.history.note(purpose, WITHHELD, now, 0, now)
                self._fail(pair)
                return
            pair.state = State.IN_PROGRESS
        is_nominating = self.controlling and pair is self._nominated
        check = self._checks.start(
            pair,
            self._role,
            now,
            purpose,
            nomination=self._nomination if is_nominating else 0,
            is_numbered=self._remote_renominates,
            load=self._list.load if self._timing.is_rto_by_load else 0,
        )
        self._transmits.append(check)

    def _retry(self, now: float) -> None:
        """While there is no path, or only a relayed one, go on with pairs that failed, slowly."""
        if self._remote is None:
            return
        if self._is_settled:
            self._retry_direct(now)
            return
        for pair in self._list:
            if pair.state is State.SUCCEEDED and pair.check is None and now >= pair.valid_until:
                pair.state = State.FAILED
        if any(pair.state is not State.FAILED for pair in self._list):
            self._run.retry_at = None
        else:
            if not self._run.is_exhausted and (len(self._list) or self._generations.is_complete):
                self._run.is_exhausted = True
                self._events.append(ChecksExhausted(self._list.describe_failure()))
            if not len(self._list):
                self._run.retry_at = None
            elif self._run.is_retry_due(now):
                for pair in self._list:
                    pair.state, pair.is_retry = State.WAITING, True
        if self._run.is_exhausted and not self._run.is_failed and now >= self._run.patient_until:
            self._run.is_failed = True
            self._events.append(ConnectivityFailed(self._list.describe_failure()))

    def _retry_direct(self, now: float) -> None:
        if not self._is_relayed or now < self._upgrade_at:
            return
        self._upgrade_at = now + self._timing.upgrade_s
        for pair in self._list:
            if pair.state is State.FAILED and not pair.is_relayed:
                pair.state, pair.is_retry = State.WAITING, True

    # Being lite

    def _hear_as_lite(self, pair: Pair, now: float) -> None:
        """A check on ``pair``: nominated, it is valid (RFC 8445 section 7.3.2)."""
        if pair.nomination or pair is self._selected:
            pair.state = State.SUCCEEDED
            pair.valid_until = now + self._timing.consent_expiry_s
            self._follow(pair, now)

    def _keep_lite(self, now: float) -> None:
        """Keep the NAT of the other side open, and notice that it no longer checks us."""
        if self._remote_is_lite and self._generations.is_complete and not self._is_settled:
            # Nobody checks: the best pair is it (RFC 8445 section 8.2).
            best = max(self._list, key=lambda p: p.priority(self.controlling), default=None)
            if best is not None:
                best.state, best.valid_until = State.SUCCEEDED, float("inf")
                self._select(best, now)
        pair = self._selected
        if pair is None:
            return
        if now >= pair.valid_until:
            self._lose_selected(f"no check for {self._timing.consent_expiry_s:g} s", now)
        elif now >= self._keepalive_at:
            self._keepalive_at = now + self._timing.keepalive_s
            keepalive = encode_keepalive(self._random_bytes(TRANSACTION_ID_SIZE_BYTES))
            self._send(keepalive, pair.path)

    def _lite_deadline(self) -> float | None:
        pair = self._selected
        return None if pair is None else min(pair.valid_until, self._keepalive_at)

    # The remote's candidates

    def _add_remote(self, candidate: Candidate) -> None:
        remote = RemoteCandidate(
            endpoint_of(candidate), candidate.type, candidate.priority, candidate.foundation
        )
        if self._list.add_remote(remote):
            self._run.is_exhausted = False

    def _send(self, data: bytes, path: Path) -> None:
        self._transmits.append(Transmit(data, path))

    def _new_tie_breaker(self) -> int:
        return int.from_bytes(self._random_bytes(_TIE_BREAKER_SIZE_BYTES), "big")
