"""Signaling, ICE and WireGuard joined: what a peer goes through, in virtual time."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from wice.datagram import Endpoint, Path
from wice.events import Dropped, PeerTransitioned
from wice.ice import MappingBehaviour
from wice.peer.machine import (
    AWAITS_HANDSHAKE_REASON,
    DOUBTED_REASON,
    HANDSHAKE_WITHHELD_S,
    LIVE_TRAFFIC_S,
    NO_PATH_REASON,
    SESSION_LIFETIME_S,
)
from wice.peer.states import TRANSITIONS, State, Stimulus
from wice.signaling.description import decode_message

Mesh = Any
"""The fixture's class; see conftest.py."""

CONSENT_EXPIRY_S = 30.0


def sides(mesh: Mesh) -> tuple[Any, Any]:
    return mesh.controlling, mesh.controlled


def test_both_sides_connect_and_point_wireguard_at_each_other(mesh: Mesh) -> None:
    mesh.run(1.0)
    for side in sides(mesh):
        assert side.machine.state is State.CONNECTED
        assert side.paths[-1][1].remote.host == mesh.other(side).host
        stages = side.machine.stages
        reached = (stages.found, stages.described, stages.checking, stages.selected)
        assert all(earlier <= later for earlier, later in pairwise((*reached, stages.handshake)))


def test_connecting_costs_one_signaling_trip_and_one_round_trip(mesh: Mesh) -> None:
    """Both started at once: S for the description, R for the check, as in docs."""
    start = mesh.now
    mesh.run(1.0)
    for side in sides(mesh):
        spent_s = side.machine.stages.selected - start
        assert spent_s == pytest.approx(mesh.signaling_s + 2 * mesh.path_s, abs=0.011)


def test_the_controlled_side_leaves_the_handshake_to_the_other(mesh: Mesh) -> None:
    mesh.is_handshake_simulated = False
    mesh.run(1.0)
    assert mesh.controlling.paths
    assert not mesh.controlled.paths
    assert mesh.controlled.machine.state is State.SELECTED
    mesh.controlled.machine.handshake_completed(mesh.controlling.paths[-1][1], mesh.now)
    mesh.drain()
    assert mesh.controlled.paths


def test_a_handshake_before_our_own_check_is_a_path(mesh: Mesh) -> None:
    mesh.is_path_up = False
    mesh.run(15.0)
    machine = mesh.controlled.machine
    assert machine.reason
    path = Path(Endpoint("192.0.2.1", 51820))
    machine.handshake_completed(path, mesh.now)
    assert (machine.state, machine.path, machine.reason) == (State.CONNECTED, path, "")


def test_stages_are_told_that_come_after_the_handshake(mesh: Mesh) -> None:
    """A check of the other side and its handshake may be here before its description is."""
    mesh.controlled.machine.handshake_completed(Path(Endpoint("192.0.2.1", 51820)), mesh.now)
    mesh.run(1.0)
    stages = mesh.controlled.machine.stages
    assert None not in (stages.described, stages.checking, stages.selected, stages.handshake)
    assert stages.handshake < stages.described <= stages.checking <= stages.selected


def test_the_controlled_side_goes_ahead_when_nothing_comes(mesh: Mesh) -> None:
    mesh.is_handshake_simulated = False
    mesh.run(HANDSHAKE_WITHHELD_S + 1.0)
    at, _ = mesh.controlled.paths[0]
    assert at == pytest.approx(mesh.controlled.machine.stages.selected + HANDSHAKE_WITHHELD_S)


def test_a_restarted_controlled_side_starts_the_handshake_at_once(mesh: Mesh) -> None:
    """The other side has a session still and would not."""
    mesh.run(5.0)
    mesh.restart(mesh.controlled)
    mesh.run(1.0)
    at, _ = mesh.controlled.paths[0]
    assert at == mesh.controlled.machine.stages.selected


