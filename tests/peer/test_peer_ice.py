"""What the machine makes of ICE: restarts, renomination, candidates that go."""

from typing import Any

import pytest

from wice.datagram import Endpoint
from wice.ice import Candidate, MappingBehaviour, PairValidated, SelectedPathLost
from wice.ice.candidate import host_candidate
from wice.peer.effects import Gathered
from wice.peer.states import State
from wice.stun import Attribute, parse

Mesh = Any
Side = Any


def _sides(mesh: Mesh) -> tuple[Side, Side]:
    return mesh.controlling, mesh.controlled


def _gathered(*hosts: str, is_complete: bool = True) -> Gathered:
    candidates: list[Candidate] = [host_candidate(Endpoint(h, 51820), 65_535) for h in hosts]
    return Gathered(tuple(candidates), is_complete, MappingBehaviour.ENDPOINT_INDEPENDENT)


@pytest.mark.parametrize("restarted", [(0,), (1,), (0, 1)])
def test_a_restart_makes_before_it_breaks(mesh: Mesh, restarted: tuple[int, ...]) -> None:
    """The old agent carries the path until the new one has a pair that works."""
    mesh.run(5.0)
    before = [side.machine.agents[0] for side in _sides(mesh)]
    for which in restarted:
        side = _sides(mesh)[which]
        side.machine._session.restart(mesh.now)
        side.machine.handle_timeout(mesh.now)
    mesh.drain()
    for _ in range(400):
        mesh.run(0.005)
        for side in _sides(mesh):
            carrying = side.machine.agents[0]
            assert side.machine.path is not None
            assert carrying in side.agents
            assert any(pair.state == "succeeded" for pair in carrying.pairs())
    for which, side in enumerate(_sides(mesh)):
        assert side.machine.state is State.CONNECTED
        assert len(side.agents) == 1
        if which in restarted:
            assert side.agents != [before[which]]


def test_a_restart_while_gathering_waits_for_candidates_only(mesh: Mesh) -> None:
    mesh.run(5.0)
    side = mesh.controlled
    side.machine.gathered_changed(_gathered(is_complete=False), mesh.now)
    side.machine._session.restart(mesh.now)
    side.machine.handle_timeout(mesh.now)
    mesh.drain()
    mesh.run(0.2)
    side.machine.gathered_changed(_gathered(side.host), mesh.now)
    mesh.drain()
    mesh.run(2.0)
    for one in _sides(mesh):
        assert one.machine.state is State.CONNECTED
        assert one.machine._generations.carrying is one.machine._generations.newest


def test_renomination_is_agreed_on_in_descriptions(mesh: Mesh) -> None:
    seen = []
    arrive = mesh._arrive

    def look(sender: Side, data: bytes) -> None:
        message = parse(data)
        if Attribute.USE_CANDIDATE in message.attributes:
            seen.append(Attribute.NOMINATION in message.attributes)
        arrive(sender, data)

    mesh._arrive = look
    mesh.run(5.0)
    assert seen and all(seen)


def test_a_candidate_that_a_description_no_longer_names_is_forgotten(mesh: Mesh) -> None:
    side, other = _sides(mesh)
    side.machine.gathered_changed(_gathered(side.host, "192.0.2.77"), mesh.now)
    mesh.drain()
    mesh.run(20.0)
    assert "192.0.2.77" in {p.path.remote.host for p in other.agents[-1].pairs()}
    side.machine.gathered_changed(_gathered(side.host), mesh.now)
    mesh.drain()
    mesh.run(5.0)
    assert {p.path.remote.host for p in other.agents[-1].pairs()} == {side.host}
    assert other.machine.state is State.CONNECTED


def test_another_pair_takes_over_at_once_while_wireguard_is_still_heard(mesh: Mesh) -> None:
    mesh.run(5.0)
    side = mesh.controlled
    side.machine.traffic_received(mesh.now, mesh.now)
    agent = side.agents[-1]
    path = agent.selected.path
    side.machine.agent_event(agent, SelectedPathLost(path, "gone"), mesh.now)
    assert side.machine.path == path
    pairs = len(side.paths)
    side.machine.agent_event(agent, PairValidated(path, 0.01, is_relayed=False), mesh.now)
    mesh.drain()
    assert len(side.paths) == pairs + 1
