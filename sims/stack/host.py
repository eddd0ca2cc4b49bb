"""The network stack of a simulated machine: interfaces, routes, and what comes in and goes out."""

import errno
import ipaddress
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from random import Random
from typing import TYPE_CHECKING, Final

import trio

from sims.internet.packet import Packet
from sims.internet.packet import Protocol as IpProtocol
from sims.runtime.clock import Timer, VirtualClock
from sims.stack.icmp import Echo, headers_size_bytes
from sims.stack.interfaces import (
    Attachment,
    Ethernet,
    Interface,
    Loopback,
    Route,
    loopback_source,
    source_from,
)
from sims.stack.ip import UDP, BadPacketError, IpPacket, decode_udp
from sims.stack.ports import WILDCARDS, Ports
from sims.stack.tcp_layer import TcpLayer
from sims.stack.tun import SimulatedTun, WatchTunnel
from wice.errors import DeviceNotFoundError, DeviceRejectedError
from wice.platform import LinkConfig, NetworkInterface

if TYPE_CHECKING:
    from sims.stack.socket_base import SimulatedSocket
    from sims.stack.udp_socket import UdpSocket
    from sims.stack.unix_socket import UnixSocket

OPEN_SOCKETS_MAX: Final = 1_024
"""Linux's default limit of open files of a process."""
ROUTES_REMEMBERED_MAX: Final = 4_096
NETWORK_CHANGE_DEBOUNCE_S: Final = 0.05

current_host: ContextVar["Host"] = ContextVar("current_host")
"""The host that the code of this task runs on; child tasks inherit it."""

OnEcho = Callable[[str, bytes], None]


