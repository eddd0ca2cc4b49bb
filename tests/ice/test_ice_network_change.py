"""The host moved or slept: what was known is asked again at once, and nothing given up before."""

from typing import Any

import pytest

from wice.datagram import Endpoint
from wice.ice import PairSelected, SelectedPathDoubted, SelectedPathLost

Network = Any
Host = Any
"""The fixtures' classes; see conftest.py."""

RELAY = Endpoint("198.51.100.77", 50_000)
RTT_S = 0.1


@pytest.fixture
def hosts(network: Network) -> tuple[Host, Host]:
    a = network.host("192.0.2.1", controlling=True)
    b = network.host("192.0.2.2", relay=RELAY)
    return a, b


def _meet(network: Network, a: Host, b: Host) -> None:
    a.meet(b, renomination=True)
    b.meet(a, renomination=True)
    network.run(40)


def _change(network: Network, host: Host) -> None:
    host.agent.network_changed(network.now)
    network.drain(host)


def test_the_selected_path_is_checked_at_once_and_kept(
    network: Network, hosts: tuple[Host, Host]
) -> None:
    a, b = hosts
    _meet(network, a, b)
    selected, sent = a.agent.selected, a.sent
    _change(network, a)
    assert a.sent == sent + 1
    network.run(RTT_S)
    assert a.agent.selected.path == selected.path
    assert not a.named(SelectedPathDoubted)


def test_where_there_was_no_path_pairs_that_failed_are_tried_at_once(
    network: Network, hosts: tuple[Host, Host]
) -> None:
    a, b = hosts
    network.is_cut = lambda *_: True
    _meet(network, a, b)
    network.run(60)
    assert not a.named(PairSelected)
    network.is_cut = lambda *_: False
    _change(network, a)
    network.run(5 * RTT_S)
    assert a.named(PairSelected)


def test_a_relayed_path_is_left_at_once_where_the_new_network_lets_it(
    network: Network, hosts: tuple[Host, Host]
) -> None:
    a, b = hosts
    network.is_cut = lambda source, remote: RELAY not in (source, remote)
    _meet(network, a, b)
    assert a.agent.selected.remote_type == "relay"
    network.run(5)
    network.is_cut = lambda *_: False
    _change(network, a)
    network.run(5 * RTT_S)
    for host in hosts:
        assert "relay" not in (host.agent.selected.local_type, host.agent.selected.remote_type)
        assert not host.named(SelectedPathLost)