@pytest.mark.parametrize("restarted", [0, 1])
def test_a_restarted_peer_is_connected_again_without_touching_the_other(
    mesh: Mesh, restarted: int
) -> None:
    mesh.run(5.0)
    side = sides(mesh)[restarted]
    other = mesh.other(side)
    paths_before = len(other.paths)
    mesh.restart(side)
    mesh.run(HANDSHAKE_WITHHELD_S + 1.0)
    assert side.machine.state is State.CONNECTED
    assert other.machine.state is State.CONNECTED
    assert len(other.paths) > paths_before
    left = [e for e in other.events if isinstance(e, PeerTransitioned) and e.old == "connected"]
    assert all(e.new == "connected" for e in left), "the other side's path never broke"


def test_a_replayed_description_never_breaks_the_path(mesh: Mesh) -> None:
    mesh.run(5.0)
    mesh.restart(mesh.controlling)
    mesh.run(5.0)
    messages = list(mesh.replayed)
    for side in sides(mesh):
        side.events.clear()
        for message in messages * 3:
            side.machine.receive_message(message, mesh.now)
            mesh.drain()
            mesh.run(0.5)
    mesh.run(60.0)
    for side in sides(mesh):
        assert side.machine.state is State.CONNECTED
        moves = [event for event in side.events if isinstance(event, PeerTransitioned)]
        assert {event.new for event in moves} <= {"connected"}


def test_a_path_that_is_doubted_says_so_before_it_is_given_up(mesh: Mesh) -> None:
    mesh.run(5.0)
    machine = mesh.controlling.machine
    assert machine.reason == ""
    mesh.is_path_up = False
    mesh.run(CONSENT_EXPIRY_S - 5.0)
    assert machine.path is not None and machine.reason == DOUBTED_REASON
    mesh.is_path_up = True
    mesh.run(30.0)
    assert machine.path is not None and machine.reason == ""


def test_a_dead_path_is_given_up_and_found_again(mesh: Mesh) -> None:
    mesh.run(5.0)
    mesh.is_path_up = False
    mesh.run(CONSENT_EXPIRY_S + LIVE_TRAFFIC_S + 5.0)
    for side in sides(mesh):
        assert side.machine.state is State.CHECKING
        assert side.machine.path is None
        assert side.machine.reason
    mesh.is_path_up = True
    mesh.run(60.0)
    for side in sides(mesh):
        assert side.machine.state is State.CONNECTED


@pytest.mark.parametrize("moved", [0, 1])
def test_a_nat_that_changes_its_address_costs_seconds_and_no_path(mesh: Mesh, moved: int) -> None:
    """Far less than the 30 s after which consent expires."""
    mesh.run(60.0)
    side = sides(mesh)[moved]
    other = mesh.other(side)
    moved_at = mesh.now
    mesh.move(side, "198.51.100.77")
    mesh.run(CONSENT_EXPIRY_S - 10.0)
    found_at, path = other.paths[-1]
    assert path.remote.host == "198.51.100.77"
    assert found_at - moved_at < 12.0
    for one in sides(mesh):
        assert one.machine.state is State.CONNECTED
    mesh.run(60.0)
    for one in sides(mesh):
        assert one.machine.state is State.CONNECTED
    assert other.paths[-1][1].remote.host == "198.51.100.77"


def test_lost_consent_does_not_give_up_a_peer_that_wireguard_hears(mesh: Mesh) -> None:
    mesh.run(5.0)
    mesh.is_path_up = False
    for _ in range(60):
        mesh.run(1.0)
        for side in sides(mesh):
            side.machine.traffic_received(mesh.now, mesh.now)
    for side in sides(mesh):
        assert side.machine.state is State.CONNECTED
    mesh.run(LIVE_TRAFFIC_S + 2.0)
    for side in sides(mesh):
        assert side.machine.state is State.CHECKING


