"""A machine of the kernel engine: a real daemon's process, made ready, started, killed, moved."""

import os
import shutil
import socket
import struct
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from ipaddress import ip_address
from typing import Any, Final, Protocol

import trio

from sims.kernel.gate import GO, READY
from sims.kernel.network import KernelNetwork
from sims.lab.mesh import ANSWER_TIMEOUT_S, NO_ANSWER, SOCKET_POLL_S, Cost, cost_of
from sims.lab.process import LabProcess, start_process
from sims.lab.registry import last_line
from sims.machines.machine import DaemonEndedError
from sims.machines.machine_files import MachineFiles
from sims.stack.icmp import headers_size_bytes
from sims.stack.ip import checksum
from wice.daemon.control import open_events, request_async
from wice.wireguard.tunnel import MTU_BYTES

_ECHO: Final = struct.Struct("!BBHHH")
_ECHO_KINDS: Final = {4: (8, 0), 6: (128, 129)}
"""Request and reply (RFC 792, RFC 4443)."""
_PROTOCOLS: Final = {4: socket.IPPROTO_ICMP, 6: socket.IPPROTO_ICMPV6}
_FAMILIES: Final = {4: socket.AF_INET, 6: socket.AF_INET6}
_RECEIVED_MAX_BYTES: Final = 65_535


class Watcher(Protocol):
    """Who watches machines. What a daemon says of itself comes as JSON objects."""

    def on_event(self, machine: str, event: dict[str, Any]) -> None: ...

    def on_echo_reply(self, machine: str, source: str, payload: bytes) -> None: ...

    def task_died(self, machine: str, error: BaseException) -> None: ...


@dataclass(slots=True)
class Boot:
    """From when a daemon's process is made ready to its end."""

    process: LabProcess
    gate: trio.SocketStream
    is_begun: bool = False
    is_expected_to_end: bool = False
    ended: trio.Event = field(default_factory=trio.Event)


