"""Runs the TURN server on a UDP port of this host (trio)."""

import errno
import socket as stdlib_socket
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from struct import Struct
from typing import Final, cast

import trio
from trio import socket

from wice.datagram import DATAGRAM_SIZE_MAX_BYTES, Endpoint
from wice.errors import DeviceRejectedError
from wice.stun import BindingServer
from wice.stun.driver import BindingPorts, port_error
from wice.turn.messages import Family, family_of
from wice.turn.server import TurnServer
from wice.turn.server_events import CloseRelay, OpenRelay

PORT: Final = 3478
"""TURN's port over UDP (RFC 8656 section 22)."""

SOCKET_BUFFER_SIZE_BYTES: Final = 1 << 20
RELAY_PORT_ATTEMPTS_MAX: Final = 16
"""Ports that are tried for one relay socket."""

ADDRESSES_REMEMBERED_MAX: Final = 256
"""Addresses of ours whose packet info is kept made."""

# Linux's number; the socket module of Python 3.11 does not name it.
_IP_PKTINFO: Final = getattr(stdlib_socket, "IP_PKTINFO", 8)
_IN_PKTINFO: Final = Struct("@I4s4s")
_IN6_PKTINFO: Final = Struct("@16sI")
_ANCILLARY_SIZE: Final = stdlib_socket.CMSG_SPACE(20)
_NO_FAMILY: Final = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT})
_AF: Final = {Family.IPV4: socket.AF_INET, Family.IPV6: socket.AF_INET6}

_BINDING_REQUEST: Final = b"\x00\x01"

AncillaryData = tuple[tuple[int, int, bytes], ...]


