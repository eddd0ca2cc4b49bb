"""The client step by step: what it asks, what it does with each answer, and when."""

from collections.abc import Sequence
from itertools import pairwise

import pytest

from tests.turn.turn_network import (
    ALICE,
    CLIENT,
    DELAY_S,
    PEER,
    PEER_IPV6,
    SERVER,
    SERVER_IPV6,
    Network,
)
from wice.datagram import Endpoint
from wice.errors import RemoteProtocolError
from wice.stun import (
    Attribute,
    Class,
    IntegrityKey,
    LongTermCredentials,
    Message,
    Method,
    encode,
    pack_address,
    pack_error_code,
    pack_xor_address,
    parse,
)
from wice.turn import (
    RFC_8489_TIMING,
    Allocated,
    AllocationFailed,
    AllocationLost,
    ChannelBound,
    CredentialsRefused,
    Family,
    PeerData,
    PermissionGranted,
    PermissionRefused,
    Redirected,
    RestAccounts,
    State,
    Timing,
    TurnClient,
    rest_credentials,
)
from wice.turn.messages import CHANNEL_LIFETIME_S, CHANNEL_MAX, CHANNEL_MIN, CHANNEL_REST_S
from wice.turn.peers import HOSTS_MAX, Peers

RTT_S = 2 * DELAY_S
OTHER = "192.0.2.10"


class Scripted:
    """A client and a server that says what the test says, unsigned."""

    def __init__(self, server: Endpoint = SERVER, **options: object) -> None:
        self.now = 0.0
        numbers = iter(range(1, 10_000))
        self.client = TurnClient(
            server,
            ALICE,
            random_bytes=lambda size: next(numbers).to_bytes(size, "big"),
            now=0.0,
            **options,  # type: ignore[arg-type]
        )

    def asked(self) -> Message | None:
        data = self.client.poll_transmit()
        return None if data is None else parse(data)

    def answer(
        self,
        request: Message | None,
        code: int,
        *attributes: tuple[int, bytes],
        source: Endpoint = SERVER,
    ) -> None:
        assert request is not None
        listed = list(attributes)
        if code:
            listed.insert(0, (Attribute.ERROR_CODE, pack_error_code(code, "")))
        message_class = Class.ERROR if code else Class.SUCCESS
        data = encode(request.method, message_class, request.transaction_id, listed)
        self.client.receive(data, source, self.now)

    def events(self) -> list[object]:
        found: list[object] = []
        while (event := self.client.poll_event()) is not None:
            found.append(event)
        return found

    def success(self, request: Message | None, *relayed: Endpoint, lifetime_s: int = 600) -> None:
        assert request is not None
        xor = request.transaction_id
        self.answer(
            request,
            0,
            *((Attribute.XOR_RELAYED_ADDRESS, pack_xor_address(r, xor)) for r in relayed),
            (Attribute.XOR_MAPPED_ADDRESS, pack_xor_address(CLIENT, xor)),
            (Attribute.LIFETIME, lifetime_s.to_bytes(4, "big")),
        )


RELAYED = Endpoint("203.0.113.1", 50_000)


def test_an_allocation_takes_two_round_trips_and_a_permission_one_more() -> None:
    network = Network()
    client = network.client()
    assert client.permit(PEER.host, network.now)
    started = network.now
    network.run(1.0)
    allocated, permitted = network.events[CLIENT]
    assert allocated[1] == Allocated((client.relayed[Family.IPV4],), CLIENT)
    assert allocated[0] - started == pytest.approx(2 * RTT_S)
    assert permitted[1] == PermissionGranted(PEER.host)
    assert permitted[0] - started == pytest.approx(3 * RTT_S)
    assert len(network.to_server) == 3


def test_the_challenge_is_paid_for_once() -> None:
    network = Network()
    client = network.client()
    network.run(1.0)
    for host in range(20, 30):
        client.permit(f"192.0.2.{host}", network.now)
        network.run(1.0)
    client.restart(network.now)
    network.run(1.0)
    assert network.server.counts["error 401"] == 1
    assert len(network.said(Allocated)) == 2


