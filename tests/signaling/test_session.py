"""The session step by step: who says what when, and what a caller is told."""

import dataclasses
from collections.abc import Callable
from random import Random

import pytest

from wice.errors import LocalProtocolError, RemoteProtocolError
from wice.signaling.description import (
    Acknowledgement,
    Description,
    SessionMessage,
    decode_message,
    encode_message,
)
from wice.signaling.rate_limit import Rate, RateLimit
from wice.signaling.session import (
    HEARD_SESSIONS_MAX,
    LocalSessionBound,
    LocalSessionRetired,
    LocalSessionStarted,
    RemoteDescribed,
    Session,
    SessionEvent,
    SessionTiming,
)

TIMING = SessionTiming()
YEAR_S = 365 * 86_400.0


class Peer:
    """A session and its caller, who gives each local session a description at once."""

    def __init__(self, seed: int, now: float = 0.0, wall_offset_s: float = 1.8e9) -> None:
        self.random = Random(seed)
        self.wall_offset_s = wall_offset_s
        self.now = now
        self.events: list[SessionEvent] = []
        self.session = Session(
            random_bytes=self.random.randbytes,
            wall_time=lambda: self.now + self.wall_offset_s,
            now=now,
        )
        self.drain()

    def drain(self) -> list[SessionEvent]:
        new: list[SessionEvent] = []
        while (event := self.session.poll_event()) is not None:
            new.append(event)
            if isinstance(event, LocalSessionStarted):
                self.describe(
                    Description(
                        ufrag=f"{self.random.getrandbits(64):016x}",
                        password=f"{self.random.getrandbits(128):032x}",
                    )
                )
        self.events += new
        return new

    def describe(self, description: Description) -> None:
        self.description = description
        self.session.set_local(description, self.now)

    def trickle(self, *candidates: str) -> None:
        self.describe(
            dataclasses.replace(
                self.description, candidates=self.description.candidates + candidates
            )
        )

    def hear(self, message: bytes | None, now: float | None = None) -> list[SessionEvent]:
        assert message is not None
        self.now = self.now if now is None else now
        self.session.receive(message, self.now)
        return self.drain()

    def say(self) -> bytes | None:
        self.drain()
        return self.session.poll_transmit()

    def said(self) -> SessionMessage:
        message = self.say()
        assert message is not None
        return decode_message(message)

    def wait(self, now: float) -> bytes | None:
        """The message that the timers give at ``now``, if any."""
        self.now = now
        self.session.handle_timeout(now)
        return self.say()

    @property
    def id(self) -> bytes:
        return self.session.session_id


def settle(a: Peer, b: Peer, first: bytes | None = None) -> int:
    """Carry messages back and forth until neither says any; how many it took."""
    carried = 0
    to_b, to_a = [m for m in (first, a.say()) if m], [m for m in (b.say(),) if m]
    while to_a or to_b:
        to, messages = (b, to_b) if to_b else (a, to_a)
        to.hear(messages.pop(0))
        carried += 1
        assert carried < 50
        if message := to.say():
            (to_a if to is b else to_b).append(message)
    return carried


def settled_pair() -> tuple[Peer, Peer]:
    a, b = Peer(1), Peer(2)
    settle(a, b)
    assert a.session.deadline() is None
    assert b.session.deadline() is None
    return a, b


def test_nothing_is_said_before_there_is_a_description():
    session = Session(random_bytes=Random(0).randbytes, wall_time=lambda: 0.0, now=0.0)
    assert session.poll_event() == LocalSessionStarted(session.session_id)
    session.presence_changed(1.0)
    session.handle_timeout(10.0)
    assert session.poll_transmit() is None
    assert session.deadline() is None


def test_whichever_description_comes_first_starts_the_checks():
    a, b = Peer(1), Peer(2)
    assert b.hear(a.say()) == [RemoteDescribed(b.id, a.id, a.description)]


def test_first_contact():
    a, b = Peer(1), Peer(2)
    assert settle(a, b) <= 8
    for us, them in ((a, b), (b, a)):
        assert us.session.deadline() is None
        assert us.events == [
            LocalSessionStarted(us.id),
            RemoteDescribed(us.id, them.id, them.description),
            LocalSessionBound(us.id, them.id),
        ]


def test_an_acknowledgement_asks_for_none():
    a, b = settled_pair()
    a.trickle("candidate:1")
    assert settle(a, b) == 2
    assert a.session.deadline() is None
    assert b.session.deadline() is None


