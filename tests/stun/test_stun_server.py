import socket

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from wice.datagram import Endpoint
from wice.errors import DeviceRejectedError
from wice.stun import (
    Attribute,
    BindingServer,
    Class,
    IntegrityKey,
    Method,
    encode,
    parse,
    rate_limit,
    unpack_error_code,
    unpack_xor_address,
)
from wice.stun import server as server_module
from wice.stun.driver import serve_stun

TRANSACTION_ID = bytes(range(12))
SOURCE = Endpoint("198.51.100.7", 40_000)
REQUEST = encode(Method.BINDING, Class.REQUEST, TRANSACTION_ID)


def _mapped(response: bytes | None) -> Endpoint:
    assert response is not None
    message = parse(response)
    assert (message.method, message.message_class) == (Method.BINDING, Class.SUCCESS)
    value = message.require(Attribute.XOR_MAPPED_ADDRESS)
    return unpack_xor_address(value, message.transaction_id)


@pytest.mark.parametrize("source", [SOURCE, Endpoint("2001:db8::7", 1)])
def test_tells_where_the_request_came_from(source: Endpoint) -> None:
    response = BindingServer().respond(REQUEST, source, 0.0)
    assert _mapped(response) == source
    assert response is not None
    assert parse(response).transaction_id == TRANSACTION_ID
    assert parse(response).has_fingerprint


def test_a_link_local_neighbour_is_told_its_address_without_the_zone() -> None:
    response = BindingServer().respond(REQUEST, Endpoint("fe80::1%eth0", 9), 0.0)
    assert _mapped(response) == Endpoint("fe80::1", 9)


def test_a_bare_request_gets_a_bare_response() -> None:
    request = encode(Method.BINDING, Class.REQUEST, TRANSACTION_ID, fingerprint=False)
    response = BindingServer().respond(request, SOURCE, 0.0)
    assert response is not None
    assert not parse(response).has_fingerprint


def test_software_is_shown_when_asked_for() -> None:
    response = BindingServer(software="x").respond(REQUEST, SOURCE, 0.0)
    assert response is not None
    assert parse(response).require(Attribute.SOFTWARE) == b"x"


def test_an_authenticated_request_is_answered_too() -> None:
    request = encode(
        Method.BINDING,
        Class.REQUEST,
        TRANSACTION_ID,
        [(Attribute.USERNAME, b"a:b")],
        key=IntegrityKey(b"secret"),
    )
    assert _mapped(BindingServer().respond(request, SOURCE, 0.0)) == SOURCE


def test_unknown_attributes_are_named_in_a_420() -> None:
    attributes = [(0x7F00 + i, b"") for i in range(20)]
    request = encode(Method.BINDING, Class.REQUEST, TRANSACTION_ID, attributes)
    response = BindingServer().respond(request, SOURCE, 0.0)
    assert response is not None
    assert len(response) <= len(request)
    message = parse(response)
    assert message.message_class is Class.ERROR
    assert unpack_error_code(message.require(Attribute.ERROR_CODE)) == 420
    assert message.require(Attribute.UNKNOWN_ATTRIBUTES)[:4] == b"\x7f\x00\x7f\x01"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        REQUEST[:-1],
        encode(Method.BINDING, Class.INDICATION, TRANSACTION_ID),
        encode(Method.BINDING, Class.SUCCESS, TRANSACTION_ID),
        encode(Method.ALLOCATE, Class.REQUEST, TRANSACTION_ID),
    ],
)
def test_other_datagrams_get_no_answer(data: bytes) -> None:
    server = BindingServer()
    assert server.respond(data, SOURCE, 0.0) is None
    assert sum(server.counts.values()) == 1


@given(st.binary(max_size=120))
def test_never_raises(data: bytes) -> None:
    assert BindingServer().respond(data, SOURCE, 0.0) is None


def test_a_source_address_gets_a_bounded_rate() -> None:
    server = BindingServer()
    ports = iter(range(1, 10_000))

    def answered(host: str, count: int, now: float) -> int:
        responses = [
            server.respond(REQUEST, Endpoint(host, next(ports)), now) for _ in range(count)
        ]
        return sum(response is not None for response in responses)

    assert answered("198.51.100.7", 200, 0.0) == server_module.SOURCE_BURST
    assert answered("198.51.100.8", 1, 0.0) == 1
    assert answered("198.51.100.7", 200, 1.0) == server_module.SOURCE_RATE_PER_S
    assert answered("2001:db8::1", 200, 1.0) == server_module.SOURCE_BURST
    assert answered("2001:db8::ffff:0:0:2", 200, 1.0) == 0
    assert answered("2001:db8:0:1::1", 1, 1.0) == 1


def test_the_table_of_sources_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limit, "SOURCES_MAX", 3)
    server = BindingServer()
    for i in range(10):
        assert server.respond(REQUEST, Endpoint(f"198.51.100.{i}", 1), 0.0) is not None
    assert len(server._limit) == 3


async def _ask(client: trio.socket.SocketType, server: Endpoint) -> tuple[Endpoint, Endpoint]:
    await client.sendto(REQUEST, server)
    data, source = await client.recvfrom(1500)
    return _mapped(data), Endpoint(*source[:2])


async def test_serves_both_families_on_two_ports_and_answers_from_where_it_was_asked(
    nursery: trio.Nursery,
) -> None:
    bound = await nursery.start(serve_stun, (0, 0))
    with trio.fail_after(5):
        for endpoint in bound:
            family = socket.AF_INET6 if endpoint.is_ipv6 else socket.AF_INET
            # 127.0.0.2 is not the address that the kernel would choose by itself.
            host = "::1" if endpoint.is_ipv6 else "127.0.0.2"
            with trio.socket.socket(family, socket.SOCK_DGRAM) as client:
                await client.bind(("::1" if endpoint.is_ipv6 else "127.0.0.1", 0))
                asked = Endpoint(host, endpoint.port)
                mapped, source = await _ask(client, asked)
                assert mapped == Endpoint(*client.getsockname()[:2])
                assert source == asked
    assert sum(not endpoint.is_ipv6 for endpoint in bound) == 2


async def test_a_port_in_use_is_said(nursery: trio.Nursery) -> None:
    with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        await taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(DeviceRejectedError, match=f"UDP 127.0.0.1:{port}"):
            await serve_stun((port,), hosts=("127.0.0.1",))