def test_data_goes_both_ways_in_indications_and_then_on_a_channel() -> None:
    network = Network()
    client = network.client()
    assert client.encapsulate(b"too early", PEER, network.now) is None
    client.permit(PEER.host, network.now)
    network.run(1.0)
    relayed = client.relayed[Family.IPV4]

    def exchange() -> int:
        assert client.send(b"ping", PEER, network.now)
        network.peer_sends(PEER, relayed, b"pong")
        network.run(0.1)
        assert network.at_peers.pop() == (relayed, PEER, b"ping")
        assert network.received[CLIENT].pop() == PeerData(b"pong", PEER)
        return len(network.to_clients[-1][2])

    assert exchange() == 20 + 12 + 4 + 4
    client.bind_channel(PEER, network.now)
    network.run(1.0)
    assert network.said(ChannelBound) == [ChannelBound(PEER)]
    assert exchange() == 8
    client.unbind_channel(PEER, network.now)
    assert len(client.encapsulate(b"ping", PEER, network.now) or b"") > 8


def test_several_peers_share_an_allocation_and_ask_together() -> None:
    network = Network()
    client = network.client()
    peers = [Endpoint(f"192.0.2.{i}", 1_000 + i) for i in range(1, 41)]
    for peer in peers:
        client.permit(peer.host, network.now)
    network.run(1.0)
    assert len(network.said(PermissionGranted)) == 40
    assert network.server.counts["create_permission"] == 3
    for peer in peers:
        assert client.send(peer.host.encode(), peer, network.now)
    network.run(0.1)
    assert sorted(data.decode() for _, _, data in network.at_peers) == sorted(
        peer.host for peer in peers
    )


@pytest.mark.parametrize(
    ("families", "hosts"),
    [
        ([Family.IPV4], [SERVER.host]),
        ([Family.IPV6], [SERVER_IPV6]),
        ([Family.IPV4, Family.IPV6], [SERVER.host, SERVER_IPV6]),
    ],
)
def test_relays_of_the_families_that_were_asked_for(
    families: Sequence[Family], hosts: list[str]
) -> None:
    network = Network()
    client = network.client(families=families)
    for peer in (PEER, PEER_IPV6):
        is_asked = (Family.IPV6 if peer.is_ipv6 else Family.IPV4) in families
        assert client.bind_channel(peer, network.now) == is_asked
    network.run(1.0)
    assert [endpoint.host for endpoint in client.relayed.values()] == hosts
    assert len(network.said(ChannelBound)) == len(hosts)
    for peer in (PEER, PEER_IPV6):
        client.send(b"x", peer, network.now)
    network.run(0.1)
    assert len(network.at_peers) == len(hosts)


def test_a_family_that_the_server_lacks_is_done_without() -> None:
    network = Network(families=[Family.IPV4])
    client = network.client(families=[Family.IPV4, Family.IPV6])
    client.permit(PEER_IPV6.host, network.now)
    client.bind_channel(PEER, network.now)
    network.run(30.0)
    assert list(client.relayed) == [Family.IPV4]
    assert network.said(PermissionRefused) == [PermissionRefused(PEER_IPV6.host, 440)]
    assert network.said(ChannelBound) == [ChannelBound(PEER)]


def test_what_was_granted_lives_for_hours_and_costs_little() -> None:
    network = Network()
    client = network.client()
    client.bind_channel(PEER, network.now)
    client.permit(OTHER, network.now)
    network.run(1.0)
    before = len(network.to_server)
    for _ in range(24):
        network.run(597.0)
        for host in (PEER.host, OTHER):
            assert client.send(b"x", Endpoint(host, PEER.port), network.now)
    assert len(network.said(Allocated)) == 1
    # A refresh each 25 s, two requests each 4 minutes, and a nonce an hour.
    assert len(network.to_server) - before < 4 * 3600 / 25 + 8 * 3600 / 240 + 100
    # Nothing is longer silent than a NAT remembers.
    assert max(b - a for (a, _), (b, _) in pairwise(network.to_server)) < 26


def test_grants_end_with_their_lifetime_when_the_server_is_silent() -> None:
    network = Network()
    client = network.client(timing=Timing(silence_max_s=3_600))
    client.bind_channel(PEER, network.now)
    network.run(1.0)
    started = network.now
    network.mute = True
    network.run(297.0)
    assert client.encapsulate(b"x", PEER, network.now) is not None
    network.run(4.0)
    assert client.encapsulate(b"x", PEER, network.now) is None
    indication = encode(
        Method.DATA,
        Class.INDICATION,
        bytes(12),
        [(Attribute.XOR_PEER_ADDRESS, pack_xor_address(PEER, bytes(12))), (Attribute.DATA, b"x")],
    )
    with pytest.raises(RemoteProtocolError, match="without a permission"):
        client.receive(indication, SERVER, network.now)
    client.receive(b"\x40\x00\x00\x01x", SERVER, network.now)
    network.run(started + 601 - network.now)
    with pytest.raises(RemoteProtocolError, match="no channel"):
        client.receive(b"\x40\x00\x00\x01x", SERVER, network.now)
    assert network.said(AllocationLost) == [AllocationLost("its lifetime is over")]
    network.mute = False
    network.run(60.0)
    assert client.encapsulate(b"x", PEER, network.now) is not None


