"""NATs do what RFC 4787 and RFC 5382 call what their models say."""

from collections.abc import Iterator
from itertools import product
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sims.internet.connections import TCP_ESTABLISHED_S, TCP_TRANSITORY_S, MidStream
from sims.internet.drops import Drop
from sims.internet.packet import Packet, Protocol, TcpFlags, TcpHeader
from sims.internet.translation import CONTACTS_MAX, MAPPINGS_MAX, Nat
from sims.model.nat import Filtering, Mapping, NatModel, PortAssignment
from wice.datagram import Endpoint

PUBLIC = "192.0.2.1"
INSIDE = Endpoint("192.168.0.10", 5_000)
SERVER_HOSTS = ("198.51.100.1", "198.51.100.2")
SERVER_PORTS = (3_478, 3_479)
SERVER = Endpoint(SERVER_HOSTS[0], SERVER_PORTS[0])
OTHER_PORT = Endpoint(SERVER_HOSTS[0], SERVER_PORTS[1])
OTHER_HOST = Endpoint(SERVER_HOSTS[1], SERVER_PORTS[0])
OTHER_BOTH = Endpoint(SERVER_HOSTS[1], SERVER_PORTS[1])

SYN, ACK, RST = TcpFlags.SYN, TcpFlags.ACK, TcpFlags.RST
FIN = TcpFlags.FIN | TcpFlags.ACK

MODELS = [
    NatModel(mapping=mapping, filtering=filtering, ports=ports, hairpins=hairpins)
    for mapping, filtering, ports, hairpins in product(
        Mapping, Filtering, PortAssignment, (False, True)
    )
]


def nat_of(model: NatModel, seed: int = 1, mid_stream: MidStream = MidStream.TAKEN_UP) -> Nat:
    made = Random(seed)
    return Nat(model, PUBLIC, lambda: made, mid_stream)


def packet(source: Endpoint, destination: Endpoint, flags: TcpFlags | None = None) -> Packet:
    if flags is None:
        return Packet(Protocol.UDP, source, destination, b"probe")
    return Packet(Protocol.TCP, source, destination, b"", TcpHeader(flags, 0, 0, 65_535))


def send(
    nat: Nat,
    destination: Endpoint,
    source: Endpoint = INSIDE,
    now_s: float = 0.0,
    flags: TcpFlags | None = None,
) -> Endpoint:
    """Where the destination sees it come from."""
    sent = nat.outbound(packet(source, destination, flags), now_s)
    assert not isinstance(sent, Drop), sent
    assert sent.destination == destination
    return sent.source


def reaches(
    nat: Nat,
    mapped: Endpoint,
    source: Endpoint,
    now_s: float = 0.0,
    flags: TcpFlags | None = None,
) -> Endpoint | Drop:
    """Whom inside a packet from ``source`` reaches, or why nobody."""
    came = nat.inbound(packet(source, mapped, flags), now_s)
    if isinstance(came, Drop):
        return came
    assert came.source == source
    return came.destination


def discovered_mapping(nat: Nat, inside: Endpoint, flags: TcpFlags | None) -> Mapping:
    """RFC 5780 section 4.3: ask the other address, then the other port of the other address."""
    first = send(nat, SERVER, inside, flags=flags)
    second = send(nat, OTHER_HOST, inside, flags=flags)
    if first == second:
        return Mapping.ENDPOINT_INDEPENDENT
    third = send(nat, OTHER_BOTH, inside, flags=flags)
    return Mapping.ADDRESS_DEPENDENT if second == third else Mapping.ADDRESS_AND_PORT_DEPENDENT


def discovered_filtering(nat: Nat, inside: Endpoint, flags: TcpFlags | None) -> Filtering:
    """RFC 5780 section 4.4: have the answer come from elsewhere."""
    mapped = send(nat, SERVER, inside, flags=flags)
    assert reaches(nat, mapped, SERVER, flags=flags) == inside
    if reaches(nat, mapped, OTHER_BOTH, flags=flags) == inside:
        return Filtering.ENDPOINT_INDEPENDENT
    if reaches(nat, mapped, OTHER_PORT, flags=flags) == inside:
        return Filtering.ADDRESS_DEPENDENT
    return Filtering.ADDRESS_AND_PORT_DEPENDENT


