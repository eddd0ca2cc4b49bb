"""Linux as a ``Platform``: rtnetlink, /dev/net/tun, and nothing else in here is portable."""

import errno
import fcntl
import ipaddress
import os
import socket
import struct
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path as FilePath
from typing import NoReturn

import trio
from pyroute2.netlink import NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from wice.errors import (
    DeviceError,
    DeviceNotFoundError,
    DevicePermissionDeniedError,
    DeviceRejectedError,
)
from wice.platform import IPInterface, IPNetwork, LinkConfig, NetworkInterface, is_within
from wice.rtnetlink import GROUPS_LINKS_AND_ADDRESSES, Message, RouteNetlink

NETWORK_CHANGE_DEBOUNCE_S = 0.05
"""How long changes are gathered before the watcher is told; a new address is usable by then."""

INTERFACE_NAME_SIZE_MAX_BYTES = 15
"""IFNAMSIZ without the final zero byte."""

PACKET_SIZE_MAX_BYTES = 65_535
"""The largest packet that is read from a TUN."""

READS_PER_CHECKPOINT_MAX = 32
"""Packets that one task may take from a TUN before others get their turn."""

TUN_DEVICE = "/dev/net/tun"

_TUNSETIFF = 0x400454CA
_IFF_TUN = 0x0001
_IFF_NO_PI = 0x1000
_IFF_TUN_EXCL = 0x8000
_IFREQ = struct.Struct("16sH22x")

_IFF_UP = 0x1
_IFF_LOOPBACK = 0x8
_IN6_ADDR_GEN_MODE_NONE = 1
_RT_TABLE_MAIN = 254
_RT_SCOPE_UNIVERSE = 0
_RT_SCOPE_LINK = 253
_RTPROT_KERNEL = 2
_RTPROT_STATIC = 4
_RTN_UNICAST = 1

_PACKET_REFUSED = frozenset({errno.EAGAIN, errno.EIO, errno.EINVAL, errno.ENOBUFS, errno.ENOMEM})