def test_a_server_that_was_restarted_is_asked_anew_at_once() -> None:
    network = Network()
    client = network.client()
    client.bind_channel(PEER, network.now)
    network.run(60.0)
    network.new_server()
    client.permit(OTHER, network.now)
    before = network.now
    network.run(1.0)
    allocated_at = [at for at, e in network.events[CLIENT] if isinstance(e, Allocated)][-1]
    assert allocated_at - before < 5 * RTT_S
    assert len(network.said(AllocationLost)) == 1
    assert {e.host for e in network.said(PermissionGranted)} == {PEER.host, OTHER}  # type: ignore[union-attr]
    assert client.send(b"x", PEER, network.now)


def test_a_server_that_loses_every_allocation_is_not_flooded() -> None:
    network = Network()
    client = network.client()
    for i in range(200):
        client.permit(f"192.0.2.{i}", network.now)
        network.new_server()
        network.run(0.5)
    assert len(network.said(Allocated)) < 12


def test_an_allocation_of_an_earlier_run_makes_room() -> None:
    network = Network()
    first = network.client()
    network.run(1.0)
    old = first.relayed
    second = network.client()
    network.run(1.0)
    assert second.state is State.ALLOCATED and second.relayed != old
    assert network.server.counts["error 437"] == 1
    assert len(network.server.allocations(network.now)) == 1


def test_another_users_allocation_in_our_way_is_waited_for() -> None:
    network = Network()
    network.client()
    network.run(1.0)
    bob = network.client(credentials=LongTermCredentials("bob", "battery"))
    network.run(2.0)
    (failed,) = network.said(AllocationFailed)
    assert isinstance(failed, AllocationFailed) and failed.code == 441
    network.run(1_200.0)
    assert bob.state is State.ALLOCATED


def test_wrong_credentials_are_said_and_new_ones_used_at_once() -> None:
    network = Network()
    client = network.client(credentials=LongTermCredentials("alice", "wrong"))
    network.run(100.0)
    (failed,) = network.said(AllocationFailed)
    assert isinstance(failed, AllocationFailed) and failed.code == 401
    assert network.said(CredentialsRefused)
    assert network.server.counts["error 401"] == 2
    client.set_credentials(ALICE, network.now)
    network.run(4 * RTT_S)
    assert client.state is State.ALLOCATED


def test_credentials_that_expire_are_renewed_without_losing_the_allocation() -> None:
    network = Network(accounts=RestAccounts(b"secret", lambda: network.now))
    client = network.client(credentials=rest_credentials(b"secret", "alice", network.now + 900))
    client.bind_channel(PEER, network.now)
    network.run(800.0)
    client.set_credentials(rest_credentials(b"secret", "alice", network.now + 7_200), network.now)
    network.run(3_000.0)
    assert len(network.said(Allocated)) == 1
    assert not network.said(CredentialsRefused)
    assert client.send(b"x", PEER, network.now)
    (status,) = network.server.allocations(network.now)
    assert status.name == "alice"


def test_expired_credentials_are_said_while_there_is_time() -> None:
    network = Network(accounts=RestAccounts(b"secret", lambda: network.now))
    client = network.client(credentials=rest_credentials(b"secret", "alice", network.now + 100))
    network.run(560.0)
    assert network.said(CredentialsRefused) and client.state is State.ALLOCATED
    client.set_credentials(rest_credentials(b"secret", "alice", network.now + 7_200), network.now)
    network.run(600.0)
    assert len(network.said(Allocated)) == 1 and not network.said(AllocationLost)


@pytest.mark.parametrize(
    ("code", "least_s"), [(486, 60), (508, 60), (442, 300), (440, 300), (403, 300), (500, 5)]
)
def test_how_long_each_refusal_is_respected(code: int, least_s: float) -> None:
    script = Scripted()
    script.answer(script.asked(), code)
    (failed,) = script.events()
    assert failed == AllocationFailed(code, failed.reason, least_s)  # type: ignore[attr-defined]
    assert script.client.deadline() == least_s
    script.client.handle_timeout(least_s - 0.1)
    assert script.asked() is None
    script.client.handle_timeout(least_s)
    assert script.asked() is not None


