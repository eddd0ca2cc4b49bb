"""Sockets as trio's own code, libp2p and the daemon use them."""

import errno
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.peerinfo import PeerInfo
from multiaddr import Multiaddr

from sims.stack.sockets import SimulatedSocketFactory
from tests.sims.wire import Wire, on, run
from wice.daemon.control import Verb, bind_control, open_events, request_async, serve_control
from wice.errors import DeviceRejectedError
from wice.events import Dropped, EventStream

IP_PKTINFO = 8


async def echo(stream: trio.SocketStream) -> None:
    async for chunk in stream:
        await stream.send_all(chunk)
    await stream.send_eof()


async def fails_with(call: Callable[[], Awaitable[Any]]) -> int | None:
    try:
        await call()
    except OSError as error:
        return error.errno
    return None


# Streams with trio's own functions


@pytest.mark.parametrize("name", ["10.0.0.2", "2001:db8::2", "two.example"])
def test_streams_of_trio_run_unmodified(name: str) -> None:
    async def main(wire: Wire) -> None:
        one, two = wire.host(1), wire.host(2)
        async with trio.open_nursery() as nursery:
            with on(two):
                listeners = await nursery.start(trio.serve_tcp, echo, 4_001)
            assert [listener.socket.getsockname()[0] for listener in listeners] == ["0.0.0.0", "::"]
            with on(one):
                async with await trio.open_tcp_stream(name, 4_001) as stream:
                    await stream.send_all(b"hello")
                    assert await stream.receive_some() == b"hello"
                    await stream.send_eof()
                    assert await stream.receive_some() == b""
            nursery.cancel_scope.cancel()

    run(main)


def test_one_machine_talks_to_itself() -> None:
    async def main(wire: Wire) -> None:
        host = wire.host(1)
        with on(host):
            async with trio.open_nursery() as nursery:
                await nursery.start(trio.serve_tcp, echo, 4_001)
                for name in ("localhost", "127.0.0.1", "::1", "10.0.0.1", "0.0.0.0"):
                    async with await trio.open_tcp_stream(name, 4_001) as stream:
                        await stream.send_all(bytes(300_000))
                        await stream.send_eof()
                        assert len(b"".join([chunk async for chunk in stream])) == 300_000
                nursery.cancel_scope.cancel()
        assert wire.sent == []

    run(main)


def test_a_dual_stack_socket_takes_both_families() -> None:
    async def main(wire: Wire) -> None:
        one, two = wire.host(1), wire.host(2)
        with on(two):
            both = trio.socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
        await both.bind(("::", 80))
        both.listen()
        for name, peer in (("10.0.0.2", "::ffff:10.0.0.1"), ("2001:db8::2", "2001:db8::1")):
            with on(one):
                stream = await trio.open_tcp_stream(name, 80)
            accepted, address = await both.accept()
            assert address[0] == accepted.getpeername()[0] == peer
            await stream.aclose()
        with on(one):
            udp = trio.socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        assert await udp.sendto(b"?", ("::ffff:10.0.0.2", 7)) == 1
        assert wire.sent[-1].destination == ("10.0.0.2", 7)
        udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        errors = await fails_with(lambda: udp.sendto(b"?", ("::ffff:10.0.0.2", 7)))
        assert errors == errno.ENETUNREACH

    run(main)


def test_connecting_fails_as_it_does_on_linux() -> None:
    async def main(wire: Wire) -> None:
        host = wire.host(1)
        wire.host(2)

        async def connect(to: str, port: int = 9) -> tuple[int | None, float]:
            with on(host):
                stream = trio.socket.socket()
            began_s = trio.current_time()
            error = await fails_with(lambda: stream.connect((to, port)))
            return error, round(trio.current_time() - began_s)

        assert await connect("10.0.0.2") == (errno.ECONNREFUSED, 0)
        assert await connect("127.0.0.1") == (errno.ECONNREFUSED, 0)
        assert await connect("10.0.0.77") == (errno.ETIMEDOUT, 127)
        host.unplug()
        assert await connect("10.0.0.2") == (errno.ENETUNREACH, 0)

    run(main)