@pytest.mark.parametrize("flags", [None, SYN], ids=["udp", "tcp"])
@pytest.mark.parametrize("model", MODELS, ids=str)
def test_probing_a_nat_finds_its_model(model: NatModel, flags: TcpFlags | None) -> None:
    assert discovered_mapping(nat_of(model), INSIDE, flags) is model.mapping
    assert discovered_filtering(nat_of(model), INSIDE, flags) is model.filtering
    nat = nat_of(model)
    mapped = send(nat, SERVER, flags=flags)
    other = Endpoint("192.168.0.11", 5_000)
    # RFC 5780 section 4.5, from a second socket that the first one has contacted.
    mapped_other = send(nat, mapped if model.hairpins else SERVER, other, flags=flags)
    send(nat, mapped_other, flags=flags)
    turned = nat.hairpin(packet(other, mapped, flags), 0.0)
    if not model.hairpins:
        assert turned is Drop.NO_HAIRPIN
    elif model.mapping is Mapping.ENDPOINT_INDEPENDENT:
        assert not isinstance(turned, Drop)
        # RFC 4787 REQ-9a: it comes from the public socket.
        assert (turned.source, turned.destination) == (mapped_other, INSIDE)


@given(
    model=st.sampled_from(MODELS),
    seed=st.integers(0, 1_000),
    sends=st.lists(
        st.tuples(st.integers(10, 12), st.sampled_from((1_023, 5_000, 5_001)), st.integers(0, 3)),
        max_size=30,
    ),
)
def test_no_two_mappings_share_a_port_and_answers_come_back(
    model: NatModel, seed: int, sends: list[tuple[int, int, int]]
) -> None:
    """RFC 4787 REQ-3a: no port overloading."""
    nat = nat_of(model, seed)
    servers = (SERVER, OTHER_PORT, OTHER_HOST, OTHER_BOTH)
    for host, port, server in sends:
        inside = Endpoint(f"192.168.0.{host}", port)
        mapped = send(nat, servers[server], inside)
        assert mapped.host == PUBLIC
        assert reaches(nat, mapped, servers[server]) == inside
    outside = [entry.outside for entry in nat.entries(0, 0.0)]
    assert len(outside) == len(set(outside))


def test_the_port_is_preserved_and_another_is_found_when_two_want_it() -> None:
    nat = nat_of(NatModel())
    neighbour = Endpoint("192.168.0.11", INSIDE.port)
    assert send(nat, SERVER).port == INSIDE.port
    taken = send(nat, SERVER, neighbour)
    assert taken.port != INSIDE.port
    assert reaches(nat, taken, SERVER) == neighbour
    assert reaches(nat, Endpoint(PUBLIC, INSIDE.port), SERVER) == INSIDE


def test_a_packet_before_the_hole_is_punched_costs_nobody_the_port() -> None:
    nat = nat_of(NatModel())
    early = Endpoint(PUBLIC, INSIDE.port)
    assert reaches(nat, early, SERVER) is Drop.UNMAPPED
    assert send(nat, OTHER_HOST).port == INSIDE.port
    assert reaches(nat, early, SERVER) is Drop.FILTERED
    assert send(nat, SERVER).port == INSIDE.port
    assert reaches(nat, early, SERVER) == INSIDE


def ports(model: NatModel, seed: int, count: int) -> Iterator[int]:
    nat = nat_of(model, seed)
    for number in range(count):
        yield send(nat, Endpoint("198.51.100.1", 1_000 + number)).port


def test_random_ports_are_spread_and_come_from_the_seed() -> None:
    model = NatModel(mapping=Mapping.ADDRESS_AND_PORT_DEPENDENT, ports=PortAssignment.RANDOM)
    drawn = list(ports(model, 1, 500))
    assert drawn == list(ports(model, 1, 500)) != list(ports(model, 2, 500))
    assert len(set(drawn)) == 500
    assert min(drawn) < 5_000 and max(drawn) > 60_000


def test_contiguous_ports_follow_one_another_and_skip_what_is_taken() -> None:
    model = NatModel(mapping=Mapping.ADDRESS_AND_PORT_DEPENDENT, ports=PortAssignment.CONTIGUOUS)
    drawn = list(ports(model, 3, 200))
    assert drawn == list(range(drawn[0], drawn[0] + 200))
    assert drawn[0] != next(ports(model, 4, 1))


