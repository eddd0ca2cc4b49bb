"""A firewall lets answers in, and out what it is not told to keep in."""

import pytest

from sims.internet.connections import TCP_ESTABLISHED_S, TCP_TRANSITORY_S, MidStream
from sims.internet.drops import Drop
from sims.internet.firewall import FLOWS_MAX, PacketFilter
from sims.internet.packet import Packet, Protocol, TcpFlags, TcpHeader
from sims.model.nat import UDP_REPLIED_S, UDP_UNREPLIED_S, Firewall
from wice.datagram import Endpoint

INSIDE = Endpoint("2001:db8::10", 5_000)
OUTSIDE = Endpoint("2001:db8:0:1::10", 443)
ELSEWHERE = Endpoint("2001:db8:0:2::10", 3_478)
SYN, ACK, RST = TcpFlags.SYN, TcpFlags.ACK, TcpFlags.RST


def packet(source: Endpoint, destination: Endpoint, flags: TcpFlags | None = None) -> Packet:
    if flags is None:
        return Packet(Protocol.UDP, source, destination, b"")
    return Packet(Protocol.TCP, source, destination, b"", TcpHeader(flags, 0, 0, 65_535))


class Wall:
    def __init__(
        self,
        firewall: Firewall,
        *,
        is_translated: bool = False,
        mid_stream: MidStream = MidStream.TAKEN_UP,
    ) -> None:
        self.filter = PacketFilter(firewall, mid_stream)
        self.is_translated = is_translated

    def out(
        self, to: Endpoint = OUTSIDE, flags: TcpFlags | None = None, now_s: float = 0.0
    ) -> Drop | None:
        sent = packet(INSIDE, to, flags)
        return self.filter.outbound(sent, now_s, is_translated=self.is_translated)

    def back(
        self, source: Endpoint = OUTSIDE, flags: TcpFlags | None = None, now_s: float = 0.0
    ) -> Drop | None:
        came = packet(source, INSIDE, flags)
        return self.filter.inbound(came, now_s, is_translated=self.is_translated)


@pytest.mark.parametrize("flags", [None, SYN], ids=["udp", "tcp"])
def test_stateful_lets_in_what_was_asked_for_and_nothing_else(flags: TcpFlags | None) -> None:
    wall = Wall(Firewall.STATEFUL)
    assert wall.back(flags=flags) is Drop.NO_FLOW
    assert wall.out(flags=flags) is None
    assert wall.back(flags=flags) is None
    assert wall.back(ELSEWHERE, flags=flags) is Drop.NO_FLOW
    assert wall.back(Endpoint(OUTSIDE.host, 444), flags=flags) is Drop.NO_FLOW
    wall.filter.forget()
    assert wall.back(flags=flags) is Drop.NO_FLOW


def test_a_flow_of_datagrams_ends_without_one_to_the_outside() -> None:
    wall = Wall(Firewall.STATEFUL)
    wall.out()
    assert wall.back() is None
    wall.out(now_s=100.0)
    assert wall.back(now_s=99.0 + UDP_REPLIED_S) is None
    assert wall.back(now_s=100.0 + UDP_REPLIED_S) is Drop.NO_FLOW


def test_a_flow_that_nothing_answers_ends_sooner_and_is_one_again_when_it_ended() -> None:
    wall = Wall(Firewall.STATEFUL)
    wall.out()
    assert wall.back(now_s=UDP_UNREPLIED_S) is Drop.NO_FLOW
    wall.out()
    assert wall.back(now_s=UDP_UNREPLIED_S - 1) is None
    assert wall.back(now_s=UDP_REPLIED_S - 1) is None
    wall.out(now_s=UDP_REPLIED_S)
    assert wall.back(now_s=UDP_REPLIED_S + UDP_UNREPLIED_S) is Drop.NO_FLOW


def test_connections_live_as_long_as_their_state_says() -> None:
    wall = Wall(Firewall.STATEFUL)
    wall.out(flags=SYN)
    assert wall.back(flags=SYN | ACK, now_s=TCP_TRANSITORY_S) is Drop.NO_FLOW
    wall.out(flags=SYN)
    assert wall.back(flags=SYN | ACK) is None
    assert wall.back(flags=ACK, now_s=TCP_ESTABLISHED_S - 1) is None
    assert wall.out(flags=RST, now_s=TCP_ESTABLISHED_S) is None
    assert wall.back(flags=ACK, now_s=TCP_ESTABLISHED_S + TCP_TRANSITORY_S) is Drop.NO_FLOW


def test_no_end_of_a_connection_begins_one() -> None:
    wall = Wall(Firewall.STATEFUL)
    assert wall.out(flags=RST) is Drop.NO_FLOW
    assert wall.out(flags=ACK) is None


@pytest.mark.parametrize(
    "mid_stream, refusal", [(MidStream.DROPPED, Drop.NO_FLOW), (MidStream.RESET, Drop.RESET)]
)
def test_some_take_up_no_connection_that_they_do_not_know(
    mid_stream: MidStream, refusal: Drop
) -> None:
    wall = Wall(Firewall.STATEFUL, mid_stream=mid_stream)
    assert wall.out(flags=ACK) is refusal
    assert wall.out(flags=RST) is Drop.NO_FLOW
    assert wall.out(flags=SYN) is None
    assert wall.out(flags=ACK) is None


@pytest.mark.parametrize("is_translated", [False, True])
def test_udp_blocked_lets_connections_pass_and_no_datagram(is_translated: bool) -> None:
    wall = Wall(Firewall.UDP_BLOCKED, is_translated=is_translated)
    assert wall.out() is Drop.FORBIDDEN
    assert wall.back() is Drop.FORBIDDEN
    assert wall.out(ELSEWHERE, SYN) is None
    assert wall.back(ELSEWHERE, SYN | ACK) is None


@pytest.mark.parametrize("is_translated", [False, True])
def test_tcp_443_only_lets_nothing_else_out(is_translated: bool) -> None:
    wall = Wall(Firewall.TCP_443_ONLY, is_translated=is_translated)
    assert wall.out() is Drop.FORBIDDEN
    assert wall.back() is Drop.FORBIDDEN
    assert wall.out(ELSEWHERE, SYN) is Drop.FORBIDDEN
    assert wall.out(OUTSIDE, SYN) is None
    assert wall.back(OUTSIDE, SYN | ACK) is None


@pytest.mark.parametrize("firewall", [Firewall.NONE, Firewall.STATEFUL])
def test_it_leaves_to_the_nat_what_a_nat_translates(firewall: Firewall) -> None:
    wall = Wall(firewall, is_translated=True)
    assert wall.back() is None
    assert wall.back(flags=SYN) is None


@pytest.mark.parametrize("flags", [None, SYN], ids=["udp", "tcp"])
def test_flows_are_bounded_and_have_room_again_when_some_expire(flags: TcpFlags | None) -> None:
    wall = Wall(Firewall.STATEFUL)
    for number in range(FLOWS_MAX):
        assert wall.out(Endpoint(OUTSIDE.host, 1 + number), flags) is None
    assert wall.out(ELSEWHERE, flags, now_s=1.0) is Drop.FIREWALL_FULL
    assert wall.out(Endpoint(OUTSIDE.host, 1), flags, now_s=1.0) is None
    assert wall.out(ELSEWHERE, flags, now_s=300.0) is None
