"""The white paper's section 6 in virtual time: what is sent when."""

import itertools

import pytest

from tests.wireguard.conftest import Host, Pair
from wice.datagram import Endpoint
from wice.wireguard import messages
from wice.wireguard.peer import STAGED_PACKETS_MAX
from wice.wireguard.timers import (
    KEEPALIVE_TIMEOUT_S,
    REJECT_AFTER_MESSAGES,
    REJECT_AFTER_TIME_S,
    REKEY_AFTER_MESSAGES,
    REKEY_AFTER_TIME_S,
    REKEY_ATTEMPT_TIME_S,
    REKEY_ON_RECEIVE_AFTER_TIME_S,
    REKEY_TIMEOUT_JITTER_MAX_S,
    REKEY_TIMEOUT_S,
    ZERO_KEY_MATERIAL_AFTER_TIME_S,
)

KEEPALIVE_SIZE_BYTES = 32


def lose_all(message: bytes) -> tuple[float, ...]:
    return ()


def keepalives(host: Host) -> list[float]:
    return [
        at_s
        for at_s, transmit in host.sent_of_type(messages.TRANSPORT)
        if len(transmit.data) == KEEPALIVE_SIZE_BYTES
    ]


def initiations(host: Host) -> list[float]:
    return [at_s for at_s, _ in host.sent_of_type(messages.INITIATION)]


def test_the_first_packet_makes_the_handshake_and_arrives(pair: Pair) -> None:
    started_s = pair.now
    pair.a.set_path(pair.b)
    assert pair.a.sent == []
    packet = pair.a.send(pair.b, b"hello")
    pair.run(1.0)
    assert pair.b.packets == [packet]
    kinds = [transmit.data[0] for _, transmit in pair.a.sent]
    assert kinds == [messages.INITIATION, messages.TRANSPORT]
    assert pair.a.status(pair.b).latest_handshake_at_s == pytest.approx(started_s + 0.04)


def test_the_responder_sends_only_after_the_initiators_first_packet(pair: Pair) -> None:
    pair.a.set_path(pair.b, persistent_keepalive_s=0)
    pair.a.send(pair.b)
    pair.a.fate = lambda message: () if message[0] == messages.TRANSPORT else (0.02,)
    pair.run(1.0)
    assert pair.a.completed() and not pair.b.completed()
    waiting = pair.b.send(pair.a, b"from b")
    assert pair.b.sent_of_type(messages.TRANSPORT) == []
    pair.a.fate = lambda _: (0.02,)
    pair.a.send(pair.b)
    pair.run(1.0)
    assert pair.a.packets == [waiting] and pair.b.completed()


def test_an_initiator_with_nothing_to_say_confirms_with_a_keepalive(pair: Pair) -> None:
    pair.a.set_path(pair.b, persistent_keepalive_s=25)
    pair.run(1.0)
    assert len(keepalives(pair.a)) == 1
    assert len(pair.a.completed()) == len(pair.b.completed()) == 1


def test_an_initiation_is_repeated_every_rekey_timeout_with_jitter(pair: Pair) -> None:
    pair.a.fate = lose_all
    pair.a.set_path(pair.b)
    pair.a.send(pair.b)
    pair.run(60.0)
    times = initiations(pair.a)
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert len(gaps) >= 10
    assert all(
        REKEY_TIMEOUT_S <= gap <= REKEY_TIMEOUT_S + REKEY_TIMEOUT_JITTER_MAX_S for gap in gaps
    )
    assert len({round(gap, 6) for gap in gaps}) > 1
    assert len({transmit.data[8:40] for _, transmit in pair.a.sent}) == len(pair.a.sent)


def test_attempts_end_after_the_rekey_attempt_time(pair: Pair) -> None:
    pair.a.fate = lose_all
    pair.a.set_path(pair.b)
    pair.a.send(pair.b, b"lost")
    started_s = pair.now
    pair.run(200.0)
    assert initiations(pair.a)[-1] - started_s < REKEY_ATTEMPT_TIME_S
    (abandoned_s,) = pair.a.abandoned()
    assert 0 <= abandoned_s - started_s - REKEY_ATTEMPT_TIME_S <= 2 * REKEY_TIMEOUT_S
    # What waited is gone, but the next packet tries again.
    pair.a.fate = lambda _: (0.02,)
    packet = pair.a.send(pair.b, b"next")
    pair.run(1.0)
    assert pair.b.packets == [packet]


def test_with_a_persistent_keepalive_it_never_gives_up_for_good(pair: Pair) -> None:
    pair.a.fate = lose_all
    pair.a.set_path(pair.b, persistent_keepalive_s=25)
    pair.run(1_000.0)
    assert pair.a.abandoned()
    pair.a.fate = lambda _: (0.02,)
    pair.run(60.0)
    assert pair.a.completed()


