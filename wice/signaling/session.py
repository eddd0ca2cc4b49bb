"""The session of one relation: two sides agree on who they are today (DESIGN D9). Sans-IO.

Each side makes *local sessions*: a random id, ICE credentials of its own, a description that
grows. It speaks only for its newest one and never goes back, so what a side sends names sessions
in the order in which it made them. Everything below follows from that.

**Binding.** A session stands with one session of the other side. L is *bound* to the first
remote session that *echoes* L, that is, acknowledges it (or that ICE saw using L's credentials:
``confirm``). An echo is proof of life: L is random, so the message is younger than L. When another
remote session is heard while L is unbound, L stays. When L is bound, L is kept as the *previous*
session and a new one is made, once: it is unbound, so whatever else is heard before it is bound
makes no third. Hence simultaneous restarts meet, and a crash of the other side (a session that
never heard of L) leads to a fresh pair.

**Replays.** A recorded message may name a remote session that we do not remember. It is treated
as the restart it might be, at a limited rate, beside the previous session, which nothing here
ever takes away: only the binding of a newer one retires it. If the message was a replay, the
living side hears of our new session and makes one itself. When R echoes L, every other remote
session heard *before L was made* is over for good (the other side had R after it knew L), and is
ignored from then on. Each recorded session so costs one restart at most.

**Time** orders the remote sessions that no echo has proved: ICE is given the youngest. Older ones
are answered too, at a lower rate, so a clock that went back locks nobody out.

**Repeating.** A side is *settled* when its newest session is bound and the other side said that it
holds the newest description and is bound too. Until then it asks for an acknowledgement and repeats
itself with backoff. A message that asks is answered, unless the answer was said just before and the
two crossed; one that does not is not, so two settled sides are silent. Why both must say that they
are bound: let La answer Lb, then be bound to X by an echo that was on its way all the time. If the
answer alone settled Lb, both would be silent and disagree. It does not, so Lb goes on and La's side
learns of it. Conversely: if a side is settled with (L, R) and the other has since made R', then R'
was made after L was known there, so R' cannot have been bound to any session before L and is not
settled: it is still talking.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from wice.errors import LocalProtocolError, RemoteProtocolError
from wice.signaling.description import (
    SESSION_ID_SIZE_BYTES,
    Acknowledgement,
    Description,
    SessionMessage,
    decode_message,
    encode_message,
    tai64n,
    tai64n_after,
)
from wice.signaling.rate_limit import Rate, RateLimit

HEARD_SESSIONS_MAX = 256
"""Remote session ids remembered; a replay of a forgotten one costs a restart again."""

NEWS_RATE = Rate(burst=10, interval_s=0.5)
ANSWER_RATE = Rate(burst=4, interval_s=1.0)
UNPROVED_RATE = Rate(burst=10, interval_s=1.0)
OLDER_RATE = Rate(burst=4, interval_s=10.0)
NEW_SESSION_RATE = Rate(burst=4, interval_s=10.0)


@dataclass(frozen=True, slots=True)
class SessionTiming:
    """How often things may happen.

    repeat_first_s, repeat_max_s: repetition of what is not acknowledged, doubling in between.
    on_its_way_s: how long an answer is not said again; shorter than the first repetition.
    news: messages that say something new. answers: acknowledgements. unproved: remote sessions
    listened to before they proved themselves; older: those whose clock says that they are over.
    new_sessions: local sessions made.
    """

    repeat_first_s: float = 0.5
    repeat_max_s: float = 300.0
    on_its_way_s: float = 0.25
    news: Rate = NEWS_RATE
    answers: Rate = ANSWER_RATE
    unproved: Rate = UNPROVED_RATE
    older: Rate = OLDER_RATE
    new_sessions: Rate = NEW_SESSION_RATE


@dataclass(frozen=True, slots=True)
class LocalSessionStarted:
    """Make fresh ICE credentials and an agent for it, then call ``set_local``."""

    session_id: bytes


@dataclass(frozen=True, slots=True)
class RemoteDescribed:
    """The agent of ``local_session`` is to check against this from now on.

    ``remote_session`` changes only while ``local_session`` is unbound; within one remote session
    the credentials stay the same.
    """

    local_session: bytes
    remote_session: bytes
    description: Description


@dataclass(frozen=True, slots=True)
class LocalSessionBound:
    """The two stand together: the other side knows ``local_session``."""

    local_session: bytes
    remote_session: bytes


@dataclass(frozen=True, slots=True)
class LocalSessionRetired:
    """Signaling needs it no longer. Its path may carry on until a newer one does."""

    session_id: bytes


SessionEvent = LocalSessionStarted | RemoteDescribed | LocalSessionBound | LocalSessionRetired


@dataclass(slots=True)
class _Remote:
    id: bytes
    version: int
    timestamp: bytes
    description: Description


@dataclass(slots=True)
class _Local:
    id: bytes
    generation: int
    description: Description | None = None
    version: int = 0
    bound_to: _Remote | None = None
    described: tuple[bytes, int] | None = None
    acknowledged_version: int = 0
    remote_is_bound: bool = False

    @property
    def is_settled(self) -> bool:
        return self.remote_is_bound and self.acknowledged_version == self.version


@dataclass(slots=True)
class SessionStatistics:
    """What a relation cost so far.

    sessions: local ones made. messages: sent, repetitions too. Well-formed messages that were
    still ignored: over, of a remote session that is proved to be over; limited, of an unproved
    one, over its rate.
    """

    sessions: int = 0
    messages: int = 0
    over: int = 0
    limited: int = 0


class Session:
    """One relation's session. After each call drain ``poll_event``, then ``poll_transmit``.

    random_bytes: fit for secrets. wall_time: seconds since 1970; may be wrong and may step.
    now: seconds of the monotonic clock that every other ``now`` is of.
    """

    def __init__(
        self,
        *,
        random_bytes: Callable[[int], bytes],
        wall_time: Callable[[], float],
        now: float,
        timing: SessionTiming | None = None,
    ) -> None:
        self.statistics = SessionStatistics()
        self._random_bytes = random_bytes
        self._wall_time = wall_time
        self._timing = timing or SessionTiming()
        self._news_rate = RateLimit(self._timing.news)
        self._answer_rate = RateLimit(self._timing.answers)
        self._unproved_rate = RateLimit(self._timing.unproved)
        self._older_rate = RateLimit(self._timing.older)
        self._new_session_rate = RateLimit(self._timing.new_sessions)

        self._previous: _Local | None = None
        self._candidate: _Remote | None = None
        self._heard: dict[bytes, int] = {}
        self._ufrags_used: deque[str] = deque(maxlen=2)

        self._events: deque[SessionEvent] = deque()
        self._outgoing: bytes | None = None
        self._timestamp = tai64n(0)
        self._new_session_wanted = False
        self._news_due = False
        self._answer_due: Acknowledgement | None = None
        self._said: SessionMessage | None = None
        self._said_at = now
        self._repeat_interval_s = self._timing.repeat_first_s
        self._repeat_at = now

        self._new_session_rate.take(now)
        self.statistics.sessions += 1
        self._newest = _Local(random_bytes(SESSION_ID_SIZE_BYTES), generation=0)
        self._events.append(LocalSessionStarted(self._newest.id))

    @property
    def session_id(self) -> bytes:
        """The newest local session."""
        return self._newest.id

    @property
    def is_settled(self) -> bool:
        """Both sides know of one another, and the other one has our newest description."""
        return self._newest.is_settled

    # What our side does

    def set_local(self, description: Description, now: float) -> None:
        """Say this for the newest local session; the same again says nothing new.

        Raise LocalProtocolError when the credentials are not the session's own.
        """
        local = self._newest
        if local.description == description:
            return
        if local.description is None:
            if description.ufrag in self._ufrags_used:
                raise LocalProtocolError("a new session needs fresh ICE credentials")
            self._ufrags_used.append(description.ufrag)
        elif _credentials(local.description) != _credentials(description):
            raise LocalProtocolError("the ICE credentials of a session stay the same")
        local.description = description
        local.version += 1
        self._news_due = True
        self._advance(now)

    def restart(self, now: float) -> None:
        """ICE wants to start anew: make a new local session as soon as the rate allows."""
        if self._newest.description is not None:
            self._new_session_wanted = True
            self._advance(now)

    def confirm(self, local_session: bytes, remote_session: bytes, now: float) -> None:
        """ICE saw the remote session use the local one's credentials, so it knows of it."""
        if local_session == self._newest.id and self._newest.bound_to is None:
            previous = self._previous.bound_to if self._previous else None
            for remote in (self._candidate, previous):
                if remote is not None and remote.id == remote_session:
                    self._bind(remote, now)
                    break
        self._advance(now)

    def presence_changed(self, now: float) -> None:
        """The peer was found, or found anew: what is not acknowledged is said again soon."""
        if not self._newest.is_settled:
            self._news_due = True
        self._advance(now)

    # What the other side does

    def receive(self, message: bytes, now: float) -> None:
        """Take a message that the envelope proved to be the peer's; raise RemoteProtocolError."""
        heard = decode_message(message)
        self._check(heard)
        if self._is_over(heard.session_id):
            self.statistics.over += 1
            return
        self._remember(heard.session_id)
        local, previous = self._newest, self._previous
        is_echo = heard.acknowledged is not None and heard.acknowledged.session_id == local.id
        if local.bound_to is None and is_echo:
            self._bind(self._known(heard.session_id) or _remote(heard), now)
        if local.bound_to is not None and local.bound_to.id == heard.session_id:
            self._hear_bound(local, local.bound_to, heard)
        elif previous and previous.bound_to and previous.bound_to.id == heard.session_id:
            self._hear_bound(previous, previous.bound_to, heard)
        else:
            self._hear_unproved(heard, now)
        self._advance(now)

    def _check(self, heard: SessionMessage) -> None:
        if heard.session_id in (local.id for local in self._locals()):
            raise RemoteProtocolError("a message of our own session")
        known = self._known(heard.session_id)
        if known and _credentials(known.description) != _credentials(heard.description):
            raise RemoteProtocolError("the ICE credentials of a session changed")
        for local in self._locals():
            echo = heard.acknowledged
            if echo and echo.session_id == local.id and echo.version > local.version:
                raise RemoteProtocolError("an acknowledgement of what was not said")

    def _hear_bound(self, local: _Local, remote: _Remote, heard: SessionMessage) -> None:
        """A message of the remote session that ``local`` is bound to."""
        _learn(remote, heard)
        self._describe(local, remote)
        if heard.acknowledged and heard.acknowledged.session_id == local.id:
            local.acknowledged_version = max(local.acknowledged_version, heard.acknowledged.version)
            local.remote_is_bound = local.remote_is_bound or heard.bound
        if heard.acknowledgement_wanted and heard.version == remote.version:
            self._answer_due = Acknowledgement(remote.id, remote.version)

    def _hear_unproved(self, heard: SessionMessage, now: float) -> None:
        """A message of a remote session that may be the other side's newest, or a replay."""
        candidate = self._candidate
        if candidate is not None and candidate.id == heard.session_id:
            _learn(candidate, heard)
        else:
            rate = self._older_rate if self._is_older(heard) else self._unproved_rate
            if not rate.take(now):
                self.statistics.limited += 1
                return
            if candidate is None or heard.timestamp >= candidate.timestamp:
                self._candidate = _remote(heard)
                self._repeat_soon(now)
        if self._newest.bound_to is not None:
            self._new_session_wanted = True
            return
        if self._candidate is not None:
            self._describe(self._newest, self._candidate)
        if heard.acknowledgement_wanted:
            # Acknowledge the speaker, not the candidate: if both sides prefer a dead session whose
            # clock was ahead, neither would ever echo the other.
            self._answer_due = Acknowledgement(heard.session_id, heard.version)

    def _bind(self, remote: _Remote, now: float) -> None:
        local = self._newest
        assert local.bound_to is None
        local.bound_to = remote
        self._candidate = None
        self._answer_due = None
        self._describe(local, remote)
        self._events.append(LocalSessionBound(local.id, remote.id))
        if self._previous is not None:
            self._events.append(LocalSessionRetired(self._previous.id))
            self._previous = None
        self._repeat_soon(now)

    def _describe(self, local: _Local, remote: _Remote) -> None:
        """Hand a remote description on, unless it was."""
        if local.described != (remote.id, remote.version):
            local.described = (remote.id, remote.version)
            self._events.append(RemoteDescribed(local.id, remote.id, remote.description))

    # What is remembered

    def _locals(self) -> tuple[_Local, ...]:
        return (self._newest,) if self._previous is None else (self._previous, self._newest)

    def _known(self, session_id: bytes) -> _Remote | None:
        remotes = (self._candidate, *(local.bound_to for local in self._locals()))
        return next((r for r in remotes if r is not None and r.id == session_id), None)

    def _youngest_bound(self) -> _Remote | None:
        local = self._newest if self._newest.bound_to else self._previous
        return local.bound_to if local else None

    def _is_over(self, session_id: bytes) -> bool:
        """Whether it was heard before the youngest bound local session was made.

        Sound, because only the newest local session is ever bound, to whoever knew it.
        """
        local = self._newest if self._newest.bound_to else self._previous
        if local is None or local.bound_to is None or local.bound_to.id == session_id:
            return False
        return self._heard.get(session_id, local.generation) < local.generation

    def _is_older(self, heard: SessionMessage) -> bool:
        """Whether a session that we know of spoke later, by the other side's clock."""
        rivals = (self._candidate, self._youngest_bound())
        return any(rival is not None and heard.timestamp < rival.timestamp for rival in rivals)

    def _remember(self, session_id: bytes) -> None:
        self._heard.setdefault(session_id, self._newest.generation)
        if len(self._heard) > HEARD_SESSIONS_MAX:
            del self._heard[next(iter(self._heard))]

    # What is sent, and when

    def handle_timeout(self, now: float) -> None:
        """Do what is due at ``now``."""
        self._advance(now)

    def deadline(self) -> float | None:
        """When to call ``handle_timeout`` next; it may be past."""
        due: list[float] = []
        if self._new_session_wanted:
            due.append(self._new_session_rate.ready_at())
        if self._newest.description is not None:
            if self._news_due:
                due.append(self._news_rate.ready_at())
            if self._answer_due is not None:
                due.append(self._answer_rate.ready_at())
            if not self._newest.is_settled:
                due.append(self._repeat_at)
        return min(due, default=None)

    def poll_event(self) -> SessionEvent | None:
        return self._events.popleft() if self._events else None

    def poll_transmit(self) -> bytes | None:
        """The next message to publish, at most one each time something happened."""
        message, self._outgoing = self._outgoing, None
        return message

    def _advance(self, now: float) -> None:
        if self._new_session_wanted and self._new_session_rate.take(now):
            self._start_local_session()
        if self._newest.description is None:
            return
        if self._news_due and self._news_rate.take(now):
            self._transmit(self._newest_acknowledgement(), now)
            self._news_due = False
            self._repeat_soon(now)
        elif not self._newest.is_settled and now >= self._repeat_at:
            self._transmit(self._newest_acknowledgement(), now)
            self._repeat_interval_s = min(2 * self._repeat_interval_s, self._timing.repeat_max_s)
            self._repeat_at = now + self._repeat_interval_s
        elif self._answer_due is not None:
            if self._is_on_its_way(self._answer_due, now):
                self._answer_due = None
            elif self._answer_rate.take(now):
                self._transmit(self._answer_due, now)

    def _start_local_session(self) -> None:
        replaced = self._newest
        self.statistics.sessions += 1
        if replaced.bound_to is not None:
            self._previous = replaced
        else:
            self._events.append(LocalSessionRetired(replaced.id))
        self._newest = _Local(
            self._random_bytes(SESSION_ID_SIZE_BYTES), generation=replaced.generation + 1
        )
        self._new_session_wanted = False
        self._news_due = False
        self._answer_due = None
        self._events.append(LocalSessionStarted(self._newest.id))
        if self._candidate is not None:
            self._describe(self._newest, self._candidate)

    def _repeat_soon(self, now: float) -> None:
        self._repeat_interval_s = self._timing.repeat_first_s
        self._repeat_at = now + self._repeat_interval_s

    def _newest_acknowledgement(self) -> Acknowledgement | None:
        remote = self._newest.bound_to or self._candidate or self._youngest_bound()
        return Acknowledgement(remote.id, remote.version) if remote else None

    def _is_on_its_way(self, answer: Acknowledgement, now: float) -> bool:
        """Whether the last message gave this answer, and so lately that the question crossed it.

        Should that message be lost, the other side asks again and gets another.
        """
        said, local = self._said, self._newest
        return (
            said is not None
            and now < self._said_at + self._timing.on_its_way_s
            and said.acknowledged == answer
            and said.session_id == local.id
            and said.version == local.version
            and said.bound == self._stands_with(answer)
        )

    def _stands_with(self, acknowledgement: Acknowledgement | None) -> bool:
        bound_to = self._newest.bound_to
        return (
            bound_to is not None
            and acknowledgement is not None
            and acknowledgement.session_id == bound_to.id
        )

    def _transmit(self, acknowledgement: Acknowledgement | None, now: float) -> None:
        local = self._newest
        assert local.description is not None
        self.statistics.messages += 1
        if acknowledgement == self._answer_due:
            self._answer_due = None
        self._timestamp = max(tai64n(self._wall_time()), tai64n_after(self._timestamp))
        self._said_at = now
        self._said = SessionMessage(
            session_id=local.id,
            version=local.version,
            acknowledged=acknowledgement,
            bound=self._stands_with(acknowledgement),
            acknowledgement_wanted=not local.is_settled,
            timestamp=self._timestamp,
            description=local.description,
        )
        self._outgoing = encode_message(self._said)


def _remote(heard: SessionMessage) -> _Remote:
    return _Remote(heard.session_id, heard.version, heard.timestamp, heard.description)


def _learn(remote: _Remote, heard: SessionMessage) -> None:
    """Take over what a message says that is newer than what is known."""
    remote.timestamp = max(remote.timestamp, heard.timestamp)
    if heard.version > remote.version:
        remote.version, remote.description = heard.version, heard.description


def _credentials(description: Description) -> tuple[str, str]:
    return description.ufrag, description.password
