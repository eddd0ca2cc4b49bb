"""A simulated machine: the real daemon on a host of its own, started, killed, put to sleep, moved.

Each start is a new boot: a new ``Host`` and a new directory with a copy of what the disk held at
the end of the last one. So nothing that a dead daemon still does on its way out is seen by
anybody, as little as of a process that was killed.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final, Protocol

import trio

from p2p.backend import OverlayTransport
from sims.internet.network import Network
from sims.machines.envelope_delay import EnvelopeDelay
from sims.machines.envelope_replay import EnvelopeReplay
from sims.machines.in_process_overlay import BootstrapTransport, current_post_office
from sims.machines.machine_files import MachineFiles
from sims.machines.post_office import PostOffice
from sims.model.scenario import Machine
from sims.model.world import Load
from sims.runtime.clock import VirtualClock
from sims.runtime.entropy import ByteStream, Entropy
from sims.runtime.trio_internals import postpone_deadlines
from sims.stack.host import Host, current_host
from sims.stack.tun import WatchTunnel
from wice.config import load_config
from wice.daemon.control import request_async
from wice.daemon.daemon import run_bootstrap, run_up
from wice.errors import RemoteProtocolError
from wice.events import Event, EventStream
from wice.platform import IPInterface, LinkConfig, NetworkInterface, Tun

ANSWER_TIMEOUT_S: Final = 5.0
"""A daemon that takes longer to say its status does not."""

PASSES_TO_SETTLE: Final = 64
"""Passes of the scheduler in which tasks that were about to run come to rest, or set timers."""

NO_ANSWER: Final = (OSError, trio.BrokenResourceError, trio.TooSlowError, RemoteProtocolError)

WriteConfig = Callable[[MachineFiles], str]


class DaemonEndedError(Exception):
    """A daemon returned though it was neither stopped nor killed."""


class WallClock:
    """The clock on a machine's wall: offset_s wrong at first, and drifting from there."""

    def __init__(self, clock: VirtualClock, starts_at_s: float, machine: Machine) -> None:
        self._clock = clock
        self._began_s = clock.now_s
        self._starts_at_s = starts_at_s + machine.clock_offset_s
        self._rate = 1 + machine.clock_drift_ppm / 1e6

    def now_s(self) -> float:
        """Seconds since 1970-01-01 UTC."""
        return self._starts_at_s + (self._clock.now_s - self._began_s) * self._rate


class SimulatedPlatform:
    """One boot of a machine as a ``wice.platform.Platform``."""

    def __init__(self, host: Host, wall_clock: WallClock, entropy: ByteStream) -> None:
        self._host = host
        self._wall_clock = wall_clock
        self._entropy = entropy

    def wall_time(self) -> float:
        return self._wall_clock.now_s()

    def random_bytes(self, size_bytes: int) -> bytes:
        return self._entropy.read(size_bytes)

    def state_directory(self, path: Path) -> Path:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return path

    def interfaces(self) -> Sequence[NetworkInterface]:
        return self._host.interfaces()

    def watch_network(self) -> AbstractAsyncContextManager[trio.MemoryReceiveChannel[None]]:
        return self._host.watch_network()

    def open_tun(self, name: str) -> Tun:
        return self._host.open_tun(name)

    def configure_link(self, name: str, config: LinkConfig) -> None:
        self._host.configure_link(name, config)


class Observer(Protocol):
    """Who watches machines."""

    def on_event(self, machine: str, event: Event) -> None: ...

    def on_echo_request(self, machine: str, source: str, payload: bytes) -> None: ...

    def on_echo_reply(self, machine: str, source: str, payload: bytes) -> None: ...

    def task_died(self, machine: str, error: BaseException) -> None: ...


class ObservedEvents(EventStream):
    """A daemon's event stream, of which ``observe`` sees each event as it happens."""

    def __init__(self, observe: Callable[[Event], None]) -> None:
        super().__init__()
        self._observe = observe

    def emit(self, event: Event) -> None:
        super().emit(event)
        self._observe(event)


@dataclass(slots=True)
class Boot:
    """From a start of the daemon to its end."""

    number: int
    files: MachineFiles
    host: Host
    platform: SimulatedPlatform
    events: EventStream
    scope: trio.CancelScope
    ready: trio.Event
    ended: trio.Event
    task: trio.lowlevel.Task | None = None
    transport: OverlayTransport | BootstrapTransport | None = None
    """Of a bootstrap node."""


