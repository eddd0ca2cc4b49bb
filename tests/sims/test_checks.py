"""Checks hear a story that is fine, and one that breaks them."""

import base64

import pytest

from sims.checks.acknowledgements import (
    ANSWERED_WITHIN_S,
    REPETITION_SPACING_S,
    SETTLES_AGAIN_WITHIN_S,
    SETTLES_WITHIN_S,
)
from sims.checks.cleartext import FLOW_SAMPLE, FLOW_WHOLE_PACKETS
from sims.checks.findings import VIOLATIONS_OF_SUBJECT_MAX
from sims.checks.paths import (
    PROVED_WITHIN_S,
    ROAMED_MAX_S,
    SESSION_LIFETIME_S,
    SWITCHES_WITHIN_S,
)
from sims.internet.packet import TcpFlags, TcpHeader
from sims.model.faults import Crash, ReplayEnvelopes, ReplayPackets, Sleep, Stop
from sims.model.world import PING_MARKER, Load
from tests.sims.story_for_checks import (
    ADDRESSES,
    ELSEWHERE,
    INITIATION,
    KEEPALIVE,
    LAPTOP,
    NAS,
    STRANGER,
    TO_NAS,
    Story,
)
from wice.datagram import Endpoint


def connect(story: Story) -> None:
    story.transition("seeking", "described", "description received")
    story.transition("described", "checking", "checks started")
    story.proved(TO_NAS)
    story.transition("checking", "selected", "path selected", str(TO_NAS))
    story.sent(KEEPALIVE)
    story.transition("selected", "connected", "handshake completed")


def test_a_good_story_breaks_nothing_and_what_had_nothing_to_judge_is_seen() -> None:
    story = Story()
    connect(story)
    story.wait(120)
    story.checks.finish()
    assert story.checks.violations == []
    looked = story.checks.looked
    assert looked["tunnels"] == looked["acknowledgements"] == 48
    assert looked["transitions"] == 4
    assert looked["proved-paths"] == looked["wireguard-destinations"] == 1
    assert looked["healed"] == 2
    assert looked["all-pairs-connected"] == looked["unreachable"] == 0
    assert "unreachable" in looked


def test_the_same_again_about_the_same_is_not_told_for_ever() -> None:
    story = Story()
    for _ in range(100):
        story.sent(KEEPALIVE, ELSEWHERE)
    assert len(story.found("wireguard-destinations")) == VIOLATIONS_OF_SUBJECT_MAX


# Tasks and bounds


def test_a_task_that_dies_is_told_with_its_cause() -> None:
    story = Story()
    story.now_s = 12.5
    try:
        raise ExceptionGroup("tasks", [ValueError("what came was odd")])
    except ExceptionGroup as error:
        story.checks.task_died(NAS, error)
    (violation,) = story.checks.violations
    assert (violation.at_s, violation.check, violation.subject) == (12.5, "tasks", NAS)
    assert "ValueError: what came was odd; no task may die" in violation.detail


@pytest.mark.parametrize(
    ("load", "said"),
    [
        (Load(tasks=10_000, sockets=5, tcp_connections=2, queued_bytes=0), "10000 tasks"),
        (Load(tasks=50, sockets=5_000, tcp_connections=2, queued_bytes=0), "5000 sockets"),
        (Load(tasks=50, sockets=5, tcp_connections=999, queued_bytes=0), "999 TCP connections"),
        (Load(tasks=50, sockets=5, tcp_connections=2, queued_bytes=1 << 30), "nobody reads"),
    ],
)
def test_a_machine_that_holds_too_much_is_told(load: Load, said: str) -> None:
    story = Story()
    story.load = load
    story.look()
    assert all(said in found and "at most" in found for found in story.found("bounds"))
    assert len(story.found("bounds")) == 2


def test_a_daemon_that_loses_its_own_events_is_told() -> None:
    story = Story()
    story.counters = {"events_lost": 3}
    story.look()
    assert f"{LAPTOP}: counted 3 events_lost; at most 0 are due" in story.found("bounds")


# States