def test_the_initiator_rekeys_when_it_sends_after_120_s(connected: Pair) -> None:
    started_s = connected.now
    while connected.now - started_s < 300:
        connected.a.send(connected.b)
        connected.run(1.0)
    times = initiations(connected.a)[1:]
    assert [round(at_s - started_s) for at_s in times] == [
        pytest.approx(REKEY_AFTER_TIME_S, abs=2),
        pytest.approx(2 * REKEY_AFTER_TIME_S, abs=3),
    ]
    assert initiations(connected.b) == []
    assert len(connected.b.packets) == 301


def test_the_responder_does_not_rekey_and_the_session_ends_at_180_s(connected: Pair) -> None:
    connected.a.clear_path(connected.b)
    started_s = connected.now
    while connected.now - started_s < REJECT_AFTER_TIME_S - 5:
        connected.b.send(connected.a)
        connected.run(1.0)
    assert len(connected.a.packets) == REJECT_AFTER_TIME_S - 5
    times = initiations(connected.b)
    # Only the fifteen seconds without an answer made it try, not the age of the session.
    assert times and times[0] - started_s < 2 * (KEEPALIVE_TIMEOUT_S + REKEY_TIMEOUT_S)


def test_no_packet_passes_under_keys_older_than_180_s(connected: Pair) -> None:
    for host in (connected.a, connected.b):
        host.fate = lambda message: () if message[0] == messages.INITIATION else (0.02,)
    arrived = len(connected.b.packets)
    started_s = connected.b.events[-1][0]
    while connected.now - started_s < 300:
        connected.a.send(connected.b)
        connected.run(1.0)
    assert len(connected.b.packets) - arrived == pytest.approx(REJECT_AFTER_TIME_S, abs=2)
    last_s = connected.a.sent_of_type(messages.TRANSPORT)[-1][0]
    assert last_s - started_s < REJECT_AFTER_TIME_S


def test_old_packets_are_refused_by_the_receiver_too(connected: Pair) -> None:
    connected.a.fate = lambda _: (REJECT_AFTER_TIME_S + 1,)
    connected.a.send(connected.b)
    connected.run(REJECT_AFTER_TIME_S + 2)
    assert "a packet of a session that is over" in connected.b.refused


def test_an_initiator_that_only_receives_rekeys_before_the_session_ends(
    connected: Pair,
) -> None:
    connected.run(REKEY_ON_RECEIVE_AFTER_TIME_S - 5)
    connected.b.send(connected.a)
    connected.run(1.0)
    assert len(initiations(connected.a)) == 1
    connected.run(5.0)
    connected.b.send(connected.a)
    sent_s = connected.now
    connected.run(1.0)
    assert initiations(connected.a)[1] == pytest.approx(sent_s + 0.02)


def test_data_without_an_answer_draws_one_keepalive(connected: Pair) -> None:
    connected.run(2 * KEEPALIVE_TIMEOUT_S)
    before = len(keepalives(connected.b))
    connected.a.send(connected.b)
    sent_s = connected.now
    connected.run(60.0)
    (at_s,) = keepalives(connected.b)[before:]
    assert at_s - sent_s == pytest.approx(KEEPALIVE_TIMEOUT_S + 0.02)
    assert len(initiations(connected.a)) == 1


def test_an_answer_spares_the_keepalive(connected: Pair) -> None:
    before = len(keepalives(connected.b))
    connected.a.send(connected.b)
    connected.run(5.0)
    connected.b.send(connected.a)
    connected.run(9.0)
    assert len(keepalives(connected.b)) == before


def test_keepalives_draw_no_keepalives(connected: Pair) -> None:
    connected.run(100.0)
    sent = len(connected.a.sent) + len(connected.b.sent)
    connected.run(300.0)
    assert len(connected.a.sent) + len(connected.b.sent) == sent


def test_fifteen_seconds_without_an_answer_begin_a_new_handshake(connected: Pair) -> None:
    connected.run(30.0)
    connected.b.fate = lose_all
    connected.a.send(connected.b)
    sent_s = connected.now
    connected.run(16.0)
    due_s = KEEPALIVE_TIMEOUT_S + REKEY_TIMEOUT_S
    assert due_s <= initiations(connected.a)[1] - sent_s <= due_s + REKEY_TIMEOUT_JITTER_MAX_S


def test_the_persistent_keepalive_keeps_its_interval(connected: Pair) -> None:
    connected.run(30.0)
    connected.a.set_path(connected.b, persistent_keepalive_s=25)
    before = len(keepalives(connected.a))
    connected.run(80.0)
    times = keepalives(connected.a)[before - 1 :]
    assert [round(after - times[0]) for after in times] == [0, 25, 50, 75]


def test_a_peer_hears_at_once_of_another_path(connected: Pair) -> None:
    connected.a.set_path(connected.b, persistent_keepalive_s=25)
    before = len(keepalives(connected.a))
    connected.a.endpoint = Endpoint("198.51.100.77", 4)
    for _ in range(2):
        connected.a.set_path(connected.b, persistent_keepalive_s=25)
        assert len(keepalives(connected.a)) == before + 1
    connected.run(0.1)
    assert connected.b.roamed()[-1].remote == connected.a.endpoint