def test_names_are_those_of_the_host() -> None:
    async def main(wire: Wire) -> None:
        host = wire.host(1)
        with on(host):
            found = await trio.socket.getaddrinfo("two.example", 80, type=socket.SOCK_STREAM)
            assert [entry[4][0] for entry in found] == ["10.0.0.2", "2001:db8::2"]
            only = await trio.socket.getaddrinfo("TWO.example.", 80, socket.AF_INET6)
            assert {entry[4][0] for entry in only} == {"2001:db8::2"}
            assert await trio.socket.getnameinfo(("10.0.0.2", 80), 0) == ("two.example", "80")
            with pytest.raises(socket.gaierror, match="not known"):
                await trio.socket.getaddrinfo("nobody.example", 80)
            host.unplug()
            with pytest.raises(socket.gaierror, match="Temporary"):
                await trio.socket.getaddrinfo("two.example", 80)

    run(main)


# Closing, cancelling, fairness


@pytest.mark.parametrize("waits", ["recv", "accept", "send", "connect", "recvfrom", "unix"])
def test_closing_wakes_who_waits(waits: str, tmp_path: Path) -> None:
    async def main(wire: Wire) -> None:
        one, two = wire.host(1), wire.host(2)
        with on(two):
            listeners = await trio.open_tcp_listeners(80)
        with on(one):
            stream = (await trio.open_tcp_stream("10.0.0.2", 80)).socket
            udp = trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            fresh = trio.socket.socket()
            unix = trio.socket.socket(socket.AF_UNIX)
        await udp.bind(("0.0.0.0", 0))
        await unix.bind(str(tmp_path / "socket"))
        unix.listen()

        async def send_for_ever() -> None:
            while True:
                await stream.send(bytes(65_536))

        calls: dict[str, tuple[trio.socket.SocketType, Callable[[], Awaitable[Any]]]] = {
            "recv": (stream, lambda: stream.recv(1)),
            "accept": (listeners[1].socket, listeners[1].socket.accept),
            "send": (stream, send_for_ever),
            "connect": (fresh, lambda: fresh.connect(("10.0.0.77", 80))),
            "recvfrom": (udp, lambda: udp.recvfrom(1)),
            "unix": (unix, unix.accept),
        }
        waited_on, call = calls[waits]
        async with trio.open_nursery() as nursery:

            async def close() -> None:
                await trio.sleep(5)
                waited_on.close()

            nursery.start_soon(close)
            with pytest.raises(trio.ClosedResourceError):
                await call()
        assert waited_on.fileno() == -1
        assert await fails_with(call) == errno.EBADF
        unix.close()

    run(main)


@pytest.mark.parametrize("closes", [True, False])
def test_a_stream_translates_errors_of_closed_sockets(closes: bool) -> None:
    async def main(wire: Wire) -> None:
        one, two = wire.host(1), wire.host(2)
        with on(two):
            listener = (await trio.open_tcp_listeners(80))[0]
        with on(one):
            stream = await trio.open_tcp_stream("10.0.0.2", 80)
        accepted = await listener.accept()
        if closes:
            await stream.aclose()
            expected: type[Exception] = trio.ClosedResourceError
        else:
            # Closed with something unread: a reset.
            await stream.send_all(b"unread")
            await trio.sleep(1)
            await accepted.aclose()
            await trio.sleep(1)
            expected = trio.BrokenResourceError
        with pytest.raises(expected):
            await stream.receive_some()
        with pytest.raises(expected):
            await stream.send_all(b"?")

    run(main)


def test_a_cancelled_call_takes_nothing() -> None:
    async def main(wire: Wire) -> None:
        one, two = wire.host(1), wire.host(2)
        with on(two):
            listener = (await trio.open_tcp_listeners(80))[0]
        with on(one):
            stream = await trio.open_tcp_stream("10.0.0.2", 80)
        accepted = await listener.accept()
        with trio.move_on_after(1) as scope:
            await accepted.receive_some()
        assert scope.cancelled_caught
        await stream.send_all(b"kept")
        await trio.sleep(1)
        with trio.CancelScope() as scope:
            scope.cancel()
            await accepted.receive_some()
        assert scope.cancelled_caught
        assert await accepted.receive_some() == b"kept"
        with on(one):
            fresh = trio.socket.socket()
        with trio.move_on_after(1):
            await fresh.connect(("10.0.0.77", 80))
        assert fresh.fileno() == -1

    run(main)