def test_a_change_that_the_table_does_not_have_is_told() -> None:
    story = Story()
    story.transition("seeking", "connected", "path selected", str(TO_NAS))
    assert story.found("transitions") == [
        "laptop to nas: went from seeking to connected because of 'path selected'; the table of "
        "states says nothing for that"
    ]


def test_a_state_that_was_never_entered_cannot_be_left() -> None:
    story = Story()
    story.transition("seeking", "described", "description received")
    story.transition("connected", "checking", "path lost")
    assert story.found("transitions") == [
        "laptop to nas: left connected for checking, but what it entered last was described"
    ]


def test_a_daemon_that_was_started_again_knows_nobody() -> None:
    story = Story()
    connect(story)
    connect(story)
    assert story.found("transitions") == []


# Paths


def select(story: Story, selected: Endpoint) -> None:
    story.transition("connected", "connected", "path selected", str(selected))


def test_a_path_from_where_nothing_came_is_told() -> None:
    story = Story()
    connect(story)
    story.now_s = 30
    select(story, ELSEWHERE)
    assert story.found("proved-paths") == [
        f"laptop to nas: selected the path to {ELSEWHERE}, from where no packet ever came; a path "
        "is selected because of what came along it, and was proved by an answer"
    ]


def test_a_path_from_where_nothing_came_for_long_is_told() -> None:
    story = Story()
    connect(story)
    story.now_s = 20
    select(story, TO_NAS)
    assert "from where the last packet came 20.0 s ago" in story.found("proved-paths")[0]


@pytest.mark.parametrize("payload", [KEEPALIVE, b"\x00\x01\x00\x00\x21\x12\xa4\x42" + bytes(12)])
def test_what_comes_proves_nothing_of_the_way_back(payload: bytes) -> None:
    story = Story()
    connect(story)
    story.received(ELSEWHERE, payload)
    select(story, ELSEWHERE)
    said = "along which no answer to a check of its own ever came"
    assert said in story.found("proved-paths")[0]


def test_an_answer_proves_the_path_that_was_asked_and_no_other() -> None:
    story = Story()
    connect(story)
    story.proved(TO_NAS, answered_from=ELSEWHERE)
    select(story, ELSEWHERE)
    assert len(story.found("proved-paths")) == 1
    story.proved(ELSEWHERE)
    select(story, ELSEWHERE)
    assert len(story.found("proved-paths")) == 1


def test_a_proof_lasts_as_long_as_consent() -> None:
    story = Story()
    connect(story)
    for now_s, found in ((PROVED_WITHIN_S, 0), (PROVED_WITHIN_S + 1, 1)):
        story.now_s = now_s
        story.received(TO_NAS)
        select(story, TO_NAS)
        assert len(story.found("proved-paths")) == found


def test_who_wakes_reads_what_came_before() -> None:
    story = Story(faults=[Sleep(at_s=1, for_s=60, target=LAPTOP)])
    story.proved(TO_NAS)
    story.now_s = 61
    story.transition("checking", "selected", "path selected", str(TO_NAS))
    assert story.found("proved-paths") == []


def test_wireguard_may_not_send_where_ice_never_said() -> None:
    story = Story()
    connect(story)
    story.sent(KEEPALIVE, ELSEWHERE)
    assert story.found("wireguard-destinations") == [
        f"laptop: WireGuard sent to {ELSEWHERE}, which ICE has not selected, or not of late, and "
        f"nothing of WireGuard's came from; selected last: {TO_NAS} for nas"
    ]


def test_wireguard_may_answer_where_wireguard_came_from() -> None:
    story = Story()
    connect(story)
    story.received(ELSEWHERE, KEEPALIVE)
    story.sent(KEEPALIVE, ELSEWHERE)
    story.sent(b"a check of ICE", Endpoint("192.0.2.200", 1))
    assert story.found("wireguard-destinations") == []


def test_wireguard_leaves_the_path_that_was_replaced() -> None:
    story = Story()
    connect(story)
    story.proved(ELSEWHERE)
    select(story, ELSEWHERE)
    story.sent(KEEPALIVE, TO_NAS)
    assert story.found("wireguard-destinations") == []
    story.now_s += SWITCHES_WITHIN_S + 1
    story.sent(KEEPALIVE, ELSEWHERE)
    assert story.found("wireguard-destinations") == []
    story.sent(KEEPALIVE, TO_NAS)
    assert len(story.found("wireguard-destinations")) == 1