@pytest.mark.parametrize("model", MODELS[::2], ids=str)
def test_only_what_leaves_keeps_a_mapping_alive(model: NatModel) -> None:
    """RFC 4787 REQ-6."""
    nat = nat_of(model)
    mapped = send(nat, SERVER, now_s=0.0)
    assert reaches(nat, mapped, SERVER, now_s=1.0) == INSIDE
    assert send(nat, SERVER, now_s=119.0) == mapped
    assert reaches(nat, mapped, SERVER, now_s=238.0) == INSIDE
    assert reaches(nat, mapped, SERVER, now_s=239.0) is Drop.UNMAPPED
    assert list(nat.entries(0, 239.0)) == []


@pytest.mark.parametrize("model", MODELS[::2], ids=str)
def test_what_nothing_answered_ends_sooner(model: NatModel) -> None:
    nat = nat_of(model)
    mapped = send(nat, SERVER, now_s=0.0)
    assert send(nat, SERVER, now_s=20.0) == mapped
    assert reaches(nat, mapped, SERVER, now_s=50.0) is Drop.UNMAPPED
    anew = send(nat, SERVER, now_s=50.0)
    assert reaches(nat, anew, SERVER, now_s=79.0) == INSIDE
    assert reaches(nat, anew, SERVER, now_s=169.0) == INSIDE
    assert reaches(nat, anew, SERVER, now_s=170.0) is Drop.UNMAPPED


def test_a_lifetime_once_answered_bounds_the_one_before() -> None:
    nat = nat_of(NatModel(lifetime_s=20.0))
    mapped = send(nat, SERVER, now_s=0.0)
    assert reaches(nat, mapped, SERVER, now_s=20.0) is Drop.UNMAPPED


def test_an_answer_from_one_keeps_no_hole_open_for_another() -> None:
    nat = nat_of(NatModel())
    mapped = send(nat, SERVER)
    send(nat, OTHER_HOST)
    assert reaches(nat, mapped, SERVER, now_s=1.0) == INSIDE
    assert reaches(nat, mapped, OTHER_HOST, now_s=30.0) is Drop.FILTERED
    assert reaches(nat, mapped, SERVER, now_s=119.0) == INSIDE
    # Silent for too long, it has to answer again.
    send(nat, OTHER_HOST, now_s=119.0)
    send(nat, SERVER, now_s=120.0)
    assert reaches(nat, mapped, SERVER, now_s=150.0) is Drop.UNMAPPED


def test_a_contact_expires_by_itself_while_its_mapping_lives() -> None:
    nat = nat_of(NatModel())
    mapped = send(nat, SERVER, now_s=0.0)
    send(nat, OTHER_HOST, now_s=20.0)
    assert reaches(nat, mapped, SERVER, now_s=31.0) is Drop.FILTERED
    assert reaches(nat, mapped, OTHER_HOST, now_s=31.0) == INSIDE


def test_an_expired_port_goes_to_the_next_one_that_wants_it() -> None:
    nat = nat_of(NatModel())
    send(nat, SERVER, now_s=0.0)
    neighbour = Endpoint("192.168.0.11", INSIDE.port)
    assert send(nat, SERVER, neighbour, now_s=300.0).port == INSIDE.port
    assert send(nat, SERVER, now_s=301.0).port != INSIDE.port


def test_a_socket_that_is_mapped_anew_leaves_its_former_port_to_others() -> None:
    nat = nat_of(NatModel())
    send(nat, SERVER, now_s=0.0)
    neighbour = Endpoint("192.168.0.11", INSIDE.port)
    former = send(nat, SERVER, neighbour, now_s=0.0)
    anew = send(nat, SERVER, neighbour, now_s=301.0)
    assert anew.port == INSIDE.port != former.port
    third = Endpoint("192.168.0.12", former.port)
    assert send(nat, SERVER, third, now_s=301.0) == former
    assert send(nat, SERVER, neighbour, now_s=301.0) == anew
    assert reaches(nat, former, SERVER, now_s=301.0) == third


def test_a_reboot_forgets_and_a_symmetric_nat_maps_anew() -> None:
    model = NatModel(mapping=Mapping.ADDRESS_AND_PORT_DEPENDENT, ports=PortAssignment.RANDOM)
    nat = nat_of(model)
    before = send(nat, SERVER)
    nat.forget()
    assert reaches(nat, before, SERVER) is Drop.UNMAPPED
    assert send(nat, SERVER) != before