def test_retries_get_rarer() -> None:
    network = Network()
    network.mute = True
    network.client()
    network.run(3_600.0)
    failures = [at for at, _ in network.events[CLIENT]]
    gaps = [round(b - a, 3) for a, b in pairwise(failures)]
    assert gaps[0] < 20 and max(gaps) < 320 and gaps == sorted(gaps)
    assert len(network.to_server) < 20 * 9


@pytest.mark.parametrize(
    ("timing", "times", "failed_at"),
    [
        (RFC_8489_TIMING, [0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5], 39.5),
        (Timing(), [0, 0.1, 0.25, 0.475, 0.8125, 1.31875], 6.5),
    ],
)
def test_retransmissions_are_as_the_profile_says(
    timing: Timing, times: list[float], failed_at: float
) -> None:
    network = Network()
    network.mute = True
    network.client(timing=timing)
    start = network.now
    network.run(failed_at + 1)
    sent = [at - start - DELAY_S for at, _ in network.to_server]
    assert sent[: len(times)] == pytest.approx(times)
    assert len({data for _, data in network.to_server}) == 1
    ((at, failed),) = network.events[CLIENT]
    assert at - start == pytest.approx(failed_at, abs=0.3)
    assert isinstance(failed, AllocationFailed) and failed.code == 0


ALTERNATE = Endpoint("203.0.113.2", 3478)


def alternate(server: Endpoint) -> tuple[int, bytes]:
    return (Attribute.ALTERNATE_SERVER, pack_address(server))


def test_an_alternate_server_is_asked_instead() -> None:
    script = Scripted()
    script.answer(script.asked(), 300, alternate(ALTERNATE))
    assert script.events() == [Redirected(ALTERNATE)]
    assert script.client.server == ALTERNATE
    again = script.asked()
    with pytest.raises(RemoteProtocolError, match="not of its server"):
        script.success(again, RELAYED)
    assert again is not None
    xor = again.transaction_id
    script.answer(
        again,
        0,
        (Attribute.XOR_RELAYED_ADDRESS, pack_xor_address(RELAYED, xor)),
        (Attribute.XOR_MAPPED_ADDRESS, pack_xor_address(CLIENT, xor)),
        (Attribute.LIFETIME, (600).to_bytes(4, "big")),
        source=ALTERNATE,
    )
    assert script.client.state is State.ALLOCATED


@pytest.mark.parametrize(
    "there",
    [SERVER, Endpoint("2001:db8::1", 3478), Endpoint("203.0.113.2", 0), None],
    ids=["the same", "another family", "no port", "nowhere"],
)
def test_redirections_that_lead_nowhere(there: Endpoint | None) -> None:
    script = Scripted()
    script.answer(script.asked(), 300, *([alternate(there)] if there else []))
    (failed,) = script.events()
    assert isinstance(failed, AllocationFailed) and failed.code == 300
    assert script.client.server == SERVER


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "192.168.1.1", "10.0.0.1", "169.254.0.1", "224.0.0.1", "255.255.255.255"]
)
def test_a_public_server_sends_nobody_into_a_network_of_theirs(host: str) -> None:
    script = Scripted()
    script.answer(script.asked(), 300, alternate(Endpoint(host, 53)))
    (failed,) = script.events()
    assert isinstance(failed, AllocationFailed) and failed.code == 300
    assert script.client.server == SERVER and script.asked() is None


@pytest.mark.parametrize(
    ("server", "there", "is_followed"),
    [
        ("10.0.0.1", "10.0.0.2", True),
        ("10.0.0.1", "127.0.0.1", False),
        ("10.0.0.1", "239.0.0.1", False),
        ("127.0.0.1", "127.0.0.2", True),
        ("fd00::1", "fd00::2", True),
        ("2001:db8::1", "fd00::2", False),
        ("2001:db8::1", "fe80::2", False),
        ("2001:db8::1", "2001:db8::2", True),
    ],
)
def test_a_server_names_others_no_nearer_to_us_than_itself(
    server: str, there: str, is_followed: bool
) -> None:
    home, named = Endpoint(server, 3478), Endpoint(there, 3478)
    script = Scripted(home)
    script.answer(script.asked(), 300, alternate(named), source=home)
    assert script.client.server == (named if is_followed else home)


