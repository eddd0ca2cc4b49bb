import socket
from functools import partial

import pytest
import trio
from hypothesis import example, given
from hypothesis import strategies as st

from wice.datagram import Endpoint
from wice.errors import DevicePermissionDeniedError, DeviceRejectedError
from wice.stun import (
    Attribute,
    BindingServer,
    Change,
    Class,
    IntegrityKey,
    Message,
    Method,
    Origins,
    Response,
    encode,
    parse,
    rate_limit,
    unpack_address,
    unpack_error_code,
    unpack_unknown_attributes,
    unpack_xor_address,
)
from wice.stun import server as server_module
from wice.stun.driver import port_error, serve_stun

TRANSACTION_ID = bytes(range(12))
SOURCE = Endpoint("198.51.100.7", 40_000)
REQUEST = encode(Method.BINDING, Class.REQUEST, TRANSACTION_ID)
TIMEOUT_S = 30.0


PORTS = {3478: 3479, 3479: 3478}
ORIGINS = Origins(PORTS, {"203.0.113.10": "203.0.113.20", "203.0.113.20": "203.0.113.10"})
ASKED = Endpoint("203.0.113.10", 3478)


def _read(response: Response | None) -> Message:
    assert response is not None
    return parse(response.data)


def _mapped(response: Response | None) -> Endpoint:
    message = _read(response)
    assert (message.method, message.message_class) == (Method.BINDING, Class.SUCCESS)
    value = message.require(Attribute.XOR_MAPPED_ADDRESS)
    return unpack_xor_address(value, message.transaction_id)


@pytest.mark.parametrize("source", [SOURCE, Endpoint("2001:db8::7", 1)])
def test_tells_where_the_request_came_from(source: Endpoint) -> None:
    response = BindingServer().respond(REQUEST, source, 0.0)
    assert _mapped(response) == source
    assert _read(response).transaction_id == TRANSACTION_ID
    assert _read(response).has_fingerprint


def test_a_link_local_neighbour_is_told_its_address_without_the_zone() -> None:
    response = BindingServer().respond(REQUEST, Endpoint("fe80::1%eth0", 9), 0.0)
    assert _mapped(response) == Endpoint("fe80::1", 9)


def test_a_bare_request_gets_a_bare_response() -> None:
    request = encode(Method.BINDING, Class.REQUEST, TRANSACTION_ID, fingerprint=False)
    response = BindingServer().respond(request, SOURCE, 0.0)
    assert not _read(response).has_fingerprint


def test_software_is_shown_when_asked_for() -> None:
    response = BindingServer(software="x").respond(REQUEST, SOURCE, 0.0)
    assert _read(response).require(Attribute.SOFTWARE) == b"x"


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
    assert len(response.data) <= len(request)
    message = _read(response)
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


def _change_request(flags: int) -> bytes:
    attributes = [(Attribute.CHANGE_REQUEST, flags.to_bytes(4, "big"))]
    return encode(Method.BINDING, Class.REQUEST, TRANSACTION_ID, attributes)


def test_says_from_where_it_answers_and_could() -> None:
    response = BindingServer().respond(REQUEST, SOURCE, 0.0, ASKED, ORIGINS)
    assert response is not None
    assert response.origin == ASKED
    message = _read(response)
    assert unpack_address(message.require(Attribute.RESPONSE_ORIGIN)) == ASKED
    other = unpack_address(message.require(Attribute.OTHER_ADDRESS))
    assert other == Endpoint("203.0.113.20", 3479)


@pytest.mark.parametrize(
    ("change", "origin"),
    [
        (Change.NOTHING, ASKED),
        (Change.PORT, Endpoint("203.0.113.10", 3479)),
        (Change.ADDRESS, Endpoint("203.0.113.20", 3478)),
        (Change.ADDRESS | Change.PORT, Endpoint("203.0.113.20", 3479)),
    ],
)
def test_answers_from_where_it_is_asked_to(change: Change, origin: Endpoint) -> None:
    response = BindingServer().respond(_change_request(change), SOURCE, 0.0, ASKED, ORIGINS)
    assert response is not None
    assert response.origin == origin
    assert _mapped(response) == SOURCE
    assert unpack_address(_read(response).require(Attribute.RESPONSE_ORIGIN)) == origin


@pytest.mark.parametrize(
    ("change", "asked", "origins"),
    [
        (Change.ADDRESS, ASKED, Origins(PORTS)),
        (Change.ADDRESS | Change.PORT, ASKED, Origins(PORTS)),
        (Change.PORT, ASKED, Origins({})),
        (Change.PORT, ASKED, None),
        (Change.PORT, None, ORIGINS),
    ],
)
def test_an_answer_from_where_it_cannot_be_is_refused(
    change: Change, asked: Endpoint | None, origins: Origins | None
) -> None:
    response = BindingServer().respond(_change_request(change), SOURCE, 0.0, asked, origins)
    message = _read(response)
    assert unpack_error_code(message.require(Attribute.ERROR_CODE)) == 420
    listed = unpack_unknown_attributes(message.require(Attribute.UNKNOWN_ATTRIBUTES))
    assert listed == [Attribute.CHANGE_REQUEST]
    assert response is not None
    assert response.origin == asked


