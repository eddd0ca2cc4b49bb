"""LinuxPlatform against the kernel, in a network namespace of the test's own."""

import ctypes
import errno
import ipaddress
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from wice import linux
from wice.errors import (
    DeviceNotFoundError,
    DevicePermissionDeniedError,
    DeviceRejectedError,
)
from wice.linux import LinuxPlatform
from wice.platform import LinkConfig

CLONE_NEWNET = 0x40000000
TIMEOUT_S = 30.0


def interface(text: str) -> ipaddress.IPv4Interface | ipaddress.IPv6Interface:
    return ipaddress.ip_interface(text)


def network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    return ipaddress.ip_network(text)


def ip(*arguments: str) -> str:
    command = ["ip", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def own_network() -> Iterator[None]:
    """Move this thread into a new network namespace, and back."""
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    if libc.unshare(CLONE_NEWNET) != 0:
        os.close(before)
        pytest.skip(f"needs root for a network namespace: {os.strerror(ctypes.get_errno())}")
    try:
        ip("link", "set", "lo", "up")
        yield
    finally:
        assert libc.setns(before, CLONE_NEWNET) == 0
        os.close(before)


@pytest.fixture
def tun(own_network: None) -> Iterator[linux.LinuxTun]:
    if not Path(linux.TUN_DEVICE).exists():
        pytest.skip(f"needs {linux.TUN_DEVICE}")
    opened = LinuxPlatform().open_tun("wtest0")
    yield opened
    opened.close()


def test_a_new_state_directory_is_private(tmp_path: Path) -> None:
    made = LinuxPlatform().state_directory(tmp_path / "a" / "state")
    assert made.stat().st_mode & 0o777 == 0o700


def test_an_existing_state_directory_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    assert LinuxPlatform().state_directory(tmp_path).stat().st_mode & 0o777 == 0o755


def test_a_file_in_place_of_the_state_directory_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    with pytest.raises(DeviceRejectedError, match=r"File exists; name a directory"):
        LinuxPlatform().state_directory(tmp_path / "state")


def test_loopback_is_among_the_interfaces() -> None:
    loopback = next(one for one in LinuxPlatform().interfaces() if one.is_loopback)
    assert interface("127.0.0.1/8") in loopback.addresses
    assert loopback.index > 0


def test_asking_the_kernel_starts_no_thread_and_no_asyncio_loop() -> None:
    async def ask() -> None:
        LinuxPlatform().interfaces()

    threads, descriptors = threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))
    trio.run(ask)
    assert threading.active_count() == threads
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors


def test_a_host_without_tun_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linux, "TUN_DEVICE", "/dev/net/no-such-tun")
    with pytest.raises(DeviceNotFoundError, match=r"^wtest0: this host has no .*modprobe tun"):
        LinuxPlatform().open_tun("wtest0")