def test_an_unsigned_redirection_of_a_signed_request_is_dropped() -> None:
    network = Network()
    client = network.client()
    network.run(1.0)
    client.restart(network.now)
    data = client.poll_transmit()
    assert data is not None
    request = parse(data)
    code = (int(Attribute.ERROR_CODE), pack_error_code(300, ""))
    forged = encode(
        request.method, Class.ERROR, request.transaction_id, [code, alternate(ALTERNATE)]
    )
    with pytest.raises(RemoteProtocolError, match="integrity"):
        client.receive(forged, SERVER, network.now)
    assert client.server == SERVER


def test_a_redirection_to_no_address_is_a_failure_that_is_tried_again() -> None:
    script = Scripted()
    malformed = (Attribute.ALTERNATE_SERVER, pack_address(ALTERNATE) + bytes(4))
    script.answer(script.asked(), 300, malformed)
    (failed,) = script.events()
    assert isinstance(failed, AllocationFailed) and failed.code == 300
    script.client.handle_timeout(failed.retry_at_s)
    assert script.asked() is not None


def test_servers_that_send_us_in_circles_are_left() -> None:
    script = Scripted()
    source = SERVER
    for i in range(10):
        there = Endpoint(f"203.0.113.{10 + i}", 3478)
        asked = script.asked()
        if asked is None:
            break
        script.answer(asked, 300, alternate(there), source=source)
        source = there
    events = script.events()
    assert len([e for e in events if isinstance(e, Redirected)]) == 3
    assert isinstance(events[-1], AllocationFailed)
    script.client.handle_timeout(5.0)
    assert script.client.server == SERVER and script.asked() is not None


def test_one_refused_permission_does_not_stop_the_others() -> None:
    network = Network()
    client = network.client()
    for host in (PEER.host, "10.0.0.1", OTHER):
        client.permit(host, network.now)
    network.run(10.0)
    assert {e.host for e in network.said(PermissionGranted)} == {PEER.host, OTHER}  # type: ignore[union-attr]
    assert network.said(PermissionRefused) == [PermissionRefused("10.0.0.1", 403)]
    refused = [host for host in (PEER.host, "10.0.0.1", OTHER) if client.is_refused(host)]
    assert refused == ["10.0.0.1"]


def test_what_is_forgotten_is_not_refreshed_and_its_data_dropped() -> None:
    network = Network()
    client = network.client()
    client.bind_channel(PEER, network.now)
    network.run(1.0)
    client.forget(PEER.host, network.now)
    network.peer_sends(PEER, client.relayed[Family.IPV4], b"still?")
    network.run(10.0)
    assert network.dropped == ["ChannelData on no channel of ours"]
    network.run(1_000.0)
    assert network.server.counts["channel_bind"] == 1
    assert network.server.counts["create_permission"] == 0


def test_a_channel_given_back_keeps_its_number_for_the_peer_that_had_it() -> None:
    network = Network()
    client = network.client()
    other = Endpoint(PEER.host, 7)
    client.bind_channel(PEER, network.now)
    network.run(1.0)
    client.unbind_channel(PEER, network.now)
    client.bind_channel(other, network.now)
    network.run(1.0)
    client.bind_channel(PEER, network.now)
    network.run(1.0)
    assert network.said(ChannelBound) == [
        ChannelBound(PEER),
        ChannelBound(other),
        ChannelBound(PEER),
    ]
    assert network.server.counts["error 400"] == 0


def move(network: Network) -> Endpoint:
    """The server sees us somewhere else from now on."""
    moved = Endpoint(CLIENT.host, 41_000)
    network.clients[moved] = network.clients.pop(CLIENT)
    network.events[moved] = network.events.pop(CLIENT)
    network.received[moved] = []
    return moved


def test_a_nat_that_gives_us_another_address_means_a_new_allocation() -> None:
    network = Network()
    client = network.client()
    network.run(1.0)
    moved = move(network)
    network.run(30.0)
    assert client.mapped == moved
    assert network.said(AllocationLost, moved) == [AllocationLost("the server does not know it")]


def test_a_change_of_network_that_moves_us_means_a_new_allocation_at_once() -> None:
    network = Network()
    client = network.client()
    network.run(1.0)
    moved = move(network)
    client.network_changed(network.now)
    # Refused for the nonce, for the allocation, for the next nonce; then there is another one.
    network.run(4.5 * RTT_S)
    assert client.mapped == moved


