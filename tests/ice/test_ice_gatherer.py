"""Gathering in virtual time, the servers played by the test."""

import random

import pytest

from wice.datagram import Endpoint
from wice.errors import RemoteProtocolError
from wice.ice.gatherer import MAPPING_AGE_MAX_S, REFRESH_S, STUN_SERVERS_MAX, Gatherer
from wice.stun import Attribute, Class, Method, encode, pack_xor_address, parse

BASE = Endpoint("10.0.0.1", 51_820)
ONE, TWO = Endpoint("203.0.113.1", 3478), Endpoint("203.0.113.1", 3479)
SIX = Endpoint("2001:db8:ffff::1", 3478)
PUBLIC = Endpoint("198.51.100.1", 40_000)


class Bench:
    """Answers what is asked, one second of virtual time later than never."""

    def __init__(self, *addresses: str) -> None:
        self.now = 100.0
        self.gatherer = Gatherer(BASE.port, random.Random(3).randbytes)
        self.gatherer.set_local_addresses(addresses or [BASE.host], self.now)
        self.mapped: dict[Endpoint, Endpoint] = {}
        self.asked: list[tuple[float, Endpoint]] = []

    def ask(self, *servers: Endpoint) -> None:
        self.gatherer.set_stun_servers(servers, self.now)
        self.answer()

    def answer(self, message_class: Class = Class.SUCCESS) -> None:
        while (transmit := self.gatherer.poll_transmit()) is not None:
            server = transmit.path.remote
            self.asked.append((self.now, server))
            if server not in self.mapped:
                continue
            tid = parse(transmit.data).transaction_id
            assert self.gatherer.awaits(tid)
            value = pack_xor_address(self.mapped[server], tid)
            attributes = [(Attribute.XOR_MAPPED_ADDRESS, value)]
            if message_class is Class.ERROR:
                attributes = [(Attribute.ERROR_CODE, b"\0\0\x05\0")]
            data = encode(Method.BINDING, message_class, tid, attributes)
            self.gatherer.receive_message(parse(data), server, None, self.now)

    def run(self, duration_s: float) -> None:
        end = self.now + duration_s
        for _ in range(1_000):
            deadline = self.gatherer.deadline()
            if deadline is None or deadline > end:
                self.now = end
                return
            self.now = deadline
            self.gatherer.handle_timeout(self.now)
            self.answer()
        raise AssertionError("the gatherer does not come to rest")

    def found(self) -> list[tuple[str, str, int]]:
        return [(c.type, c.host, c.port) for c in self.gatherer.candidates()]


HOST = ("host", BASE.host, BASE.port)
REFLEXIVE = ("srflx", PUBLIC.host, PUBLIC.port)


def test_a_server_that_does_not_answer_delays_nothing() -> None:
    bench = Bench()
    bench.mapped = {ONE: PUBLIC}
    bench.ask(TWO, ONE)
    assert bench.found() == [HOST, REFLEXIVE]
    assert not bench.gatherer.is_complete
    bench.run(8)
    assert bench.gatherer.is_complete
    assert [at - 100 for at, server in bench.asked if server == TWO] == [0, 0.25, 0.75, 1.75, 3.75]
    assert bench.found() == [HOST, REFLEXIVE]
    bench.mapped[TWO] = Endpoint(PUBLIC.host, 40_001)
    bench.run(REFRESH_S)
    assert ("srflx", PUBLIC.host, 40_001) in bench.found()
    assert [(m.server, m.mapped.port) for m in bench.gatherer.mappings] == [
        (TWO, 40_001),
        (ONE, 40_000),
    ]


def test_one_mapping_seen_twice_is_one_candidate() -> None:
    bench = Bench()
    bench.mapped = {ONE: PUBLIC, TWO: PUBLIC}
    bench.ask(ONE, TWO)
    assert bench.found() == [HOST, REFLEXIVE]
    assert len(bench.gatherer.mappings) == 2


def test_a_forwarded_port_is_a_candidate_where_the_nat_maps_per_destination() -> None:
    bench = Bench()
    bench.mapped = {ONE: PUBLIC, TWO: Endpoint(PUBLIC.host, 40_001)}
    bench.ask(ONE, TWO)
    reflexive = [found for found in bench.found() if found[0] == "srflx"]
    assert reflexive[-1] == ("srflx", PUBLIC.host, BASE.port)
    assert sorted(port for _, _, port in reflexive) == sorted([BASE.port, 40_000, 40_001])
    bench.mapped[TWO] = Endpoint("198.51.100.9", 40_001)  # An address pool, and no port moved.
    bench.run(REFRESH_S)
    assert BASE.port not in [port for kind, _, port in bench.found() if kind == "srflx"]