@pytest.mark.parametrize("fingerprint", [False, True])
def test_another_address_is_named_where_the_answer_stays_small(fingerprint: bool) -> None:
    request = encode(Method.BINDING, Class.REQUEST, TRANSACTION_ID, fingerprint=fingerprint)
    asked, other = Endpoint("2001:db8::1", 3478), Endpoint("2001:db8::2", 3479)
    origins = Origins(PORTS, {asked.host: other.host})
    source = Endpoint("2001:db8::7", 1)
    message = _read(BindingServer().respond(request, source, 0.0, asked, origins))
    assert Attribute.RESPONSE_ORIGIN in message.attributes
    assert (Attribute.OTHER_ADDRESS in message.attributes) is fingerprint


def test_a_server_of_one_address_names_no_other() -> None:
    response = BindingServer().respond(REQUEST, SOURCE, 0.0, ASKED, Origins(PORTS))
    assert Attribute.OTHER_ADDRESS not in _read(response).attributes


@example(flags=None, is_ipv6=True, fingerprint=False, unknown=0)
@given(
    flags=st.sampled_from([None, 0, 2, 4, 6, 0xFFFFFFFF]),
    is_ipv6=st.booleans(),
    fingerprint=st.booleans(),
    unknown=st.integers(0, 20),
)
def test_a_response_with_its_headers_is_less_than_twice_its_request(
    flags: int | None, is_ipv6: bool, fingerprint: bool, unknown: int
) -> None:
    attributes = [(0x7F00 + i, b"") for i in range(unknown)]
    if flags is not None:
        attributes.append((int(Attribute.CHANGE_REQUEST), flags.to_bytes(4, "big")))
    request = encode(
        Method.BINDING, Class.REQUEST, TRANSACTION_ID, attributes, fingerprint=fingerprint
    )
    asked = Endpoint("2001:db8::1", 3478) if is_ipv6 else ASKED
    origins = Origins(PORTS, {asked.host: "2001:db8::2" if is_ipv6 else "203.0.113.20"})
    source = Endpoint("2001:db8::7", 1) if is_ipv6 else SOURCE
    response = BindingServer().respond(request, source, 0.0, asked, origins)
    assert response is not None
    headers_size = 48 if is_ipv6 else 28
    assert len(response.data) + headers_size < 2 * (len(request) + headers_size)


async def _ask(client: trio.socket.SocketType, server: Endpoint) -> tuple[Endpoint, Endpoint]:
    await client.sendto(REQUEST, server)
    data, source = await client.recvfrom(1500)
    return _mapped(Response(data, None)), Endpoint(*source[:2])


async def test_serves_both_families_on_two_ports_and_answers_from_where_it_was_asked(
    nursery: trio.Nursery,
) -> None:
    bound = await nursery.start(serve_stun, (0, 0))
    with trio.fail_after(TIMEOUT_S):
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


async def _origin_of(client: trio.socket.SocketType, server: Endpoint, change: Change) -> Endpoint:
    await client.sendto(_change_request(change), server)
    data, source = await client.recvfrom(1500)
    assert parse(data).message_class is Class.SUCCESS
    return Endpoint(*source[:2])


async def test_answers_from_another_port_and_address_where_it_is_asked_to(
    nursery: trio.Nursery,
) -> None:
    start = partial(serve_stun, (0, 0), public_addresses=("127.0.0.2", "127.0.0.3", "::1"))
    bound = await nursery.start(start)
    first, second = (endpoint.port for endpoint in bound if not endpoint.is_ipv6)
    with (
        trio.fail_after(TIMEOUT_S),
        trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        await client.bind(("127.0.0.1", 0))
        asked = Endpoint("127.0.0.2", first)
        assert await _origin_of(client, asked, Change.PORT) == Endpoint("127.0.0.2", second)
        assert await _origin_of(client, asked, Change.ADDRESS) == Endpoint("127.0.0.3", first)
        both = Change.ADDRESS | Change.PORT
        assert await _origin_of(client, asked, both) == Endpoint("127.0.0.3", second)
        back = await _origin_of(client, Endpoint("127.0.0.3", second), both)
        assert back == Endpoint("127.0.0.2", first)


async def test_a_single_port_has_one_beside_it_to_answer_from(nursery: trio.Nursery) -> None:
    (bound,) = await nursery.start(partial(serve_stun, (0,), hosts=("127.0.0.1",)))
    with (
        trio.fail_after(TIMEOUT_S),
        trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        await client.bind(("127.0.0.1", 0))
        origin = await _origin_of(client, bound, Change.PORT)
    assert origin.host == bound.host
    assert origin.port != bound.port


async def test_a_port_in_use_is_said(nursery: trio.Nursery) -> None:
    with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        await taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        remedy = rf"UDP 127.0.0.1:{port}: .*in use.*ss -lunp.*stun_server\.ports"
        with pytest.raises(DeviceRejectedError, match=remedy):
            await serve_stun((port,), hosts=("127.0.0.1",))


def test_a_port_that_is_not_allowed_has_a_remedy() -> None:
    error = port_error("STUN", Endpoint("0.0.0.0", 78), PermissionError(13, "denied"), "some.key")
    assert isinstance(error, DevicePermissionDeniedError)
    assert "from 1024 up in some.key" in str(error)