def test_a_change_of_network_that_does_not_move_us_costs_nothing() -> None:
    network = Network()
    client = network.client()
    client.permit(PEER.host, network.now)
    network.run(10.0)
    relayed = client.relayed
    for _ in range(3):
        client.network_changed(network.now)
        assert client.send(b"x", PEER, network.now)
        network.run(1.0)
    assert client.relayed == relayed and not network.said(AllocationLost)
    assert len(network.at_peers) == 3


def test_a_change_of_network_ends_the_wait_of_one_that_failed() -> None:
    network = Network()
    network.mute = True
    client = network.client()
    network.run(100.0)
    assert network.said(AllocationFailed)
    network.mute = False
    client.network_changed(network.now)
    network.run(2.5 * RTT_S)
    assert client.state is State.ALLOCATED


def test_a_change_of_network_ends_a_request_that_is_under_way() -> None:
    """Its end would else be taken for that of the new one."""
    script = Scripted()
    asked = script.asked()
    script.now = script.client.deadline() or 0.0
    for _ in range(Timing().transmissions_max - 1):
        script.client.handle_timeout(script.now)
        script.now = script.client.deadline() or 0.0
    script.client.network_changed(script.now)
    assert script.client.state is State.ASKING
    found = []
    while (sent := script.asked()) is not None:
        found.append(sent)
    assert asked is not None and found[-1].transaction_id != asked.transaction_id


def test_a_restarted_server_is_noticed_while_data_flows() -> None:
    """It would be noticed by nothing else: a server is silent about data that it does not know."""
    network = Network()
    client = network.client()
    client.bind_channel(PEER, network.now)
    network.run(5.0)
    network.new_server()
    for _ in range(30):
        client.send(b"x", PEER, network.now)
        network.run(1.0)
    client.send(b"last", PEER, network.now)
    network.run(1.0)
    assert network.at_peers[-1][2] == b"last"


def test_a_server_that_falls_silent_is_given_up_and_comes_back() -> None:
    network = Network()
    client = network.client()
    network.run(10.0)
    network.mute = True
    silent_from = network.now
    network.run(90.0)
    ((lost_at, lost),) = [e for e in network.events[CLIENT] if isinstance(e[1], AllocationLost)]
    assert lost == AllocationLost("the server does not answer")
    # After the refresh that was due, and three more that nobody answered.
    assert 20.0 <= lost_at - silent_from <= 25.0 + 4 * 6.5
    network.mute = False
    network.run(60.0)
    assert client.state is State.ALLOCATED


def test_a_short_silence_of_the_server_costs_nothing() -> None:
    network = Network()
    client = network.client()
    network.run(10.0)
    for _ in range(5):
        network.mute = True
        network.run(19.0)
        network.mute = False
        network.run(30.0)
    assert client.state is State.ALLOCATED and len(network.said(Allocated)) == 1


def test_what_is_idle_is_no_longer_refreshed() -> None:
    network = Network()
    client = network.client()
    client.bind_channel(PEER, network.now)
    client.permit(OTHER, network.now)
    network.run(100.0)
    assert client.send(b"x", PEER, network.now)
    client.forget_idle(60.0, network.now)
    assert client.wants(PEER.host) and not client.wants(OTHER)
    assert (client.permission_count, client.channel_count) == (1, 1)
    network.run(60.0)
    client.forget_idle(60.0, network.now)
    assert (client.permission_count, client.channel_count) == (0, 0)
    assert client.encapsulate(b"x", PEER, network.now) is None


def test_what_is_sent_to_alone_keeps_its_permission_without_its_channel() -> None:
    network = Network()
    client = network.client()
    client.bind_channel(PEER, network.now)
    network.run(100.0)
    assert client.send(b"x", Endpoint(PEER.host, PEER.port + 1), network.now)
    client.forget_idle(60.0, network.now)
    assert (client.permission_count, client.channel_count) == (1, 0)


def test_close_ends_the_allocation() -> None:
    network = Network()
    client = network.client()
    network.run(1.0)
    client.close(network.now)
    network.run(1.0)
    assert client.state is State.CLOSED and client.deadline() is None
    assert network.server.allocations(network.now) == [] and network.relays == {}


