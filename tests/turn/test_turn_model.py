"""Client and server under loss, doubling and reordering: what both believe stays true."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.turn.turn_network import ALICE, CLIENT, SERVER, Network
from wice.datagram import Endpoint
from wice.stun import LongTermCredentials
from wice.turn import Family, State

PEERS = [Endpoint(f"192.0.2.{i}", 1_000 + i) for i in range(1, 6)]
BOB_AT = Endpoint("198.51.100.8", 40_000)
BOB = LongTermCredentials("bob", "battery")

ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(
            ["permit", "bind", "unbind", "forget", "send", "peer sends", "wait", "long", "restart",
             "server restarts", "mute"]
        ),
        st.sampled_from(PEERS),
        st.sampled_from([CLIENT, BOB_AT]),
    ),
    max_size=25,
)  # fmt: skip


@settings(max_examples=120)
@given(
    st.integers(0, 2**32),
    st.sampled_from([0.0, 0.1, 0.3]),
    st.sampled_from([0.0, 0.2]),
    st.sampled_from([0.0, 0.2]),
    ACTIONS,
)
def test_both_sides_agree_in_the_end_and_nothing_goes_astray(
    seed: int,
    loss: float,
    doubling: float,
    jitter_s: float,
    actions: list[tuple[str, Endpoint, Endpoint]],
) -> None:
    network = Network(seed=seed, loss=loss, doubling=doubling, jitter_s=jitter_s)
    network.client(CLIENT, ALICE)
    network.client(BOB_AT, BOB)
    wanted: dict[Endpoint, set[Endpoint]] = {CLIENT: set(), BOB_AT: set()}
    ever: dict[Endpoint, set[str]] = {CLIENT: set(), BOB_AT: set()}
    for action, peer, who in actions:
        client = network.clients[who]
        if action == "permit":
            client.permit(peer.host, network.now)
            ever[who].add(peer.host)
        elif action == "bind":
            client.bind_channel(peer, network.now)
            wanted[who].add(peer)
            ever[who].add(peer.host)
        elif action == "unbind":
            client.unbind_channel(peer, network.now)
            wanted[who].discard(peer)
        elif action == "forget":
            client.forget(peer.host, network.now)
            wanted[who].discard(peer)
        elif action == "send":
            client.send(who.host.encode() + b"|" + str(peer).encode(), peer, network.now)
        elif action == "peer sends":
            for relayed in client.relayed.values():
                network.peer_sends(peer, relayed, who.host.encode())
        elif action == "restart":
            client.restart(network.now)
        elif action == "server restarts":
            network.new_server()
        elif action == "mute":
            network.mute = not network.mute
        network.run({"wait": 3.0, "long": 400.0}.get(action, 0.03))
    _nothing_went_astray(network, ever)
    network.mute = False
    network.loss = 0.0
    network.run(700.0)
    _both_agree(network, wanted)
    _nothing_went_astray(network, ever)


def _nothing_went_astray(network: Network, ever: dict[Endpoint, set[str]]) -> None:
    for _, to, data in network.at_peers:
        who, _, meant = data.partition(b"|")
        assert meant.decode() == str(to)
        assert who.decode() in {endpoint.host for endpoint in ever}
    for who, received in network.received.items():
        for came in received:
            assert came.data == who.host.encode()
            assert came.peer.host in ever[who]


def _both_agree(network: Network, wanted: dict[Endpoint, set[Endpoint]]) -> None:
    statuses = {status.client: status for status in network.server.allocations(network.now)}
    assert len(statuses) == 2 and len(network.relays) == 2
    for who, client in network.clients.items():
        assert client.state is State.ALLOCATED
        assert statuses[who].relayed == (client.relayed[Family.IPV4],)
        network.at_peers.clear()
        network.received[who].clear()
        for peer in sorted(wanted[who]):
            assert client.send(who.host.encode() + b"|" + str(peer).encode(), peer, network.now)
            network.peer_sends(peer, client.relayed[Family.IPV4], who.host.encode())
        network.doubling = 0.0
        network.run(1.0)
        assert {to for _, to, _ in network.at_peers} == wanted[who]
        assert {came.peer for came in network.received[who]} == wanted[who]
    assert SERVER not in network.clients
