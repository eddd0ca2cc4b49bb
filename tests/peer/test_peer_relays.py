"""A peer that is reached through a relay, and the way from there to a direct path."""

from typing import Any

import pytest

from wice.datagram import Endpoint, Path
from wice.events import PeerTransitioned
from wice.ice import Candidate, MappingBehaviour, PairSelected, SelectedPathDoubted
from wice.ice.candidate import base_of, host_candidate, relayed_candidate
from wice.peer.effects import AskServers, Gathered
from wice.peer.machine import NO_PATH_REASON
from wice.peer.states import State

Mesh = Any
"""The fixture's class; see conftest.py."""

SERVER = Endpoint("203.0.113.1", 3478)


def _relayed(host: str, port: int) -> Candidate:
    return relayed_candidate(Endpoint("203.0.113.1", port), Endpoint(host, 51820), SERVER, 65_535)


def _tell_of_relay(mesh: Mesh, side: Any, port: int) -> Candidate:
    candidate = _relayed(side.host, port)
    candidates = (host_candidate(Endpoint(side.host, 51820), 65_535), candidate)
    gathered = Gathered(candidates, True, MappingBehaviour.ENDPOINT_INDEPENDENT)
    side.machine.gathered_changed(gathered, mesh.now)
    mesh.drain()
    return candidate


def test_a_relay_carries_until_a_direct_path_is_selected(mesh: Mesh) -> None:
    mesh.run(5.0)
    side = mesh.controlling
    machine = side.machine
    (agent,) = machine.agents
    direct = machine.path
    relayed = Path(direct.remote, base_of(_relayed(side.host, 50_000)))
    side.events.clear()
    side.paths.clear()
    for pair in (
        PairSelected(relayed, "relay", "host", 0.05),
        PairSelected(direct, "host", "host", 0.02),
    ):
        machine.agent_event(agent, pair, mesh.now)
        mesh.drain()
        assert (machine.path, machine.is_relayed) == (pair.path, pair.is_relayed)
        assert machine.reason == ""
        assert side.paths[-1][1] == pair.path, "WireGuard goes along at once"
    transitions = [event for event in side.events if isinstance(event, PeerTransitioned)]
    assert [event.new for event in transitions] == [State.CONNECTED, State.CONNECTED]


def test_a_path_through_a_relay_that_the_peer_tells_of_later_is_relayed(mesh: Mesh) -> None:
    """Its checks may come before its candidates: until then it is an address like any other."""
    mesh.run(5.0)
    machine = mesh.controlled.machine
    (agent,) = machine.agents
    path = Path(Endpoint("203.0.113.1", 50_001), machine.path.source)
    machine.agent_event(agent, PairSelected(path, "host", "prflx", 0.05), mesh.now)
    mesh.drain()
    assert (machine.path, machine.is_relayed) == (path, False)
    _tell_of_relay(mesh, mesh.controlling, 50_001)
    mesh.run(1.0)
    assert (machine.path, machine.is_relayed) == (path, True)
    assert (machine.path_changes[-1].path, machine.path_changes[-1].is_relayed) == (path, True)


@pytest.mark.parametrize(("is_ours", "is_relayed"), [(True, True), (False, True), (None, False)])
def test_a_handshake_that_came_through_a_relay_found_a_relayed_path(
    mesh: Mesh, is_ours: bool | None, is_relayed: bool
) -> None:
    """Before any check of ours was answered, whosever relay it was."""
    mesh.is_path_up = False
    ours, theirs = (_tell_of_relay(mesh, *which) for which in _relays(mesh))
    mesh.run(15.0)
    machine = mesh.controlled.machine
    assert machine.reason
    path = Path(Endpoint(mesh.controlling.host, 51820))
    if is_ours is True:
        path = Path(path.remote, base_of(ours))
    elif is_ours is False:
        path = Path(Endpoint(theirs.host, theirs.port))
    machine.handshake_completed(path, mesh.now)
    assert machine.path == path
    assert machine.is_relayed is is_relayed


def _relays(mesh: Mesh) -> tuple[tuple[Any, int], tuple[Any, int]]:
    return (mesh.controlled, 50_000), (mesh.controlling, 50_001)


def test_whether_there_is_a_relay_belongs_to_why_there_is_no_path(mesh: Mesh) -> None:
    mesh.is_path_up = False
    mesh.run(15.0)
    machine = mesh.controlled.machine
    assert machine.reason.startswith(NO_PATH_REASON)
    assert machine.reason.endswith("; no relay here or there")
    _tell_of_relay(mesh, mesh.controlling, 50_001)
    mesh.run(1.0)
    assert machine.reason.startswith(NO_PATH_REASON)
    assert "relay" not in machine.reason


def test_servers_and_relays_are_asked_when_a_path_is_doubted(mesh: Mesh) -> None:
    """A NAT that lost its state has moved us, and relays know us by where we were."""
    mesh.run(5.0)
    machine = mesh.controlling.machine
    (agent,) = machine.agents
    while machine.poll_effect() is not None:
        pass
    machine.agent_event(agent, SelectedPathDoubted(machine.path), mesh.now)
    assert machine.poll_effect() == AskServers()


@pytest.mark.parametrize("does_answer", [True, False])
def test_wireguard_is_led_back_where_ice_s_path_answers(mesh: Mesh, does_answer: bool) -> None:
    """Both sides' WireGuard may follow one another along a relay for good; ICE knows better, unless
    its path is what died."""
    mesh.run(5.0)
    side = mesh.controlling
    machine = side.machine
    strayed = Path(machine.path.remote, base_of(_relayed(side.host, 50_000)))
    machine.wireguard_uses(strayed, mesh.now)
    mesh.is_path_up = does_answer
    side.paths.clear()
    mesh.run(15.0)
    machine.wireguard_uses(strayed, mesh.now)
    mesh.drain()
    assert [path for _, path, *_ in side.paths] == ([machine.path] if does_answer else [])
    side.paths.clear()
    machine.wireguard_uses(machine.path, mesh.now)
    machine.wireguard_uses(strayed, mesh.now)
    mesh.drain()
    assert side.paths == [], "nothing has answered since it strayed again"