@pytest.mark.parametrize("flags", [None, SYN], ids=["udp", "tcp"])
def test_after_a_reboot_a_port_may_be_another_s(flags: TcpFlags | None) -> None:
    nat = nat_of(NatModel())
    assert send(nat, SERVER, flags=flags).port == INSIDE.port
    nat.reboot(keeps_ports=False)
    anew = send(nat, SERVER, flags=flags)
    assert anew.port != INSIDE.port
    assert send(nat, OTHER_HOST, flags=flags) == anew
    assert send(nat, SERVER, Endpoint("192.168.0.11", 6_000), flags=flags).port == 6_000
    nat.reboot(keeps_ports=True)
    assert send(nat, SERVER, flags=flags).port == INSIDE.port


def test_after_a_reboot_ports_one_after_the_other_begin_elsewhere() -> None:
    nat = nat_of(NatModel(ports=PortAssignment.CONTIGUOUS))
    before = send(nat, SERVER).port
    nat.reboot(keeps_ports=True)
    assert send(nat, SERVER).port not in (before, before + 1)


@pytest.mark.parametrize("flags", [None, SYN], ids=["udp", "tcp"])
def test_the_table_is_bounded_and_has_room_again_when_mappings_expire(
    flags: TcpFlags | None,
) -> None:
    nat = nat_of(NatModel(mapping=Mapping.ADDRESS_AND_PORT_DEPENDENT))
    for number in range(MAPPINGS_MAX):
        send(nat, Endpoint("198.51.100.1", 1 + number), flags=flags)
    one_more = packet(INSIDE, Endpoint("198.51.100.2", 1), flags)
    assert nat.outbound(one_more, 1.0) is Drop.NAT_FULL
    assert len(list(nat.entries(0, 1.0))) == MAPPINGS_MAX
    assert not isinstance(nat.outbound(one_more, 300.0), Drop)
    assert len(list(nat.entries(0, 300.0))) == 1


@pytest.mark.parametrize("flags", [None, SYN], ids=["udp", "tcp"])
def test_the_contacts_of_a_mapping_are_bounded(flags: TcpFlags | None) -> None:
    nat = nat_of(NatModel())
    for number in range(CONTACTS_MAX):
        send(nat, Endpoint("198.51.100.1", 1 + number), flags=flags)
    one_more = packet(INSIDE, Endpoint("198.51.100.2", 1), flags)
    assert nat.outbound(one_more, 1.0) is Drop.NAT_FULL
    assert not isinstance(nat.outbound(one_more, 300.0), Drop)


def test_one_to_one_keeps_every_port_and_lets_everybody_in() -> None:
    nat = nat_of(NatModel(is_one_to_one=True))
    assert reaches(nat, Endpoint(PUBLIC, 22), SERVER) is Drop.UNMAPPED
    nat.only_host = INSIDE.host
    assert reaches(nat, Endpoint(PUBLIC, 22), SERVER) == Endpoint(INSIDE.host, 22)
    assert send(nat, SERVER) == Endpoint(PUBLIC, INSIDE.port)
    stranger = packet(Endpoint("192.168.0.11", 1), SERVER)
    assert nat.outbound(stranger, 0.0) is Drop.UNMAPPED


def established(nat: Nat, now_s: float = 0.0) -> Endpoint:
    mapped = send(nat, SERVER, flags=SYN, now_s=now_s)
    assert reaches(nat, mapped, SERVER, flags=SYN | ACK, now_s=now_s) == INSIDE
    assert send(nat, SERVER, flags=ACK, now_s=now_s) == mapped
    return mapped


def test_an_established_connection_lives_two_hours_in_silence() -> None:
    """RFC 5382 REQ-5."""
    nat = nat_of(NatModel())
    mapped = established(nat)
    last_s = TCP_ESTABLISHED_S - 1
    assert reaches(nat, mapped, SERVER, flags=ACK, now_s=last_s) == INSIDE
    # What comes in refreshes a connection.
    later_s = last_s + TCP_ESTABLISHED_S
    assert reaches(nat, mapped, SERVER, flags=ACK, now_s=later_s) is Drop.UNMAPPED


def test_a_connection_that_nobody_answers_lives_four_minutes() -> None:
    nat = nat_of(NatModel())
    mapped = send(nat, SERVER, flags=SYN)
    before_s, after_s = TCP_TRANSITORY_S - 1, TCP_TRANSITORY_S
    assert len(list(nat.entries(0, before_s))) == 1
    assert reaches(nat, mapped, SERVER, flags=SYN | ACK, now_s=after_s) is Drop.UNMAPPED