def test_wireguard_only_asks_along_a_path_that_was_lost_once_its_keys_are_over() -> None:
    story = Story()
    connect(story)
    story.transition("connected", "checking", "path lost", str(TO_NAS))
    story.now_s = SESSION_LIFETIME_S
    story.sent(KEEPALIVE)
    story.now_s += 1
    story.sent(INITIATION)
    assert story.found("wireguard-destinations") == []
    story.sent(KEEPALIVE)
    assert len(story.found("wireguard-destinations")) == 1


def test_wireguard_sends_along_a_lost_path_where_it_was_heard_while_its_keys_last() -> None:
    story = Story()
    connect(story)
    story.received(TO_NAS, KEEPALIVE)
    story.transition("connected", "checking", "path lost", str(TO_NAS))
    story.now_s = SESSION_LIFETIME_S
    story.sent(KEEPALIVE)
    assert story.found("wireguard-destinations") == []
    story.now_s += 1
    story.sent(KEEPALIVE)
    assert len(story.found("wireguard-destinations")) == 1


def test_the_path_of_another_peer_is_none_of_wireguards() -> None:
    story = Story()
    connect(story)
    story.transition(
        "seeking", "selected", "path selected", str(TO_NAS), machine=LAPTOP, peer=STRANGER
    )
    story.proved(ELSEWHERE)
    select(story, ELSEWHERE)
    story.now_s = SWITCHES_WITHIN_S + 1
    story.sent(KEEPALIVE, TO_NAS)
    assert story.found("wireguard-destinations") == []
    story.transition(
        "selected", "checking", "path lost", str(TO_NAS), machine=LAPTOP, peer=STRANGER
    )
    story.now_s += SESSION_LIFETIME_S + 1
    story.sent(KEEPALIVE, TO_NAS)
    assert len(story.found("wireguard-destinations")) == 1


def test_a_daemon_that_was_started_again_has_no_path() -> None:
    story = Story(faults=[Stop(at_s=20, for_s=5, target=LAPTOP)])
    connect(story)
    story.received(ELSEWHERE, KEEPALIVE)
    story.now_s = 26
    story.sent(KEEPALIVE)
    # It is still on its way out.
    assert story.found("wireguard-destinations") == []
    story.running_since[LAPTOP] = 26
    story.sent(KEEPALIVE)
    story.sent(KEEPALIVE, ELSEWHERE)
    assert len(story.found("wireguard-destinations")) == 2


def test_wireguard_that_is_never_told_the_selected_path_is_told() -> None:
    story = Story()
    story.peers[LAPTOP]["endpoint"] = None
    story.look()
    assert story.found("endpoint-is-selected") == []
    story.wait(5)
    assert story.found("endpoint-is-selected") == [
        f"laptop to nas: WireGuard sends nowhere and ICE selected {TO_NAS}, for 5 s in a quiet "
        "network; they should be one after 2 s"
    ]


def test_wireguard_that_stays_elsewhere_than_ice_is_told() -> None:
    story = Story()
    story.peers[LAPTOP]["endpoint"] = str(ELSEWHERE)
    story.wait(ROAMED_MAX_S)
    assert story.found("endpoint-is-selected") == []
    story.wait(15)
    assert (
        f"WireGuard sends to {ELSEWHERE} and ICE selected {TO_NAS}"
        in (story.found("endpoint-is-selected")[0])
    )


def test_wireguard_may_roam_while_something_is_wrong() -> None:
    story = Story(faults=[Crash(at_s=30, for_s=20, target=NAS)])
    story.peers[LAPTOP]["endpoint"] = str(ELSEWHERE)
    story.wait(90)
    assert story.found("endpoint-is-selected") == []


def test_a_peer_that_is_not_heard_is_not_connected() -> None:
    story = Story()
    story.received(TO_NAS)
    story.wait(50, is_answered=False)
    assert story.found("connected-are-heard") == []
    story.wait(5, is_answered=False)
    assert story.found("connected-are-heard") == [
        "laptop to nas: is called connected, but nothing came from 198.51.100.7:51820 for 55 s; a "
        "path that is not answered for 50 s is lost"
    ]


