"""UDP sockets whose calls cost no pass: they do what trio's do, and let others run all the same."""

import select
import socket as stdlib_socket
from collections.abc import AsyncIterator

import pytest
import trio
import trio.testing

from wice.datagram import Endpoint
from wice.udp_sockets import COMPLETIONS_PER_CHECKPOINT_MAX, UdpSocket, UdpSocketFactory

IP_PKTINFO = 8
TIMEOUT_S = 30


@pytest.fixture
async def pair() -> AsyncIterator[tuple[UdpSocket, UdpSocket]]:
    factory = UdpSocketFactory()
    made = [factory.socket(stdlib_socket.AF_INET, stdlib_socket.SOCK_DGRAM) for _ in range(2)]
    first, second = made
    assert isinstance(first, UdpSocket) and isinstance(second, UdpSocket)
    with first, second:
        for one in (first, second):
            await one.bind(("127.0.0.1", 0))
        with trio.fail_after(TIMEOUT_S):
            yield first, second


def endpoint(one: UdpSocket) -> Endpoint:
    return Endpoint(*one.getsockname())


async def test_all_but_udp_is_trio_s_own() -> None:
    factory = UdpSocketFactory()
    for kind in (
        (stdlib_socket.AF_INET, stdlib_socket.SOCK_STREAM),
        (stdlib_socket.AF_UNIX, stdlib_socket.SOCK_DGRAM),
    ):
        with factory.socket(*kind) as made:
            assert not isinstance(made, UdpSocket)
    flagged = stdlib_socket.SOCK_DGRAM | stdlib_socket.SOCK_CLOEXEC
    with factory.socket(stdlib_socket.AF_INET6, flagged) as made:
        assert isinstance(made, UdpSocket) and made.family is stdlib_socket.AF_INET6


async def test_trio_makes_them_once_told() -> None:
    trio.socket.set_custom_socket_factory(UdpSocketFactory())
    with trio.socket.socket(type=trio.socket.SOCK_DGRAM) as made:
        assert isinstance(made, UdpSocket)


async def test_every_way_to_send_and_to_receive(pair: tuple[UdpSocket, UdpSocket]) -> None:
    here, there = pair
    await here.sendto(b"1", endpoint(there))
    assert await there.recvfrom(10) == (b"1", endpoint(here))
    await here.sendto(b"2", 0, endpoint(there))
    buffer = bytearray(4)
    assert await there.recvfrom_into(buffer) == (1, endpoint(here)) and buffer[:1] == b"2"
    await here.connect(endpoint(there))
    assert here.getpeername() == endpoint(there)
    await here.send(b"3")
    assert await there.recv(10) == b"3"
    await here.send(b"4")
    assert await there.recv_into(buffer) == 1 and buffer[:1] == b"4"
    await here.sendmsg([b"5", b"6"])
    size_bytes, ancillary, flags, source = await there.recvmsg_into([buffer])
    assert (size_bytes, ancillary, flags, source) == (2, [], 0, endpoint(here))
    assert buffer[:2] == b"56"


async def test_packet_info_and_cut_datagrams(pair: tuple[UdpSocket, UdpSocket]) -> None:
    here, there = pair
    there.setsockopt(stdlib_socket.IPPROTO_IP, IP_PKTINFO, 1)
    await here.sendmsg([b"too long"], [], 0, endpoint(there))
    data, ancillary, flags, source = await there.recvmsg(3, 64)
    assert (data, source) == (b"too", endpoint(here))
    assert flags & stdlib_socket.MSG_TRUNC
    ((level, kind, value),) = ancillary
    assert (level, kind) == (stdlib_socket.IPPROTO_IP, IP_PKTINFO)
    assert value[-4:] == stdlib_socket.inet_aton("127.0.0.1")


async def test_names_are_resolved_as_trio_does(pair: tuple[UdpSocket, UdpSocket]) -> None:
    here, there = pair
    port = endpoint(there).port
    await here.sendto(b"1", ("localhost", port))
    await here.sendmsg([b"2"], [], 0, ("localhost", port))
    assert [await there.recv(10), await there.recv(10)] == [b"1", b"2"]


async def test_who_waits_is_woken_cancelled_or_told_of_the_end(
    pair: tuple[UdpSocket, UdpSocket],
) -> None:
    here, there = pair
    received = []

    async def receive() -> None:
        received.append(await there.recv(10))
        with pytest.raises(trio.ClosedResourceError):
            await there.recv(10)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        assert not received
        await here.sendto(b"late", endpoint(there))
        while not received:
            await trio.testing.wait_all_tasks_blocked()
        there.close()
    assert received == [b"late"]


async def test_a_cancelled_call_does_nothing(pair: tuple[UdpSocket, UdpSocket]) -> None:
    here, there = pair
    await here.sendto(b"first", endpoint(there))
    with trio.CancelScope() as scope:
        scope.cancel()
        await there.recv(10)
    assert scope.cancelled_caught
    with trio.CancelScope() as scope:
        scope.cancel()
        await here.sendto(b"never", endpoint(there))
    await here.sendto(b"second", endpoint(there))
    assert [await there.recv(10), await there.recv(10)] == [b"first", b"second"]


async def test_calls_in_a_row_cost_few_passes_and_never_keep_others_out(
    pair: tuple[UdpSocket, UdpSocket],
) -> None:
    here, there = pair
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    rounds = 10
    async with trio.open_nursery() as nursery:
        nursery.start_soon(take_turns)
        await trio.lowlevel.checkpoint()
        turns = 0
        for _ in range(rounds * COMPLETIONS_PER_CHECKPOINT_MAX):
            await here.sendto(b"x", endpoint(there))
            # A kernel that is busy delivers later: to wait for that costs passes.
            assert select.select([there], (), (), TIMEOUT_S)[0]
            await there.recv(10)
        # One for every so many calls of either socket.
        assert rounds <= turns <= 3 * rounds
        nursery.cancel_scope.cancel()