def test_an_acknowledgement_does_not_raise_the_version():
    a, b = settled_pair()
    a.trickle("candidate:1")
    b.hear(a.say())
    answer = b.said()
    assert answer.version == 1
    assert not answer.acknowledgement_wanted
    assert answer.acknowledged == Acknowledgement(a.id, 2)


def test_the_same_description_again_says_nothing():
    a, _ = settled_pair()
    a.describe(a.description)
    assert a.say() is None


def test_candidates_leave_at_once_and_reach_the_other_side():
    a, b = Peer(1), Peer(2)
    a.say()
    for number in range(TIMING.news.burst - 1):
        a.trickle(f"candidate:{number}")
        message = a.say()
        assert RemoteDescribed(b.id, a.id, a.description) in b.hear(message)


def test_candidates_beyond_the_rate_wait_and_travel_together():
    a = Peer(1)
    a.say()
    sent = 0
    for number in range(50):
        a.trickle(f"candidate:{number}")
        sent += a.say() is not None
    assert sent == TIMING.news.burst - 1
    deadline = a.session.deadline()
    assert deadline == TIMING.news.interval_s
    message = a.wait(deadline)
    assert message is not None
    assert len(decode_message(message).description.candidates) == 50


def test_an_older_version_changes_nothing():
    a, b = Peer(1), Peer(2)
    first = a.say()
    a.trickle("candidate:1")
    b.hear(a.say())
    assert b.hear(first) == []


def test_repetition_backs_off_to_its_greatest_pause():
    a = Peer(1)
    assert a.say()
    times = []
    while len(times) < 14:
        deadline = a.session.deadline()
        assert deadline is not None
        assert a.wait(deadline)
        times.append(deadline)
    assert times[:4] == [0.5, 1.5, 3.5, 7.5]
    assert times[-1] - times[-2] == TIMING.repeat_max_s


def test_a_found_peer_is_spoken_to_at_once():
    a = Peer(1)
    a.say()
    a.wait(1_000.0)
    a.session.presence_changed(1_000.0)
    assert a.say()
    assert a.session.deadline() == 1_000.0 + TIMING.repeat_first_s


def test_a_found_peer_that_knows_all_is_left_alone():
    a, _ = settled_pair()
    a.session.presence_changed(1_000.0)
    a.session.handle_timeout(1_000.0)
    assert a.say() is None


def test_each_session_needs_its_own_credentials():
    a, _ = settled_pair()
    a.session.restart(0.0)
    with pytest.raises(LocalProtocolError, match="fresh"):
        a.session.set_local(a.description, 0.0)
    with pytest.raises(LocalProtocolError, match="stay the same"):
        b = Peer(2)
        b.session.set_local(Description("other", "p" * 22), 0.0)


def test_a_restart_keeps_the_old_session_until_the_new_one_is_bound():
    a, b = settled_pair()
    old_a, old_b = a.id, b.id
    a.session.restart(0.0)
    assert a.drain() == [LocalSessionStarted(a.id)]
    message = a.say()
    assert b.hear(message) == [
        LocalSessionStarted(b.id),
        RemoteDescribed(b.id, a.id, a.description),
    ]
    assert a.hear(b.say()) == [
        RemoteDescribed(a.id, b.id, b.description),
        LocalSessionBound(a.id, b.id),
        LocalSessionRetired(old_a),
    ]
    assert b.hear(a.say()) == [LocalSessionBound(b.id, a.id), LocalSessionRetired(old_b)]
    settle(a, b)
    assert a.session.deadline() is None
    assert b.session.deadline() is None


def test_simultaneous_restarts_meet():
    a, b = settled_pair()
    a.session.restart(0.0)
    b.session.restart(0.0)
    new = a.id, b.id
    settle(a, b)
    assert (a.id, b.id) == new
    assert LocalSessionBound(a.id, b.id) in a.events
    assert LocalSessionBound(b.id, a.id) in b.events


def test_restarts_without_end_are_limited():
    a = Peer(1)
    for _ in range(100):
        a.session.restart(0.0)
        a.drain()
    started = [e for e in a.events if isinstance(e, LocalSessionStarted)]
    assert len(started) == TIMING.new_sessions.burst
    a.say()
    assert a.session.deadline() is not None
    a.wait(TIMING.new_sessions.interval_s)
    assert len([e for e in a.events if isinstance(e, LocalSessionStarted)]) == len(started) + 1


