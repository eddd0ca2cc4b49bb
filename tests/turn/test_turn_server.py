"""The server step by step: who gets what, for how long, and what nobody gets."""

from ipaddress import ip_network

import pytest

from tests.turn.turn_caller import BOB, OTHER_CLIENT, TRANSPORT, Caller, error
from tests.turn.turn_network import (
    ALICE,
    CLIENT,
    PEER,
    PEER_IPV6,
    SERVER,
    SERVER_IPV6,
    Network,
)
from wice.datagram import Endpoint
from wice.stun import (
    Attribute,
    Class,
    Message,
    Method,
    encode,
    parse,
    unpack_address,
    unpack_xor_address,
)
from wice.turn import (
    Budgets,
    CloseRelay,
    Family,
    OpenRelay,
    PeerPolicy,
)
from wice.turn import (
    allocation as allocation_module,
)
from wice.turn.messages import unpack_address_error

IPV6 = b"\x02\x00\x00\x00"


def lifetime(message: Message) -> int:
    return int.from_bytes(message.require(Attribute.LIFETIME), "big")


def test_an_allocation_has_an_address_a_lifetime_and_our_mapping() -> None:
    caller = Caller(Network())
    answer = caller.allocates()
    relayed = unpack_xor_address(answer.require(Attribute.XOR_RELAYED_ADDRESS), bytes(12))
    assert relayed == Endpoint(SERVER.host, 50_001)
    mapped = answer.require(Attribute.XOR_MAPPED_ADDRESS)
    assert unpack_xor_address(mapped, bytes(12)) == CLIENT
    assert lifetime(answer) == 600


@pytest.mark.parametrize(
    ("asked_s", "given_s"), [(1, 600), (599, 600), (1_200, 1_200), (2**32 - 1, 3_600)]
)
def test_lifetimes_are_kept_within_bounds_and_end(asked_s: int, given_s: int) -> None:
    network = Network()
    caller = Caller(network)
    asked = (int(Attribute.LIFETIME), asked_s.to_bytes(4, "big"))
    assert lifetime(caller.allocates(asked)) == given_s
    network.run(given_s - 1)
    assert lifetime(caller.asks(Method.REFRESH, asked)) == given_s
    network.run(given_s - 1)
    assert len(network.server.allocations(network.now)) == 1
    network.run(2)
    assert network.server.allocations(network.now) == [] and network.relays == {}
    assert network.server.deadline() is None


def test_a_repeated_allocate_gets_the_same_answer_and_a_second_one_437() -> None:
    network = Network()
    caller = Caller(network)
    caller.permits(PEER)
    challenge = caller._authentication.challenge
    assert challenge is not None
    data = encode(
        Method.ALLOCATE,
        Class.REQUEST,
        b"x" * 12,
        [TRANSPORT, *challenge.attributes],
        key=challenge.key,
    )
    first, again = caller.sends(data), caller.sends(data)
    assert first is not None and again is not None
    assert again._data == first._data and error(first) == 0
    assert error(caller.allocates()) == 437
    assert len(network.relays) == 1


def test_nothing_without_an_allocation() -> None:
    caller = Caller(Network())
    assert error(caller.asks(Method.REFRESH)) == 437
    assert error(caller.permits(PEER)) == 437
    assert error(caller.binds(0x4000, PEER)) == 437


def test_an_allocation_is_its_users_alone() -> None:
    network = Network()
    Caller(network).allocates()
    bob = Caller(network, BOB)
    assert error(bob.asks(Method.REFRESH, (Attribute.LIFETIME, bytes(4)))) == 441
    assert error(bob.permits(PEER)) == 441
    assert error(bob.binds(0x4000, PEER)) == 441
    assert len(network.server.allocations(network.now)) == 1