def test_a_missing_privilege_names_the_capability(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(linux, "TUN_DEVICE", "/dev/null")
    monkeypatch.setattr(linux.fcntl, "ioctl", refuse)
    with pytest.raises(DevicePermissionDeniedError, match=r"^wtest0: .*CAP_NET_ADMIN"):
        LinuxPlatform().open_tun("wtest0")


@pytest.mark.parametrize("name", ["", "a/b", "with space", "sixteen-bytes-xx", ".."])
def test_a_name_that_no_interface_can_have_is_refused(name: str) -> None:
    with pytest.raises(DeviceRejectedError, match="not a name for an interface"):
        LinuxPlatform().open_tun(name)


def test_configuring_an_unknown_interface_is_refused() -> None:
    with pytest.raises(DeviceNotFoundError, match="wtest-none: there is no such interface"):
        LinuxPlatform().configure_link("wtest-none", LinkConfig((), (), 1420))


@pytest.mark.root
def test_a_name_in_use_is_refused(tun: linux.LinuxTun) -> None:
    with pytest.raises(DeviceRejectedError, match="wtest0: an interface of this name exists"):
        LinuxPlatform().open_tun("wtest0")
    with pytest.raises(DeviceRejectedError, match="lo: an interface of this name exists"):
        LinuxPlatform().open_tun("lo")


@pytest.mark.root
def test_a_link_is_set_to_exactly_what_is_asked(tun: linux.LinuxTun) -> None:
    platform = LinuxPlatform()
    addresses = (interface("10.99.0.1/24"), interface("fd99::1/64"))
    inside, outside = network("10.99.0.2/32"), (network("10.98.0.0/16"), network("fd98::/64"))
    platform.configure_link("wtest0", LinkConfig(addresses, (inside, *outside), 1412))
    found = next(one for one in platform.interfaces() if one.name == "wtest0")
    assert found.is_up and set(found.addresses) == set(addresses)
    assert "mtu 1412" in ip("link", "show", "wtest0")
    assert "10.98.0.0/16" in ip("-4", "route", "show", "dev", "wtest0")
    assert "fd98::/64" in ip("-6", "route", "show", "dev", "wtest0")
    assert "10.99.0.2" not in ip("-4", "route", "show", "dev", "wtest0")

    platform.configure_link(
        "wtest0", LinkConfig((interface("10.99.0.9/24"),), (network("10.97.0.0/16"),), 1280)
    )
    found = next(one for one in platform.interfaces() if one.name == "wtest0")
    assert found.addresses == (interface("10.99.0.9/24"),)
    routes = ip("-4", "route", "show", "dev", "wtest0")
    assert "10.97.0.0/16" in routes and "10.98.0.0/16" not in routes
    assert "fd98" not in ip("-6", "route", "show", "dev", "wtest0")


@pytest.mark.root
def test_configuring_twice_changes_nothing(tun: linux.LinuxTun) -> None:
    config = LinkConfig((interface("10.99.0.1/24"),), (network("0.0.0.0/0"),), 1420)
    LinuxPlatform().configure_link("wtest0", config)
    before = ip("route", "show") + ip("address", "show")
    LinuxPlatform().configure_link("wtest0", config)
    assert ip("route", "show") + ip("address", "show") == before
    assert "default dev wtest0" in before


@pytest.mark.root
def test_a_route_of_another_interface_is_not_taken(tun: linux.LinuxTun) -> None:
    ip("route", "add", "10.50.0.0/16", "dev", "lo")
    config = LinkConfig((interface("10.99.0.1/24"),), (network("10.50.0.0/16"),), 1420)
    with pytest.raises(DeviceRejectedError, match=r"route to 10\.50\.0\.0/16 exists already"):
        LinuxPlatform().configure_link("wtest0", config)


@pytest.mark.root
def test_a_refused_value_is_named(tun: linux.LinuxTun) -> None:
    with pytest.raises(DeviceRejectedError, match="wtest0: MTU 99999999"):
        LinuxPlatform().configure_link("wtest0", LinkConfig((), (), 99_999_999))


@pytest.mark.root
async def test_packets_come_out_of_the_tun_and_go_in(tun: linux.LinuxTun) -> None:
    config = LinkConfig((interface("10.99.0.1/24"),), (), 1420)
    LinuxPlatform().configure_link("wtest0", config)
    with trio.fail_after(TIMEOUT_S):
        with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as udp:
            await udp.bind(("10.99.0.1", 0))
            await udp.sendto(b"out", ("10.99.0.7", 7777))
            packet = b""
            while not packet.endswith(b"out"):
                packet = await tun.read()
            source, destination = packet[12:16], packet[16:20]
            ports = packet[20:24]
            # The same packet with its ends exchanged: both checksums stay right.
            tun.write(packet[:12] + destination + source + ports[2:] + ports[:2] + packet[24:])
            assert await udp.recvfrom(100) == (b"out", ("10.99.0.7", 7777))


@pytest.mark.root
async def test_what_is_no_packet_is_refused_and_counted(tun: linux.LinuxTun) -> None:
    LinuxPlatform().configure_link("wtest0", LinkConfig((), (), 1420))
    tun.write(b"\x00 is no IP version")
    assert tun.packets_refused == 1


@pytest.mark.root
async def test_closing_ends_a_waiting_read(tun: linux.LinuxTun) -> None:
    with trio.fail_after(TIMEOUT_S):
        async with trio.open_nursery() as nursery:

            async def read_until_closed() -> None:
                with pytest.raises(trio.ClosedResourceError):
                    while True:
                        await tun.read()

            nursery.start_soon(read_until_closed)
            await trio.testing.wait_all_tasks_blocked()
            tun.close()
    with pytest.raises(trio.ClosedResourceError):
        tun.write(b"")


@pytest.mark.root
async def test_a_removed_interface_is_an_error_that_says_so(tun: linux.LinuxTun) -> None:
    ip("link", "delete", "wtest0")
    with (
        trio.fail_after(TIMEOUT_S),
        pytest.raises(DeviceNotFoundError, match="interface was removed"),
    ):
        await tun.read()


@pytest.mark.root
async def test_a_burst_of_changes_is_one_notice(own_network: None) -> None:
    with trio.fail_after(TIMEOUT_S):
        async with LinuxPlatform().watch_network() as changes:
            for number in range(5):
                ip("address", "add", f"10.40.0.{number + 1}/32", "dev", "lo")
            await changes.receive()
            with trio.move_on_after(4 * linux.NETWORK_CHANGE_DEBOUNCE_S) as waited:
                await changes.receive()
            assert waited.cancelled_caught
            ip("link", "set", "lo", "down")
            await changes.receive()