def test_a_nat_that_maps_per_destination_makes_few_candidates_and_the_first_stay() -> None:
    """Each server sees another port; a peer sees none of them."""
    bench = Bench()
    servers = [Endpoint("203.0.113.1", port) for port in range(1, STUN_SERVERS_MAX + 1)]
    ports = {server: Endpoint(PUBLIC.host, 40_000 + server.port) for server in servers}
    bench.mapped = {server: ports[server] for server in servers[-2:]}
    bench.ask(*servers)
    first = bench.found()
    assert [port for kind, _, port in first if kind == "srflx"] == [40_015, 40_016, BASE.port]
    bench.mapped = ports
    bench.run(8)
    assert len(bench.gatherer.mappings) == STUN_SERVERS_MAX
    assert bench.found() == first
    bench.gatherer.query_again(bench.now)
    bench.answer()
    assert bench.found() == first


def test_without_a_nat_there_is_no_reflexive_candidate() -> None:
    bench = Bench()
    bench.mapped = {ONE: BASE}
    bench.ask(ONE)
    assert bench.found() == [HOST]
    assert bench.gatherer.mappings[0].mapped == BASE


def test_only_families_of_the_host_are_asked() -> None:
    bench = Bench()
    bench.ask(SIX)
    assert bench.asked == []
    assert bench.gatherer.is_complete
    bench.mapped = {SIX: Endpoint("2001:db8::2", 9)}
    bench.gatherer.set_local_addresses([BASE.host, "2001:db8::1"], bench.now)
    bench.answer()
    assert [server for _, server in bench.asked] == [SIX]
    assert ("srflx", "2001:db8::2", 9) in bench.found()


def test_a_mapping_that_is_no_longer_confirmed_is_given_up() -> None:
    bench = Bench()
    bench.mapped = {ONE: PUBLIC}
    bench.ask(ONE)
    bench.mapped = {}
    bench.run(MAPPING_AGE_MAX_S - 30)
    assert REFLEXIVE in bench.found()
    bench.run(60)
    assert bench.found() == [HOST]


def test_an_error_is_an_answer() -> None:
    bench = Bench()
    bench.mapped = {ONE: PUBLIC}
    bench.gatherer.set_stun_servers([ONE], bench.now)
    bench.answer(Class.ERROR)
    assert bench.gatherer.is_complete
    assert bench.found() == [HOST]


@pytest.mark.parametrize(
    "mapped",
    [
        Endpoint("0.0.0.0", 9),
        Endpoint("224.0.0.1", 9),
        Endpoint("198.51.100.1", 0),
        Endpoint("2001:db8::1", 9),
    ],
)
def test_impossible_mappings_are_refused(mapped: Endpoint) -> None:
    bench = Bench()
    bench.mapped = {ONE: mapped}
    with pytest.raises(RemoteProtocolError, match="at no address"):
        bench.ask(ONE)
    assert bench.found() == [HOST]


def test_servers_are_bounded_and_named_once() -> None:
    bench = Bench()
    bench.ask(*(Endpoint(f"203.0.113.{i}", 1) for i in range(1, 100)), ONE)
    assert len(bench.asked) == STUN_SERVERS_MAX
    again = Bench()
    again.ask(ONE, ONE)
    assert len(again.asked) == 1


def test_what_is_known_of_a_server_stays_when_others_come() -> None:
    bench = Bench()
    bench.mapped = {ONE: PUBLIC}
    bench.ask(ONE)
    bench.ask(ONE, TWO)
    assert [server for _, server in bench.asked] == [ONE, TWO]
    assert REFLEXIVE in bench.found()
    bench.ask(TWO)
    assert bench.found() == [HOST]


def test_ports_that_single_servers_saw_leave_room_for_the_one_that_most_see() -> None:
    """Two that lie, or answer no more since the NAT forgot, were the first."""
    bench = Bench()
    servers = [Endpoint("203.0.113.1", port) for port in range(1, 6)]
    bench.mapped = {server: Endpoint(PUBLIC.host, 6_000 + server.port) for server in servers[:2]}
    bench.ask(*servers)
    bench.now += 1
    bench.mapped |= dict.fromkeys(servers[2:], PUBLIC)
    bench.run(8)
    assert REFLEXIVE in bench.found()