@pytest.mark.parametrize(
    ("attributes", "code"),
    [
        ([], 400),
        ([(Attribute.REQUESTED_TRANSPORT, b"\x06\x00\x00\x00")], 442),
        ([TRANSPORT, (Attribute.DONT_FRAGMENT, b"")], 420),
        ([TRANSPORT, (0x7F00, b"")], 420),
        ([TRANSPORT, (Attribute.REQUESTED_ADDRESS_FAMILY, b"\x03\x00\x00\x00")], 440),
        ([TRANSPORT, (Attribute.ADDITIONAL_ADDRESS_FAMILY, b"\x01\x00\x00\x00")], 400),
        (
            [
                TRANSPORT,
                (Attribute.ADDITIONAL_ADDRESS_FAMILY, IPV6),
                (Attribute.REQUESTED_ADDRESS_FAMILY, IPV6),
            ],
            400,
        ),
        ([TRANSPORT, (Attribute.EVEN_PORT, b"\x80")], 508),
        ([TRANSPORT, (Attribute.EVEN_PORT, b"\x00")], 0),
        ([TRANSPORT, (Attribute.RESERVATION_TOKEN, bytes(8))], 508),
        ([TRANSPORT, (Attribute.RESERVATION_TOKEN, bytes(8)), (Attribute.EVEN_PORT, b"\0")], 400),
        ([TRANSPORT, (0xFF00, b"ignored")], 0),
    ],
)
def test_what_an_allocate_may_ask(attributes: list[tuple[int, bytes]], code: int) -> None:
    network = Network()
    answer = Caller(network).asks(Method.ALLOCATE, *attributes)
    assert error(answer) == code
    assert len(network.relays) == (0 if code else 1)
    if code == 420:
        unknown = int(attributes[-1][0]).to_bytes(2, "big")
        assert answer.require(Attribute.UNKNOWN_ATTRIBUTES) == unknown


def test_two_families_in_one_allocation_and_one_given_back() -> None:
    network = Network()
    caller = Caller(network)
    answer = caller.allocates((Attribute.ADDITIONAL_ADDRESS_FAMILY, IPV6))
    assert len(answer.values(Attribute.XOR_RELAYED_ADDRESS)) == 2
    assert error(caller.permits(PEER)) == 0
    end_ipv4 = (
        (Attribute.REQUESTED_ADDRESS_FAMILY, b"\x01\x00\x00\x00"),
        (Attribute.LIFETIME, bytes(4)),
    )
    assert lifetime(caller.asks(Method.REFRESH, *end_ipv4)) == 0
    assert [endpoint.host for endpoint in network.relays.values()] == [SERVER_IPV6]
    assert error(caller.permits(PEER)) == 443
    assert error(caller.asks(Method.REFRESH, *end_ipv4)) == 443
    assert error(caller.asks(Method.REFRESH)) == 0


def test_a_family_that_is_not_to_be_had() -> None:
    network = Network(families=[Family.IPV4])
    caller = Caller(network)
    assert error(caller.allocates((Attribute.REQUESTED_ADDRESS_FAMILY, IPV6))) == 440
    answer = caller.allocates((Attribute.ADDITIONAL_ADDRESS_FAMILY, IPV6))
    refused = unpack_address_error(answer.require(Attribute.ADDRESS_ERROR_CODE))
    assert refused == (Family.IPV6, 440)
    assert len(answer.values(Attribute.XOR_RELAYED_ADDRESS)) == 1


def test_a_relay_socket_that_cannot_be_opened_is_508() -> None:
    network = Network()
    network.can_open = False
    assert error(Caller(network).allocates()) == 508
    assert network.server.allocations(network.now) == []


def test_a_driver_that_never_opens_the_socket_holds_nothing_for_long() -> None:
    network = Network()
    caller = Caller(network)
    caller.permits(PEER)
    challenge = caller._authentication.challenge
    assert challenge is not None
    data = encode(
        Method.ALLOCATE,
        Class.REQUEST,
        b"x" * 12,
        [TRANSPORT, *challenge.attributes],
        key=challenge.key,
    )
    network.server.receive(data, CLIENT, network.now, SERVER.host)
    opening = network.server.poll_event()
    assert isinstance(opening, OpenRelay)
    network.server.handle_timeout(network.now + 11)
    assert network.server.poll_event() == CloseRelay(opening.relay)
    assert not network.server.relay_opened(opening.relay, Endpoint(SERVER.host, 5), network.now)
    assert network.server.poll_transmit() is None