def test_a_busy_socket_lets_others_run() -> None:
    async def main(wire: Wire) -> None:
        host = wire.host(1)
        with on(host):
            udp = trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        ran = trio.Event()

        async def run_once() -> None:
            ran.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_once)
            for _ in range(1_000):
                await udp.sendto(b"?", ("10.0.0.2", 7))
                if ran.is_set():
                    return
        raise AssertionError("the other task never ran")

    run(main)


# UDP


def test_packet_info_says_where_it_came_and_where_it_leaves() -> None:
    async def main(wire: Wire) -> None:
        one, two = wire.host(1), wire.host(2)
        one.unplug()
        wire.plug(one, "10.0.0.1/24", "10.0.0.3/24", "2001:db8::1/64", "2001:db8::3/64")
        with on(two):
            remote = trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            remote6 = trio.socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        with on(one):
            udp = trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            udp6 = trio.socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        udp.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        await udp.bind(("0.0.0.0", 53))
        udp6.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        udp6.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        await udp6.bind(("::", 53))
        await remote.sendto(b"to the second", ("10.0.0.3", 53))
        data, ancillary, _, source = await udp.recvmsg(100, 100)
        local = socket.inet_aton("10.0.0.3")
        info = struct.pack("=I4s4s", 2, local, local)
        assert (data, ancillary) == (b"to the second", [(socket.IPPROTO_IP, IP_PKTINFO, info)])
        answer_info = struct.pack("=I4s4s", 0, local, bytes(4))
        await udp.sendmsg([b"an ", b"answer"], [(0, IP_PKTINFO, answer_info)], 0, source)
        assert await remote.recvfrom(100) == (b"an answer", ("10.0.0.3", 53))

        await remote6.sendto(b"to the second", ("2001:db8:0::3", 53))
        data, ancillary, _, source = await udp6.recvmsg(100, 100)
        packed = socket.inet_pton(socket.AF_INET6, "2001:db8::3")
        assert ancillary == [
            (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, struct.pack("=16sI", packed, 2))
        ]
        await udp6.sendmsg([b"answer"], ancillary, 0, source)
        assert await remote6.recvfrom(100) == (b"answer", ("2001:db8::3", 53, 0, 0))

        foreign = struct.pack("=I4s4s", 0, socket.inet_aton("10.0.0.99"), bytes(4))
        sent = udp.sendmsg([b"?"], [(0, IP_PKTINFO, foreign)], 0, ("10.0.0.2", 7))
        with pytest.raises(OSError, match="Invalid argument"):
            await sent

    run(main)


def test_datagrams_are_cut_and_too_large_ones_refused() -> None:
    async def main(wire: Wire) -> None:
        one, two = wire.host(1), wire.host(2)
        with on(one):
            sender = trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with on(two):
            receiver = trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        await receiver.bind(("10.0.0.2", 7))
        for _ in range(3):
            await sender.sendto(bytes(1_472), ("10.0.0.2", 7))
        data, ancillary, flags, _ = await receiver.recvmsg(1_000)
        assert (len(data), ancillary, flags) == (1_000, [], socket.MSG_TRUNC)
        assert len((await receiver.recvfrom(1_000))[0]) == 1_000
        buffer = bytearray(2_000)
        assert (await receiver.recvfrom_into(buffer))[0] == 1_472
        with pytest.raises(OSError, match="too long"):
            await sender.sendto(bytes(1_473), ("10.0.0.2", 7))

    run(main)


def test_a_full_receive_buffer_drops() -> None:
    async def main(wire: Wire) -> None:
        one, two = wire.host(1), wire.host(2)
        with on(one):
            sender = trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with on(two):
            receiver = trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 5_000)
        assert receiver.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 10_000
        await receiver.bind(("10.0.0.2", 7))
        for number in range(20):
            await sender.sendto(bytes([number]) * 1_000, ("10.0.0.2", 7))
        await trio.sleep(1)
        received = []
        while receiver.is_readable():
            received.append((await receiver.recvfrom(1_000))[0][0])
        assert received == list(range(6))
        assert two.dropped["a full UDP receive buffer"] == 14
        await sender.sendto(b"again", ("10.0.0.2", 7))
        assert (await receiver.recvfrom(100))[0] == b"again"

    run(main)


