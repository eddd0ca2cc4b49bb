"""The driver's sockets: where answers leave from, which relays are open, what is refused."""

import os
from functools import partial
from ipaddress import ip_network

import pytest
import trio
import trio.testing

from wice.datagram import Endpoint
from wice.errors import DeviceRejectedError
from wice.stun import (
    Attribute,
    Change,
    Class,
    LongTermCredentials,
    Message,
    Method,
    StaticAccounts,
    encode,
    parse,
    unpack_address,
    unpack_xor_address,
)
from wice.turn import Family, PeerPolicy, State, TurnClient, TurnServer
from wice.turn.driver import serve_turn
from wice.udp_sockets import UdpSocketFactory

TIMEOUT_S = 10


def a_server() -> TurnServer:
    return TurnServer(
        StaticAccounts({"alice": "wonderland"}),
        realm="wice",
        random_bytes=os.urandom,
        now=trio.current_time(),
        policy=PeerPolicy(allowed=[ip_network("127.0.0.0/8")]),
    )


async def allocate(socket: trio.socket.SocketType, server: Endpoint) -> TurnClient:
    client = TurnClient(
        server,
        LongTermCredentials("alice", "wonderland"),
        random_bytes=os.urandom,
        now=trio.current_time(),
    )
    await drive(client, socket, State.ALLOCATED)
    return client


async def drive(client: TurnClient, socket: trio.socket.SocketType, until: State) -> None:
    while client.state is not until:
        while (data := client.poll_transmit()) is not None:
            await socket.sendto(data, client.server)
        received, source = await socket.recvfrom(2_000)
        client.receive(received, Endpoint(*source[:2]), trio.current_time())


@pytest.fixture(params=["trio's sockets", "ours"])
async def bound(
    nursery: trio.Nursery, request: pytest.FixtureRequest
) -> tuple[TurnServer, Endpoint]:
    if request.param == "ours":
        trio.socket.set_custom_socket_factory(UdpSocketFactory())
    server = a_server()
    endpoints = await nursery.start(partial(serve_turn, server, 0, hosts=("0.0.0.0",)))
    return server, Endpoint("127.0.0.2", endpoints[0].port)


async def test_relays_are_where_the_client_asked_and_end_with_the_allocation(
    bound: tuple[TurnServer, Endpoint],
) -> None:
    """127.0.0.2 is not the address that the kernel would choose by itself."""
    _, asked = bound
    with trio.fail_after(TIMEOUT_S), trio.socket.socket(type=trio.socket.SOCK_DGRAM) as socket:
        await socket.bind(("127.0.0.1", 0))
        client = await allocate(socket, asked)
        relayed = client.relayed[Family.IPV4]
        assert relayed.host == asked.host
        with (
            trio.socket.socket(type=trio.socket.SOCK_DGRAM) as taken,
            pytest.raises(OSError, match="in use"),
        ):
            await taken.bind(relayed)
        client.close(trio.current_time())
        await drive(client, socket, State.CLOSED)
        for _ in range(50):
            await trio.testing.wait_all_tasks_blocked()
        with trio.socket.socket(type=trio.socket.SOCK_DGRAM) as free:
            await free.bind(relayed)


async def test_data_goes_both_ways_on_a_channel(bound: tuple[TurnServer, Endpoint]) -> None:
    server, asked = bound
    with (
        trio.fail_after(TIMEOUT_S),
        trio.socket.socket(type=trio.socket.SOCK_DGRAM) as socket,
        trio.socket.socket(type=trio.socket.SOCK_DGRAM) as peer,
    ):
        await socket.bind(("127.0.0.1", 0))
        await peer.bind(("127.0.0.1", 0))
        client = await allocate(socket, asked)
        there = Endpoint(*peer.getsockname())
        client.bind_channel(there, trio.current_time())
        while server.counts["channel_bind"] == 0 or client.encapsulate(b"", there, 0.0) is None:
            while (request := client.poll_transmit()) is not None:
                await socket.sendto(request, asked)
            answer, _ = await socket.recvfrom(2_000)
            client.receive(answer, asked, trio.current_time())
        for i in range(100):
            data = bytes((i,)) * 1_400
            packet = client.encapsulate(data, there, trio.current_time())
            assert packet is not None
            await socket.sendto(packet, asked)
            assert await peer.recvfrom(2_000) == (data, client.relayed[Family.IPV4])
            await peer.sendto(data, client.relayed[Family.IPV4])
            came, source = await socket.recvfrom(2_000)
            assert (came[:2], came[4:], source) == (b"\x40\x00", data, asked)