@pytest.mark.parametrize("years", [-20, 0, 20])
def test_a_crashed_peer_is_back_at_once_whatever_its_clock_says(years: int):
    a, b = settled_pair()
    a = Peer(3, wall_offset_s=1.8e9 + years * YEAR_S)
    assert settle(a, b) <= 6
    assert LocalSessionBound(a.id, b.id) in a.events
    assert LocalSessionBound(b.id, a.id) in b.events
    assert len([e for e in b.events if isinstance(e, LocalSessionStarted)]) == 2


@pytest.mark.parametrize("years", [-20, 20])
def test_a_session_from_the_future_locks_nobody_out(years: int):
    """B hears of a session that died at once, and whose clock was ahead."""
    dead, b = Peer(1, wall_offset_s=1.8e9 + years * YEAR_S), Peer(2)
    b.hear(dead.say())
    a = Peer(3)
    settle(a, b)
    assert LocalSessionBound(b.id, a.id) in b.events


def test_dead_sessions_from_the_future_on_both_sides_lock_nobody_out():
    a, b = Peer(1), Peer(2)
    for us, dead in ((a, Peer(3, wall_offset_s=2e9)), (b, Peer(4, wall_offset_s=2e9))):
        us.hear(dead.say())
    settle(a, b)
    assert LocalSessionBound(a.id, b.id) in a.events
    assert LocalSessionBound(b.id, a.id) in b.events


def test_time_gives_ice_the_youngest_of_the_unproved():
    b = Peer(2)
    b.say()
    old, young = Peer(1), Peer(3, wall_offset_s=1.8e9 + 60)
    b.hear(young.say())
    assert b.said().acknowledged == Acknowledgement(young.id, 1)
    assert b.hear(old.say()) == []
    assert b.said().acknowledged == Acknowledgement(old.id, 1)
    assert b.wait(1.0) is not None
    b.session.presence_changed(1.0)
    assert b.said().acknowledged == Acknowledgement(young.id, 1)


def test_ice_can_prove_a_session():
    a, b = Peer(1), Peer(2)
    b.hear(a.say())
    b.session.confirm(b.id, a.id, 0.0)
    assert b.drain() == [LocalSessionBound(b.id, a.id)]
    b.session.confirm(b.id, a.id, 0.0)
    b.session.confirm(b"gone" * 4, a.id, 0.0)
    assert b.drain() == []
    stranger = Peer(3)
    events = b.hear(stranger.say())
    assert LocalSessionStarted(b.id) in events


def test_ice_cannot_prove_what_was_not_heard():
    b = Peer(2)
    b.session.confirm(b.id, b"unknown" + bytes(9), 0.0)
    assert b.drain() == []


def test_an_answer_alone_settles_nobody():
    """An old echo overtakes the living session: one side would stay with a dead one for ever."""
    a, dead = Peer(1), Peer(2)
    dead.hear(a.say())
    late_echo = dead.say()
    b = Peer(3)
    a.hear(b.say())
    b.hear(a.say())
    assert b.say() is not None  # and it is lost
    assert LocalSessionBound(a.id, dead.id) in a.hear(late_echo)
    a.say()
    repeated = b.wait(0.5)
    assert repeated is not None
    settle(b, a, first=repeated)
    assert LocalSessionBound(a.id, b.id) in a.events
    assert LocalSessionBound(b.id, a.id) in b.events
    for us in (a, b):
        assert us.session.deadline() is None


def test_a_replay_costs_one_restart_and_never_the_bound_session():
    a, b = settled_pair()
    replayed = Peer(9, wall_offset_s=0.0).say()
    events = b.hear(replayed)
    assert [type(e) for e in events] == [LocalSessionStarted, RemoteDescribed]
    settle(a, b)
    for us, them in ((a, b), (b, a)):
        assert LocalSessionBound(us.id, them.id) in us.events
        assert len([e for e in us.events if isinstance(e, LocalSessionStarted)]) == 2
    assert b.hear(replayed) == []
    assert b.say() is None
    assert b.session.statistics.over == 1


def test_a_flood_of_replays_is_limited_and_stops_nobody():
    replays = [Peer(seed, wall_offset_s=float(seed)).say() for seed in range(10, 1_010)]
    a, b = settled_pair()
    a = Peer(3, wall_offset_s=1.8e9 + 60)
    message = a.say()
    b.events.clear()
    sent = 0
    for replay in replays:
        b.hear(replay)
        sent += b.say() is not None
    assert sent < 20
    assert len(b.events) < 10
    assert b.session.statistics.limited == len(replays) - TIMING.older.burst
    assert len(b.session._heard) <= HEARD_SESSIONS_MAX
    b.hear(message, now=TIMING.answers.interval_s)
    settle(a, b)
    assert LocalSessionBound(b.id, a.id) in b.events
    assert len([e for e in b.events if isinstance(e, LocalSessionStarted)]) == 1