def test_a_connected_socket_takes_from_its_peer_alone() -> None:
    async def main(wire: Wire) -> None:
        one, two, three = wire.host(1), wire.host(2), wire.host(3)
        sockets = []
        for host in (one, two, three):
            with on(host):
                sockets.append(trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        connected, peer, other = sockets
        await peer.bind(("0.0.0.0", 7))
        await connected.connect(("10.0.0.2", 7))
        assert connected.getpeername() == ("10.0.0.2", 7)
        local = connected.getsockname()
        assert local[0] == "10.0.0.1"
        await connected.send(b"hello")
        assert await peer.recvfrom(10) == (b"hello", local)
        await other.sendto(b"not for you", local)
        await peer.sendto(b"for you", local)
        await trio.sleep(1)
        assert await connected.recv(100) == b"for you" and not connected.is_readable()

    run(main)


# Ports


def test_ports_are_taken_or_shared_as_on_linux() -> None:
    async def main(wire: Wire) -> None:
        host = wire.host(1)

        async def bind(kind: int, address: str, *options: int, listens: bool = False) -> int | None:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            with on(host):
                bound = trio.socket.socket(family, kind)
            if family == socket.AF_INET6:
                bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, address == "::")
            for option in options:
                bound.setsockopt(socket.SOL_SOCKET, option, 1)
            error = await fails_with(lambda: bound.bind((address, 80)))
            if listens and error is None:
                bound.listen()
            return error

        udp, tcp = socket.SOCK_DGRAM, socket.SOCK_STREAM
        assert await bind(udp, "10.0.0.1") is None
        assert await bind(udp, "10.0.0.1") == errno.EADDRINUSE
        assert await bind(udp, "0.0.0.0", socket.SO_REUSEADDR) == errno.EADDRINUSE
        assert await bind(udp, "127.0.0.1") is None
        assert await bind(udp, "::") is None
        assert await bind(udp, "10.0.0.9") == errno.EADDRNOTAVAIL
        both = (socket.SO_REUSEADDR, socket.SO_REUSEPORT)
        assert await bind(tcp, "0.0.0.0", *both, listens=True) is None
        assert await bind(tcp, "0.0.0.0", *both, listens=True) is None
        assert await bind(tcp, "0.0.0.0", socket.SO_REUSEADDR) == errno.EADDRINUSE
        assert await bind(tcp, "::", socket.SO_REUSEADDR) is None

    run(main)


def test_a_dual_stack_wildcard_is_in_the_way_of_ipv4() -> None:
    async def main(wire: Wire) -> None:
        host = wire.host(1)
        with on(host):
            both = trio.socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
            four = trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        await both.bind(("::", 53))
        assert await fails_with(lambda: four.bind(("0.0.0.0", 53))) == errno.EADDRINUSE
        both.close()
        assert await fails_with(lambda: four.bind(("0.0.0.0", 53))) is None

    run(main)


def test_port_0_is_another_free_one_each_time() -> None:
    async def main(wire: Wire) -> set[int]:
        host = wire.host(1)
        ports = set()
        for _ in range(200):
            with on(host):
                udp = trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            await udp.bind(("0.0.0.0", 0))
            ports.add(udp.getsockname()[1])
        return ports

    ports = run(main)
    assert len(ports) == 200 and min(ports) >= 32_768
    assert run(main) == ports


def test_what_is_not_simulated_is_refused_loudly() -> None:
    async def main(wire: Wire) -> None:
        host = wire.host(1)
        factory = SimulatedSocketFactory()
        with pytest.raises(RuntimeError, match="current_host"):
            factory.socket()
        with on(host):
            with pytest.raises(OSError, match="not supported"):
                factory.socket(socket.AF_NETLINK, socket.SOCK_RAW)
            with pytest.raises(OSError, match="not supported"):
                factory.socket(socket.AF_INET, socket.SOCK_RAW)
            made = factory.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        assert made.type == socket.SOCK_STREAM
        with pytest.raises(OSError, match="Protocol not available"):
            made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    run(main)


# Unix sockets


