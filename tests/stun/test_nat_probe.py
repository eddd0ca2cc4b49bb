"""The tests of RFC 5780 against NATs of every kind, in virtual time and with our own server."""

import heapq
import itertools
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wice.datagram import Endpoint
from wice.errors import RemoteProtocolError
from wice.stun import (
    Attribute,
    BindingServer,
    Class,
    FilteringBehaviour,
    MappingBehaviour,
    Method,
    Origins,
    encode,
    pack_address,
    pack_xor_address,
    parse,
)
from wice.stun.nat_probe import SERVERS_MAX, NatProbe, NatReport, sockets_needed

HERE, PUBLIC = "192.168.1.2", "198.51.100.1"
ONE, OTHER = "203.0.113.10", "203.0.113.20"
SERVERS = [Endpoint(ONE, 3478)]
BOTH_PORTS = [Endpoint(ONE, 3478), Endpoint(ONE, 3479)]
PORTS = {3478: 3479, 3479: 3478}
RTT_S = 0.05

M, F = MappingBehaviour, FilteringBehaviour
Mapping_ = Callable[[Endpoint], object]

BY_ENDPOINT: dict[str, Mapping_] = {
    "endpoint-independent": lambda _: None,
    "address-dependent": lambda remote: remote.host,
    "address- and port-dependent": lambda remote: remote,
}


class Nat:
    """A NAT of one public address. kept_out: what its filter dropped."""

    def __init__(
        self, mapping: str, filtering: str, *, hairpins: bool = False, keeps_port: bool = True
    ) -> None:
        self._mapping, self._filtering = BY_ENDPOINT[mapping], BY_ENDPOINT[filtering]
        self.hairpins = hairpins
        self._keeps_port = keeps_port
        self._outside: dict[object, Endpoint] = {}
        self._inside: dict[Endpoint, Endpoint] = {}
        self._contacts: dict[Endpoint, set[object]] = {}
        self._ports = itertools.count(20_000)

    def out(self, source: Endpoint, remote: Endpoint) -> Endpoint:
        key = (source, self._mapping(remote))
        if key not in self._outside:
            wanted = Endpoint(PUBLIC, source.port)
            is_free = self._keeps_port and wanted not in self._inside
            mapped = wanted if is_free else Endpoint(PUBLIC, next(self._ports))
            self._outside[key] = mapped
            self._inside[mapped] = source
        mapped = self._outside[key]
        self._contacts.setdefault(mapped, set()).add(self._filtering(remote))
        return mapped

    def into(self, mapped: Endpoint, remote: Endpoint) -> Endpoint | None:
        if self._filtering(remote) not in self._contacts.get(mapped, ()):
            return None
        return self._inside[mapped]


class World:
    """A host behind a NAT, and servers on the internet: each is asked whose host and port it is."""

    def __init__(self, nat: Nat | None, origins: Origins | None, live: frozenset[str]) -> None:
        self.nat, self.origins, self.live = nat, origins, live
        self.server = BindingServer()
        self.now = 100.0
        self.lost_first = 0
        self.answers: Callable[[bytes, Endpoint, Endpoint], bytes | None] | None = None
        self._flying: list[tuple[float, int, Endpoint, bytes, Endpoint]] = []
        self._count = itertools.count()

    def run(self, servers: list[Endpoint]) -> NatReport:
        host = HERE if self.nat is not None else PUBLIC
        local = [Endpoint(host, 5_000 + i) for i in range(sockets_needed(len(servers)))]
        probe = NatProbe(servers, [[e] for e in local], random.Random(1).randbytes, self.now)
        self.began_s = self.now
        while (deadline := probe.deadline()) is not None:
            while (transmit := probe.poll_transmit()) is not None:
                self._send(local[transmit.socket], transmit.data, transmit.remote)
            if self._flying and self._flying[0][0] <= deadline:
                self.now, _, to, data, source = heapq.heappop(self._flying)
                probe.receive(local.index(to), data, source, self.now)
            else:
                self.now = deadline
                probe.handle_timeout(self.now)
        return probe.report()

    def _send(self, source: Endpoint, data: bytes, remote: Endpoint) -> None:
        if self.lost_first > 0:
            self.lost_first -= 1
            return
        seen = source if self.nat is None else self.nat.out(source, remote)
        if remote.host == PUBLIC:
            if self.nat is not None and self.nat.hairpins:
                self._arrive(data, remote, seen)
            return
        if remote.host not in self.live:
            return
        if self.answers is not None:
            answer = self.answers(data, seen, remote)
            if answer is not None:
                self._arrive(answer, seen, remote)
            return
        response = self.server.respond(data, seen, self.now, remote, self.origins)
        if response is not None:
            assert response.origin is not None
            self._arrive(response.data, seen, response.origin)

    def _arrive(self, data: bytes, to: Endpoint, source: Endpoint) -> None:
        inside = to if self.nat is None else self.nat.into(to, source)
        if inside is not None:
            flight = (self.now + RTT_S, next(self._count), inside, data, source)
            heapq.heappush(self._flying, flight)