def test_a_flood_after_a_crash_is_limited_too():
    replays = [Peer(seed, wall_offset_s=float(seed)).say() for seed in range(10, 1_010)]
    a, b = Peer(1), Peer(2)
    b.events.clear()
    sent = 0
    for replay in replays:
        b.hear(replay)
        sent += b.say() is not None
    assert sent < 20
    assert len(b.events) == TIMING.unproved.burst
    b.now = TIMING.unproved.interval_s
    settle(a, b)
    assert LocalSessionBound(b.id, a.id) in b.events


def test_a_repeated_message_is_answered_at_the_rate():
    a, b = Peer(1), Peer(2)
    b.say()
    question = a.say()
    b.hear(question)
    a.hear(b.say())
    question = a.say()
    b.hear(question)
    b.say()
    assert b.session.is_settled
    rounds = 1_000
    sent = 0
    for number in range(rounds):
        b.hear(question, now=(number + 1) * TIMING.on_its_way_s)
        sent += b.say() is not None
    lasted_s = rounds * TIMING.on_its_way_s
    assert sent <= TIMING.answers.burst + lasted_s / TIMING.answers.interval_s
    assert sent >= lasted_s / TIMING.answers.interval_s - 1


def test_an_answer_that_crossed_the_question_is_not_said_again():
    a, b = Peer(1), Peer(2)
    b.say()
    b.hear(a.say())
    a.hear(b.say())
    question = a.say()
    b.hear(question)
    assert b.say() is not None
    b.hear(question, now=TIMING.on_its_way_s * 0.9)
    assert b.say() is None
    # It may have been lost: who asks again later, and that is the first repetition, gets another.
    assert TIMING.on_its_way_s < TIMING.repeat_first_s
    b.hear(question, now=TIMING.on_its_way_s)
    assert b.say() is not None


def test_two_who_begin_at_once_say_three_messages_each():
    a, b = Peer(1), Peer(2)
    said = 0
    for _ in range(20):
        to_b, to_a = a.say(), b.say()
        said += (to_a is not None) + (to_b is not None)
        if to_b is not None:
            b.hear(to_b)
        if to_a is not None:
            a.hear(to_a)
    assert a.session.is_settled
    assert b.session.is_settled
    assert said == 6


def altered(peer: Peer, **changes: object) -> bytes:
    """What the peer would say, with some of it changed."""
    peer.session.presence_changed(peer.now)
    return encode_message(dataclasses.replace(peer.said(), **changes))  # type: ignore[arg-type]


def own_session(a: Peer, b: Peer) -> bytes:
    return altered(a, session_id=b.id)


def unsaid_version(a: Peer, b: Peer) -> bytes:
    return altered(a, acknowledged=Acknowledgement(b.id, 99))


def other_credentials(a: Peer, b: Peer) -> bytes:
    b.hear(altered(a))
    return altered(a, version=2, description=Description("other", "p" * 22))


@pytest.mark.parametrize("lie", [own_session, unsaid_version, other_credentials])
def test_what_no_peer_says_is_refused_and_changes_nothing(lie: Callable[[Peer, Peer], bytes]):
    a, b = Peer(1), Peer(2)
    b.say()
    message = lie(a, b)
    b.say()
    deadline = b.session.deadline()
    with pytest.raises(RemoteProtocolError):
        b.hear(message)
    assert b.drain() == []
    assert b.say() is None
    assert b.session.deadline() == deadline


def test_timestamps_rise_though_the_clock_steps_back():
    a = Peer(1)
    first = a.said().timestamp
    a.wall_offset_s -= YEAR_S
    a.trickle("candidate:1")
    assert a.said().timestamp > first


def test_rate_limit():
    limit = RateLimit(Rate(burst=3, interval_s=2.0))
    assert [limit.take(0.0) for _ in range(4)] == [True, True, True, False]
    assert limit.ready_at() == 2.0
    assert not limit.take(1.9)
    assert limit.take(2.0)
    assert not limit.take(2.0)
    assert [limit.take(100.0) for _ in range(4)] == [True, True, True, False]