def test_answers_of_strangers_are_dropped() -> None:
    script = Scripted()
    asked = script.asked()
    assert asked is not None
    with pytest.raises(RemoteProtocolError, match="not of its server"):
        script.answer(asked, 508, source=Endpoint("203.0.113.66", 3478))
    with pytest.raises(RemoteProtocolError, match="no request"):
        data = encode(
            Method.ALLOCATE,
            Class.ERROR,
            bytes(12),
            [(Attribute.ERROR_CODE, pack_error_code(508, ""))],
        )
        script.client.receive(data, SERVER, 0.0)
    with pytest.raises(RemoteProtocolError, match="no request"):
        data = encode(
            Method.REFRESH,
            Class.ERROR,
            asked.transaction_id,
            [(Attribute.ERROR_CODE, pack_error_code(508, ""))],
        )
        script.client.receive(data, SERVER, 0.0)
    assert script.events() == []


def test_an_unsigned_answer_to_a_signed_request_is_dropped() -> None:
    network = Network()
    client = network.client()
    network.run(1.0)
    client.permit(PEER.host, network.now)
    data = client.poll_transmit()
    assert data is not None
    request = parse(data)
    for key in (None, IntegrityKey(b"guess")):
        forged = encode(
            request.method,
            Class.ERROR,
            request.transaction_id,
            [(Attribute.ERROR_CODE, pack_error_code(437, ""))],
            key=key,
        )
        with pytest.raises(RemoteProtocolError, match="integrity"):
            client.receive(forged, SERVER, network.now)
    assert client.state is State.ALLOCATED


@pytest.mark.parametrize(
    "relayed",
    [[], [Endpoint("203.0.113.1", 0)], [Endpoint("2001:db8::1", 5)], [RELAYED, RELAYED]],
    ids=["none", "no port", "another family", "twice"],
)
def test_an_allocation_of_no_use_is_not_taken(relayed: list[Endpoint]) -> None:
    script = Scripted()
    with pytest.raises(RemoteProtocolError, match="without the addresses"):
        script.success(script.asked(), *relayed)
    assert script.client.state is State.ASKING


def test_peers_are_bounded() -> None:
    network = Network()
    client = network.client()
    hosts = [f"192.0.{i // 200}.{i % 200}" for i in range(HOSTS_MAX + 5)]
    assert [client.permit(host, network.now) for host in hosts].count(False) == 5
    assert client.permit(hosts[0], network.now)


def test_data_too_long_is_not_sent() -> None:
    network = Network()
    client = network.client()
    client.permit(PEER.host, network.now)
    network.run(1.0)
    assert client.encapsulate(bytes(65_001), PEER, network.now) is None
    assert client.send(bytes(65_000), PEER, network.now)
    network.run(0.1)
    assert len(network.at_peers[0][2]) == 65_000


def test_a_channel_that_was_not_refreshed_brings_nothing() -> None:
    script = Scripted()
    script.client.bind_channel(PEER, 0.0)
    script.success(script.asked(), RELAYED, lifetime_s=3_600)
    script.answer(script.asked(), 0)
    assert ChannelBound(PEER) in script.events()
    packet = b"\x40\x00\x00\x01x"
    script.client.receive(packet, SERVER, 599.0)
    with pytest.raises(RemoteProtocolError, match="no channel"):
        script.client.receive(packet, SERVER, 601.0)


def test_nothing_is_sent_after_the_end_of_the_allocation() -> None:
    script = Scripted()
    script.client.permit(PEER.host, 0.0)
    script.success(script.asked(), RELAYED, lifetime_s=100)
    script.answer(script.asked(), 0)
    assert script.client.encapsulate(b"x", PEER, 99.0) is not None
    assert script.client.encapsulate(b"x", PEER, 100.0) is None


def test_a_channel_bound_again_carries_data_both_ways() -> None:
    network = Network()
    client = network.client()
    for _ in range(2):
        client.bind_channel(PEER, network.now)
        network.run(1.0)
        assert client.send(b"out", PEER, network.now)
        network.peer_sends(PEER, client.relayed[Family.IPV4], b"in")
        network.run(0.1)
        assert network.at_peers.pop()[2] == b"out"
        assert network.received[CLIENT].pop() == PeerData(b"in", PEER)
        client.unbind_channel(PEER, network.now)


def test_a_far_server_is_not_asked_twice_once_its_distance_is_known() -> None:
    script = Scripted(timing=Timing(rto_s=0.1))
    hosts = iter(("192.0.2.1", "192.0.2.2", "192.0.2.3"))
    script.now = 0.05
    asked = script.asked()
    script.success(asked, RELAYED)
    for answered_after_s, first_retransmission_s in ((0.08, 0.1), (0.09, 0.12), (0.09, 0.135)):
        script.client.permit(next(hosts), script.now)
        asked = script.asked()
        deadline = script.client.deadline()
        assert deadline is not None
        assert deadline - script.now == pytest.approx(first_retransmission_s)
        script.now += answered_after_s
        script.answer(asked, 0)