def test_traffic_postpones_the_persistent_keepalive(connected: Pair) -> None:
    connected.a.set_path(connected.b, persistent_keepalive_s=25)
    before = len(keepalives(connected.a))
    for _ in range(10):
        connected.a.send(connected.b)
        connected.run(9.0)
    assert len(keepalives(connected.a)) == before


def test_keys_are_forgotten_after_three_times_the_reject_time(connected: Pair) -> None:
    peer = connected.a.tunnel._peers[connected.b.public_key]
    connected.run(ZERO_KEY_MATERIAL_AFTER_TIME_S - 10)
    assert peer.keypairs.current is not None
    connected.run(20.0)
    assert peer.keypairs.current is None and peer.keypairs.previous is None
    assert connected.a.tunnel._shared.indices == {}
    assert connected.a.tunnel.deadline() == float("inf")


def test_a_spent_counter_begins_a_handshake_and_is_never_used(connected: Pair) -> None:
    current = connected.a.tunnel._peers[connected.b.public_key].keypairs.current
    assert current is not None
    connected.run(6.0)
    current.send_counter = REJECT_AFTER_MESSAGES
    packet = connected.a.send(connected.b, b"after")
    assert current.send_counter == REJECT_AFTER_MESSAGES
    connected.run(1.0)
    assert connected.b.packets[-1] == packet
    assert len(initiations(connected.a)) == 2


def test_the_last_counter_but_none_after_it_is_taken(connected: Pair) -> None:
    current = connected.a.tunnel._peers[connected.b.public_key].keypairs.current
    assert current is not None
    current.send_counter = REJECT_AFTER_MESSAGES - 1
    connected.a.fate = lambda message: () if message[0] == messages.INITIATION else (0.02,)
    last = connected.a.send(connected.b, b"last")
    connected.a.send(connected.b, b"waits")
    connected.run(1.0)
    assert connected.b.packets[-1] == last


def test_many_messages_begin_a_handshake_while_the_session_goes_on(connected: Pair) -> None:
    current = connected.a.tunnel._peers[connected.b.public_key].keypairs.current
    assert current is not None
    connected.run(6.0)
    current.send_counter = REKEY_AFTER_MESSAGES
    connected.a.send(connected.b)
    connected.run(1.0)
    assert len(initiations(connected.a)) == 2 and len(connected.b.packets) == 2


def test_the_queue_of_waiting_packets_is_bounded_and_drops_the_oldest(pair: Pair) -> None:
    sent = [pair.a.send(pair.b, bytes([n % 256])) for n in range(STAGED_PACKETS_MAX + 10)]
    pair.a.set_path(pair.b)
    pair.run(1.0)
    assert pair.b.packets == sent[10:]
    assert pair.a.tunnel.dropped["a full queue of waiting packets"] == 10


def test_packets_that_waited_too_long_are_not_sent(pair: Pair) -> None:
    pair.a.send(pair.b, b"old")
    pair.run(REKEY_ATTEMPT_TIME_S + 1)
    fresh = pair.a.send(pair.b, b"fresh")
    pair.a.set_path(pair.b)
    pair.run(1.0)
    assert pair.b.packets == [fresh]


def test_data_while_a_keepalive_is_due_draws_one_more(connected: Pair) -> None:
    connected.run(30.0)
    before = len(keepalives(connected.b))
    connected.a.send(connected.b)
    sent_s = connected.now
    connected.run(4.0)
    connected.a.send(connected.b)
    connected.run(40.0)
    waits = [round(at_s - sent_s) for at_s in keepalives(connected.b)[before:]]
    assert waits == [KEEPALIVE_TIMEOUT_S, 2 * KEEPALIVE_TIMEOUT_S]


def test_a_responder_left_alone_initiates_what_it_has_to_send(pair: Pair) -> None:
    pair.a.set_path(pair.b)
    pair.a.fate = lambda message: () if message[0] == messages.TRANSPORT else (0.02,)
    pair.a.send(pair.b)
    pair.run(0.1)
    answered_s = pair.b.sent_of_type(messages.RESPONSE)[0][0]
    packet = pair.b.send(pair.a, b"from b")
    pair.run(6.0)
    (initiated_s,) = initiations(pair.b)
    jitter_s = initiated_s - answered_s - REKEY_TIMEOUT_S
    assert 0 <= jitter_s <= REKEY_TIMEOUT_JITTER_MAX_S
    assert pair.a.packets == [packet]


def test_taking_the_path_away_ends_the_attempt_but_keeps_what_waits(pair: Pair) -> None:
    pair.a.fate = lose_all
    pair.a.set_path(pair.b)
    pair.run(1.0)
    waiting = pair.a.send(pair.b, b"waits")
    pair.a.clear_path(pair.b)
    assert pair.a.tunnel._peers[pair.b.public_key].timers.deadline() == float("inf")
    pair.run(REKEY_ATTEMPT_TIME_S - 5)
    assert pair.a.tunnel.deadline() == float("inf") and len(pair.a.sent) == 1
    pair.a.fate = lambda _: (0.02,)
    pair.a.set_path(pair.b)
    pair.run(1.0)
    assert pair.b.packets == [waiting] and not pair.a.abandoned()