@pytest.mark.parametrize("ends", ["reset from inside", "reset from outside", "both fins"])
def test_a_connection_that_ended_is_kept_four_minutes(ends: str) -> None:
    nat = nat_of(NatModel())
    mapped = established(nat)
    if ends == "reset from inside":
        send(nat, SERVER, flags=RST)
    elif ends == "reset from outside":
        assert reaches(nat, mapped, SERVER, flags=RST) == INSIDE
    else:
        send(nat, SERVER, flags=FIN)
        assert reaches(nat, mapped, SERVER, flags=FIN) == INSIDE
    assert reaches(nat, mapped, SERVER, flags=ACK, now_s=TCP_TRANSITORY_S) is Drop.UNMAPPED


def test_a_half_closed_connection_lives_on() -> None:
    nat = nat_of(NatModel())
    mapped = established(nat)
    send(nat, SERVER, flags=FIN)
    assert reaches(nat, mapped, SERVER, flags=ACK, now_s=TCP_TRANSITORY_S + 1) == INSIDE


def test_the_end_of_one_connection_leaves_the_others_of_its_mapping_alone() -> None:
    nat = nat_of(NatModel())
    mapped = established(nat)
    assert send(nat, OTHER_HOST, flags=SYN) == mapped
    send(nat, OTHER_HOST, flags=RST)
    assert reaches(nat, mapped, SERVER, flags=ACK, now_s=TCP_TRANSITORY_S + 1) == INSIDE


def test_what_ends_a_connection_that_never_was_begins_none() -> None:
    nat = nat_of(NatModel())
    established(nat)
    assert nat.outbound(packet(INSIDE, OTHER_HOST, RST), 0.0) is Drop.UNMAPPED


def test_a_connection_may_follow_another_between_the_same_sockets() -> None:
    nat = nat_of(NatModel())
    established(nat)
    send(nat, SERVER, flags=RST)
    mapped = established(nat, now_s=1.0)
    assert reaches(nat, mapped, SERVER, flags=ACK, now_s=TCP_TRANSITORY_S + 2) == INSIDE


def test_a_simultaneous_open_gets_through() -> None:
    """RFC 5382 REQ-2, and REQ-4: silence for the SYN that comes too early."""
    nat = nat_of(NatModel())
    early = Endpoint(PUBLIC, INSIDE.port)
    assert reaches(nat, early, SERVER, flags=SYN) is Drop.UNMAPPED
    assert send(nat, SERVER, flags=SYN) == early
    assert reaches(nat, early, SERVER, flags=SYN) == INSIDE


def test_after_a_reboot_a_stream_goes_on_but_no_end_of_one_does() -> None:
    nat = nat_of(NatModel())
    mapped = established(nat)
    nat.forget()
    assert reaches(nat, mapped, SERVER, flags=ACK) is Drop.UNMAPPED
    for flags in (RST, FIN):
        assert nat.outbound(packet(INSIDE, SERVER, flags), 0.0) is Drop.UNMAPPED
    assert send(nat, SERVER, flags=ACK) == mapped
    assert reaches(nat, mapped, SERVER, flags=ACK) == INSIDE


@pytest.mark.parametrize(
    "mid_stream, refusal", [(MidStream.DROPPED, Drop.UNMAPPED), (MidStream.RESET, Drop.RESET)]
)
def test_some_take_up_no_stream(mid_stream: MidStream, refusal: Drop) -> None:
    nat = nat_of(NatModel(), mid_stream=mid_stream)
    established(nat)
    nat.forget()
    assert nat.outbound(packet(INSIDE, SERVER, ACK), 0.0) is refusal
    assert nat.outbound(packet(INSIDE, SERVER, RST), 0.0) is Drop.UNMAPPED
    assert list(nat.entries(0, 0.0)) == []
    mapped = established(nat)
    # Nobody outside is told what the NAT knows.
    assert reaches(nat, mapped, OTHER_HOST, flags=ACK) is Drop.FILTERED


def test_udp_and_tcp_do_not_share_mappings() -> None:
    nat = nat_of(NatModel())
    mapped = send(nat, SERVER)
    assert reaches(nat, mapped, SERVER, flags=SYN) is Drop.UNMAPPED
    assert send(nat, SERVER, Endpoint("192.168.0.11", INSIDE.port), flags=SYN) == mapped
