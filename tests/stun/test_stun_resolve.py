"""URIs become servers, by a DNS server on loopback that the tests fill."""

import itertools
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
import trio

from wice.datagram import Endpoint
from wice.errors import NameNotResolvedError
from wice.stun import parse_stun_uri, parse_turn_uri
from wice.stun.dns_lookup import DnsLookup
from wice.stun.resolve import (
    LOOKUPS_MAX,
    SERVERS_MAX,
    Lookup,
    NamingRecord,
    ServerAddress,
    ServiceRecord,
    Way,
    resolve_stun,
    resolve_turn,
)
from wice.stun.uri import Transport

HANG_S = 30.0
UDP, TCP = Way(Transport.UDP, False), Way(Transport.TCP, False)
TLS = Way(Transport.TCP, True)
Zone = dict[tuple[str, str], list[str]]

ADDRESSES: Zone = {
    ("a.example", "A"): ["192.0.2.1"],
    ("b.example", "A"): ["192.0.2.2"],
    ("dual.example", "A"): ["192.0.2.3"],
    ("dual.example", "AAAA"): ["2001:db8::3"],
}


def random_bytes(size: int) -> bytes:
    return random.Random(7).randbytes(size)


@asynccontextmanager
async def nameserver(zone: Zone, asked: list[str] | None = None) -> AsyncIterator[DnsLookup]:
    """Answers from ``zone``: other names do not exist, other records of names are not there."""

    async def serve(opened: trio.socket.SocketType) -> None:
        while True:
            data, source = await opened.recvfrom(4096)
            query = dns.message.from_wire(data)
            question = query.question[0]
            name = question.name.to_text(omit_final_dot=True).lower()
            kind = dns.rdatatype.to_text(question.rdtype)
            if asked is not None:
                asked.append(f"{name} {kind}")
            answer = dns.message.make_response(query)
            answer.flags |= dns.flags.RA
            if (records := zone.get((name, kind))) is not None:
                answer.answer = [dns.rrset.from_text(question.name, 60, "IN", kind, *records)]
            elif all(name != known for known, _ in zone):
                answer.set_rcode(dns.rcode.NXDOMAIN)
            await opened.sendto(answer.to_wire(), source)

    with trio.fail_after(HANG_S), trio.socket.socket(type=trio.socket.SOCK_DGRAM) as opened:
        await opened.bind(("127.0.0.1", 0))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve, opened)
            yield DnsLookup([Endpoint(*opened.getsockname())])
            nursery.cancel_scope.cancel()


def found(servers: tuple[ServerAddress, ...]) -> list[str]:
    return [str(server.endpoint) for server in servers]


@pytest.mark.parametrize(
    ("text", "servers"),
    [
        ("stun:192.0.2.9", ["192.0.2.9:3478"]),
        ("stun:[2001:db8::9]:99", ["[2001:db8::9]:99"]),
        ("stuns:192.0.2.9", ["192.0.2.9:5349"]),
    ],
)
async def test_addresses_ask_no_nameserver(text: str, servers: list[str]) -> None:
    asked: list[str] = []
    async with nameserver({}, asked) as lookup:
        assert found(await resolve_stun(parse_stun_uri(text), lookup, random_bytes)) == servers
    assert asked == []


async def test_a_name_without_services_is_an_address_with_the_default_port() -> None:
    async with nameserver(ADDRESSES) as lookup:
        servers = await resolve_stun(parse_stun_uri("stun:dual.example"), lookup, random_bytes)
    assert found(servers) == ["[2001:db8::3]:3478", "192.0.2.3:3478"]


async def test_a_port_asks_for_addresses_alone() -> None:
    asked: list[str] = []
    async with nameserver(ADDRESSES | {("_stun._udp.a.example", "SRV"): []}, asked) as lookup:
        servers = await resolve_stun(parse_stun_uri("stun:a.example:99"), lookup, random_bytes)
    assert found(servers) == ["192.0.2.1:99"]
    assert sorted(asked) == ["a.example A", "a.example AAAA"]


async def test_services_are_taken_by_priority() -> None:
    zone = ADDRESSES | {
        ("_stun._udp.x.example", "SRV"): ["20 0 7 a.example.", "10 0 5 b.example."],
        ("x.example", "A"): ["192.0.2.99"],
    }
    async with nameserver(zone) as lookup:
        servers = await resolve_stun(parse_stun_uri("stun:x.example"), lookup, random_bytes)
    assert found(servers) == ["192.0.2.2:5", "192.0.2.1:7"]


async def test_a_service_that_is_decidedly_not_offered_is_not_guessed() -> None:
    zone = {("_stun._udp.x.example", "SRV"): ["0 0 0 ."], ("x.example", "A"): ["192.0.2.99"]}
    async with nameserver(zone) as lookup:
        with pytest.raises(NameNotResolvedError):
            await resolve_stun(parse_stun_uri("stun:x.example"), lookup, random_bytes)


NAPTR: Zone = {
    ("x.example", "NAPTR"): [
        '20 10 "s" "RELAY:turn.udp" "" plain.example.',
        '10 20 "a" "RELAY:turn.tls" "" b.example.',
        '10 10 "a" "SIP+D2U" "" a.example.',
        '5 10 "" "RELAY:turn.tcp:turn.udp" "" further.example.',
    ],
    ("further.example", "NAPTR"): ['1 1 "a" "RELAY:turn.udp" "" dual.example.'],
    ("plain.example", "SRV"): ["1 1 9 a.example."],
}