class KernelMachine:
    """verb: of ``wice``, with its options."""

    def __init__(
        self,
        files: MachineFiles,
        site: str,
        verb: tuple[str, ...],
        network: KernelNetwork,
        nursery: trio.Nursery,
        watcher: Watcher,
    ) -> None:
        self.name = files.name
        self.site = site
        self.files = files
        self.running_since_s: float | None = None
        """By trio's clock; also since it is awake again."""
        self.costs: list[Cost] = []
        """Of its processes, the ones that have ended."""
        self._verb = verb
        self._network = network
        self._nursery = nursery
        self._watcher = watcher
        self._boot: Boot | None = None
        self._is_awake = True
        self._is_away = False
        self._echo: trio.socket.SocketType | None = None
        self._echoes_sent = 0

    @property
    def is_running(self) -> bool:
        return self._boot is not None and self._boot.is_begun

    # What is done to it

    async def prepare(self) -> None:
        """Have a process imported and ready, so that a start takes no time."""
        if self._boot is not None:
            return
        ours, theirs = socket.socketpair()
        argv = [sys.executable, "-m", "sims.kernel.gate", *self._verb, str(self.files.config)]
        with theirs:
            process = start_process(
                self._nursery,
                self._network,
                self.name,
                argv,
                self.files.log,
                stdin=theirs.fileno(),
            )
        gate = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
        boot = self._boot = Boot(process, gate)
        self._nursery.start_soon(self._watch_end, boot)
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            if await gate.receive_some(1) != READY:
                await boot.ended.wait()

    async def start(self, nursery: trio.Nursery) -> None:
        """Let the daemon begin, which is plugged in where it is; what it says is listened to."""
        if self.is_running:
            return
        await self.prepare()
        boot = self._boot
        if boot is None:
            return
        if not self._is_away:
            self._network.plug(self.name, self.site)
        boot.is_begun = True
        self._is_awake = True
        self.running_since_s = trio.current_time()
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await boot.gate.send_all(GO)
        nursery.start_soon(self._listen, boot)

    def kill(self, *, loses_disk: bool = False) -> None:
        """The machine is gone without a word: its kernel, too, says nothing to anybody."""
        boot = self._boot
        if boot is None:
            return
        self._unplug()
        self._note_cost(boot)
        self._take_down(boot)
        self._nursery.start_soon(boot.process.kill)
        if loses_disk:
            shutil.rmtree(self.files.state, ignore_errors=True)
        self._nursery.start_soon(self._prepare_again, boot)

    async def stop(self) -> None:
        """Ask the daemon to end, and wait until it has."""
        boot = self._boot
        if boot is None:
            return
        self._note_cost(boot)
        self._take_down(boot)
        await boot.process.stop()
        self._nursery.start_soon(self._prepare_again, boot)

    async def sleep_until(self, at_s: float) -> None:
        """Stop the daemon's process as by SIGSTOP until then."""
        boot = self._boot
        if boot is not None and boot.is_begun:
            boot.process.pause()
            self.running_since_s, self._is_awake = None, False
        await trio.sleep_until(at_s)
        if boot is not None and self._boot is boot and boot.is_begun:
            boot.process.resume()
            self.running_since_s, self._is_awake = trio.current_time(), True

    def leave(self) -> None:
        """Be in no network until it moves to a site."""
        self._is_away = True
        self._unplug()

    def move(self, site: str) -> None:
        """Leave the network where it is, if it is in one, and join that of ``site``."""
        self._unplug()
        self.site = site
        self._is_away = False
        if self.is_running:
            self._network.plug(self.name, site)

    # Pings

    async def receive_echoes(self, version: int) -> None:
        """Hand out the replies that come; until cancelled."""
        with self._network[self.name].entered():
            plain = socket.socket(_FAMILIES[version], socket.SOCK_RAW, _PROTOCOLS[version])
        with trio.socket.from_stdlib_socket(plain) as echo:
            self._echo = echo
            while True:
                try:
                    message, source = await echo.recvfrom(_RECEIVED_MAX_BYTES)
                except OSError:
                    continue  # An answer to a ping of ours that says why it did not get there.
                if version == 4:
                    message = message[4 * (message[0] & 0x0F) :]
                if len(message) >= _ECHO.size and message[0] == _ECHO_KINDS[version][1]:
                    payload = message[_ECHO.size :]
                    self._watcher.on_echo_reply(self.name, source[0], payload)

    def ping(self, destination: str, payload: bytes, *, is_full_size: bool = False) -> bool:
        """Send an echo request into the tunnel; False where no daemon is awake."""
        if self._echo is None or not self.is_running or not self._is_awake:
            return False
        version = ip_address(destination).version
        if is_full_size:
            payload = payload.ljust(MTU_BYTES - headers_size_bytes(destination))
        self._echoes_sent += 1
        numbers = (os.getpid() & 0xFFFF, self._echoes_sent & 0xFFFF)
        kind = _ECHO_KINDS[version][0]
        message = _ECHO.pack(kind, 0, 0, *numbers) + payload
        if version == 4:  # Of ICMPv6 the kernel makes it.
            message = _ECHO.pack(kind, 0, checksum(message), *numbers) + payload
        plain = socket.fromfd(self._echo.fileno(), _FAMILIES[version], socket.SOCK_RAW)
        with plain, suppress(OSError):
            # No tunnel yet, or none any more: a ping that is lost.
            plain.sendto(message, (destination, 0))
        return True

    # What it says

    async def status(self) -> dict[str, Any] | None:
        """What ``wice status --json`` prints on it; None where nobody answers."""
        return await self._ask("status")

    async def why(self, peer: str) -> dict[str, Any] | None:
        """What ``wice why --json`` prints on it of ``peer``; else as ``status``."""
        return await self._ask("why", peer=peer)

    def note_cost(self) -> None:
        """Of the daemon that runs, before it ends."""
        if self._boot is not None:
            self._note_cost(self._boot)

    async def _ask(self, verb: str, **arguments: str) -> dict[str, Any] | None:
        if not self.is_running or not self._is_awake:
            return None
        try:
            with trio.fail_after(ANSWER_TIMEOUT_S):
                return await request_async(self.files.control_socket, verb, **arguments)
        except NO_ANSWER:
            return None

    # Inside

    async def _listen(self, boot: Boot) -> None:
        """Hear what the daemon says from when its control socket answers to its end."""
        tell = partial(self._watcher.on_event, self.name)
        while not boot.ended.is_set() and self._boot is boot:
            with suppress(*NO_ANSWER):
                async with open_events(self.files.control_socket) as events:
                    async for event in events:
                        tell(event)
            await trio.sleep(SOCKET_POLL_S)

    async def _watch_end(self, boot: Boot) -> None:
        with boot.gate.socket:
            status = await boot.process.wait()
            boot.ended.set()
        if not boot.is_expected_to_end:
            self._take_down(boot)
            why = f"the daemon ended with status {status}: {last_line(self.files.log)}"
            self._watcher.task_died(self.name, DaemonEndedError(why))

    async def _prepare_again(self, boot: Boot) -> None:
        await boot.ended.wait()
        if self._boot is None:
            await self.prepare()

    def _take_down(self, boot: Boot) -> None:
        boot.is_expected_to_end = True
        if self._boot is boot:
            self._boot = None
            self.running_since_s = None

    def _unplug(self) -> None:
        self._network.unplug(self.name)

    def _note_cost(self, boot: Boot) -> None:
        with suppress(OSError):
            self.costs.append(cost_of(boot.process.pid))
