"""The ICE agent of one peer, without I/O (RFC 8445, RFC 8838, RFC 8863, RFC 7675).

Put in what happens and the time, take out datagrams, events and the next deadline. Departures
from the RFCs and their reasons are in docs/reference/ice.md.
"""

from collections.abc import Callable, Collection, Sequence

from wice.datagram import Endpoint
from wice.errors import RemoteProtocolError
from wice.ice.candidate import Candidate, endpoint_of
from wice.ice.checker import Checker
from wice.ice.checklist import CheckList
from wice.ice.checks import Checks
from wice.ice.credentials import Credentials
from wice.ice.events import AgentEvent, PairStatus, SelectedPath, Transmit
from wice.ice.generations import Generations
from wice.ice.lite import Lite
from wice.ice.outbox import Outbox
from wice.ice.pair import Effort, Pair, Remote, RemoteCandidate, State
from wice.ice.policy import CandidatePolicy
from wice.ice.renomination import Hysteresis
from wice.ice.report import PairReport
from wice.ice.responder import Responder
from wice.ice.roles import Roles
from wice.ice.run import Run
from wice.ice.selection import Selection
from wice.ice.timing import Timing
from wice.stun import Class, Message, Method, parse


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
        timing = timing or Timing()
        self.local = local
        self._outbox = Outbox()
        self._generations = Generations()
        self._remote_is_lite = False
        self._list = CheckList(controlling, is_by_the_rfc=timing.is_by_the_rfc)
        self._run = Run(timing, now)
        self._selection = Selection(
            self._list,
            self._run,
            self._outbox,
            timing=timing,
            hysteresis=hysteresis or Hysteresis(),
            random_bytes=random_bytes,
            asks_consent=not lite,
            now=now,
        )
        self._roles = Roles(controlling, self._list, self._selection, random_bytes)
        self._lite = (
            Lite(self._list, self._selection, self._outbox, timing, random_bytes) if lite else None
        )
        self._responder = Responder(
            local, self._list, self._selection, self._roles, self._outbox, self._lite
        )
        self._checker = Checker(
            self._list,
            self._selection,
            self._roles,
            self._run,
            self._generations,
            Checks(timing, random_bytes),
            self._outbox,
            timing,
        )

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
        self._selection.remote_renominates = renomination
        known = self._list.remote
        if known is not None and known.credentials == credentials:
            return
        self._remote_is_lite = lite
        if lite != self.lite and lite != self.controlling:
            self._roles.claim(lite)
        self._list.set_remote(Remote(credentials, self.local.ufrag))
        self._selection.remote_changed()
        self._run.restart(now)
        for candidate in self._generations.begin(credentials.ufrag):
            self._add_remote(candidate)
        self._responder.take_early(now)
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
        self._selection.candidates_changed(now)
        self._selection.retry_direct_soon(now)
        self._run.is_exhausted = False
        self._responder.take_early(now)
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
            if self._add_remote(candidate):
                self._selection.retry_direct_soon(now)
            self.handle_timeout(now)

    def retain_remote_candidates(self, endpoints: Collection[Endpoint], now: float) -> None:
        """The remote has no candidates any more but those at ``endpoints``: others go, with their
        pairs. Pairs that work stay until they do not; if the selected path is one of them, it is
        doubted at once.
        """
        working = self._list.retain_remote(endpoints, now)
        self._selection.candidates_changed(now)
        if self._selection.pair in working:
            self._selection.doubt(now)
        self.handle_timeout(now)

    def network_changed(self, now: float) -> None:
        """The host moved or slept: check at once whether the selected path is still one, and
        whether pairs that failed work now. Nothing is given up before that is known.
        """
        selection = self._selection
        if selection.consent is not None:
            selection.consent.ask_now(now)
        for pair in self._list:
            is_wanted = not selection.is_settled or (selection.is_relayed and not pair.is_relayed)
            if is_wanted and pair.state is State.FAILED and pair.check is None:
                pair.state, pair.effort = State.WAITING, Effort.RETRY
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
            self._responder.receive(message, source, destination, now)
        elif message.message_class is not Class.INDICATION:
            self._checker.receive(message, source, destination, now)
        self.handle_timeout(now)

    def handle_timeout(self, now: float) -> None:
        """Do what is due; harmless when nothing is."""
        if self._lite is None:
            self._checker.handle_timeout(now)
            return
        if self._remote_is_lite and self._generations.is_complete:
            self._lite.select_unchecked(now)
        self._lite.handle_timeout(now)

    def deadline(self) -> float | None:
        """When ``handle_timeout`` is next needed, or None."""
        return self._checker.deadline() if self._lite is None else self._lite.deadline()

    def poll_transmit(self) -> Transmit | None:
        return self._outbox.poll_transmit()

    def poll_event(self) -> AgentEvent | None:
        return self._outbox.poll_event()

    # What is known

    @property
    def lite(self) -> bool:
        return self._lite is not None

    @property
    def controlling(self) -> bool:
        return self._roles.controlling

    @property
    def selected(self) -> SelectedPath | None:
        return self._selection.path

    @property
    def consented_at(self) -> float | None:
        """When the remote answered along the selected pair last, as consent has it."""
        return self._selection.consented_at

    def pairs(self) -> list[PairStatus]:
        """Every pair, best first, and the selected one even if its generation is gone."""
        return [pair.status(self.controlling, self._selection.pair) for pair in self._best_first()]

    def pair_reports(self) -> list[PairReport]:
        """Every pair with what was tried on it, in the order of ``pairs``."""
        selection = self._selection
        return [
            pair.report(self.controlling, selection.pair, selection.remark(pair))
            for pair in self._best_first()
        ]

    def _best_first(self) -> list[Pair]:
        pairs = sorted(self._list, key=lambda p: p.priority(self.controlling), reverse=True)
        selected = self._selection.pair
        if selected is not None and selected not in self._list:
            pairs.insert(0, selected)
        return pairs

    def _add_remote(self, candidate: Candidate) -> bool:
        # RFC 8839 section 5.1 lets it be told; "prflx" is for those that a check came from.
        told_type = "srflx" if candidate.type == "prflx" else candidate.type
        remote = RemoteCandidate(
            endpoint_of(candidate), told_type, candidate.priority, candidate.foundation
        )
        is_new = self._list.add_remote(remote)
        if is_new:
            self._run.is_exhausted = False
        return is_new
