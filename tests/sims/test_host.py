"""Interfaces, routes, addresses that change, machines that sleep or crash."""

import ipaddress
import socket

import pytest
import trio

from sims.internet.packet import TcpFlags
from sims.stack.host import NETWORK_CHANGE_DEBOUNCE_S, Host
from tests.sims.wire import Wire, on, run
from wice.platform import LinkConfig


async def open_udp(host: Host, address: str = "0.0.0.0", port: int = 0) -> trio.socket.SocketType:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with on(host):
        udp = trio.socket.socket(family, socket.SOCK_DGRAM)
    await udp.bind((address, port))
    return udp


async def arrives(
    sender: trio.socket.SocketType, receiver: trio.socket.SocketType, to: str
) -> bool:
    await sender.sendto(b"?", (to, receiver.getsockname()[1]))
    with trio.move_on_after(1):
        await receiver.recvfrom(10)
        return True
    return False


def test_interfaces_say_what_is_plugged_in() -> None:
    async def main(wire: Wire) -> None:
        host = wire.host(1)
        loopback, ethernet = host.interfaces()
        assert (loopback.name, loopback.is_loopback, ethernet.is_loopback) == ("lo", True, False)
        assert list(map(str, ethernet.addresses)) == ["10.0.0.1/24", "2001:db8::1/64"]
        host.open_tun("wg0")
        before = [one.index for one in host.interfaces()]
        assert len(set(before)) == 3
        host.unplug()
        ethernet = host.interfaces()[1]
        assert (ethernet.is_up, ethernet.addresses) == (False, ())

    run(main)


def test_changes_are_told_once_for_a_burst() -> None:
    async def main(wire: Wire) -> None:
        host = wire.host(1)
        async with host.watch_network() as changes:
            host.unplug()
            plug = wire.plug(host, "10.0.0.9/24")
            plug.change("10.0.0.10/24")
            began_s = trio.current_time()
            await changes.receive()
            assert trio.current_time() - began_s == pytest.approx(NETWORK_CHANGE_DEBOUNCE_S)
            with trio.move_on_after(10) as scope:
                await changes.receive()
            assert scope.cancelled_caught
            host.open_tun("wg0")
            await changes.receive()
        host.unplug()
        await trio.sleep(1)

    run(main)


def test_a_socket_of_an_address_that_is_gone_reaches_nothing() -> None:
    async def main(wire: Wire) -> None:
        one, two = wire.host(1), wire.host(2)
        bound, free = await open_udp(one, "10.0.0.1", 5), await open_udp(one, port=6)
        other = await open_udp(two, port=7)
        assert await arrives(bound, other, "10.0.0.2") and await arrives(free, other, "10.0.0.2")
        assert await arrives(other, bound, "10.0.0.1")
        one.unplug()
        with pytest.raises(OSError, match="unreachable"):
            await free.sendto(b"?", ("10.0.0.2", 7))
        wire.plug(one, "10.0.0.11/24")
        with pytest.raises(OSError, match="Invalid argument"):
            await bound.sendto(b"?", ("10.0.0.2", 7))
        assert await arrives(free, other, "10.0.0.2")
        assert await arrives(other, free, "10.0.0.11")
        assert not await arrives(other, bound, "10.0.0.1")
        assert bound.getsockname() == ("10.0.0.1", 5)

    run(main)


