"""Two sessions over the worst network there is, against what must hold between them.

The machine below plays crashes, simultaneous restarts, loss, duplication, reordering, delay,
replay of anything ever said, reflection, and clocks that are years wrong. While it does so, it
checks what must never happen; whenever the network heals, that both sides agree, know each
other's newest description, and fall silent.
"""

import math
from collections import deque
from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from wice.errors import EnvelopeError, RemoteProtocolError
from wice.keys import LocalKeyHolder, PrivateKey
from wice.proto import signaling_pb2
from wice.signaling.description import CANDIDATES_MAX, Description, decode_message
from wice.signaling.envelope import open_inner, seal_inner
from wice.signaling.session import (
    HEARD_SESSIONS_MAX,
    LocalSessionBound,
    LocalSessionRetired,
    LocalSessionStarted,
    RemoteDescribed,
    Session,
    SessionTiming,
)

YEAR_S = 365 * 86_400.0
LATENCY_S = 0.05
TIMING = SessionTiming()

HEALED_WITHIN_S = 2 * TIMING.repeat_max_s
"""From the end of all faults to agreement: the longest pause between repetitions, and a little."""

QUIET_FOR_S = 86_400.0
STEPS_MAX = 5_000
"""Of one healing; more is a livelock."""


@dataclass
class Letter:
    """A message that was sent at some time; it may arrive at any other, any number of times."""

    sender: "Side"
    message: bytes


@dataclass
class Side:
    """One peer: its session, and the caller who makes credentials and ICE agents for it."""

    name: str
    random: Random
    holder: LocalKeyHolder
    wall_offset_s: float = 0.0
    now: float = 0.0
    incarnation: int = 0
    session: Session = field(init=False)
    said: Description | None = None
    live: list[bytes] = field(default_factory=list)
    bound: dict[bytes, bytes] = field(default_factory=dict)
    known: dict[bytes, tuple[bytes, Description]] = field(default_factory=dict)
    heard: set[bytes] = field(default_factory=set)
    made: dict[bytes, set[bytes]] = field(default_factory=dict)
    started: list[float] = field(default_factory=list)
    sent: list[float] = field(default_factory=list)

    def crash(self, now: float) -> None:
        """Forget everything and start again."""
        self.incarnation += 1
        self.now = now
        self.live, self.bound, self.known, self.heard = [], {}, {}, set()
        self.started, self.sent = [], []
        self.session = Session(
            random_bytes=self.random.randbytes,
            wall_time=lambda: 1.8e9 + self.now + self.wall_offset_s,
            now=now,
        )

    def description(self, candidates: int) -> Description:
        return Description(
            ufrag=f"{self.random.getrandbits(64):016x}",
            password=f"{self.random.getrandbits(128):032x}",
            candidates=tuple(f"candidate:{self.name}{n}" for n in range(candidates)),
        )

    def trickle(self, now: float) -> None:
        assert self.said is not None
        count = len(self.said.candidates)
        if count < CANDIDATES_MAX:
            self.said = Description(
                ufrag=self.said.ufrag,
                password=self.said.password,
                candidates=(*self.said.candidates, f"candidate:{self.name}{count}"),
            )
            self.session.set_local(self.said, now)

    def drain(self, now: float) -> list[bytes]:
        """Serve the session's events; what it then wants to send."""
        while (event := self.session.poll_event()) is not None:
            match event:
                case LocalSessionStarted(session_id=session_id):
                    assert session_id == self.session.session_id
                    self.live.append(session_id)
                    self.made[session_id] = self.heard
                    self.started.append(now)
                    self.said = self.description(candidates=self.random.randrange(3))
                    self.session.set_local(self.said, now)
                case RemoteDescribed(local_session=local, remote_session=remote):
                    assert local in self.live, "a description for a session that is gone"
                    assert self.bound.get(local, remote) == remote, "a bound session strayed"
                    before = self.known.get(local)
                    if before is not None and before[0] == remote:
                        gained = len(event.description.candidates) - len(before[1].candidates)
                        assert gained > 0, "said twice, or an old description again"
                    self.known[local] = (remote, event.description)
                case LocalSessionBound(local_session=local, remote_session=remote):
                    assert local == self.live[-1], "an older session was bound"
                    assert local not in self.bound, "a session was bound twice"
                    assert self.known[local][0] == remote, "bound before it was described"
                    self.bound[local] = remote
                case LocalSessionRetired(session_id=session_id):
                    self.live.remove(session_id)
                    if session_id in self.bound:
                        assert self.live[-1] in self.bound, "a bound session went for nothing"
        assert len(self.live) <= 2, "more than two local sessions"
        message = self.session.poll_transmit()
        assert self.session.poll_transmit() is None
        if message is None:
            return []
        self.sent.append(now)
        assert decode_message(message).session_id == self.session.session_id
        return [message]


class SessionModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        random = Random(0)
        self.now = 1_000.0
        holders = [LocalKeyHolder(PrivateKey(random.randbytes(32)), random.randbytes) for _ in "ab"]
        self.a = Side("a", Random(1), holders[0])
        self.b = Side("b", Random(2), holders[1])
        self.ever_sent: list[Letter] = []
        self.in_flight: list[Letter] = []
        self.delayed: list[Letter] = []
        for side in (self.a, self.b):
            side.crash(self.now)
            self.drain(side)

    def side(self, is_a: bool) -> Side:
        return self.a if is_a else self.b

    def other(self, side: Side) -> Side:
        return self.b if side is self.a else self.a

    def drain(self, side: Side) -> None:
        side.now = self.now
        bound_before = dict(side.bound)
        for message in side.drain(self.now):
            letter = Letter(side, message)
            self.ever_sent.append(letter)
            self.in_flight.append(letter)
        for local, remote in side.bound.items():
            if local not in bound_before:
                other = self.other(side)
                assert remote in other.made, "bound to a session that never was"
                assert local in other.made[remote], "bound to a session that did not know ours"

    def deliver(self, letter: Letter) -> None:
        recipient = self.other(letter.sender)
        recipient.heard.add(decode_message(letter.message).session_id)
        recipient.session.receive(letter.message, self.now)
        self.drain(recipient)

    # The network

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data(), keep=st.booleans())
    def arrive(self, data: st.DataObject, keep: bool) -> None:
        """In any order, once or several times."""
        index = data.draw(st.integers(0, len(self.in_flight) - 1))
        letter = self.in_flight[index]
        if not keep:
            del self.in_flight[index]
        self.deliver(letter)

    @precondition(lambda self: self.in_flight)
    @rule()
    def arrive_all(self) -> None:
        letters, self.in_flight = self.in_flight, []
        for letter in letters:
            self.deliver(letter)

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        del self.in_flight[data.draw(st.integers(0, len(self.in_flight) - 1))]

    @rule()
    def lose_all(self) -> None:
        self.in_flight.clear()

    @precondition(lambda self: self.in_flight)
    @rule()
    def delay_all(self) -> None:
        """What is on its way stays there, until long after."""
        self.delayed += self.in_flight
        self.in_flight = []

    @precondition(lambda self: self.delayed)
    @rule()
    def arrive_late(self) -> None:
        letters, self.delayed = self.delayed, []
        for letter in letters:
            self.deliver(letter)

    @precondition(lambda self: self.ever_sent)
    @rule(data=st.data())
    def replay(self, data: st.DataObject) -> None:
        self.deliver(data.draw(st.sampled_from(self.ever_sent)))

    @precondition(lambda self: self.ever_sent)
    @rule(back=st.integers(1, 12))
    def replay_recent(self, back: int) -> None:
        self.deliver(self.ever_sent[-min(back, len(self.ever_sent))])

    @precondition(lambda self: self.ever_sent)
    @rule(is_a=st.booleans(), times=st.integers(2, 30))
    def replay_everything(self, is_a: bool, times: int) -> None:
        for letter in [x for x in self.ever_sent if x.sender is self.side(is_a)][-times:]:
            self.deliver(letter)

    @precondition(lambda self: self.ever_sent)
    @rule(data=st.data())
    def reflect(self, data: st.DataObject) -> None:
        letter = data.draw(st.sampled_from(self.ever_sent))
        us, them = letter.sender.holder, self.other(letter.sender).holder
        sealed = seal_inner(us, them.public_key, letter.message, letter.sender.random.randbytes)
        envelope = signaling_pb2.Envelope.FromString(sealed)
        envelope.sender, envelope.recipient = envelope.recipient, envelope.sender
        with pytest.raises(EnvelopeError):
            open_inner(us, envelope.SerializeToString())
        if decode_message(letter.message).session_id == letter.sender.session.session_id:
            with pytest.raises(RemoteProtocolError):
                letter.sender.session.receive(letter.message, self.now)
            self.drain(letter.sender)

    # The sides

    @rule(is_a=st.booleans(), years=st.sampled_from((-20, -1, 0, 0, 1, 20)))
    def crash(self, is_a: bool, years: int) -> None:
        side = self.side(is_a)
        side.wall_offset_s = years * YEAR_S
        side.crash(self.now)
        self.drain(side)

    @rule(is_a=st.booleans(), years=st.sampled_from((-20, 0, 20)))
    def crash_before_the_echo_arrives(self, is_a: bool, years: int) -> None:
        """An echo is on its way, its sender crashes, and his successor is heard first."""
        self.restart(not is_a)
        self.arrive_all()
        self.delay_all()
        self.crash(is_a, years)
        self.arrive_all()
        self.arrive_all()
        self.lose_all()
        self.arrive_late()

    @rule(is_a=st.booleans())
    def restart(self, is_a: bool) -> None:
        side = self.side(is_a)
        side.session.restart(self.now)
        self.drain(side)

    @rule()
    def both_restart(self) -> None:
        for side in (self.a, self.b):
            side.session.restart(self.now)
        for side in (self.a, self.b):
            self.drain(side)

    @rule(is_a=st.booleans(), is_lost=st.booleans())
    def trickle(self, is_a: bool, is_lost: bool) -> None:
        side = self.side(is_a)
        side.trickle(self.now)
        self.drain(side)
        if is_lost:
            self.in_flight.clear()

    @rule(is_a=st.booleans())
    def trickle_while_settled(self, is_a: bool) -> None:
        self.heal()
        self.trickle(is_a, is_lost=True)
        self.heal()

    @rule(is_a=st.booleans())
    def find(self, is_a: bool) -> None:
        side = self.side(is_a)
        side.session.presence_changed(self.now)
        self.drain(side)

    @rule(is_a=st.booleans(), years=st.sampled_from((-20, 0, 20)))
    def set_clock(self, is_a: bool, years: int) -> None:
        self.side(is_a).wall_offset_s = years * YEAR_S

    @rule(is_a=st.booleans())
    def connect(self, is_a: bool) -> None:
        """A check of the other side arrives, made with credentials of ours."""
        side, other = self.side(is_a), self.side(not is_a)
        for remote, (local, _) in other.known.items():
            side.session.confirm(local, remote, self.now)
        self.drain(side)

    @rule(seconds=st.sampled_from((0.01, 0.5, 3.0, 30.0, 1_000.0)))
    def wait(self, seconds: float) -> None:
        """Time passes, and nothing arrives."""
        self.pass_time(self.now + seconds)

    def next_deadline(self) -> float:
        return min(side.session.deadline() or math.inf for side in (self.a, self.b))

    def pass_time(self, until: float) -> None:
        for _ in range(STEPS_MAX):
            deadline = self.next_deadline()
            if deadline > until:
                self.now = until
                return
            self.now = max(self.now, deadline)
            self.fire()
        raise AssertionError("a timer that never rests")

    def fire(self) -> None:
        for side in (self.a, self.b):
            if (side.session.deadline() or math.inf) <= self.now:
                side.session.handle_timeout(self.now)
                self.drain(side)

    # What must hold

    @rule()
    def heal(self) -> None:
        """From now on the network does its work: what must come about in the end."""
        late = self.in_flight + self.delayed
        flying = deque((self.now + LATENCY_S, letter) for letter in late)
        self.in_flight, self.delayed = [], []
        healed_at = self.now
        last_sent_at = self.now
        for _ in range(STEPS_MAX):
            arrival = flying[0][0] if flying else math.inf
            event_at = min(arrival, self.next_deadline())
            if event_at > healed_at + HEALED_WITHIN_S + QUIET_FOR_S:
                break
            self.now = max(self.now, event_at)
            if arrival <= self.now:
                self.deliver(flying.popleft()[1])
            else:
                self.fire()
            for letter in self.in_flight:
                flying.append((self.now + LATENCY_S, letter))
                last_sent_at = self.now
            self.in_flight = []
        else:
            raise AssertionError("the sides never come to rest")
        assert last_sent_at <= healed_at + HEALED_WITHIN_S, "chatter after everything was said"
        self.check_agreement()

    def check_agreement(self) -> None:
        for side, other in ((self.a, self.b), (self.b, self.a)):
            newest = side.session.session_id
            assert side.live == [newest], "an older session lives on"
            assert side.bound.get(newest) == other.session.session_id, "the sides disagree"
            assert side.known[newest][1] == other.said, "an old description"
            assert side.session.deadline() is None, "something is still to be done"

    @invariant()
    def memory_is_bounded(self) -> None:
        for side in (self.a, self.b):
            assert len(side.session._heard) <= HEARD_SESSIONS_MAX
            assert len(side.live) <= 2

    @invariant()
    def work_is_bounded(self) -> None:
        """However much is replayed, sessions and messages come no faster than their rates."""
        for side in (self.a, self.b):
            rate = TIMING.new_sessions
            check_rate(side.started, rate.burst, rate.interval_s)
            sources = (TIMING.news, TIMING.answers)
            repetitions = 1 / TIMING.repeat_first_s
            per_s = sum(1 / rate.interval_s for rate in sources) + repetitions
            check_rate(side.sent, sum(rate.burst for rate in sources) + 2, 1 / per_s)

    def teardown(self) -> None:
        self.heal()


def check_rate(times: list[float], burst: int, interval_s: float) -> None:
    for first in range(max(0, len(times) - 60), len(times)):
        count = len(times) - first
        allowed = burst + (times[-1] - times[first]) / interval_s + 1e-6
        assert count <= allowed, f"{count} within {times[-1] - times[first]} s"


COMMON = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.filter_too_much],
}

SessionModel.TestCase.settings = settings(max_examples=200, stateful_step_count=40, **COMMON)
TestSessionModel = SessionModel.TestCase


class LongSessionModel(SessionModel):
    pass


LongSessionModel.TestCase.settings = settings(max_examples=10_000, stateful_step_count=60, **COMMON)
TestSessionModelNightly = pytest.mark.nightly(LongSessionModel.TestCase)