async def test_binding_requests_are_answered_on_the_port(
    bound: tuple[TurnServer, Endpoint],
) -> None:
    _, asked = bound
    with trio.fail_after(TIMEOUT_S), trio.socket.socket(type=trio.socket.SOCK_DGRAM) as socket:
        await socket.bind(("127.0.0.1", 0))
        await socket.sendto(encode(Method.BINDING, Class.REQUEST, bytes(12)), asked)
        data, source = await socket.recvfrom(2_000)
        assert Endpoint(*source[:2]) == asked
        mapped = parse(data).require(Attribute.XOR_MAPPED_ADDRESS)
        assert unpack_xor_address(mapped, bytes(12)) == Endpoint(*socket.getsockname())


async def test_binding_requests_are_answered_from_elsewhere_where_they_ask_for_it(
    nursery: trio.Nursery,
) -> None:
    """As by a STUN server (RFC 5780): what it names as its other address answers, too."""
    start = partial(
        serve_turn, a_server(), 0, hosts=("0.0.0.0",), public_addresses=("127.0.0.2", "127.0.0.3")
    )
    asked = Endpoint("127.0.0.2", (await nursery.start(start))[0].port)

    async def ask(server: Endpoint, change: Change) -> tuple[Message, Endpoint]:
        flags = (Attribute.CHANGE_REQUEST, change.to_bytes(4, "big"))
        request = encode(Method.BINDING, Class.REQUEST, bytes(12), [flags])
        await socket.sendto(request, server)
        data, source = await socket.recvfrom(2_000)
        return parse(data), Endpoint(*source[:2])

    with trio.fail_after(TIMEOUT_S), trio.socket.socket(type=trio.socket.SOCK_DGRAM) as socket:
        await socket.bind(("127.0.0.1", 0))
        answer, origin = await ask(asked, Change.PORT)
        assert origin.host == asked.host and origin.port != asked.port
        assert unpack_address(answer.require(Attribute.RESPONSE_ORIGIN)) == origin
        other = unpack_address(answer.require(Attribute.OTHER_ADDRESS))
        assert other == Endpoint("127.0.0.3", origin.port)
        assert (await ask(asked, Change.PORT | Change.ADDRESS))[1] == other
        assert (await ask(other, Change.PORT | Change.ADDRESS))[1] == asked
        assert (await ask(other, Change.NOTHING))[1] == other


async def test_relays_keep_to_the_ports_they_were_given(nursery: trio.Nursery) -> None:
    server = a_server()
    with trio.socket.socket(type=trio.socket.SOCK_DGRAM) as probe:
        await probe.bind(("127.0.0.1", 0))
        first = probe.getsockname()[1]
    endpoints = await nursery.start(
        partial(
            serve_turn,
            server,
            0,
            hosts=("127.0.0.1",),
            announced={"127.0.0.1": "203.0.113.5"},
            relay_ports=range(first, first + 1),
            random_below=lambda count: count - 1,
        )
    )
    with trio.fail_after(TIMEOUT_S), trio.socket.socket(type=trio.socket.SOCK_DGRAM) as socket:
        await socket.bind(("127.0.0.1", 0))
        client = await allocate(socket, endpoints[0])
        assert client.relayed[Family.IPV4] == Endpoint("203.0.113.5", first)


async def test_a_port_in_use_is_said() -> None:
    with trio.socket.socket(type=trio.socket.SOCK_DGRAM) as taken:
        await taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        remedy = rf"UDP 127.0.0.1:{port}: .*in use.*ss -lunp.*relay\.port"
        with pytest.raises(DeviceRejectedError, match=remedy):
            await serve_turn(a_server(), port, hosts=("127.0.0.1",))
