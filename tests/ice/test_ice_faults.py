"""Two agents through a storm of faults: when the network heals, they agree on a path that works."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wice.ice import Credentials

ADDRESSES = ("192.0.2.1", "192.0.2.2"), ("198.51.100.1", "2001:db8::2", "198.51.100.3")

faults = st.lists(
    st.tuples(
        st.floats(0, 20),
        st.one_of(
            st.tuples(st.just("loss"), st.sampled_from([0.0, 0.3, 0.9])),
            st.tuples(st.just("latency"), st.sampled_from([0.001, 0.05, 0.4])),
            st.tuples(st.just("cut one way"), st.integers(0, 1)),
            st.tuples(st.just("cut address"), st.sampled_from([*ADDRESSES[0], *ADDRESSES[1]])),
            st.tuples(st.just("heal"), st.none()),
            st.tuples(st.just("addresses"), st.tuples(st.integers(0, 1), st.integers(0, 7))),
            st.tuples(st.just("describe"), st.integers(0, 1)),
            st.tuples(st.just("wait"), st.floats(5, 60)),
        ),
    ),
    max_size=12,
)


def _apply(network: Any, hosts: list[Any], kind: str, value: Any) -> None:
    match kind:
        case "loss":
            network.loss = value
        case "latency":
            network.latency_s = value
        case "cut one way":
            network.is_cut = lambda source, _: source.host in ADDRESSES[value]
        case "cut address":
            network.is_cut = lambda source, remote: value in (source.host, remote.host)
        case "heal":
            network.is_cut = lambda *_: False
        case "addresses":
            which, mask = value
            left = [a for i, a in enumerate(ADDRESSES[which]) if mask & 1 << i]
            hosts[which].addresses = tuple(left or ADDRESSES[which])
            hosts[which].agent.set_local_candidates(hosts[which].candidates(), network.now)
            network.drain(hosts[which])
        case "describe":
            hosts[value].meet(hosts[1 - value])
        case "wait":
            network.run(value)


ROLES = pytest.mark.parametrize("roles", [(True, False), (True, True)])
FIXTURE = (HealthCheck.function_scoped_fixture,)


@ROLES
@settings(max_examples=40, deadline=None, suppress_health_check=FIXTURE)
@given(storm=faults, seed=st.integers(0, 1_000))
def test_agents_agree_after_a_storm(
    make_network: Callable[[int], Any], roles: tuple[bool, bool], storm: list[Any], seed: int
) -> None:
    _check_storm(make_network, roles, storm, seed)


@pytest.mark.nightly
@ROLES
@settings(max_examples=2_000, deadline=None, suppress_health_check=FIXTURE)
@given(storm=faults, seed=st.integers(0, 1_000))
def test_agents_agree_after_many_storms(
    make_network: Callable[[int], Any], roles: tuple[bool, bool], storm: list[Any], seed: int
) -> None:
    _check_storm(make_network, roles, storm, seed)


def _check_storm(
    make_network: Callable[[int], Any], roles: tuple[bool, bool], storm: list[Any], seed: int
) -> None:
    network = make_network(seed)
    hosts = [
        network.host(*addresses, controlling=role)
        for addresses, role in zip(ADDRESSES, roles, strict=True)
    ]
    for at, (kind, value) in sorted(storm, key=lambda fault: fault[0]):
        network.run(max(0.0, 1_000 + at - network.now))
        _apply(network, hosts, kind, value)
    _apply(network, hosts, "heal", None)
    network.loss, network.latency_s = 0.0, 0.05
    for which in (0, 1):
        _apply(network, hosts, "addresses", (which, 7))
        _apply(network, hosts, "describe", which)
    network.run(70)
    a, b = (host.agent for host in hosts)
    assert a.controlling != b.controlling
    assert a.selected is not None and b.selected is not None
    assert a.selected.path.source == b.selected.path.remote.host
    assert b.selected.path.source == a.selected.path.remote.host
    sent = [host.sent for host in hosts]
    network.run(60)
    for host, before in zip(hosts, sent, strict=True):
        # Consent of one's own, and the answers to the other's; a spare pair for each family.
        assert host.sent - before <= 2 * 60 / 4 + 2 + 2 * 2 * (60 / 20 + 1)


def test_the_storm_is_not_the_only_way_to_meet(make_network: Callable[[int], Any]) -> None:
    """The harness itself: without a description nobody connects."""
    network = make_network(1)
    hosts = [network.host(*addresses) for addresses in ADDRESSES]
    hosts[0].agent.set_remote(Credentials("abcd", "p" * 22), network.now)
    network.run(70)
    assert all(host.agent.selected is None for host in hosts)
