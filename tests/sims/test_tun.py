"""What goes into tunnels and comes out, without a device and with the embedded one."""

import ipaddress
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path as FilePath
from random import Random

import pytest
import trio

from sims.stack.host import Host
from sims.stack.icmp import Echo
from sims.stack.ip import IpPacket, decode_udp, encode_udp
from sims.stack.tun import QUEUE_PACKETS_MAX
from tests.sims.wire import Wire, on, run
from wice.datagram import Endpoint, Path
from wice.errors import DeviceNotFoundError, DeviceRejectedError
from wice.events import EventStream
from wice.keys import PrivateKey
from wice.platform import LinkConfig, NetworkInterface, Tun
from wice.wireguard.device import DeviceConfig, PeerConfig
from wice.wireguard.embedded import EmbeddedDevice, open_embedded

LINK = LinkConfig(
    (ipaddress.ip_interface("10.9.0.1/24"), ipaddress.ip_interface("fd00::1/64")),
    (ipaddress.ip_network("192.168.7.0/24"),),
    1_420,
)


def test_what_is_routed_into_a_tunnel_comes_out_as_bytes() -> None:
    async def main(wire: Wire) -> None:
        host = wire.host(1)
        tunnel = host.open_tun("wg0")
        host.configure_link("wg0", LINK)
        with on(host), trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            await udp.sendto(b"to a peer", ("10.9.0.2", 7))
            await udp.sendto(b"behind a peer", ("192.168.7.7", 8))
            port = udp.getsockname()[1]
        for payload, destination in (
            (b"to a peer", Endpoint("10.9.0.2", 7)),
            (b"behind a peer", Endpoint("192.168.7.7", 8)),
        ):
            packet = IpPacket.decode(await tunnel.read())
            assert decode_udp(packet) == (Endpoint("10.9.0.1", port), destination, payload)
        assert wire.sent == []

    run(main)


def test_what_comes_out_of_a_tunnel_names_its_interface() -> None:
    async def main(wire: Wire) -> None:
        host = wire.host(1)
        tunnel = host.open_tun("wg0")
        host.configure_link("wg0", LINK)
        with on(host), trio.socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as udp:
            udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            await udp.bind(("::", 53))
            packet = encode_udp(Endpoint("fd00::2", 9), Endpoint("fd00::1", 53), b"question")
            tunnel.write(packet)
            data, ancillary, _, source = await udp.recvmsg(100, 100)
            assert (data, source) == (b"question", ("fd00::2", 9, 0, 0))
            index = int.from_bytes(ancillary[0][2][16:20], "little")
            assert index == tunnel.index == host.interfaces()[-1].index

    run(main)


def test_requests_are_answered_and_told() -> None:
    async def main(wire: Wire) -> None:
        host = wire.host(1)
        requests: list[tuple[str, bytes]] = []
        host.on_echo_request = lambda *request: requests.append(request)
        tunnel = host.open_tun("wg0")
        request = Echo("10.9.0.2", "10.9.0.1", False, 5, 6, b"payload")
        tunnel.write(request.encode())  # not up yet
        host.configure_link("wg0", LINK)
        tunnel.write(request.encode())
        assert Echo.decode(IpPacket.decode(await tunnel.read())) == request.reply()
        assert requests == [("10.9.0.2", b"payload")]
        assert tunnel.dropped["the interface is down"] == 1

    run(main)


def test_what_is_not_for_this_host_is_not_forwarded() -> None:
    async def main(wire: Wire) -> None:
        host = wire.host(1)
        tunnel = host.open_tun("wg0")
        host.configure_link("wg0", LINK)
        for destination in ("10.9.0.3", "10.0.0.2", "127.0.0.1"):
            tunnel.write(Echo("10.9.0.2", destination, False, 1, 1, b"").encode())
        tunnel.write(b"garbage")
        assert sum(host.dropped.values()) == 4 and wire.sent == []

    run(main)


def test_a_ping_without_a_tunnel_is_nothing() -> None:
    async def main(wire: Wire) -> None:
        host = wire.host(1)
        host.ping("10.9.0.2", b"payload")
        host.ping("10.0.0.2", b"payload")
        await trio.sleep(1)
        assert wire.sent == []

    run(main)


def test_tcp_does_not_run_in_a_tunnel() -> None:
    async def main(wire: Wire) -> None:
        host = wire.host(1)
        host.open_tun("wg0")
        host.configure_link("wg0", LINK)
        with on(host), pytest.raises(OSError, match="all attempts"):
            await trio.open_tcp_stream("10.9.0.2", 80)

    run(main)