def test_the_control_socket_runs_over_simulated_unix_sockets(tmp_path: Path) -> None:
    path = tmp_path / "control"

    async def main(wire: Wire) -> None:
        host, other = wire.host(1), wire.host(2)
        events = EventStream()
        with on(host):
            async with bind_control(path) as listener, trio.open_nursery() as nursery:
                assert path.is_socket() and path.stat().st_mode & 0o777 == 0o600
                status = {"peers": "x" * 500_000}
                verbs = {"status": Verb(lambda: status)}
                nursery.start_soon(serve_control, listener, verbs, events)
                assert await request_async(path, "status") == {"version": 1, **status}
                with pytest.raises(DeviceRejectedError, match="is running there"):
                    async with bind_control(path):
                        pass
                await trio.sleep(1)  # the refused one's probe is told of, too
                async with open_events(path) as reader:
                    await trio.sleep(1)
                    events.emit(Dropped(room="test", reason="told"))
                    assert (await anext(reader))["reason"] == "told"
                with on(other), pytest.raises(ConnectionRefusedError):
                    await trio.open_unix_socket(path)
                nursery.cancel_scope.cancel()
        assert not path.exists()
        with on(host), pytest.raises(FileNotFoundError):
            await request_async(path, "status")

    run(main)


def test_a_crash_leaves_a_path_that_nobody_answers_at(tmp_path: Path) -> None:
    path = tmp_path / "control"

    async def main(wire: Wire) -> None:
        host = wire.host(1)
        with on(host):
            async with bind_control(path):
                host.crash()
                assert path.is_socket()
                with pytest.raises(ConnectionRefusedError):
                    await trio.open_unix_socket(path)
                async with bind_control(path) as listener:
                    stream = await trio.open_unix_socket(path)
                    accepted = await listener.accept()
                    await stream.send_all(b"anew")
                    assert await accepted.receive_some() == b"anew"

    run(main)


def test_a_unix_stream_holds_a_writer_back_and_ends(tmp_path: Path) -> None:
    path = tmp_path / "socket"

    async def main(wire: Wire) -> None:
        host = wire.host(1)
        with on(host):
            listening = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            await listening.bind(os.fspath(path))
            listening.listen()
            stream = await trio.open_unix_socket(path)
            accepted = await trio.SocketListener(listening).accept()
        with trio.move_on_after(10) as scope:
            await stream.send_all(bytes(10_000_000))
        assert scope.cancelled_caught
        received = 0
        with trio.move_on_after(1):
            while True:
                received += len(await accepted.receive_some())
        assert 0 < received < 1_000_000
        await accepted.send_all(b"last words")
        await accepted.aclose()
        assert await stream.receive_some() == b"last words"
        assert await stream.receive_some() == b""
        with pytest.raises(trio.BrokenResourceError):
            await stream.send_all(b"?")
        listening.close()

    run(main)


# libp2p


def test_libp2p_runs_unmodified() -> None:
    async def main(wire: Wire) -> float:
        one, two = wire.host(1), wire.host(2)
        keys = create_new_key_pair(bytes([1] * 32)), create_new_key_pair(bytes([2] * 32))
        with on(two):
            server = new_host(key_pair=keys[1])

            async def serve(stream: Any) -> None:
                while data := await stream.read(5):
                    await stream.write(data[::-1])

            server.set_stream_handler("/backwards/1", serve)
        async with trio.open_nursery() as nursery:

            async def run_server(
                task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
            ) -> None:
                async with server.run([Multiaddr("/ip4/10.0.0.2/tcp/4001")]):
                    task_status.started()
                    await trio.sleep_forever()

            with on(two):
                await nursery.start(run_server)
            with on(one):
                client = new_host(key_pair=keys[0])
                async with client.run([Multiaddr("/ip4/10.0.0.1/tcp/4001")]):
                    address = Multiaddr("/ip4/10.0.0.2/tcp/4001")
                    began_s = trio.current_time()
                    await client.connect(PeerInfo(server.get_id(), [address]))
                    stream = await client.new_stream(server.get_id(), ["/backwards/1"])
                    took_s = trio.current_time() - began_s
                    for number in range(100):
                        await stream.write(b"%05d" % number)
                        assert await stream.read(5) == (b"%05d" % number)[::-1]
                    await stream.close()
            nursery.cancel_scope.cancel()
        return took_s

    assert run(main) < 1