@pytest.mark.parametrize("lifetime_s", [0, 1, 59])
def test_an_allocation_that_does_not_last_is_none_and_asked_for_ever_less(lifetime_s: int) -> None:
    script = Scripted()
    failed_at: list[float] = []
    while script.now < 3_600.0:
        if (asked := script.asked()) is not None:
            script.success(asked, RELAYED, lifetime_s=lifetime_s)
        for event in script.events():
            assert isinstance(event, AllocationFailed)
            assert event.reason == "the server's allocations do not last"
            failed_at.append(script.now)
        assert script.client.state is State.WAITING
        deadline = script.client.deadline()
        assert deadline is not None
        script.now = deadline
        script.client.handle_timeout(script.now)
    gaps = [b - a for a, b in pairwise(failed_at)]
    assert gaps[:3] == [5.0, 10.0, 20.0] and gaps[-1] == 300.0


def test_a_refresh_that_grants_no_time_is_a_loss() -> None:
    script = Scripted()
    script.success(script.asked(), RELAYED)
    script.now = 25.0
    script.client.handle_timeout(script.now)
    script.answer(script.asked(), 0, (Attribute.LIFETIME, (30).to_bytes(4, "big")))
    assert [type(event) for event in script.events()] == [Allocated, AllocationLost]
    asked = script.asked()
    assert asked is not None and asked.method is Method.ALLOCATE


def test_a_server_that_loses_allocations_again_and_again_is_asked_ever_less() -> None:
    script = Scripted()
    allocated_at: list[float] = []
    while script.now < 3_600.0:
        asked = script.asked()
        if asked is not None and asked.method is Method.REFRESH:
            script.answer(asked, 437)
        elif asked is not None:
            script.success(asked, RELAYED)
            allocated_at.append(script.now)
        else:
            deadline = script.client.deadline()
            assert deadline is not None
            script.now = deadline
            script.client.handle_timeout(script.now)
    assert [b - a for a, b in pairwise(allocated_at)][:5] == [25.0] * 5
    assert len(allocated_at) < 3_600 / 50


def test_an_allocation_ends_by_the_time_of_its_request_and_not_of_the_answer() -> None:
    script = Scripted()
    script.client.permit(PEER.host, 0.0)
    asked = script.asked()
    script.now = 1.0
    script.success(asked, RELAYED, lifetime_s=100)
    script.answer(script.asked(), 0)
    assert script.client.encapsulate(b"x", PEER, 99.9) is not None
    assert script.client.encapsulate(b"x", PEER, 100.0) is None


def test_new_credentials_are_used_at_once_where_the_old_were_refused() -> None:
    network = Network(accounts=RestAccounts(b"secret", lambda: network.now))
    client = network.client(credentials=rest_credentials(b"secret", "alice", network.now + 100))
    client.bind_channel(PEER, network.now)
    client.permit(OTHER, network.now)
    network.run(400.5)
    assert network.said(CredentialsRefused) and client.state is State.ALLOCATED
    assert client.encapsulate(b"x", Endpoint(OTHER, 1), network.now) is None
    client.set_credentials(rest_credentials(b"secret", "alice", network.now + 7_200), network.now)
    network.run(3 * RTT_S)
    assert client.encapsulate(b"x", Endpoint(OTHER, 1), network.now) is not None
    assert client.encapsulate(b"x", PEER, network.now) is not None
    (status,) = network.server.allocations(network.now)
    assert status.expires_in_s > 590


def test_a_channel_number_rests_before_another_peer_gets_it() -> None:
    peers = Peers()
    for port in range(1, CHANNEL_MAX - CHANNEL_MIN + 2):
        peer = Endpoint(PEER.host, port)
        assert peers.bind(peer, 0.0)
        assert peers.number(peers.channels[peer], 0.0) is not None
        peers.unbind(peer, 0.0)
    other = Endpoint(PEER.host, 50_000)
    assert peers.bind(other, 0.0)
    rest_s = CHANNEL_LIFETIME_S + CHANNEL_REST_S
    assert peers.number(peers.channels[other], rest_s - 1.0) is None
    assert peers.number(peers.channels[other], rest_s) == CHANNEL_MIN