def test_the_queue_into_a_tunnel_is_bounded() -> None:
    async def main(wire: Wire) -> None:
        host = wire.host(1)
        tunnel = host.open_tun("wg0")
        host.configure_link("wg0", LINK)
        for _ in range(QUEUE_PACKETS_MAX + 3):
            host.ping("10.9.0.2", b"")
        assert tunnel.dropped["a full queue into the tunnel"] == 3
        host.ping("10.9.0.2", bytes(1_400))
        assert tunnel.dropped["larger than the MTU"] == 1

    run(main)


def test_a_closed_tunnel_is_gone_with_its_routes() -> None:
    async def main(wire: Wire) -> None:
        host = wire.host(1)
        tunnel = host.open_tun("wg0")
        host.configure_link("wg0", LINK)
        with pytest.raises(DeviceRejectedError, match="exists already"):
            host.open_tun("wg0")
        with pytest.raises(DeviceNotFoundError):
            host.configure_link("wg1", LINK)
        host.open_tun("wg1")
        with pytest.raises(DeviceRejectedError, match=r"192\.168\.7\.0/24"):
            host.configure_link("wg1", LINK)

        async def close() -> None:
            tunnel.close()

        async with trio.open_nursery() as nursery:
            with pytest.raises(trio.ClosedResourceError):
                nursery.start_soon(close)
                await tunnel.read()
        with pytest.raises(trio.ClosedResourceError):
            tunnel.write(b"")
        assert [one.name for one in host.interfaces()] == ["lo", "eth0", "wg1"]
        host.configure_link("wg1", LINK)

    run(main)


class HostPlatform:
    """A host as a ``wice.platform.Platform``."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._random = Random(host.name)

    def wall_time(self) -> float:
        return 1_700_000_000.0 + trio.current_time()

    def random_bytes(self, size_bytes: int) -> bytes:
        return self._random.randbytes(size_bytes)

    def state_directory(self, path: FilePath) -> FilePath:
        return path

    def interfaces(self) -> Sequence[NetworkInterface]:
        return self._host.interfaces()

    def watch_network(self) -> AbstractAsyncContextManager[trio.MemoryReceiveChannel[None]]:
        return self._host.watch_network()

    def open_tun(self, name: str) -> Tun:
        return self._host.open_tun(name)

    def configure_link(self, name: str, config: LinkConfig) -> None:
        self._host.configure_link(name, config)


@asynccontextmanager
async def device_on(host: Host, key: PrivateKey) -> AsyncIterator[EmbeddedDevice]:
    platform = HostPlatform(host)
    with on(host):
        opening = open_embedded("wg0", DeviceConfig(key), platform, EventStream())
        device = await opening.__aenter__()
    number = int(host.name.rpartition("-")[2])
    addresses = (
        ipaddress.ip_interface(f"10.9.0.{number}/24"),
        ipaddress.ip_interface(f"fd00::{number}/64"),
    )
    host.configure_link("wg0", LinkConfig(addresses, (), 1_420))
    try:
        yield device
    finally:
        with on(host):
            await opening.__aexit__(None, None, None)


@pytest.mark.parametrize(("outside", "inside"), [("10.0.0.", "fd00::"), ("2001:db8::", "10.9.0.")])
def test_the_embedded_device_carries_pings(outside: str, inside: str) -> None:
    async def main(wire: Wire) -> list[tuple[str, bytes, float]]:
        one, two = wire.host(1), wire.host(2)
        keys = PrivateKey(bytes([1] * 32)), PrivateKey(bytes([2] * 32))
        replies: list[tuple[str, bytes, float]] = []
        one.on_echo_reply = lambda source, payload: replies.append(
            (source, payload, trio.current_time())
        )
        async with device_on(one, keys[0]) as first, device_on(two, keys[1]) as second:
            for device, key, number, port in (
                (first, keys[1], 2, second.port.port),
                (second, keys[0], 1, first.port.port),
            ):
                public_key = key.public_key()
                allowed = (
                    ipaddress.ip_network(f"10.9.0.{number}/32"),
                    ipaddress.ip_network(f"fd00::{number}/128"),
                )
                device.set_peer(PeerConfig(public_key, allowed))
                device.set_path(public_key, Path(Endpoint(f"{outside}{number}", port)))
            began_s = trio.current_time()
            one.ping(f"{inside}2", b"first")
            await trio.sleep(0.5)
            one.ping(f"{inside}2", b"second")
            await trio.sleep(0.5)
            return [(source, payload, at_s - began_s) for source, payload, at_s in replies]

    replies = run(main)
    assert [reply[:2] for reply in replies] == [(f"{inside}2", b"first"), (f"{inside}2", b"second")]
    # A round trip of 20 ms for the handshake and one for the ping.
    assert replies[0][2] == pytest.approx(0.04)
    assert replies[1][2] == pytest.approx(0.52)