@pytest.mark.parametrize(
    ("text", "ways", "servers"),
    [
        ("turn:x.example", [UDP], ["192.0.2.1:9", "[2001:db8::3]:3478", "192.0.2.3:3478"]),
        ("turns:x.example", [UDP, TLS], ["192.0.2.2:5349"]),
    ],
)
async def test_turn_follows_naptr(text: str, ways: list[Way], servers: list[str]) -> None:
    async with nameserver(ADDRESSES | NAPTR) as lookup:
        resolved = await resolve_turn(parse_turn_uri(text), lookup, random_bytes, ways)
    assert found(resolved) == servers


async def test_turn_with_a_transport_goes_by_its_service() -> None:
    zone = ADDRESSES | NAPTR | {("_turn._tcp.x.example", "SRV"): ["1 1 80 b.example."]}
    uri = parse_turn_uri("turn:x.example?transport=tcp")
    asked: list[str] = []
    async with nameserver(zone, asked) as lookup:
        resolved = await resolve_turn(uri, lookup, random_bytes, [UDP, TCP])
    assert resolved == (ServerAddress(Endpoint("192.0.2.2", 80), TCP),)
    assert "x.example NAPTR" not in asked


async def test_turn_without_naptr_tries_the_service_of_each_transport() -> None:
    zone = ADDRESSES | {("_turn._tcp.x.example", "SRV"): ["1 1 80 b.example."]}
    async with nameserver(zone) as lookup:
        uri = parse_turn_uri("turn:x.example")
        resolved = await resolve_turn(uri, lookup, random_bytes, [UDP, TCP])
        assert resolved == (ServerAddress(Endpoint("192.0.2.2", 80), TCP),)
        plain = await resolve_turn(parse_turn_uri("turn:a.example"), lookup, random_bytes)
        assert plain == (ServerAddress(Endpoint("192.0.2.1", 3478), UDP),)


async def test_a_transport_that_is_not_spoken_is_said() -> None:
    async with nameserver({}) as lookup:
        with pytest.raises(NameNotResolvedError, match="transports"):
            await resolve_turn(parse_turn_uri("turns:192.0.2.1"), lookup, random_bytes, [UDP])


async def test_a_name_that_is_not_there_is_said() -> None:
    async with nameserver(ADDRESSES) as lookup:
        with pytest.raises(NameNotResolvedError, match=r"nowhere\.example"):
            await resolve_stun(parse_stun_uri("stun:nowhere.example"), lookup, random_bytes)


async def test_a_dead_nameserver_costs_the_time_that_is_given() -> None:
    with trio.socket.socket(type=trio.socket.SOCK_DGRAM) as silent:
        await silent.bind(("127.0.0.1", 0))
        lookup = DnsLookup([Endpoint(*silent.getsockname())], timeout_s=0.1)
        with trio.fail_after(HANG_S), pytest.raises(NameNotResolvedError, match="no nameserver"):
            await resolve_stun(parse_stun_uri("stun:a.example:1"), lookup, random_bytes)


async def test_names_of_the_host_itself_are_known() -> None:
    with trio.fail_after(HANG_S):
        assert "127.0.0.1" in await DnsLookup(timeout_s=HANG_S)._host_addresses("localhost")


class Endless(Lookup):
    """Every name has as many records as fit, and they lead on."""

    def __init__(self, flags: str) -> None:
        self.flags, self.names = flags, itertools.count()
        self.asked: list[str] = []

    async def addresses(self, name: str) -> list[str]:
        self.asked.append(name)
        return [f"192.0.2.{i}" for i in range(200)]

    async def services(self, name: str) -> list[ServiceRecord]:
        self.asked.append(name)
        return [ServiceRecord(1, 0, 1, f"n{next(self.names)}") for _ in range(200)]

    async def naming(self, name: str) -> list[NamingRecord]:
        self.asked.append(name)
        service = "RELAY:turn.udp"
        return [NamingRecord(1, 1, self.flags, service, f"n{next(self.names)}") for _ in range(200)]


@pytest.mark.parametrize("flags", ["", "a", "s"])
async def test_what_dns_says_is_bounded(flags: str) -> None:
    lookup = Endless(flags)
    try:
        servers = await resolve_turn(parse_turn_uri("turn:x.example"), lookup, random_bytes)
        assert len(servers) == SERVERS_MAX
    except NameNotResolvedError:
        assert len(lookup.asked) == LOOKUPS_MAX
    assert len(lookup.asked) <= LOOKUPS_MAX


class Weighted(Lookup):
    async def addresses(self, name: str) -> list[str]:
        return [name]

    async def services(self, name: str) -> list[ServiceRecord]:
        assert name == "_stun._udp.x.example"
        return [ServiceRecord(1, 30, 1, "192.0.2.1"), ServiceRecord(1, 10, 1, "192.0.2.2")]

    async def naming(self, name: str) -> list[NamingRecord]:
        raise AssertionError(f"STUN has no NAPTR: {name}")


async def test_services_of_one_priority_are_taken_by_weight() -> None:
    chance: Callable[[int], bytes] = random.Random(5).randbytes
    uri = parse_stun_uri("stun:x.example")
    first = [(await resolve_stun(uri, Weighted(), chance))[0] for _ in range(2_000)]
    share = sum(server.endpoint.host == "192.0.2.1" for server in first) / len(first)
    assert share == pytest.approx(31 / 41, abs=0.03)