def test_silence_is_over_when_its_time_comes_however_that_is_rounded(mesh: Mesh) -> None:
    mesh.run(5.0)
    mesh.is_path_up = False
    mesh.run(CONSENT_EXPIRY_S - 12.0)
    milliseconds = (mesh.now - number / 1000 for number in range(1000))
    heard_at = next(at for at in milliseconds if (at + LIVE_TRAFFIC_S) - at < LIVE_TRAFFIC_S)
    for side in sides(mesh):
        side.machine.traffic_received(heard_at, mesh.now)
    mesh.run(LIVE_TRAFFIC_S + 5.0)
    for side in sides(mesh):
        assert side.machine.state is State.CHECKING


def test_a_session_that_outlived_its_path_needs_no_handshake_on_the_next(mesh: Mesh) -> None:
    mesh.run(5.0)
    mesh.is_path_up = mesh.is_handshake_simulated = False
    mesh.run(CONSENT_EXPIRY_S + LIVE_TRAFFIC_S)
    mesh.is_path_up = True
    mesh.run(20.0)
    for side in sides(mesh):
        assert side.machine.state is State.SELECTED
        side.machine.traffic_received(mesh.now, mesh.now)
        assert side.machine.state is State.CONNECTED


def test_a_session_that_is_not_renewed_connects_nobody_for_longer_than_it_lasts(mesh: Mesh) -> None:
    """The path works, but WireGuard's handshakes fail: a side was given another preshared key."""
    mesh.run(5.0)
    mesh.is_handshake_simulated = False
    mesh.restart(mesh.controlled)
    mesh.run(SESSION_LIFETIME_S - 10.0)
    machine: Any = mesh.controlling.machine
    assert machine.state is State.CONNECTED
    mesh.run(20.0)
    assert machine.state is State.SELECTED and machine.path is not None
    machine.traffic_received(mesh.now, mesh.now)
    assert machine.state is State.SELECTED
    mesh.controlling.machine.handshake_completed(machine.path, mesh.now)
    assert machine.state is State.CONNECTED


def test_a_peer_that_came_back_without_session_is_awaited_until_a_handshake(mesh: Mesh) -> None:
    assert mesh.controlling.machine.awaits_handshake
    mesh.run(5.0)
    assert not mesh.controlling.machine.awaits_handshake
    mesh.is_handshake_simulated = False
    died_at_s = mesh.now
    mesh.restart(mesh.controlled)
    mesh.run(3.0)
    machine = mesh.controlling.machine
    assert machine.path is not None
    for side in sides(mesh):
        assert side.machine.awaits_handshake
    machine.traffic_received(died_at_s, mesh.now)
    assert machine.awaits_handshake, "its old session sent that"
    assert machine.reason == AWAITS_HANDSHAKE_REASON
    machine.handshake_completed(machine.path, mesh.now)
    assert not machine.awaits_handshake and machine.reason == ""


def test_a_handshake_before_the_description_is_not_awaited_any_more(mesh: Mesh) -> None:
    mesh.controlled.machine.handshake_completed(Path(Endpoint("192.0.2.1", 51820)), mesh.now)
    mesh.is_handshake_simulated = False
    mesh.run(1.0)
    assert mesh.controlled.machine.stages.described is not None
    assert not mesh.controlled.machine.awaits_handshake


def test_what_is_heard_of_no_session_connects_nobody(mesh: Mesh) -> None:
    """A kernel's counter rises with a handshake's first message, too."""
    mesh.is_handshake_simulated = False
    mesh.run(1.0)
    for side in sides(mesh):
        side.machine.traffic_received(mesh.now, mesh.now)
        assert side.machine.state is State.SELECTED


def test_no_path_is_explained_by_the_nats_of_both_sides(mesh: Mesh) -> None:
    mesh.is_path_up = False
    mesh.run(15.0)
    for side in sides(mesh):
        assert side.machine.reason == (
            "no path so far; NAT mapping here: endpoint-independent, "
            "there: endpoint-independent; no relay here or there"
        )
    mesh.is_path_up = True
    mesh.run(60.0)
    for side in sides(mesh):
        assert side.machine.state is State.CONNECTED, "checks went on"
        assert side.machine.reason == ""


