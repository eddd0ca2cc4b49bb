"""Runs the tests of ``NatProbe`` over UDP sockets of its own (trio)."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Final, cast

import trio
from trio import socket

from wice.datagram import Endpoint
from wice.errors import RemoteProtocolError
from wice.stun.nat_probe import SERVERS_MAX, NatProbe, NatReport, sockets_needed

DATAGRAM_SIZE_MAX_BYTES: Final = 1_500


async def probe_nat(
    servers: Sequence[Endpoint],
    local_hosts: Sequence[str],
    random_bytes: Callable[[int], bytes],
    *,
    timeout_s: float,
) -> NatReport:
    """Ask ``servers``, all of one IP version, and say what is known after at most ``timeout_s``.

    local_hosts: the addresses of this host. Raise OSError where it opens no UDP socket.
    """
    servers = servers[:SERVERS_MAX]
    is_ipv6 = any(server.is_ipv6 for server in servers)
    with ExitStack() as stack:
        sockets = [
            stack.enter_context(await _open(is_ipv6=is_ipv6))
            for _ in range(sockets_needed(len(servers)))
        ]
        ports = [int(opened.getsockname()[1]) for opened in sockets]
        hosts = [host for host in local_hosts if (":" in host) == is_ipv6]
        local_endpoints = [[Endpoint(host, port) for host in hosts] for port in ports]
        probe = NatProbe(servers, local_endpoints, random_bytes, trio.current_time())
        with trio.move_on_after(timeout_s):
            await _Driver(probe, sockets).run()
        return probe.report()


class _Driver:
    def __init__(self, probe: NatProbe, sockets: Sequence[socket.SocketType]) -> None:
        self._probe = probe
        self._sockets = sockets
        self._received = trio.Event()

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            for index in range(len(self._sockets)):
                nursery.start_soon(self._receive, index)
            while True:
                await self._send_all()
                deadline = self._probe.deadline()
                if deadline is None:
                    nursery.cancel_scope.cancel()
                    return
                with trio.move_on_at(deadline):
                    await self._received.wait()
                self._received = trio.Event()
                self._probe.handle_timeout(trio.current_time())

    async def _send_all(self) -> None:
        while (transmit := self._probe.poll_transmit()) is not None:
            try:
                await self._sockets[transmit.socket].sendto(transmit.data, transmit.remote)
            except OSError as error:
                self._probe.send_failed(transmit.remote, error.strerror or "cannot be sent to")

    async def _receive(self, index: int) -> None:
        opened = self._sockets[index]
        while True:
            try:
                data, address = await opened.recvfrom(DATAGRAM_SIZE_MAX_BYTES)
            except OSError:
                # An ICMP error about an earlier request; its silence tells the same.
                await trio.lowlevel.checkpoint()
                continue
            source = Endpoint(*cast("tuple[str, int]", address)[:2])
            try:
                self._probe.receive(index, data, source, trio.current_time())
            except RemoteProtocolError:
                continue
            self._received.set()


async def _open(*, is_ipv6: bool) -> socket.SocketType:
    family = socket.AF_INET6 if is_ipv6 else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_DGRAM)
    try:
        if is_ipv6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        await opened.bind(("::" if is_ipv6 else "0.0.0.0", 0))
    except BaseException:
        # Binding is a checkpoint, where a cancellation must not leave the socket open.
        opened.close()
        raise
    return opened