def of_two_addresses(nat: Nat | None) -> World:
    origins = Origins(PORTS, {ONE: OTHER, OTHER: ONE})
    return World(nat, origins, frozenset({ONE, OTHER}))


def of_one_address(nat: Nat | None) -> World:
    return World(nat, Origins(PORTS), frozenset({ONE}))


@pytest.mark.parametrize("mapping", list(BY_ENDPOINT))
@pytest.mark.parametrize("filtering", list(BY_ENDPOINT))
def test_a_server_of_two_addresses_tells_mapping_and_filtering(
    mapping: str, filtering: str
) -> None:
    report = of_two_addresses(Nat(mapping, filtering)).run(SERVERS)
    assert (report.mapping, report.filtering) == (mapping, filtering)
    assert report.not_learned == ()
    assert {endpoint.host for endpoint in report.mapped} == {PUBLIC}


@pytest.mark.parametrize("filtering", list(BY_ENDPOINT))
def test_without_a_nat_the_filter_is_a_firewall(filtering: str) -> None:
    world = of_two_addresses(Nat("endpoint-independent", filtering))
    world.nat = FirewallOnly("endpoint-independent", filtering)
    report = world.run(SERVERS)
    assert (report.mapping, report.filtering) == (M.NO_NAT, filtering)
    assert report.hairpinning is None
    assert report.not_learned == ()


class FirewallOnly(Nat):
    def out(self, source: Endpoint, remote: Endpoint) -> Endpoint:
        self._inside[source] = source
        self._contacts.setdefault(source, set()).add(self._filtering(remote))
        return source


@pytest.mark.parametrize(
    ("mapping", "filtering", "said_mapping", "said_filtering"),
    [
        (
            "endpoint-independent",
            "endpoint-independent",
            M.ENDPOINT_INDEPENDENT_OR_ADDRESS_DEPENDENT,
            F.ENDPOINT_INDEPENDENT_OR_ADDRESS_DEPENDENT,
        ),
        (
            "address-dependent",
            "address-dependent",
            M.ENDPOINT_INDEPENDENT_OR_ADDRESS_DEPENDENT,
            F.ENDPOINT_INDEPENDENT_OR_ADDRESS_DEPENDENT,
        ),
        (
            "address- and port-dependent",
            "address- and port-dependent",
            M.ADDRESS_AND_PORT_DEPENDENT,
            F.ADDRESS_AND_PORT_DEPENDENT,
        ),
    ],
)
def test_one_address_tells_no_more_than_it_can(
    mapping: str, filtering: str, said_mapping: str, said_filtering: str
) -> None:
    report = of_one_address(Nat(mapping, filtering)).run(BOTH_PORTS)
    assert (report.mapping, report.filtering) == (said_mapping, said_filtering)
    said = " ".join(report.not_learned)
    assert ("mapping by address" in said) == ("or" in said_mapping.split())
    assert ("filtering by address" in said) == ("or" in said_filtering.split())


def plain_answer(data: bytes, seen: Endpoint, _: Endpoint) -> bytes | None:
    """A server that knows nothing of RFC 5780, and answers whatever it is asked for."""
    tid = parse(data).transaction_id
    mapped = [(Attribute.XOR_MAPPED_ADDRESS, pack_xor_address(seen, tid))]
    return encode(Method.BINDING, Class.SUCCESS, tid, mapped)


def silent_to_changes(data: bytes, seen: Endpoint, asked: Endpoint) -> bytes | None:
    """One that drops what it does not understand."""
    if Attribute.CHANGE_REQUEST in parse(data).attributes:
        return None
    return plain_answer(data, seen, asked)


@pytest.mark.parametrize("answers", [plain_answer, silent_to_changes])
def test_a_server_without_rfc_5780_tells_nothing_of_the_filter(
    answers: Callable[[bytes, Endpoint, Endpoint], bytes | None],
) -> None:
    world = of_one_address(Nat("endpoint-independent", "endpoint-independent"))
    world.answers = answers
    report = world.run(SERVERS)
    assert (report.mapping, report.filtering) == (M.UNKNOWN, F.UNKNOWN)
    assert any(text.startswith("filtering:") for text in report.not_learned)
    assert any(text.startswith("mapping:") for text in report.not_learned)


def test_a_refused_change_tells_nothing_of_the_filter() -> None:
    world = World(Nat("endpoint-independent", "endpoint-independent"), None, frozenset({ONE}))
    assert world.run(BOTH_PORTS).filtering is F.UNKNOWN


def test_silence_of_an_address_that_never_answers_says_nothing() -> None:
    """A server behind a NAT of its own may name another address that nobody reaches."""
    world = of_two_addresses(Nat("endpoint-independent", "endpoint-independent"))
    world.live = frozenset({ONE})
    world.answers = named_but_dead
    report = world.run(SERVERS)
    assert report.filtering is F.UNKNOWN
    assert report.mapping is M.UNKNOWN


def named_but_dead(data: bytes, seen: Endpoint, _: Endpoint) -> bytes | None:
    message = parse(data)
    if Attribute.CHANGE_REQUEST in message.attributes:
        return None
    tid = message.transaction_id
    attributes = [
        (Attribute.XOR_MAPPED_ADDRESS, pack_xor_address(seen, tid)),
        (Attribute.OTHER_ADDRESS, pack_address(Endpoint(OTHER, 3479))),
    ]
    return encode(Method.BINDING, Class.SUCCESS, tid, attributes)