def test_a_peer_that_is_heard_or_lost_or_was_not_heard_asleep_is_fine() -> None:
    story = Story(faults=[Sleep(at_s=200, for_s=100, target=LAPTOP)])
    story.wait(150)
    story.peers[LAPTOP]["state"] = "checking"
    story.wait(50, is_answered=False)
    story.peers[LAPTOP]["state"] = "connected"
    story.wait(150, is_answered=False)
    assert story.found("connected-are-heard") == []
    story.wait(5, is_answered=False)
    assert len(story.found("connected-are-heard")) == 1


# Replays


def ping(number: int) -> bytes:
    return PING_MARKER + f"{LAPTOP}>{NAS}#{number}".encode()


def test_a_ping_that_comes_out_twice_is_told() -> None:
    story = Story(faults=[ReplayPackets(at_s=0, for_s=60, target="home-nas", share=1, after_s=1)])
    story.checks.on_ping_received(NAS, ADDRESSES[LAPTOP], ping(1))
    story.checks.on_ping_received(NAS, ADDRESSES[LAPTOP], ping(2))
    story.checks.on_reply(LAPTOP, ADDRESSES[NAS], ping(1))
    assert story.checks.violations == []
    story.checks.on_ping_received(NAS, ADDRESSES[LAPTOP], ping(1))
    assert story.found("replays") == [
        "nas: the echo request 'wice-sims-ping-laptop>nas#1' of 10.77.0.1 came out of the tunnel a "
        "second time; WireGuard must drop what it has received before"
    ]
    story.checks.on_reply(LAPTOP, ADDRESSES[NAS], ping(1))
    assert len(story.found("replays")) == 2


def test_an_old_ping_is_known_after_any_number_of_others() -> None:
    story = Story()
    for number in range(70_000):
        story.checks.on_ping_received(NAS, ADDRESSES[LAPTOP], ping(number))
    assert story.found("replays") == []
    story.checks.on_ping_received(NAS, ADDRESSES[LAPTOP], ping(0))
    assert "laptop>nas#0' of 10.77.0.1 came out" in story.found("replays")[0]


def test_what_nobody_pinged_is_told() -> None:
    story = Story()
    story.checks.on_ping_received(NAS, ADDRESSES[LAPTOP], b"garbage")
    assert "'garbage' of 10.77.0.1 came out of the tunnel" in story.found("replays")[0]


def test_a_handshake_that_is_answered_twice_is_told() -> None:
    story = Story()
    one, other = (
        bytes((2, 0, 0, 0)) + bytes(4) + index + bytes(80) for index in (b"1234", b"5678")
    )
    story.sent(one)
    story.now_s = 3
    story.sent(other)
    assert story.found("replays") == []
    story.now_s = 7
    story.sent(one)
    assert story.found("replays") == [
        "laptop: answered to a handshake initiation from 198.51.100.7:51820 a second time, first "
        "at 0.000 s; WireGuard must drop what it has received before"
    ]


def test_a_daemon_that_was_started_again_may_answer_to_an_old_handshake() -> None:
    story = Story()
    response = bytes((2, 0, 0, 0)) + bytes(88)
    story.sent(response)
    story.now_s = story.running_since[LAPTOP] = 7
    story.sent(response)
    assert story.found("replays") == []


def test_sessions_without_a_reason_are_told() -> None:
    story = Story(faults=[ReplayEnvelopes(at_s=1, for_s=60, target="bootstrap-1", after_s=5)])
    story.peers[LAPTOP]["signaling"]["sessions"] = 2
    story.look()
    assert story.found("sessions") == []
    story.peers[LAPTOP]["signaling"]["sessions"] = 3
    story.wait(10)
    assert story.found("sessions")[0] == (
        "laptop to nas: began 3 sessions; 0 paths lost, 0 restarts of the peer, 0 old sessions "
        "are reason for 2 at most"
    )