def test_the_longest_prefix_wins_and_gives_the_source() -> None:
    async def main(wire: Wire) -> None:
        host = wire.host(1)
        host.open_tun("wg0")
        addresses = (ipaddress.ip_interface("10.9.0.1/24"),)
        routes = (ipaddress.ip_network("10.0.0.128/25"), ipaddress.ip_network("203.0.113.0/24"))
        host.configure_link("wg0", LinkConfig(addresses, routes, 1_420))
        expected = {
            "10.0.0.2": ("eth0", "10.0.0.1"),
            "10.0.0.200": ("wg0", "10.9.0.1"),
            "10.9.0.2": ("wg0", "10.9.0.1"),
            "10.9.0.1": ("lo", "10.9.0.1"),
            "10.0.0.1": ("lo", "10.0.0.1"),
            "127.0.0.5": ("lo", "127.0.0.5"),
            "203.0.113.9": ("wg0", "10.9.0.1"),
            "198.51.100.1": ("eth0", "10.0.0.1"),
            "2001:db8::2": ("eth0", "2001:db8::1"),
        }
        for destination, route in expected.items():
            found = host.route_to(destination)
            assert found is not None and (found.interface.name, found.source) == route
        for nowhere in ("255.255.255.255", "224.0.0.1", "ff02::1"):
            assert host.route_to(nowhere) is None
        host.unplug()
        assert host.route_to("10.0.0.2") is None and host.route_to("2001:db8::2") is None

    run(main)


def test_a_host_without_an_address_of_a_family_has_no_route_there() -> None:
    async def main(wire: Wire) -> None:
        host = wire.host(1)
        host.unplug()
        wire.plug(host, "10.0.0.1/24")
        udp = await open_udp(host, "::")
        with pytest.raises(OSError, match="unreachable"):
            await udp.sendto(b"?", ("2001:db8::2", 7))

    run(main)


def test_a_machine_asleep_neither_sends_nor_receives_nor_gives_up() -> None:
    async def main(wire: Wire) -> None:
        one, two = wire.host(1), wire.host(2)
        received = bytearray()

        async def take(stream: trio.SocketStream) -> None:
            async for chunk in stream:
                received.extend(chunk)

        async with trio.open_nursery() as nursery:
            with on(two):
                await nursery.start(trio.serve_tcp, take, 80)
            with on(one):
                stream = await trio.open_tcp_stream("10.0.0.2", 80)
            await trio.sleep(1)
            two.is_frozen = True
            await stream.send_all(b"to one who sleeps")
            await trio.sleep(1)
            two.is_frozen, one.is_frozen = False, True
            count = len(wire.sent)
            await trio.sleep(10_000)
            assert received == b"" and len(wire.sent) == count
            one.is_frozen = False
            await trio.sleep(1)
            assert received == b"to one who sleeps"
            nursery.cancel_scope.cancel()

    run(main, limit_s=20_000)


def test_a_crash_is_silent_and_what_comes_later_is_refused() -> None:
    async def main(wire: Wire) -> None:
        one, two = wire.host(1), wire.host(2)
        heard: list[str] = []

        async def wait(stream: trio.SocketStream) -> None:
            try:
                await stream.receive_some()
            except trio.ClosedResourceError:
                heard.append("closed")
            finally:
                await stream.aclose()

        async with trio.open_nursery() as nursery:
            with on(two):
                await nursery.start(trio.serve_tcp, wait, 80)
                udp = await open_udp(two, port=81)
                two.open_tun("wg0")
            with on(one):
                stream = await trio.open_tcp_stream("10.0.0.2", 80)
            await trio.sleep(1)
            count = len(wire.sent)
            two.crash()
            await trio.sleep(1_000)
            assert heard == [] and len(wire.sent) == count
            assert [interface.name for interface in two.interfaces()] == ["lo", "eth0"]
            with pytest.raises(OSError, match="Bad file descriptor"):
                await udp.sendto(b"?", ("10.0.0.1", 7))
            await stream.send_all(b"are you there?")
            with pytest.raises(trio.BrokenResourceError):
                await stream.receive_some()
            header = wire.sent[-1].tcp
            assert header is not None and header.flags & TcpFlags.RST
            nursery.cancel_scope.cancel()
        await open_udp(two, port=81)

    run(main)


def test_a_host_opens_so_many_sockets_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sims.stack.host.OPEN_SOCKETS_MAX", 2)

    async def main(wire: Wire) -> None:
        host = wire.host(1)
        first = await open_udp(host)
        await open_udp(host)
        with pytest.raises(OSError, match="Too many open files"):
            await open_udp(host)
        first.close()
        await open_udp(host)

    run(main)