@pytest.mark.parametrize("filtering", list(BY_ENDPOINT))
@pytest.mark.parametrize("hairpins", [False, True])
def test_hairpinning_is_told_whatever_the_filter(filtering: str, hairpins: bool) -> None:
    nat = Nat("endpoint-independent", filtering, hairpins=hairpins)
    assert of_two_addresses(nat).run(SERVERS).hairpinning is hairpins


@pytest.mark.parametrize("keeps_port", [False, True])
def test_says_whether_ports_are_preserved(keeps_port: bool) -> None:
    nat = Nat("endpoint-independent", "endpoint-independent", keeps_port=keeps_port)
    assert of_two_addresses(nat).run(SERVERS).preserves_port is keeps_port


def test_dead_servers_are_given_up_together() -> None:
    world = of_one_address(Nat("endpoint-independent", "endpoint-independent"))
    world.live = frozenset()
    report = world.run([Endpoint(f"203.0.113.{i}", 3478) for i in range(1, 9)])
    assert not report.is_reached
    assert (report.mapping, report.filtering) == (M.UNREACHED, F.UNKNOWN)
    assert (report.hairpinning, report.preserves_port) == (None, None)
    assert {answer.why for answer in report.servers} == {"no answer"}
    assert world.now - world.began_s == pytest.approx(2.5)


def test_an_open_nat_is_known_without_waiting() -> None:
    nat = Nat("endpoint-independent", "endpoint-independent", hairpins=True)
    world = of_two_addresses(nat)
    world.run(SERVERS)
    assert world.now - world.began_s <= 4 * RTT_S


def test_what_waits_for_answers_that_do_not_come_waits_once() -> None:
    world = of_two_addresses(
        Nat("address- and port-dependent", "address- and port-dependent", keeps_port=False)
    )
    world.run(SERVERS)
    assert world.now - world.began_s <= 2.5 + 2 * RTT_S


def test_lost_datagrams_are_sent_again() -> None:
    world = of_two_addresses(Nat("endpoint-independent", "address-dependent"))
    world.lost_first = 9
    report = world.run(SERVERS)
    assert (report.mapping, report.filtering) == (M.ENDPOINT_INDEPENDENT, F.ADDRESS_DEPENDENT)


def test_round_trips_are_told_where_nothing_was_sent_twice() -> None:
    world = of_two_addresses(Nat("endpoint-independent", "address-dependent"))
    (answer,) = world.run(SERVERS).servers
    assert answer.rtt_s == pytest.approx(RTT_S)
    world = of_two_addresses(Nat("endpoint-independent", "address-dependent"))
    world.lost_first = 1
    (answer,) = world.run(SERVERS).servers
    assert answer.rtt_s is None


def test_what_the_host_cannot_send_is_said() -> None:
    servers = [Endpoint("2001:db8::1", 3478)]
    local = [[Endpoint("2001:db8::9", 1)]] * sockets_needed(1)
    probe = NatProbe(servers, local, random.Random(1).randbytes, 0.0)
    probe.send_failed(servers[0], "Network is unreachable")
    (answer,) = probe.report().servers
    assert (answer.why, answer.is_asked) == ("Network is unreachable", False)


def test_the_servers_that_are_asked_are_bounded() -> None:
    servers = [Endpoint(ONE, port) for port in range(1, 100)]
    local = [[Endpoint(HERE, 1)]] * sockets_needed(len(servers))
    probe = NatProbe(servers, local, random.Random(1).randbytes, 0.0)
    assert len(probe.report().servers) == SERVERS_MAX
    sockets = set()
    while (transmit := probe.poll_transmit()) is not None:
        sockets.add(transmit.socket)
    assert max(sockets) < len(local)


@given(st.binary(max_size=60), st.integers(0, 3))
def test_anything_else_is_refused(data: bytes, socket: int) -> None:
    local = [[Endpoint(HERE, 1)]] * sockets_needed(1)
    probe = NatProbe(SERVERS, local, random.Random(1).randbytes, 0.0)
    with pytest.raises(RemoteProtocolError):
        probe.receive(socket, data, SERVERS[0], 0.0)


def test_an_answer_from_somebody_else_or_on_another_socket_is_refused() -> None:
    local = [[Endpoint(HERE, 1)]] * sockets_needed(1)
    probe = NatProbe(SERVERS, local, random.Random(1).randbytes, 0.0)
    transmit = probe.poll_transmit()
    assert transmit is not None
    answer = plain_answer(transmit.data, Endpoint(PUBLIC, 9), SERVERS[0])
    assert answer is not None
    for socket, source in ((0, Endpoint(OTHER, 3478)), (3, SERVERS[0])):
        with pytest.raises(RemoteProtocolError):
            probe.receive(socket, answer, source, 0.0)
    assert not probe.report().is_reached
    probe.receive(0, answer, SERVERS[0], 0.0)
    assert probe.report().is_reached