def test_paths_lost_and_restarts_are_reasons_for_sessions() -> None:
    story = Story(faults=[Crash(at_s=20, for_s=5, target=NAS)])
    connect(story)
    story.transition("connected", "checking", "path lost")
    story.now_s = 40
    story.running_since[NAS] = 25
    story.peers[LAPTOP]["signaling"]["sessions"] = 5
    story.look()
    assert story.found("sessions") == []
    story.peers[LAPTOP]["signaling"]["sessions"] = 6
    story.look()
    assert len(story.found("sessions")) == 1


def test_what_a_restarted_daemon_forgot_may_be_replayed_to_it() -> None:
    faults = (
        Crash(at_s=20, for_s=5, target=NAS),
        ReplayEnvelopes(at_s=1, for_s=60, target="bootstrap-1", after_s=20),
    )
    story = Story(faults=faults)
    story.look()
    story.now_s = 30
    story.running_since[NAS] = 25
    story.peers[NAS]["signaling"]["sessions"] = 3
    story.look()
    assert story.found("sessions") == []
    story.peers[NAS]["signaling"]["sessions"] = 4
    story.look()
    assert (
        "0 restarts of the peer, 1 old sessions are reason for 3 at most"
        in (story.found("sessions")[0])
    )


def test_a_life_that_was_over_before_anybody_looked_had_a_session_too() -> None:
    for crashes, found in ((1, 1), (2, 0)):
        story = Story(
            faults=[
                *(Crash(at_s=number, for_s=0.5, target=NAS) for number in range(1, 1 + crashes)),
                ReplayEnvelopes(at_s=0, for_s=60, target="bootstrap-1", after_s=20),
            ]
        )
        story.now_s, story.running_since[NAS] = 30, 2.5
        story.peers[LAPTOP]["signaling"]["sessions"] = 6
        story.look()
        assert len(story.found("sessions")) == found


# Cleartext


@pytest.mark.parametrize("offset", range(8))
def test_what_must_not_be_seen_is_found_wherever_it_stands(offset: int) -> None:
    key = Story().private_keys[NAS]
    private, public = base64.b64decode(key.reveal_base64()), bytes(key.public_key())
    for secret, said in (
        (base64.b64decode(key.reveal_base64()), "the private key of nas in clear"),
        (key.reveal_base64().encode(), "the private key of nas in base64"),
        (bytes(key.public_key()), "the public key of nas in clear"),
        (str(key.public_key()).encode(), "the public key of nas in base64"),
        (base64.urlsafe_b64encode(public).rstrip(b"="), "the public key of nas in base64"),
        (private.hex().encode(), "the private key of nas in hexadecimal"),
        (public.hex().upper().encode(), "the public key of nas in hexadecimal"),
        (PING_MARKER, "a ping through the tunnel"),
        (Story().community.encode(), "the name of the community"),
    ):
        story = Story()
        story.sent(b"\x55" * offset + secret + b"\x55" * 3)
        (found,) = story.found("cleartext")
        assert found.startswith(f"laptop: sent {said}")


def private_key_of(story: Story) -> bytes:
    return base64.b64decode(story.private_keys[NAS].reveal_base64())


def test_a_key_across_two_segments_is_found() -> None:
    header = TcpHeader(TcpFlags.ACK, sequence=0, acknowledgement=0, window_bytes=65_535)
    secret = private_key_of(Story())
    for cut in range(len(secret)):
        story = Story()
        story.sent(b"before" + secret[:cut], tcp=header)
        story.sent(secret[cut:] + b"after", tcp=header)
        assert "sent the private key of nas" in story.found("cleartext")[0], cut


def test_late_packets_of_a_flow_are_searched_in_one_seed_or_another() -> None:
    searched = set()
    for keys_from in range(30):
        story = Story(keys_from=keys_from)
        for _ in range(FLOW_WHOLE_PACKETS):
            story.sent(b"nothing of any interest")
        for number in range(FLOW_SAMPLE):
            story.sent(private_key_of(story))
            if story.found("cleartext"):
                searched.add(number)
                break
    assert searched == set(range(FLOW_SAMPLE))