async def serve_turn(
    server: TurnServer,
    port: int = PORT,
    *,
    hosts: Sequence[str] = ("0.0.0.0", "::"),
    relay_hosts: Callable[[], Sequence[str]] = tuple,
    announced: Mapping[str, str] | None = None,
    relay_ports: range | None = None,
    random_below: Callable[[int], int] | None = None,
    public_addresses: Sequence[str] = (),
    task_status: trio.TaskStatus[list[Endpoint]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Relay on ``port`` of every host address until cancelled.

    relay_hosts: gives the addresses that relay sockets are bound to from now on, the first of a
    family; without one of a family, the address that the client asked, if it is of that family.
    announced: what peers are
    told instead of an address, for a host behind a one-to-one NAT. relay_ports: where relay
    sockets may be, the kernel's choice by default; ``random_below`` then chooses among them.
    Answers leave from the address that was asked. Binding requests are answered, too, as
    ``serve_stun`` does on a single port; public_addresses: as there. A family that the host lacks
    is passed over. Gives the bound endpoints when started; raises DeviceRejectedError or
    DevicePermissionDeniedError.
    """
    driver = _Driver(
        server, relay_hosts, announced or {}, relay_ports, random_below, public_addresses
    )
    try:
        bound = await driver.listen(port, hosts)
        async with trio.open_nursery() as nursery:
            driver.start(nursery)
            task_status.started(bound)
    finally:
        driver.close()


class _Driver:
    def __init__(
        self,
        server: TurnServer,
        relay_hosts: Callable[[], Sequence[str]],
        announced: Mapping[str, str],
        relay_ports: range | None,
        random_below: Callable[[int], int] | None,
        public_addresses: Sequence[str],
    ) -> None:
        self._server = server
        self._relay_hosts = relay_hosts
        self._announced = announced
        self._relay_ports = relay_ports
        self._random_below = random_below
        self._public_addresses = public_addresses
        self._listening: dict[bool, socket.SocketType] = {}
        self._binding_server = BindingServer()
        self._binding: dict[bool, BindingPorts] = {}
        self._relays: dict[int, socket.SocketType] = {}
        self._scopes: dict[int, trio.CancelScope] = {}
        self._nursery: trio.Nursery | None = None
        self._deadline_changed = trio.Event()
        self._deadline: float | None = None

    async def listen(self, port: int, hosts: Sequence[str]) -> list[Endpoint]:
        bound = []
        for host in hosts:
            endpoint = Endpoint(host, port)
            try:
                listening = await _bind(endpoint, with_packet_info=True)
            except OSError as error:
                if error.errno in _NO_FAMILY and endpoint.is_ipv6:
                    continue
                raise port_error("TURN", endpoint, error, "relay.port") from error
            self._listening[endpoint.is_ipv6] = listening
            binding = BindingPorts(host, self._public_addresses, self._binding_server)
            self._binding[endpoint.is_ipv6] = binding
            await binding.share(listening)
            bound.append(Endpoint(*listening.getsockname()[:2]))
            port = port or bound[0].port
        if not bound:
            raise DeviceRejectedError("this host has none of the addresses to serve TURN on")
        return bound

    def start(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        for is_ipv6, listening in self._listening.items():
            binding = self._binding[is_ipv6]
            nursery.start_soon(self._serve, listening, binding)
            for port in binding.ports:
                nursery.start_soon(binding.serve, port)
        nursery.start_soon(self._keep_time)

    def close(self) -> None:
        for opened in (*self._listening.values(), *self._relays.values()):
            opened.close()
        for binding in self._binding.values():
            binding.close()
        self._relays.clear()

    async def _serve(self, listening: socket.SocketType, binding: BindingPorts) -> None:
        asked_port = int(listening.getsockname()[1])
        while True:
            try:
                data, ancillary, flags, address = await listening.recvmsg(
                    DATAGRAM_SIZE_MAX_BYTES, _ANCILLARY_SIZE
                )
            except OSError as error:
                # An ICMP error about an earlier datagram is reported here; it ends nothing.
                self._server.counts[f"receive: {error.strerror}"] += 1
                await trio.lowlevel.checkpoint()
                continue
            if flags & stdlib_socket.MSG_TRUNC:
                continue
            sender = cast("tuple[str, int]", address)
            if data[:2] == _BINDING_REQUEST:
                await binding.answer(data, ancillary, asked_port, sender)
                continue
            host, port = sender[:2]
            local = _arrival(*ancillary[0]) if ancillary else None
            self._server.receive(data, Endpoint(host, port), trio.current_time(), local)
            await self._carry_out()

    async def _serve_relay(self, relay_id: int, opened: socket.SocketType) -> None:
        try:
            with self._scopes[relay_id]:
                while True:
                    await self._receive_relayed(relay_id, opened)
        finally:
            opened.close()

    async def _receive_relayed(self, relay_id: int, opened: socket.SocketType) -> None:
        try:
            data, address = await opened.recvfrom(DATAGRAM_SIZE_MAX_BYTES)
        except OSError as error:
            self._server.counts[f"receive: {error.strerror}"] += 1
            await trio.lowlevel.checkpoint()
            return
        source = Endpoint(*address[:2])
        self._server.receive_relayed(relay_id, data, source, trio.current_time())
        await self._carry_out()

    async def _keep_time(self) -> None:
        while True:
            deadline = self._server.deadline()
            self._deadline = deadline
            with trio.move_on_at(float("inf") if deadline is None else deadline):
                await self._deadline_changed.wait()
            self._deadline_changed = trio.Event()
            self._server.handle_timeout(trio.current_time())
            await self._carry_out()

    async def _carry_out(self) -> None:
        server = self._server
        while (event := server.poll_event()) is not None:
            if isinstance(event, OpenRelay):
                await self._open(event)
            else:
                self._close_relay(event)
        while (transmit := server.poll_transmit()) is not None:
            data, remote, local, relay_id = transmit
            try:
                if relay_id is None:
                    listening = self._listening[remote.is_ipv6]
                    await listening.sendmsg([data], _leaving_from(local), 0, remote)
                elif (opened := self._relays.get(relay_id)) is not None:
                    await opened.sendto(data, remote)
            except OSError as error:
                server.counts[f"send: {error.strerror}"] += 1
            except trio.ClosedResourceError:
                server.counts["send: the relay was closed"] += 1
        if server.deadline() != self._deadline:
            self._deadline_changed.set()

    async def _open(self, event: OpenRelay) -> None:
        host = self._relay_host(event)
        opened = None if host is None else await self._bind_relay(host, event.is_even)
        if opened is None or host is None:
            self._server.relay_failed(event.relay, trio.current_time())
            return
        endpoint = Endpoint(self._announced.get(host, host), opened.getsockname()[1])
        if not self._server.relay_opened(event.relay, endpoint, trio.current_time()):
            opened.close()
            return
        assert self._nursery is not None
        self._relays[event.relay] = opened
        self._scopes[event.relay] = trio.CancelScope()
        self._nursery.start_soon(self._serve_relay, event.relay, opened)

    def _relay_host(self, event: OpenRelay) -> str | None:
        hosts = [*self._relay_hosts(), *([] if event.local is None else [event.local])]
        return next((host for host in hosts if family_of(host) is event.family), None)

    async def _bind_relay(self, host: str, is_even: bool) -> socket.SocketType | None:
        for _ in range(RELAY_PORT_ATTEMPTS_MAX):
            try:
                bound = await _bind(Endpoint(host, self._relay_port()), with_packet_info=False)
            except OSError as error:
                self._server.counts[f"bind: {error.strerror}"] += 1
                if error.errno != errno.EADDRINUSE:
                    return None
                continue
            if not is_even or bound.getsockname()[1] % 2 == 0:
                return bound
            bound.close()
        return None

    def _relay_port(self) -> int:
        if self._relay_ports is None or self._random_below is None:
            return 0
        return self._relay_ports[self._random_below(len(self._relay_ports))]

    def _close_relay(self, event: CloseRelay) -> None:
        if self._relays.pop(event.relay, None) is not None:
            self._scopes.pop(event.relay).cancel()


async def _bind(endpoint: Endpoint, *, with_packet_info: bool) -> socket.SocketType:
    bound = socket.socket(
        socket.AF_INET6 if endpoint.is_ipv6 else socket.AF_INET, socket.SOCK_DGRAM
    )
    try:
        if endpoint.is_ipv6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if with_packet_info and endpoint.is_ipv6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        elif with_packet_info:
            bound.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            bound.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER_SIZE_BYTES)
        await bound.bind(endpoint)
    except BaseException:
        # Binding is a checkpoint: a cancelled start, too, must not leave the port taken.
        bound.close()
        raise
    return bound


@lru_cache(maxsize=ADDRESSES_REMEMBERED_MAX)
def _arrival(level: int, kind: int, value: bytes) -> str | None:
    """Which address of ours a datagram came to, by its packet info."""
    if (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO):
        return socket.inet_ntop(socket.AF_INET, _IN_PKTINFO.unpack(value)[2])
    if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
        return socket.inet_ntop(socket.AF_INET6, _IN6_PKTINFO.unpack(value)[0])
    return None


@lru_cache(maxsize=ADDRESSES_REMEMBERED_MAX)
def _leaving_from(local: str | None) -> AncillaryData:
    if local is None:
        return ()
    if ":" in local:
        packed = _IN6_PKTINFO.pack(socket.inet_pton(socket.AF_INET6, local), 0)
        return ((socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, packed),)
    packed = _IN_PKTINFO.pack(0, socket.inet_pton(socket.AF_INET, local), bytes(4))
    return ((socket.IPPROTO_IP, _IP_PKTINFO, packed),)
