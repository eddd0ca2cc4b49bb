"""The ICE agent of one peer, without I/O (RFC 8445, RFC 8838, RFC 7675).

Put in what happens and the time, take out datagrams, events and the next deadline. Departures
from the RFCs and their reasons are in docs/reference/ice.md.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from wice.datagram import Endpoint, Path
from wice.errors import RemoteProtocolError
from wice.ice.candidate import Candidate, endpoint_of
from wice.ice.checklist import CheckList
from wice.ice.checks import Checks, Role
from wice.ice.consent import Consent
from wice.ice.credentials import Credentials
from wice.ice.early import EarlyCheck, EarlyChecks
from wice.ice.events import (
    AgentEvent,
    ChecksExhausted,
    ChecksStarted,
    PairSelected,
    PairStatus,
    PairValidated,
    RemoteCheckReceived,
    SelectedPath,
    SelectedPathDoubted,
    SelectedPathLost,
    Transmit,
)
from wice.ice.messages import (
    ROLE_CONFLICT,
    Request,
    encode_role_conflict,
    encode_success,
    encode_unknown_attributes,
    read_request,
    read_response,
)
from wice.ice.pair import Check, Pair, Remote, RemoteCandidate, State
from wice.ice.run import Run
from wice.ice.timing import Timing
from wice.stun import Class, IntegrityKey, Message, Method, parse

TRANSMITS_MAX: Final = 512
"""Datagrams waiting for ``poll_transmit``; who drains after each change never has so many."""

EVENTS_MAX: Final = 512
"""Events waiting for ``poll_event``."""

_TIE_BREAKER_SIZE_BYTES: Final = 8


class Agent:
    """Checks, nominates and keeps consent for one peer over a shared port.

    After any call that takes ``now``, drain ``poll_transmit`` and ``poll_event``, and call
    ``handle_timeout`` at ``deadline()``. controlling: the initial role; a role conflict may turn
    it. random_bytes: a source of bytes fit for keys.
    """

    def __init__(
        self,
        *,
        controlling: bool,
        local: Credentials,
        random_bytes: Callable[[int], bytes],
        now: float,
        timing: Timing | None = None,
    ) -> None:
        self.local = local
        self._timing = timing or Timing()
        self._random_bytes = random_bytes
        self._role = Role(controlling, self._new_tie_breaker())
        self._key = IntegrityKey(local.password.encode())
        self._remote: Remote | None = None
        self._remote_ufrag_heard = ""
        self._list = CheckList(controlling)
        self._checks = Checks(self._timing, random_bytes)
        self._early = EarlyChecks()
        self._transmits: deque[Transmit] = deque(maxlen=TRANSMITS_MAX)
        self._events: deque[AgentEvent] = deque(maxlen=EVENTS_MAX)
        self._nominating: Pair | None = None
        self._selected: Pair | None = None
        self._consent: Consent | None = None
        self._run = Run(self._timing, now)
        self._is_complete = False

    # What happens to the agent

    def set_remote(self, credentials: Credentials, now: float) -> None:
        """Check towards the remote of ``credentials``.

        Checks of its that came before are answered with our own now. Other credentials than
        before mean a restart of the remote: its candidates and the pairs go, the selected path
        stays until a new one is selected or it stops answering.
        """
        if self._remote is not None and self._remote.credentials == credentials:
            return
        if self._remote is not None:
            self._is_complete = False
        if self._selected is not None:
            self._selected.check = None
        self._remote = Remote(credentials, self.local.ufrag)
        self._list.set_remote(self._remote)
        self._nominating = None
        self._run.restart(now)
        self._take_early_checks(now)
        self.handle_timeout(now)

    def set_local_candidates(self, candidates: Sequence[Candidate], now: float) -> None:
        """Have these candidates and no others; a path from an address that is gone is lost."""
        self._list.set_local(candidates)
        if self._nominating is not None and self._nominating not in self._list:
            self._nominating = None
        if self._selected is not None and not self._list.is_base(self._selected.base.address):
            self._lose_selected("its local address is gone", now)
        self._run.is_exhausted = False
        self._take_early_checks(now)
        self.handle_timeout(now)

    def add_remote_candidate(self, candidate: Candidate, now: float) -> None:
        """Take a candidate that ``parse_candidate`` read; one that is known already is no error.

        Raise RemoteProtocolError when there are more than are kept.
        """
        endpoint = endpoint_of(candidate)
        if self._list.add_remote(RemoteCandidate(endpoint, candidate.type, candidate.priority)):
            self._run.is_exhausted = False
        self.handle_timeout(now)

    def end_of_candidates(self, now: float) -> None:
        """The remote has no more candidates: that there is no pair at all is now a finding."""
        self._is_complete = True
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
        self._keep_consent(now)
        transmits, failed = self._checks.time_out(self._list, now)
        self._transmits += transmits
        for pair in failed:
            self._fail(pair)
        self._nominate(now)
        self._retry(now)
        self._check_ordinary(now)

    def deadline(self) -> float | None:
        """When ``handle_timeout`` is next needed, or None."""
        deadlines = [pair.check.next_at_s for pair in self._list if pair.check is not None]
        if self._consent is not None:
            deadlines.append(self._consent.deadline())
        if self._remote is not None and self._list.next_waiting() is not None:
            deadlines.append(self._run.next_ordinary_at)
        if not self._is_settled:
            if self._run.retry_at is not None:
                deadlines.append(self._run.retry_at)
            deadlines += [
                pair.valid_until
                for pair in self._list
                if pair.state is State.SUCCEEDED and pair.check is None
            ]
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
        assert pair.rtt_s is not None
        return SelectedPath(pair.path, pair.local_type, pair.candidate.type, pair.rtt_s)

    def pairs(self) -> list[PairStatus]:
        """Every pair, best first, and the selected one even if its generation is gone."""
        pairs = sorted(self._list, key=lambda p: p.priority(self.controlling), reverse=True)
        if self._selected is not None and self._selected not in self._list:
            pairs.insert(0, self._selected)
        return [pair.status(self.controlling, self._selected) for pair in pairs]

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
        """Check a pair that a check came in on at once (RFC 8445 section 7.3.1.4)."""
        pair = self._list.learn(base, source, request.priority)
        if pair is None:
            return
        if request.use_candidate and not self.controlling:
            pair.is_nominated = True
        if pair.is_valid(now):
            if pair.is_nominated:
                self._select(pair, now)
        elif pair.triggered_by != request.transaction_id:
            # A retransmission of theirs adds nothing to the check that it triggered already.
            pair.triggered_by = request.transaction_id
            pair.is_retry = False
            self._start_check(pair, now)

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
        self._checks.close(check)
        if result == ROLE_CONFLICT:
            self._lose_role(check)
            if was_current:
                self._start_check(pair, now)
        elif was_current:
            self._fail(pair)

    def _succeed(self, check: Check, now: float) -> None:
        pair = check.pair
        was_valid = pair.is_valid(now)
        self._checks.answered(check, now)
        assert pair.rtt_s is not None
        if not was_valid:
            self._events.append(PairValidated(pair.path, pair.rtt_s))
        if pair is self._selected:
            assert self._consent is not None
            self._consent.answered(now)
        elif self.controlling:
            if pair is self._nominating and check.nominating:
                self._select(pair, now)
        elif pair.is_nominated:
            self._select(pair, now)

    def _lose_role(self, check: Check) -> None:
        """The remote keeps the role that ``check`` claimed (RFC 8445 section 7.2.5.1).

        A conflict about a role that we no longer have was settled by another check.
        """
        if check.controlling == self.controlling:
            self._set_role(Role(not self.controlling, self._new_tie_breaker()))

    def _set_role(self, role: Role) -> None:
        self._role = role
        self._list.set_controlling(role.controlling)
        self._nominating = None

    def _fail(self, pair: Pair) -> None:
        pair.state = State.FAILED
        if pair is self._nominating:
            self._nominating = None

    # Nomination and selection

    @property
    def _is_settled(self) -> bool:
        """A pair of the current remote is selected."""
        return self._selected is not None and self._selected.remote is self._remote

    def _nominate(self, now: float) -> None:
        """As the controlling side, nominate the first valid pair (RFC 8445 section 8.1.1).

        A better pair that becomes valid later is the business of renomination; it enters here.
        """
        is_doubted = self._consent is not None and self._consent.is_doubted
        is_wanted = is_doubted or not self._is_settled
        if not self.controlling or not is_wanted or self._nominating is not None:
            return
        valid = [pair for pair in self._list if pair.is_valid(now) and pair is not self._selected]
        if valid:
            self._nominating = max(valid, key=lambda pair: pair.priority(controlling=True))
            self._nominating.is_retry = False
            self._start_check(self._nominating, now)

    def _select(self, pair: Pair, now: float) -> None:
        """The last nomination wins: the other side may have lost the pair of the one before."""
        if pair is self._selected:
            return
        assert pair.rtt_s is not None
        self._selected, self._nominating = pair, None
        self._consent = Consent(self._timing, self._random_bytes, now)
        self._run.restart(now)
        self._run.is_started = True
        self._events.append(
            PairSelected(pair.path, pair.local_type, pair.candidate.type, pair.rtt_s)
        )

    def _lose_selected(self, reason: str, now: float) -> None:
        pair = self._selected
        assert pair is not None
        self._selected = self._consent = self._nominating = None
        pair.state, pair.check = State.FAILED, None
        self._events.append(SelectedPathLost(pair.path, reason))
        for other in self._list:
            other.is_nominated = other.is_retry = False
            if other.check is None:
                other.state = State.WAITING
        self._run.restart(now)

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
            ask = self._checks.ask(pair, self._role, now, nominating=self.controlling)
            self._transmits.append(ask)

    # Our checks

    def _check_ordinary(self, now: float) -> None:
        """Start the next check of the list, at most one every Ta (RFC 8445 section 6.1.4.2)."""
        if self._remote is None or now < self._run.next_ordinary_at:
            return
        pair = self._list.next_waiting()
        if pair is not None:
            self._run.next_ordinary_at = now + self._timing.pace_s
            self._start_check(pair, now)

    def _start_check(self, pair: Pair, now: float) -> None:
        if not self._run.is_started:
            self._run.is_started = True
            self._events.append(ChecksStarted())
        if not pair.is_valid(now):
            pair.state = State.IN_PROGRESS
        nominating = self.controlling and pair in (self._nominating, self._selected)
        self._transmits.append(self._checks.start(pair, self._role, now, nominating=nominating))

    def _retry(self, now: float) -> None:
        """While there is no path, go on with the pairs that failed, slowly."""
        if self._remote is None or self._is_settled:
            return
        for pair in self._list:
            if pair.state is State.SUCCEEDED and pair.check is None and now >= pair.valid_until:
                pair.state = State.FAILED
        if any(pair.state is not State.FAILED for pair in self._list):
            self._run.retry_at = None
            return
        if not self._run.is_exhausted and (len(self._list) or self._is_complete):
            self._run.is_exhausted = True
            self._events.append(ChecksExhausted(self._list.describe_failure()))
        if len(self._list) and self._run.is_retry_due(now):
            for pair in self._list:
                pair.state, pair.is_retry = State.WAITING, True

    def _send(self, data: bytes, path: Path) -> None:
        self._transmits.append(Transmit(data, path))

    def _new_tie_breaker(self) -> int:
        return int.from_bytes(self._random_bytes(_TIE_BREAKER_SIZE_BYTES), "big")