def test_permissions_let_in_and_out_for_five_minutes() -> None:
    network = Network()
    caller = Caller(network)
    caller.allocates()
    (relay,) = network.relays

    def lets_in(source: Endpoint) -> bool:
        network.server.receive_relayed(relay, b"in", source, network.now)
        return network.server.poll_transmit() is not None

    assert caller.relayed(caller.send_indication(PEER)) is None and not lets_in(PEER)
    assert error(caller.permits(PEER)) == 0
    other_port = Endpoint(PEER.host, 1)
    for _ in range(2):
        network.run(299.0)
        assert caller.relayed(caller.send_indication(PEER)) == b"data"
        assert lets_in(PEER) and lets_in(other_port)
        assert not lets_in(Endpoint("192.0.2.200", PEER.port))
        caller.permits(PEER)
        caller.asks(Method.REFRESH)
    network.run(300.5)
    assert caller.relayed(caller.send_indication(PEER)) is None and not lets_in(PEER)


def test_channels_last_ten_minutes_and_their_permissions_five() -> None:
    network = Network()
    caller = Caller(network)
    caller.allocates()
    (relay,) = network.relays
    assert error(caller.binds(0x4000, PEER)) == 0
    packet = b"\x40\x00\x00\x04data"
    assert caller.relayed(packet) == b"data"
    assert caller.relayed(packet + bytes(3)) == b"data"
    assert caller.relayed(b"\x40\x00\x00\x05data") is None
    assert caller.relayed(b"\x40\x01\x00\x04data") is None
    network.server.receive_relayed(relay, b"in", PEER, network.now)
    came = network.server.poll_transmit()
    assert came is not None and came.data == b"\x40\x00\x00\x02in"
    network.run(301.0)
    assert caller.relayed(packet) is None
    caller.asks(Method.REFRESH)
    caller.permits(PEER)
    assert caller.relayed(packet) == b"data"
    network.run(290.0)
    caller.permits(PEER)
    network.run(10.0)
    assert caller.relayed(packet) is None
    network.server.receive_relayed(relay, b"in", PEER, network.now)
    indication = network.server.poll_transmit()
    assert indication is not None and parse(indication.data).method is Method.DATA


@pytest.mark.parametrize(
    ("number", "peer", "code"),
    [
        (0x4000, PEER, 0),
        (0x4001, PEER, 400),
        (0x4000, Endpoint(PEER.host, 1), 400),
        (0x4001, Endpoint(PEER.host, 1), 0),
        (0x3FFF, Endpoint(PEER.host, 1), 400),
        (0x7FFF, Endpoint(PEER.host, 1), 0),
        (0x8000, Endpoint(PEER.host, 1), 400),
        (0x4001, Endpoint(PEER.host, 0), 400),
        (0x4001, Endpoint("10.0.0.1", 1), 403),
    ],
)
def test_a_number_and_a_peer_belong_together(number: int, peer: Endpoint, code: int) -> None:
    caller = Caller(Network())
    caller.allocates()
    assert error(caller.binds(0x4000, PEER)) == 0
    assert error(caller.binds(number, peer)) == code


def test_a_permission_needs_a_peer_of_the_family() -> None:
    caller = Caller(Network())
    caller.allocates()
    assert error(caller.asks(Method.CREATE_PERMISSION)) == 400
    wrong = (int(Attribute.XOR_PEER_ADDRESS), b"\x00\x03" + bytes(6))
    assert error(caller.asks(Method.CREATE_PERMISSION, wrong)) == 400
    assert error(caller.permits(PEER_IPV6)) == 443
    assert error(caller.permits(PEER, PEER_IPV6)) == 443
    assert caller.relayed(caller.send_indication(PEER)) is None


@pytest.mark.parametrize(
    "host",
    [
        *("10.1.2.3", "172.20.0.1", "192.168.1.1", "127.0.0.1", "169.254.1.1", "100.64.0.1"),
        *("0.0.0.0", "224.0.0.1", "255.255.255.255", "240.0.0.1", "192.0.0.8", "198.18.0.1"),
        *("::", "::1", "fe80::1", "fec0::1", "fc00::1", "fd12::1", "ff02::1", "::ffff:1.2.3.4"),
        *("64:ff9b::a00:1", "2002:a00:1::1", "2001:0:1::1", "100::1", "::7f00:1"),
    ],
)
def test_addresses_that_no_relay_sends_to(host: str) -> None:
    assert not PeerPolicy().allows(host)
    assert PeerPolicy(allowed=[ip_network(host)]).allows(host)
    assert not PeerPolicy(allowed=[ip_network(host)], denied=[ip_network(host)]).allows(host)