class LinuxPlatform:
    """The host that this process runs on."""

    def wall_time(self) -> float:
        return time.time()

    def random_bytes(self, size_bytes: int) -> bytes:
        return os.urandom(size_bytes)

    def state_directory(self, path: FilePath) -> FilePath:
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            why = os.strerror(error.errno or 0)
            message = f"state directory {path}: {why}; name a directory that is yours in state_dir"
            if error.errno in (errno.EPERM, errno.EACCES):
                raise DevicePermissionDeniedError(message) from error
            raise DeviceRejectedError(message) from error
        return path

    def interfaces(self) -> Sequence[NetworkInterface]:
        try:
            with RouteNetlink() as netlink:
                links, addresses = netlink.links(), netlink.addresses()
        except OSError as error:
            why = error.strerror or "netlink failed"
            raise DeviceRejectedError(f"the host's interfaces cannot be read: {why}") from error
        by_index: dict[int, list[IPInterface]] = {}
        for message in addresses:
            by_index.setdefault(message["index"], []).append(_interface_address(message))
        return [
            NetworkInterface(
                name=link.get_attr("IFLA_IFNAME"),
                index=link["index"],
                is_up=bool(link["flags"] & _IFF_UP),
                is_loopback=bool(link["flags"] & _IFF_LOOPBACK),
                addresses=tuple(by_index.get(link["index"], ())),
            )
            for link in links
        ]

    @asynccontextmanager
    async def watch_network(self) -> AsyncIterator[trio.MemoryReceiveChannel[None]]:
        changed, changes = trio.open_memory_channel[None](1)
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        watcher = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
        with watcher, changed, changes:
            watcher.bind((0, GROUPS_LINKS_AND_ADDRESSES))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_watch, watcher, changed)
                yield changes
                nursery.cancel_scope.cancel()

    def open_tun(self, name: str) -> "LinuxTun":
        _check_interface_name(name)
        try:
            descriptor = os.open(TUN_DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
                raise DeviceNotFoundError(
                    f"{name}: this host has no {TUN_DEVICE}; load the module (modprobe tun), or "
                    "give the device to the container (--device /dev/net/tun)"
                ) from error
            _raise_device_error(name, TUN_DEVICE, error)
        request = _IFREQ.pack(name.encode(), _IFF_TUN | _IFF_NO_PI | _IFF_TUN_EXCL)
        try:
            fcntl.ioctl(descriptor, _TUNSETIFF, request)
        except OSError as error:
            os.close(descriptor)
            if error.errno in (errno.EBUSY, errno.EEXIST) or _exists(name):
                raise DeviceRejectedError(
                    f"{name}: an interface of this name exists already; choose another name, or "
                    f"remove it (ip link delete {name})"
                ) from error
            _raise_device_error(name, "making the tunnel interface", error)
        return LinuxTun(name, socket.if_nametoindex(name), descriptor)

    def configure_link(self, name: str, config: LinkConfig) -> None:
        with RouteNetlink() as netlink:
            index = _index_of(netlink, name)
            doing = f"MTU {config.mtu_bytes} and bringing it up"
            try:
                _stop_link_local_addresses(netlink, name, index)
                netlink.set_link(_link_message(index, mtu_bytes=config.mtu_bytes))
                doing = "addresses"
                _set_addresses(netlink, index, config.addresses)
                netlink.set_link(_link_message(index, is_up=True))
            except OSError as error:
                _raise_device_error(name, doing, error)
            _set_routes(netlink, name, index, config)


class LinuxTun:
    """A TUN without packet information headers; see ``platform.Tun``."""

    def __init__(self, name: str, index: int, descriptor: int) -> None:
        self.name = name
        self.index = index
        self.packets_refused = 0
        """Packets that the host did not take: its queue was full, the link down, no IP packet."""
        self._descriptor = descriptor
        self._reads_until_checkpoint = READS_PER_CHECKPOINT_MAX

    async def read(self) -> bytes:
        while True:
            if self._descriptor < 0:
                raise trio.ClosedResourceError(f"{self.name} is closed")
            try:
                packet = os.read(self._descriptor, PACKET_SIZE_MAX_BYTES)
            except BlockingIOError:
                self._reads_until_checkpoint = READS_PER_CHECKPOINT_MAX
                await trio.lowlevel.wait_readable(self._descriptor)
                continue
            except OSError as error:
                if error.errno == errno.EBADFD:
                    raise DeviceNotFoundError(
                        f"{self.name}: the interface was removed; start again to make it"
                    ) from error
                raise
            self._reads_until_checkpoint -= 1
            if self._reads_until_checkpoint <= 0:
                self._reads_until_checkpoint = READS_PER_CHECKPOINT_MAX
                await trio.lowlevel.checkpoint()
            else:
                await trio.lowlevel.checkpoint_if_cancelled()
            return packet

    def write(self, packet: bytes) -> None:
        if self._descriptor < 0:
            raise trio.ClosedResourceError(f"{self.name} is closed")
        try:
            os.write(self._descriptor, packet)
        except OSError as error:
            if error.errno == errno.EBADFD:
                raise DeviceNotFoundError(
                    f"{self.name}: the interface was removed; start again to make it"
                ) from error
            if error.errno not in _PACKET_REFUSED:
                raise
            self.packets_refused += 1

    def close(self) -> None:
        if self._descriptor >= 0:
            with suppress(RuntimeError):  # outside of a trio run nobody can be waiting
                trio.lowlevel.notify_closing(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1


async def _watch(watcher: socket.socket, changed: trio.MemorySendChannel[None]) -> None:
    while True:
        await trio.lowlevel.wait_readable(watcher.fileno())
        await trio.sleep(NETWORK_CHANGE_DEBOUNCE_S)
        _discard_waiting(watcher)
        with suppress(trio.WouldBlock):
            changed.send_nowait(None)


def _discard_waiting(watcher: socket.socket) -> None:
    """What changed does not matter, only that something did: the watcher looks for itself."""
    while True:
        try:
            watcher.recv(PACKET_SIZE_MAX_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise


def _check_interface_name(name: str) -> None:
    size_bytes = len(name.encode())
    has_bad_character = any(character in "/:%" or character.isspace() for character in name)
    if not 0 < size_bytes <= INTERFACE_NAME_SIZE_MAX_BYTES or has_bad_character or name[0] == ".":
        raise DeviceRejectedError(
            f"{name!r}: not a name for an interface; use at most "
            f"{INTERFACE_NAME_SIZE_MAX_BYTES} letters, digits and dashes"
        )


def _exists(name: str) -> bool:
    try:
        socket.if_nametoindex(name)
    except OSError:
        return False
    return True


def _raise_device_error(name: str, doing: str, error: OSError) -> NoReturn:
    why = os.strerror(error.errno or 0)
    kind: type[DeviceError]
    if error.errno in (errno.EPERM, errno.EACCES):
        kind, remedy = DevicePermissionDeniedError, "run as root or with CAP_NET_ADMIN"
    elif error.errno == errno.ENODEV:
        kind, remedy = DeviceNotFoundError, "check that nothing else removes the interface"
    else:
        kind, remedy = DeviceRejectedError, "check its values in the configuration"
    raise kind(f"{name}: {doing}: {why}; {remedy}") from error


def _index_of(netlink: RouteNetlink, name: str) -> int:
    for link in netlink.links():
        if link.get_attr("IFLA_IFNAME") == name:
            index = link["index"]
            assert isinstance(index, int)
            return index
    raise DeviceNotFoundError(f"{name}: there is no such interface; see ip link")


def _link_message(
    index: int, *, mtu_bytes: int | None = None, is_up: bool | None = None
) -> Message:
    message = ifinfmsg()
    message["index"] = index
    if is_up is not None:
        message["flags"] = _IFF_UP if is_up else 0
        message["change"] = _IFF_UP
    if mtu_bytes is not None:
        message["attrs"] = [("IFLA_MTU", mtu_bytes)]
    return message


def _stop_link_local_addresses(netlink: RouteNetlink, name: str, index: int) -> None:
    """Have no fe80:: address made: every one on a tunnel would announce itself to nobody."""
    if not FilePath("/proc/sys/net/ipv6/conf", name).is_dir():
        return
    message = ifinfmsg()
    message["index"] = index
    mode = ("IFLA_INET6_ADDR_GEN_MODE", _IN6_ADDR_GEN_MODE_NONE)
    message["attrs"] = [("IFLA_AF_SPEC", {"attrs": [("AF_INET6", {"attrs": [mode]})]})]
    netlink.set_link(message)


def _interface_address(message: Message) -> IPInterface:
    # IFA_ADDRESS is the other end of a point-to-point link, where IFA_LOCAL is ours.
    address = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
    return ipaddress.ip_interface(f"{address}/{message['prefixlen']}")


def _set_addresses(netlink: RouteNetlink, index: int, wanted: Iterable[IPInterface]) -> None:
    present = {
        _interface_address(message) for message in netlink.addresses() if message["index"] == index
    }
    wanted = set(wanted)
    for address in present - wanted:
        netlink.delete_address(_address_message(index, address))
    for address in sorted(wanted - present, key=lambda one: (one.version, one)):
        netlink.add_address(_address_message(index, address), NLM_F_CREATE | NLM_F_REPLACE)


def _address_message(index: int, address: IPInterface) -> Message:
    message = ifaddrmsg()
    message["family"] = socket.AF_INET if address.version == 4 else socket.AF_INET6
    message["prefixlen"] = address.network.prefixlen
    message["index"] = index
    text = str(address.ip)
    message["attrs"] = [("IFA_LOCAL", text), ("IFA_ADDRESS", text)]
    return message


def _set_routes(netlink: RouteNetlink, name: str, index: int, config: LinkConfig) -> None:
    """Routes inside a prefix of the interface's own need none: the kernel's route carries them."""
    wanted = {
        route
        for route in config.routes
        if not any(is_within(route, address.network) for address in config.addresses)
    }
    present = set(_routes_of(netlink, index))
    for route in present - wanted:
        try:
            netlink.delete_route(_route_message(index, route))
        except OSError as error:
            _raise_device_error(name, f"removing the route {route}", error)
    for route in sorted(wanted - present, key=lambda one: (one.version, one)):
        try:
            netlink.add_route(_route_message(index, route), NLM_F_CREATE | NLM_F_EXCL)
        except OSError as error:
            if error.errno == errno.EEXIST:
                raise DeviceRejectedError(
                    f"{name}: a route to {route} exists already through another interface; remove "
                    f"it (ip route delete {route}), or narrow allowed_ips"
                ) from error
            _raise_device_error(name, f"adding the route {route}", error)


def _routes_of(netlink: RouteNetlink, index: int) -> Iterable[IPNetwork]:
    for message in netlink.routes():
        is_ours = (
            message.get_attr("RTA_OIF") == index
            and message["type"] == _RTN_UNICAST
            and message.get_attr("RTA_TABLE", message["table"]) == _RT_TABLE_MAIN
            and message["proto"] != _RTPROT_KERNEL
        )
        if is_ours:
            any_address = "0.0.0.0" if message["family"] == socket.AF_INET else "::"
            destination = message.get_attr("RTA_DST") or any_address
            yield ipaddress.ip_network(f"{destination}/{message['dst_len']}")


def _route_message(index: int, route: IPNetwork) -> Message:
    message = rtmsg()
    message["family"] = socket.AF_INET if route.version == 4 else socket.AF_INET6
    message["dst_len"] = route.prefixlen
    message["table"] = _RT_TABLE_MAIN
    message["proto"] = _RTPROT_STATIC
    message["scope"] = _RT_SCOPE_LINK if route.version == 4 else _RT_SCOPE_UNIVERSE
    message["type"] = _RTN_UNICAST
    message["attrs"] = [("RTA_DST", str(route.network_address)), ("RTA_OIF", index)]
    return message