def test_a_packet_of_the_tunnel_without_a_tunnel_is_found() -> None:
    story = Story()
    header = bytes(12) + bytes((10, 77, 0, 1)) + bytes((10, 77, 0, 2))
    story.sent(header + b"whatever")
    assert "a packet from 10.77.0.1 to 10.77.0.2 in clear" in story.found("cleartext")[0]


def test_what_is_sealed_passes() -> None:
    story = Story()
    for size_bytes in (0, 1, 7, 8, 9, 15, 148, 1_400):
        story.sent(bytes(range(256))[: size_bytes % 256] * 5)
    assert story.found("cleartext") == []
    assert story.checks.looked["cleartext"] > 0


# Acknowledgements


def unsettle(story: Story) -> None:
    story.peers[LAPTOP]["signaling"]["settled"] = False
    story.look()


def test_repeating_without_an_acknowledgement_is_told() -> None:
    story = Story()
    unsettle(story)
    for _ in range(3):
        story.now_s += REPETITION_SPACING_S
        story.delivered()
    story.look()
    assert story.found("acknowledgements") == []
    story.now_s += ANSWERED_WITHIN_S
    story.look()
    assert story.found("acknowledgements") == [
        "laptop to nas: 3 repetitions were delivered in 11 s, and still this side lacks an "
        "acknowledgement; one should do"
    ]


def test_repeating_all_the_time_is_told_too() -> None:
    story = Story()
    unsettle(story)
    for _ in range(20):
        story.now_s += 1
        story.delivered()
        story.look()
    assert len(story.found("acknowledgements")) == 1


def test_one_that_is_acknowledged_in_the_end_is_fine() -> None:
    story = Story()
    unsettle(story)
    for _ in range(3):
        story.now_s += REPETITION_SPACING_S
        story.delivered()
    story.peers[LAPTOP]["signaling"]["settled"] = True
    story.wait(30)
    assert story.found("acknowledgements") == []


def test_repetitions_while_something_is_wrong_are_fine() -> None:
    story = Story(faults=[Crash(at_s=0, for_s=100, target="bootstrap-1")])
    story.running_since["bootstrap-1"] = None
    unsettle(story)
    for _ in range(20):
        story.now_s += REPETITION_SPACING_S
        story.delivered()
        story.look()
    assert story.found("acknowledgements") == []


def test_to_be_unsettled_and_silent_is_told() -> None:
    story = Story()
    unsettle(story)
    story.wait(60)
    assert story.found("acknowledgements") == []
    story.wait(10)
    assert (
        "lacks an acknowledgement for 65 s in a quiet network"
        in (story.found("acknowledgements")[0])
    )


def test_those_who_had_settled_settle_again_soon() -> None:
    story = Story()
    story.look()
    unsettle(story)
    story.wait(SETTLES_AGAIN_WITHIN_S)
    assert story.found("acknowledgements") == []
    story.wait(5)
    assert "lacks an acknowledgement for 35 s" in story.found("acknowledgements")[0]
    story = Story(faults=[Crash(at_s=1, for_s=1, target=NAS)])
    story.look()
    story.now_s = 1
    unsettle(story)
    story.wait(SETTLES_WITHIN_S)
    assert story.found("acknowledgements") == []


def test_replayed_envelopes_keep_nobody_from_settling() -> None:
    for fault, limit_s in (
        (ReplayEnvelopes(at_s=0, for_s=30, target="bootstrap-1", after_s=10), SETTLES_WITHIN_S),
        (Crash(at_s=10, for_s=30, target="bootstrap-1"), SETTLES_WITHIN_S + 60),
    ):
        story = Story(faults=[fault])
        story.peers[LAPTOP]["signaling"]["settled"] = False
        story.now_s = 40
        story.wait(5 + limit_s)
        assert story.found("acknowledgements") == []
        story.wait(5)
        assert len(story.found("acknowledgements")) == len(ADDRESSES)


def test_the_settled_do_not_go_on_talking() -> None:
    story = Story()
    story.look()
    for _ in range(3):
        assert story.found("acknowledgements") == []
        for _ in range(5):
            story.now_s += 1
            story.delivered()
        story.look()
    assert (
        "though both sides are settled; the settled are silent"
        in (story.found("acknowledgements")[0])
    )