def test_addresses_that_a_relay_sends_to() -> None:
    for host in ("192.0.2.1", "8.8.8.8", "100.128.0.1", "2001:db8::1", "2600::1", "172.32.0.1"):
        assert PeerPolicy().allows(host)
        assert not PeerPolicy(own_addresses=[host]).allows(host)
        assert not PeerPolicy(denied=[ip_network(host)]).allows(host)


def test_one_address_that_is_refused_refuses_all() -> None:
    caller = Caller(Network())
    caller.allocates()
    assert error(caller.permits(PEER, Endpoint("127.0.0.1", 1))) == 403
    assert caller.relayed(caller.send_indication(PEER)) is None


def test_the_server_relays_to_its_own_relays_and_to_nothing_else_of_its_own() -> None:
    network = Network()
    alice, bob = Caller(network), Caller(network, BOB, OTHER_CLIENT)
    assert error(alice.allocates()) == 0
    assert error(alice.permits(Endpoint(SERVER_IPV6, 1))) == 443
    assert error(bob.allocates()) == 0
    at_alice, at_bob = network.relays.values()
    assert error(alice.permits(at_bob)) == 0
    assert alice.relayed(alice.send_indication(Endpoint(SERVER.host, 22))) is None
    assert network.server.counts["data to an address of ours that is no relay"] == 1
    assert alice.relayed(alice.send_indication(at_bob)) is None
    assert error(bob.permits(at_alice)) == 0
    alice.server.receive(alice.send_indication(at_bob), CLIENT, network.now, SERVER.host)
    came = network.server.poll_transmit()
    assert came is not None and came.remote == OTHER_CLIENT
    message = parse(came.data)
    value = message.require(Attribute.XOR_PEER_ADDRESS)
    assert unpack_xor_address(value, message.transaction_id) == at_alice
    assert message.require(Attribute.DATA) == b"data"


def test_an_own_address_is_refused_before_there_is_a_relay_on_it() -> None:
    network = Network(policy=PeerPolicy(own_addresses=["203.0.113.77"]))
    caller = Caller(network)
    caller.allocates()
    assert error(caller.permits(Endpoint("203.0.113.77", 1))) == 403


def test_send_indications_that_are_not_understood_are_dropped() -> None:
    caller = Caller(Network())
    caller.allocates()
    caller.permits(PEER)
    assert caller.relayed(caller.send_indication(PEER)) == b"data"
    assert caller.relayed(caller.send_indication(PEER, (Attribute.DONT_FRAGMENT, b""))) is None
    no_data = encode(Method.SEND, Class.INDICATION, bytes(12), [caller.peer(PEER)])
    assert caller.relayed(no_data) is None
    assert caller.relayed(caller.send_indication(Endpoint(PEER.host, 0))) is None


def test_allocations_have_a_quota_and_the_server_a_capacity() -> None:
    network = Network(budgets=Budgets(allocations=3, allocations_per_user=2))
    answers = [
        error(Caller(network, who, Endpoint("198.51.100.7", port)).allocates())
        for port, who in ((1, ALICE), (2, ALICE), (3, ALICE), (4, BOB), (5, BOB))
    ]
    assert answers == [0, 0, 486, 0, 508]
    alice = Caller(network, ALICE, Endpoint("198.51.100.7", 1))
    alice.asks(Method.REFRESH, (Attribute.LIFETIME, bytes(4)))
    assert error(Caller(network, BOB, Endpoint("198.51.100.7", 6)).allocates()) == 0


def test_a_full_server_names_another_one() -> None:
    alternates = [Endpoint("203.0.113.9", 3478), Endpoint("2001:db8::9", 3478)]
    network = Network(budgets=Budgets(allocations=0), alternates=alternates)
    answer = Caller(network).allocates()
    assert error(answer) == 300
    assert unpack_address(answer.require(Attribute.ALTERNATE_SERVER)) == alternates[0]