class SimulatedMachine:
    """What runs on it, and what can be done to it.

    disk: its files as the next boot finds them; ``write_config`` says what goes into its
    configuration, which names its directory.
    """

    def __init__(
        self,
        machine: Machine,
        site: str,
        disk: Path,
        write_config: WriteConfig,
        *,
        is_bootstrap: bool,
        network: Network,
        clock: VirtualClock,
        wall_clock: WallClock,
        entropy: Entropy,
        post_office: PostOffice,
        observer: Observer,
    ) -> None:
        self.name = machine.name
        self.site = site
        self.boot: Boot | None = None
        self.running_since_s: float | None = None
        """On the clock of the run; also since it is awake again."""
        self.watch_tunnel: WatchTunnel | None = None
        """Of each boot from now on."""
        self._machine = machine
        self._disk = disk
        self._write_config = write_config
        self._is_bootstrap = is_bootstrap
        self._network = network
        self._clock = clock
        self._wall_clock = wall_clock
        self._entropy = entropy
        self._post_office = post_office
        self._observer = observer
        self._boots = 0
        self._is_away = False

    @property
    def is_running(self) -> bool:
        return self.boot is not None

    @property
    def addresses(self) -> Sequence[IPInterface]:
        """Those that its site gives it, whether it runs or not."""
        if self.boot is not None and self.boot.host.ethernet.attachment is not None:
            return self.boot.host.ethernet.attachment.addresses
        attachment = self._network.attach(self.site, self.name, lambda _packet: None)
        addresses = attachment.addresses
        attachment.detach()
        return addresses

    # What is done to it

    async def start(self, nursery: trio.Nursery) -> None:
        """Boot, and wait until the daemon runs or has ended."""
        if self.boot is not None:
            return
        boot = self._new_boot()
        self.boot = boot
        self.running_since_s = self._clock.now_s
        nursery.start_soon(self._live, boot, name=f"{self.name}/{boot.number}")
        await boot.ready.wait()

    def kill(self, *, loses_disk: bool = False) -> None:
        """The daemon is gone without a word."""
        if self.boot is None:
            return
        boot = self.boot
        boot.host.crash()
        self._take_down(loses_disk=loses_disk)
        boot.scope.cancel()

    async def stop(self) -> None:
        """Ask the daemon to end, and wait until it has."""
        if self.boot is None:
            return
        boot = self.boot
        boot.scope.cancel()
        await boot.ended.wait()
        if self.boot is boot:
            self._take_down()

    async def sleep_until(self, at_s: float) -> None:
        """Stand still: nothing comes in or goes out, and no timer is due before ``at_s``."""
        boot = self.boot
        if boot is None:
            await trio.sleep_until(at_s)
            return
        boot.host.is_frozen = True
        self.running_since_s = None
        for _ in range(PASSES_TO_SETTLE):
            postpone_deadlines(at_s, partial(_runs_on, boot.host))
            await trio.lowlevel.checkpoint()
        await trio.sleep_until(at_s)
        boot.host.is_frozen = False
        if self.boot is boot:
            self.running_since_s = self._clock.now_s

    async def replay_envelopes(
        self, random: Random, after_s: float, spread_s: float, until_s: float
    ) -> None:
        """Have a bootstrap node that runs deliver envelopes again until the clock is ``until_s``.

        Each ``after_s`` later, and up to ``spread_s`` more. Called from a task of its own: it
        becomes one of the machine's.
        """
        boot = self.boot
        if boot is None or boot.transport is None:
            return
        if isinstance(boot.transport, BootstrapTransport):
            boot.transport.branch.repeats = random, after_s, spread_s
            await trio.sleep_until(until_s)
            boot.transport.branch.repeats = None
            return
        current_host.set(boot.host)
        replay = EnvelopeReplay(boot.transport, random, after_s, spread_s)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(replay.run)
            await trio.sleep_until(until_s)
            replay.stop()

    async def delay_envelopes(self, random: Random, up_to_s: float, until_s: float) -> None:
        """Have a bootstrap node that runs be slow to deliver until the clock is ``until_s``."""
        boot = self.boot
        if boot is None or boot.transport is None:
            return
        if isinstance(boot.transport, BootstrapTransport):
            boot.transport.branch.slow = (random, up_to_s)
            await trio.sleep_until(until_s)
            boot.transport.branch.slow = None
            return
        delay = EnvelopeDelay(boot.transport, random, up_to_s)
        await trio.sleep_until(until_s)
        delay.stop()

    def leave(self) -> None:
        """Be in no network until it moves to a site."""
        self._is_away = True
        if self.boot is not None:
            self.boot.host.unplug()

    def move(self, site: str) -> None:
        """Leave the network where it is, if it is in one, and join that of ``site``."""
        self.site = site
        self._is_away = False
        if self.boot is not None:
            self._plug(self.boot.host)

    def ping(self, destination: str, payload: bytes, *, is_full_size: bool = False) -> bool:
        """Send an echo request into the tunnel; False where no daemon is awake."""
        if self.boot is None or self.boot.host.is_frozen:
            return False
        self.boot.host.ping(destination, payload, is_full_size=is_full_size)
        return True

    # What it says

    async def status(self) -> dict[str, Any] | None:
        """What ``wice status --json`` prints on it; None where nobody answers.

        Called from a task of its own: it becomes one of the machine's.
        """
        return await self._ask("status")

    async def why(self, peer: str) -> dict[str, Any] | None:
        """What ``wice why --json`` prints on it of ``peer``; else as ``status``."""
        return await self._ask("why", peer=peer)

    async def _ask(self, verb: str, **arguments: str) -> dict[str, Any] | None:
        boot = self.boot
        if boot is None or boot.host.is_frozen:
            return None
        current_host.set(boot.host)
        try:
            with trio.fail_after(ANSWER_TIMEOUT_S):
                return await request_async(boot.files.control_socket, verb, **arguments)
        except NO_ANSWER:
            return None

    def load(self) -> Load:
        """Raise KeyError where no daemon runs."""
        if self.boot is None or self.boot.task is None:
            raise KeyError(self.name)
        host = self.boot.host
        return Load(
            tasks=sum(1 for _ in _tasks_below(self.boot.task)),
            sockets=host.open_sockets,
            tcp_connections=len(host.tcp),
            queued_bytes=host.unread_bytes,
        )

    def wall_time(self) -> float:
        return self._wall_clock.now_s()

    def random_bytes(self, size_bytes: int) -> bytes:
        """For libraries that ask the operating system."""
        assert self.boot is not None
        return self.boot.platform.random_bytes(size_bytes)

    # Inside

    def _plug(self, host: Host) -> None:
        host.unplug()
        host.plug(self._network.attach(self.site, self.name, host.receive))

    def _new_boot(self) -> Boot:
        self._boots += 1
        node = f"{self.name}/{self._boots}"
        files = MachineFiles(self.name, self._disk.with_name(f"{self._disk.name}.{self._boots}"))
        shutil.copytree(self._disk, files.directory)
        files.config.write_text(self._write_config(files))
        host = Host(self.name, self._clock, self._entropy.random("host", node), {})
        host.on_echo_request = partial(self._observer.on_echo_request, self.name)
        host.on_echo_reply = partial(self._observer.on_echo_reply, self.name)
        host.watch_tunnel = self.watch_tunnel
        if not self._is_away:
            self._plug(host)
        return Boot(
            number=self._boots,
            files=files,
            host=host,
            platform=SimulatedPlatform(
                host, self._wall_clock, self._entropy.stream("platform", node)
            ),
            events=ObservedEvents(partial(self._observer.on_event, self.name)),
            scope=trio.CancelScope(),
            ready=trio.Event(),
            ended=trio.Event(),
        )

    async def _live(self, boot: Boot) -> None:
        current_host.set(boot.host)
        current_post_office.set(self._post_office)
        boot.task = trio.lowlevel.current_task()
        run: Any = run_bootstrap if self._is_bootstrap else run_up
        try:
            with boot.scope:
                async with trio.open_nursery() as nursery:
                    config = load_config(boot.files.config)
                    boot.transport = await nursery.start(run, config, boot.platform, boot.events)
                    boot.ready.set()
            if not boot.scope.cancel_called:
                raise DaemonEndedError("the daemon ended, and nobody had asked it to")
        except Exception as error:  # noqa: BLE001 - whatever ends a daemon is what a run looks for
            if self.boot is boot:
                self._observer.task_died(self.name, error)
                boot.host.crash()
                self._take_down()
        finally:
            boot.ready.set()
            boot.ended.set()

    def _take_down(self, *, loses_disk: bool = False) -> None:
        """Keep what the disk holds now for the next boot."""
        assert self.boot is not None
        state = self.boot.files.state
        self.boot.host.unplug()
        self.boot = None
        self.running_since_s = None
        kept = self._disk / state.name
        if kept.exists():
            shutil.rmtree(kept)
        if state.exists() and not loses_disk:
            shutil.copytree(state, kept)


def _runs_on(host: Host, task: trio.lowlevel.Task) -> bool:
    return task.context.get(current_host) is host


def _tasks_below(task: trio.lowlevel.Task) -> Iterator[trio.lowlevel.Task]:
    yield task
    for nursery in task.child_nurseries:
        for child in nursery.child_tasks:
            yield from _tasks_below(child)
