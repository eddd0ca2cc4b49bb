"""Answers the remote's checks, and lets each of them start one of ours (RFC 8445 section 7.3)."""

from wice.datagram import Endpoint, Path
from wice.errors import RemoteProtocolError
from wice.ice.checklist import CheckList
from wice.ice.credentials import Credentials
from wice.ice.early import EarlyCheck, EarlyChecks
from wice.ice.events import RemoteCheckReceived
from wice.ice.lite import Lite
from wice.ice.messages import (
    Request,
    encode_role_conflict,
    encode_success,
    encode_unknown_attributes,
    read_request,
)
from wice.ice.outbox import Outbox
from wice.ice.pair import Effort, State
from wice.ice.roles import Roles
from wice.ice.selection import Selection
from wice.stun import IntegrityKey, Message


class Responder:
    """Answers whoever knows our credentials; checks of a remote that is not described are kept."""

    def __init__(
        self,
        local: Credentials,
        checklist: CheckList,
        selection: Selection,
        roles: Roles,
        outbox: Outbox,
        lite: Lite | None,
    ) -> None:
        self._ufrag = local.ufrag
        self._key = IntegrityKey(local.password.encode())
        self._list = checklist
        self._selection = selection
        self._roles = roles
        self._outbox = outbox
        self._lite = lite
        self._early = EarlyChecks()
        self._remote_ufrag_heard = ""

    def receive(
        self, message: Message, source: Endpoint, destination: str | None, now: float
    ) -> None:
        """Take a request; raise RemoteProtocolError for one that gets no answer."""
        request = read_request(message, self._ufrag, self._key)
        if not self._list.may_answer_from(destination):
            raise RemoteProtocolError("a check to an address that is no candidate of ours")
        path = Path(source, destination)
        if request.unknown:
            reply = encode_unknown_attributes(request.transaction_id, request.unknown, self._key)
            self._outbox.send(reply, path)
            return
        has_conflict = request.is_controlling == self._roles.controlling
        if has_conflict and not self._roles.yields_to(request):
            self._outbox.send(encode_role_conflict(request.transaction_id, self._key), path)
            return
        self._outbox.send(encode_success(request.transaction_id, source, self._key), path)
        if request.remote_ufrag != self._remote_ufrag_heard:
            self._remote_ufrag_heard = request.remote_ufrag
            self._outbox.report(RemoteCheckReceived(source, request.remote_ufrag))
        self._early.add(EarlyCheck(request, source, destination))
        self.take_early(now)

    def take_early(self, now: float) -> None:
        """Trigger checks for those that came in from the remote whose credentials we have."""
        remote = self._list.remote
        if remote is None or not self._list.has_bases:
            return
        for early in self._early.take(remote.credentials.ufrag):
            base = early.destination or self._list.default_base(early.source)
            if base is not None and self._list.is_base(base):
                self._trigger(early.request, base, early.source, now)

    def _trigger(self, request: Request, base: str, source: Endpoint, now: float) -> None:
        """Check a pair that a check came in on (RFC 8445 section 7.3.1.4)."""
        pair = self._list.learn(base, source, request.priority)
        if pair is None:
            return
        pair.history.received_check(now)
        if request.use_candidate and not self._roles.controlling:
            self._selection.hear_nomination(pair, request.nomination)
        if self._lite is not None:
            self._lite.hear(pair, now)
        elif pair.is_valid(now):
            self._selection.follow(pair, now)
        elif pair.triggered_by != request.transaction_id:
            # A retransmission of theirs adds nothing to the check that it triggered already.
            pair.triggered_by = request.transaction_id
            pair.effort = Effort.FULL
            pair.state = State.WAITING
            self._list.trigger(pair)
