"""The embedded device on loopback, with tunnels that end in memory instead of in the kernel."""

import errno
import ipaddress
import os
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path as FilePath

import pytest
import trio
import trio.testing

from tests.wireguard.conftest import A_INSIDE, B_INSIDE, ipv4_packet
from wice.datagram import Endpoint, Path
from wice.errors import DeviceRejectedError
from wice.events import Dropped, EventStream
from wice.keys import PrivateKey
from wice.platform import LinkConfig, NetworkInterface
from wice.wireguard import messages
from wice.wireguard import port as port_module
from wice.wireguard.conformance import (
    CHECKS,
    ROAMING_CHECKS,
    Check,
    DeviceUnderTest,
    check_device,
    run_check,
)
from wice.wireguard.device import DeviceConfig, PeerConfig
from wice.wireguard.embedded import EmbeddedDevice, open_embedded
from wice.wireguard.port import RECEIVED_DATAGRAMS_MAX, SENDING_DATAGRAMS_MAX, open_port

HEADER_SIZE_BYTES = 20
TIMEOUT_S = 30.0


class MemoryTun:
    """A tunnel interface whose host is the test."""

    index = 1_000_000

    def __init__(self, name: str) -> None:
        self.name = name
        self.from_host, self._to_read = trio.open_memory_channel[bytes](64)
        self._written, self.to_host = trio.open_memory_channel[bytes](64)

    async def read(self) -> bytes:
        """As a real one: what is there comes at once, in batches."""
        try:
            return self._to_read.receive_nowait()
        except trio.WouldBlock:
            return await self._to_read.receive()

    def write(self, packet: bytes) -> None:
        self._written.send_nowait(packet)

    def close(self) -> None:
        self._to_read.close()


class MemoryPlatform:
    """As much of a host as a device asks for."""

    def __init__(self) -> None:
        self.tuns: dict[str, MemoryTun] = {}

    def wall_time(self) -> float:
        return 1_700_000_000.0 + trio.current_time()

    def random_bytes(self, size_bytes: int) -> bytes:
        return os.urandom(size_bytes)

    def state_directory(self, path: FilePath) -> FilePath:
        return path

    def interfaces(self) -> Sequence[NetworkInterface]:
        return ()

    def watch_network(
        self,
    ) -> AbstractAsyncContextManager[trio.MemoryReceiveChannel[None]]:
        raise NotImplementedError

    def open_tun(self, name: str) -> MemoryTun:
        self.tuns[name] = MemoryTun(name)
        return self.tuns[name]

    def configure_link(self, name: str, config: LinkConfig) -> None:
        raise NotImplementedError


class MemoryInside:
    def __init__(self, tun: MemoryTun, ours: str, theirs: str) -> None:
        self._tun, self._ours, self._theirs = tun, ours, theirs

    async def send(self, payload: bytes) -> None:
        """Without a scheduler pass where the tunnel interface has room, as a kernel has none."""
        packet = ipv4_packet(self._ours, self._theirs, payload)
        try:
            self._tun.from_host.send_nowait(packet)
        except trio.WouldBlock:
            await self._tun.from_host.send(packet)

    async def receive(self) -> bytes:
        return (await self._tun.to_host.receive())[HEADER_SIZE_BYTES:]


@asynccontextmanager
async def open_one(
    addresses: tuple[str, ...], ours: str, theirs: str
) -> AsyncIterator[DeviceUnderTest]:
    platform, private_key = MemoryPlatform(), PrivateKey(os.urandom(32))
    async with open_embedded("wg0", DeviceConfig(private_key), platform, EventStream()) as device:
        yield DeviceUnderTest(
            device,
            private_key.public_key(),
            addresses,
            (ipaddress.ip_network(f"{ours}/32"),),
            MemoryInside(platform.tuns["wg0"], ours, theirs),
        )


@asynccontextmanager
async def open_ipv4_pair() -> AsyncIterator[tuple[DeviceUnderTest, DeviceUnderTest]]:
    async with (
        open_one(("127.0.0.11", "127.0.0.12"), A_INSIDE, B_INSIDE) as left,
        open_one(("127.0.0.21", "127.0.0.22"), B_INSIDE, A_INSIDE) as right,
    ):
        yield left, right