def test_permissions_and_channels_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocation_module, "PERMISSIONS_MAX", 3)
    monkeypatch.setattr(allocation_module, "CHANNELS_MAX", 2)
    network = Network()
    caller = Caller(network)
    caller.allocates()
    peers = [Endpoint(f"192.0.2.{i}", i) for i in range(1, 9)]
    assert [error(caller.permits(peer)) for peer in peers[:4]] == [0, 0, 0, 508]
    assert error(caller.permits(*peers[:3])) == 0
    assert [error(caller.binds(0x4000 + peer.port, peer)) for peer in peers[:3]] == [0, 0, 508]
    network.run(301.0)
    caller.asks(Method.REFRESH)
    assert [error(caller.permits(peer)) for peer in peers[4:]] == [0, 0, 0, 508]
    network.run(301.0)
    caller.asks(Method.REFRESH)
    assert [error(caller.binds(0x4010 + peer.port, peer)) for peer in peers[5:]] == [0, 0, 508]


def strangers_request(number: int = 0) -> bytes:
    return encode(Method.ALLOCATE, Class.REQUEST, number.to_bytes(12, "big"), [TRANSPORT])


def test_strangers_get_few_and_short_answers() -> None:
    network = Network()
    server = network.server

    def answered(host: str, count: int) -> int:
        total = 0
        for i in range(count):
            server.receive(strangers_request(i), Endpoint(host, i + 1), network.now, SERVER.host)
            while (transmit := server.poll_transmit()) is not None:
                assert transmit.remote.host == host
                total += len(transmit.data)
        return total

    flood = answered("198.51.100.66", 1_000)
    assert flood <= 20 * 120
    network.now += 10.0
    assert answered("198.51.100.66", 1_000) <= 20 * 120
    # From however many addresses, there is an end to it; and less goes out than came in.
    in_all = sum(answered(f"198.51.{i // 250}.{i % 250}", 10) for i in range(1_000))
    assert in_all <= 400 * 120
    assert in_all < 1_000 * 10 * len(strangers_request())
    assert server.allocations(network.now) == []


def test_a_flood_of_strangers_does_not_keep_a_member_out_for_long() -> None:
    network = Network()
    for i in range(20_000):
        source = Endpoint(f"198.51.{i % 200}.{i // 200}", 1)
        network.server.receive(strangers_request(i), source, network.now, SERVER.host)
    while network.server.poll_transmit() is not None:
        pass
    client = network.client(Endpoint("192.0.2.55", 7))
    network.run(3.0)
    assert client.relayed


def test_data_of_strangers_goes_nowhere_and_costs_no_answer() -> None:
    caller = Caller(Network())
    for data in (
        b"\x40\x00\x00\x04data",
        caller.send_indication(PEER),
        b"",
        b"\xff" * 100,
        strangers_request()[:-1],
        encode(Method.CONNECT, Class.REQUEST, bytes(12)),
        encode(Method.ALLOCATE, Class.SUCCESS, bytes(12)),
        encode(Method.ALLOCATE, Class.INDICATION, bytes(12)),
    ):
        assert caller.relayed(data) is None


def test_requests_of_one_address_are_looked_at_at_a_bounded_rate() -> None:
    network = Network()
    caller = Caller(network)
    caller.allocates()
    challenge = caller._authentication.challenge
    assert challenge is not None
    refresh = encode(
        Method.REFRESH, Class.REQUEST, bytes(12), challenge.attributes, key=challenge.key
    )
    answered = sum(caller.relayed(refresh) is not None for _ in range(1_000))
    assert answered <= 200
    assert network.server.counts["rate limited"] >= 800


def test_a_client_that_moved_is_another_client() -> None:
    network = Network()
    caller = Caller(network)
    caller.allocates()
    caller.permits(PEER)
    stolen = caller.send_indication(PEER)
    network.server.receive(stolen, Endpoint(CLIENT.host, 1), network.now, SERVER.host)
    network.server.receive(stolen, CLIENT, network.now, "203.0.113.2")
    assert network.server.poll_transmit() is None


def test_a_challenge_answered_from_elsewhere_is_no_use() -> None:
    """Nobody allocates in the name of an address that does not answer."""
    network = Network()
    caller = Caller(network)
    caller.permits(PEER)
    challenge = caller._authentication.challenge
    assert challenge is not None
    listed = [TRANSPORT, *challenge.attributes]
    data = encode(Method.ALLOCATE, Class.REQUEST, bytes(12), listed, key=challenge.key)
    network.server.receive(data, OTHER_CLIENT, network.now, SERVER.host)
    answer = network.server.poll_transmit()
    assert answer is not None and error(parse(answer.data)) == 438
    assert network.server.poll_event() is None