class Host:
    """One machine's stack.

    random: for ports. resolve: addresses by host name, the DNS of this machine.
    on_echo_request, on_echo_reply: told of echoes that came out of a tunnel; requests are
    answered here. watch_tunnel: sees what passes the tunnels that are opened from then on.
    dropped: packets that went nowhere, by reason.
    """

    def __init__(
        self,
        name: str,
        clock: VirtualClock,
        random: Random,
        resolve: Mapping[str, Sequence[str]],
    ) -> None:
        self.name = name
        self.clock = clock
        self.random = random
        self.resolve = resolve
        self.dropped: Counter[str] = Counter()
        self.on_echo_request: OnEcho | None = None
        self.on_echo_reply: OnEcho | None = None
        self.watch_tunnel: WatchTunnel | None = None
        self.loopback = Loopback(clock, self._deliver_from_loopback)
        self.ethernet = Ethernet()
        self.tcp = TcpLayer(self)
        self.udp: Ports[UdpSocket] = Ports(random)
        self.unix: dict[tuple[int, int], UnixSocket] = {}
        """Listening sockets by device and inode of their path."""
        self._sockets: dict[SimulatedSocket, None] = {}
        self._sockets_opened = 0
        self._tunnels: dict[str, SimulatedTun] = {}
        self._last_index = self.ethernet.index
        self._local_hosts: frozenset[str] = frozenset()
        self._routes: dict[str, Route | None] = {}
        self._is_frozen = False
        self._when_awake: list[Callable[[], None]] = []
        self._watchers: list[trio.MemorySendChannel[None]] = []
        self._notice: Timer | None = None
        self._echo_identifier = random.randrange(1 << 16)
        self._echoes_sent = 0
        self._look_at_addresses()

    # Where it is plugged in

    def plug(self, attachment: Attachment) -> None:
        if self.ethernet.attachment is not None:
            self.unplug()
        self.ethernet.attachment = attachment
        attachment.on_change = self._addresses_changed
        self._addresses_changed()

    def unplug(self) -> None:
        """Harmless when it is not plugged in."""
        attachment, self.ethernet.attachment = self.ethernet.attachment, None
        if attachment is not None:
            attachment.on_change = None
            attachment.detach()
            self._addresses_changed()

    def interfaces(self) -> list[NetworkInterface]:
        return [
            NetworkInterface(
                name=interface.name,
                index=interface.index,
                is_up=interface.is_up,
                is_loopback=interface is self.loopback,
                addresses=interface.addresses,
            )
            for interface in self._interfaces()
        ]

    @asynccontextmanager
    async def watch_network(self) -> AsyncIterator[trio.MemoryReceiveChannel[None]]:
        changed, changes = trio.open_memory_channel[None](1)
        self._watchers.append(changed)
        try:
            with changed, changes:
                yield changes
        finally:
            if changed in self._watchers:
                self._watchers.remove(changed)

    # Tunnels

    def open_tun(self, name: str) -> SimulatedTun:
        if any(interface.name == name for interface in self._interfaces()):
            raise DeviceRejectedError(
                f"{name}: an interface of this name exists already; choose another name"
            )
        self._last_index += 1
        tunnel = SimulatedTun(
            name, self._last_index, self._receive_from, self._tunnel_closed, self.watch_tunnel
        )
        self._tunnels[name] = tunnel
        self._addresses_changed()
        return tunnel

    def configure_link(self, name: str, config: LinkConfig) -> None:
        tunnel = self._tunnels.get(name)
        if tunnel is None:
            raise DeviceNotFoundError(f"{name}: there is no such interface; see ip link")
        taken = [
            network
            for interface in self._interfaces()
            if interface is not tunnel
            for network in interface.networks()
        ]
        for route in config.routes:
            if route in taken:
                raise DeviceRejectedError(
                    f"{name}: a route to {route} exists already through another interface; remove "
                    f"it (ip route delete {route}), or narrow allowed_ips"
                )
        tunnel.configure(config)
        self._addresses_changed()

    def ping(self, destination: str, payload: bytes, *, is_full_size: bool = False) -> None:
        """Send an echo request through the tunnel that routes there; nothing without one.

        is_full_size: spaces are appended until the packet is as large as the tunnel's MTU.
        """
        route = self.route_to(destination)
        if route is None or not isinstance(route.interface, SimulatedTun) or self.is_frozen:
            return
        self._echoes_sent += 1
        sequence = self._echoes_sent & 0xFFFF
        if is_full_size:
            payload = payload.ljust(route.interface.mtu_bytes - headers_size_bytes(destination))
        echo = Echo(route.source, destination, False, self._echo_identifier, sequence, payload)
        route.interface.put(echo.encode())

    # A machine's sleep and its death

    @property
    def is_frozen(self) -> bool:
        """While it is, nothing is received or sent, and the stack's timers stand still."""
        return self._is_frozen

    @is_frozen.setter
    def is_frozen(self, is_frozen: bool) -> None:
        self._is_frozen = is_frozen
        if not is_frozen:
            callbacks, self._when_awake = self._when_awake, []
            for callback in callbacks:
                callback()

    def call_when_awake(self, callback: Callable[[], None]) -> bool:
        if self._is_frozen:
            self._when_awake.append(callback)
        return self._is_frozen

    def crash(self) -> None:
        """Sockets, connections and tunnels are gone; who waits on one is never told."""
        for socket in self._sockets:
            socket.vanish()
        self._sockets.clear()
        self.tcp.vanish()
        self.udp.clear()
        self.unix.clear()
        for tunnel in self._tunnels.values():
            tunnel.vanish()
        self._tunnels.clear()
        self._watchers.clear()
        self._when_awake.clear()
        if self._notice is not None:
            self._notice.cancel()
            self._notice = None
        self._look_at_addresses()

    # Packets

    def receive(self, packet: Packet) -> None:
        """A packet came in through ``eth0``."""
        if self._is_frozen:
            self.dropped["a machine asleep"] += 1
        elif packet.destination.host not in self._local_hosts:
            self.dropped["an address that is not ours"] += 1
        else:
            self._deliver(packet, self.ethernet.index)

    def send(self, packet: Packet) -> None:
        """Send, or drop where it cannot be: who must know asks ``route_to`` first."""
        if self._is_frozen:
            self.dropped["a machine asleep"] += 1
            return
        route = self.route_to(packet.destination.host)
        if route is None:
            self.dropped["no route"] += 1
        elif not self.is_local(packet.source.host):
            self.dropped["a source that is not ours"] += 1
        else:
            route.interface.transmit(packet)

    def is_local(self, host: str) -> bool:
        """Whether ``host`` is an address of this machine; all of 127.0.0.0/8 is."""
        return host in self._local_hosts or host.startswith("127.") or host == "::1"

    def route_to(self, destination: str) -> Route | None:
        try:
            return self._routes[destination]
        except KeyError:
            pass
        if len(self._routes) >= ROUTES_REMEMBERED_MAX:
            self._routes.clear()
        route = self._routes[destination] = self._find_route(destination)
        return route

    def interface_to(self, destination: str) -> Interface | None:
        route = self.route_to(destination)
        return None if route is None else route.interface

    # Sockets

    def register(self, socket: "SimulatedSocket") -> int:
        """Give a number that is no descriptor of this process; raise OSError (EMFILE)."""
        if len(self._sockets) >= OPEN_SOCKETS_MAX:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        self._sockets[socket] = None
        self._sockets_opened += 1
        return (1 << 30) + self._sockets_opened

    def unregister(self, socket: "SimulatedSocket") -> None:
        self._sockets.pop(socket, None)

    @property
    def open_sockets(self) -> int:
        """Of any kind, listening ones too."""
        return len(self._sockets)

    @property
    def unread_bytes(self) -> int:
        """What sockets have received and nobody has read yet."""
        return sum(socket.unread_bytes for socket in self._sockets)

    def _interfaces(self) -> list[Interface]:
        """The loopback interface is the first."""
        return [self.loopback, self.ethernet, *self._tunnels.values()]

    def _find_route(self, destination: str) -> Route | None:
        if self.is_local(destination) or destination in WILDCARDS:
            return Route(self.loopback, loopback_source(destination))
        address = ipaddress.ip_address(destination)
        if address.is_multicast or destination == "255.255.255.255":
            return None
        found: Interface | None = None
        longest = -1
        for interface in self._interfaces()[1:]:
            for network in interface.networks():
                if network.prefixlen > longest and address in network:
                    found, longest = interface, network.prefixlen
        if found is None:
            return None
        source = source_from(found, address) or source_from(self.ethernet, address)
        return None if source is None else Route(found, source)

    def _addresses_changed(self) -> None:
        self._look_at_addresses()
        if self._watchers and self._notice is None:
            self._notice = self.clock.call_later(NETWORK_CHANGE_DEBOUNCE_S, self._tell_watchers)

    def _look_at_addresses(self) -> None:
        self._local_hosts = frozenset(
            str(address.ip)
            for interface in self._interfaces()[1:]
            for address in interface.addresses
        )
        self._routes.clear()

    def _tell_watchers(self) -> None:
        self._notice = None
        if self.call_when_awake(self._tell_watchers):
            return
        for changed in self._watchers:
            with suppress(trio.WouldBlock, trio.BrokenResourceError):
                changed.send_nowait(None)

    def _tunnel_closed(self, tunnel: SimulatedTun) -> None:
        if self._tunnels.get(tunnel.name) is tunnel:
            del self._tunnels[tunnel.name]
            self._addresses_changed()

    # What comes in

    def _deliver_from_loopback(self, packet: Packet) -> None:
        if not self._is_frozen:
            self._deliver(packet, self.loopback.index)

    def _deliver(self, packet: Packet, interface_index: int) -> None:
        if packet.protocol is IpProtocol.TCP:
            self.tcp.receive(packet)
            return
        found: UdpSocket | None = None
        best = 0
        for socket in self.udp.at(packet.destination.port):
            score = socket.score(packet)
            if score > best:
                found, best = socket, score
        if found is None:
            self.dropped["a UDP port that nobody listens on"] += 1
        else:
            found.deliver(packet, interface_index)

    def _receive_from(self, tunnel: SimulatedTun, data: bytes) -> None:
        """A packet came out of ``tunnel``."""
        if self._is_frozen:
            self.dropped["a machine asleep"] += 1
            return
        try:
            packet = IpPacket.decode(data)
            if packet.destination not in self._local_hosts:
                raise BadPacketError("an address that is not ours")
            if packet.protocol == UDP:
                source, destination, payload = decode_udp(packet)
                datagram = Packet(IpProtocol.UDP, source, destination, payload)
                self._deliver(datagram, tunnel.index)
            else:
                self._take_echo(Echo.decode(packet))
        except BadPacketError as error:
            self.dropped[f"out of a tunnel: {error}"] += 1

    def _take_echo(self, echo: Echo) -> None:
        if echo.is_reply:
            if self.on_echo_reply is not None:
                self.on_echo_reply(echo.source, echo.payload)
            return
        if self.on_echo_request is not None:
            self.on_echo_request(echo.source, echo.payload)
        interface = self.interface_to(echo.source)
        if isinstance(interface, SimulatedTun):
            interface.put(echo.reply().encode())