@asynccontextmanager
async def open_ipv6_pair() -> AsyncIterator[tuple[DeviceUnderTest, DeviceUnderTest]]:
    async with (
        open_one(("::1",), A_INSIDE, B_INSIDE) as left,
        open_one(("::1",), B_INSIDE, A_INSIDE) as right,
    ):
        yield left, right


@pytest.mark.parametrize("check", CHECKS + ROAMING_CHECKS, ids=lambda check: check.__name__)
async def test_conformance(check: Check) -> None:
    await run_check(check, open_ipv4_pair)


async def test_conformance_over_ipv6() -> None:
    if not FilePath("/proc/sys/net/ipv6").exists():
        pytest.skip("needs IPv6")
    await check_device(open_ipv6_pair)


@asynccontextmanager
async def open_device(
    events: EventStream | None = None, listen_port: int = 0
) -> AsyncIterator[tuple[EmbeddedDevice, MemoryTun]]:
    platform = MemoryPlatform()
    config = DeviceConfig(PrivateKey(os.urandom(32)), listen_port)
    async with open_embedded("wg0", config, platform, events or EventStream()) as device:
        yield device, platform.tuns["wg0"]


async def test_both_families_share_one_port_number() -> None:
    async with open_device() as (device, _):
        assert 0 < device.port.port < 65_536
        for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            with trio.socket.socket(family, socket.SOCK_DGRAM) as other:
                await other.sendto(b"hello", (host, device.port.port))
                with trio.fail_after(TIMEOUT_S):
                    received = await device.port.receive()
                assert received.data == b"hello" and received.destination == host


async def test_a_port_in_use_says_so_and_leaves_nothing_open() -> None:
    async with open_device() as (device, _):
        for _ in range(2):
            with pytest.raises(DeviceRejectedError, match=r"^wg0: UDP port \d+ is in use; choose"):
                async with open_device(listen_port=device.port.port):
                    pass


async def test_a_port_taken_for_ipv6_alone_is_in_use_too() -> None:
    with trio.socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as other:
        other.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        await other.bind(("::", 0))
        with pytest.raises(DeviceRejectedError, match="in use"):
            await open_port("wg0", other.getsockname()[1])


async def test_a_host_without_ipv6_has_a_port_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make = trio.socket.socket

    def only_ipv4(family: int, kind: int) -> trio.socket.SocketType:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "no IPv6 here")
        return make(family, kind)

    monkeypatch.setattr(port_module.trio.socket, "socket", only_ipv4)
    port = await open_port("wg0", 0)
    port.transmit(b"x", Path(Endpoint("::1", 9)))
    assert port.dropped == {"EAFNOSUPPORT": 1}
    port.close()


async def test_a_datagram_the_host_cannot_send_is_dropped_and_counted() -> None:
    async with open_device() as (device, _):
        for path in (
            Path(Endpoint("127.0.0.1", 9), "198.51.100.77"),
            Path(Endpoint("::1", 9), "2001:db8::77"),
            Path(Endpoint("fe80::1%no-such", 9)),
        ):
            device.port.send(b"hello", path)
        while sum(device.port.dropped.values()) < 3:
            await trio.lowlevel.checkpoint()
        # The port still works.
        device.port.send(b"to ourselves", Path(Endpoint("127.0.0.1", device.port.port)))
        with trio.fail_after(TIMEOUT_S):
            assert (await device.port.receive()).data == b"to ourselves"


async def test_nothing_is_taken_that_came_through_a_tunnel() -> None:
    """Routes through a tunnel may cover a peer's own address: the tunnel must not run in itself."""
    async with open_device() as (device, _):
        device.port.refused_interfaces = {socket.if_nametoindex("lo")}
        for host in ("127.0.0.1", "::1"):
            device.port.send(b"hello", Path(Endpoint(host, device.port.port)))
        while device.port.dropped["a datagram that came through a tunnel"] < 2:
            await trio.lowlevel.checkpoint()
        device.port.refused_interfaces = set()
        device.port.send(b"hello again", Path(Endpoint("127.0.0.1", device.port.port)))
        with trio.fail_after(TIMEOUT_S):
            assert (await device.port.receive()).data == b"hello again"