def test_no_path_is_not_explained_before_servers_had_their_time(mesh: Mesh) -> None:
    mesh.is_path_up = False
    machine = mesh.controlling.machine
    gathered = replace(machine.gathered, is_complete=False, nat_mapping=MappingBehaviour.UNKNOWN)
    machine.gathered_changed(gathered, mesh.now)
    mesh.run(15.0)
    assert machine.reason == "" and mesh.controlled.machine.reason
    gathered = replace(gathered, is_complete=True, nat_mapping=MappingBehaviour.UNREACHED)
    machine.gathered_changed(gathered, mesh.now)
    assert machine.reason.startswith(f"{NO_PATH_REASON}; NAT mapping here: no STUN server")


def test_no_signaling_then_signaling(mesh: Mesh) -> None:
    mesh.is_signaling_up = False
    mesh.run(20.0)
    assert mesh.controlling.machine.state is State.SEEKING
    mesh.is_signaling_up = True
    for side in sides(mesh):
        side.machine.presence_changed(mesh.now)
    mesh.drain()
    mesh.run(1.0)
    for side in sides(mesh):
        assert side.machine.state is State.CONNECTED


def test_a_connected_pair_is_quiet_on_signaling(mesh: Mesh) -> None:
    mesh.run(30.0)
    before = [side.published for side in sides(mesh)]
    mesh.run(600.0)
    assert [side.published for side in sides(mesh)] == before


def test_an_answer_to_our_check_is_no_proof_that_the_peer_knows_us(mesh: Mesh) -> None:
    """Any agent of theirs answers: binding to its session had both sides begin anew for ever."""
    mesh.is_signaling_up = False
    mesh.run(1.0)
    one, other = sides(mesh)
    messages = [decode_message(message) for message in mesh.replayed]
    theirs = next(
        message
        for message, said in zip(mesh.replayed, messages, strict=True)
        if said.description.ufrag == other.agents[0].local.ufrag
    )
    other.sent_to.add(one.outside)
    one.machine.receive_message(theirs, mesh.now)
    mesh.drain()
    mesh.replayed.clear()
    mesh.run(10.0)
    assert one.machine.path is not None
    ours = [
        said
        for said in map(decode_message, mesh.replayed)
        if said.description.ufrag == one.agents[0].local.ufrag
    ]
    assert ours and not any(said.bound for said in ours)
    mesh.is_signaling_up = True
    mesh.run(60.0)
    assert all(side.machine.is_settled for side in sides(mesh))


def test_it_says_whether_the_peer_acknowledged_and_what_that_cost(mesh: Mesh) -> None:
    assert not any(side.machine.is_settled for side in sides(mesh))
    mesh.run(30.0)
    for side in sides(mesh):
        statistics = side.machine.signaling_statistics
        assert side.machine.is_settled
        assert (statistics.sessions, statistics.messages) == (1, side.published)
    mesh.restart(mesh.controlling)
    assert not mesh.controlling.machine.is_settled
    mesh.run(30.0)
    assert all(side.machine.is_settled for side in sides(mesh))
    assert mesh.controlled.machine.signaling_statistics.sessions == 2


def test_garbage_from_the_peer_is_counted_and_changes_nothing(mesh: Mesh) -> None:
    mesh.run(5.0)
    mesh.controlling.machine.receive_message(b"garbage", mesh.now)
    mesh.drain()
    assert any(isinstance(event, Dropped) for event in mesh.controlling.events)
    assert mesh.controlling.machine.state is State.CONNECTED


def test_a_removed_peer_leaves_nothing_behind(mesh: Mesh) -> None:
    mesh.run(5.0)
    mesh.controlling.machine.remove(mesh.now)
    mesh.drain()
    assert mesh.controlling.agents == []
    assert mesh.controlling.machine.state is State.REMOVED
    assert mesh.controlling.machine.deadline() is None


def test_every_state_can_be_reached_and_left() -> None:
    assert set(TRANSITIONS.values()) == set(State) - {State.SEEKING}
    for state in State:
        assert (state, Stimulus.PEER_REMOVED) in TRANSITIONS