async def test_the_source_address_is_the_one_asked_for() -> None:
    async with open_device() as (device, _):
        for source in ("127.0.0.5", "127.0.0.6"):
            path = Path(Endpoint("127.0.0.9", device.port.port), source)
            device.port.send(b"hello", path)
            with trio.fail_after(TIMEOUT_S):
                received = await device.port.receive()
            assert received.source == Endpoint(source, device.port.port)
            assert received.destination == "127.0.0.9"


async def test_waiting_datagrams_are_bounded_and_the_oldest_go() -> None:
    async with open_device() as (device, _):
        with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            total = RECEIVED_DATAGRAMS_MAX + 5
            for number in range(total):
                await other.sendto(b"%d" % number, ("127.0.0.1", device.port.port))
            while device.port.dropped["a full queue of received datagrams"] < 5:
                await trio.lowlevel.checkpoint()
            assert (await device.port.receive()).data == b"5"


async def test_a_flood_from_the_host_waits_in_the_tun_and_is_not_dropped() -> None:
    with trio.fail_after(TIMEOUT_S):
        async with open_ipv4_pair() as (left, right):
            left.add_peer(right)
            right.add_peer(left)
            left.device.set_path(right.public_key, left.path_to(right))
            await left.inside.send(b"first")
            await right.inside.receive()
            total = 3 * SENDING_DATAGRAMS_MAX

            async def flood() -> None:
                for number in range(total):
                    await left.inside.send(b"%d" % number)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(flood)
                for number in range(total):
                    assert await right.inside.receive() == b"%d" % number
            assert left.device.port.dropped == {}


async def test_refused_wireguard_messages_are_counted_and_end_nothing() -> None:
    events = EventStream()
    async with open_device(events) as (device, _):
        to_ourselves = Path(Endpoint("127.0.0.1", device.port.port))
        with events.subscribe() as stream, trio.fail_after(TIMEOUT_S):
            for message in (b"\x04\0\0\0" + bytes(28), b"\x01\0\0\0", b"\x01\0\0\0" + bytes(144)):
                device.port.transmit(message, to_ourselves)
            reasons = []
            async for event in stream:
                assert isinstance(event, Dropped) and event.room == "wireguard"
                reasons.append(event.reason)
                if len(reasons) == 3:
                    break
        assert reasons == [
            "a message of no session of ours",
            "a message of the wrong size",
            "a handshake message with a wrong mac1",
        ]
        assert events.counts["Dropped.wireguard"] == 3


async def test_ice_cannot_send_what_looks_like_wireguard() -> None:
    async with open_device() as (device, _):
        with pytest.raises(AssertionError):
            device.port.send(b"\x04\0\0\0", Path(Endpoint("127.0.0.1", 9)))


async def test_closing_ends_a_waiting_receive() -> None:
    async with trio.open_nursery() as nursery, open_device() as (device, _):

        async def receive() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await device.port.receive()

        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()


async def test_timers_run(autojump_clock: trio.testing.MockClock) -> None:
    """Nobody answers: the initiations go on by themselves, and end after the attempt time."""
    sent: list[bytes] = []

    def record(data: bytes, path: Path) -> None:
        sent.append(data)

    async with open_device() as (device, tun):
        device.port.transmit = record  # type: ignore[method-assign]
        public_key = PrivateKey(os.urandom(32)).public_key()
        network = ipaddress.ip_network(f"{B_INSIDE}/32")
        device.set_peer(PeerConfig(public_key, (network,)))
        device.set_path(public_key, Path(Endpoint("127.0.0.1", 9)))
        await tun.from_host.send(ipv4_packet(A_INSIDE, B_INSIDE))
        await trio.sleep(300)
    assert {data[0] for data in sent} == {messages.INITIATION}
    assert 16 <= len(sent) <= 19
