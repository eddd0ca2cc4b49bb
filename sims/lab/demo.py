"""The demo: homes that know only each other's public key meet, and ping through WireGuard.

Everything in it is real: the daemons, their overlay, the NATs, ``ping``. It counts pings only
while the transfer counters of both WireGuard devices rise by what was pinged.
"""

import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import trio

from sims.lab.display import Display
from sims.lab.homes import Home, Machine, equip_bootstrap, equip_homes
from sims.lab.lab import Lab
from sims.lab.ping import PACKET_SIZE_BYTES, PingStatistics, ping, wait_first_reply
from sims.lab.process import LabProcess, start_process
from sims.lab.progress import LABELS, Pair, Progress, Stage
from sims.lab.report import PairReport, Report
from wice.daemon.control import open_events, request_async
from wice.errors import RemoteProtocolError

PING_COUNT: Final = 10
"""Counted pings in each direction; all must come back."""

SOCKET_POLL_S: Final = 0.02
"""How often to look whether a daemon that starts answers already."""
STATUS_INTERVAL_MAX_S: Final = 0.5
"""Status is read after every event, and at least this often."""
ANSWER_TIMEOUT_S: Final = 5.0
"""A daemon that takes longer to answer does not."""
LOG_TAIL_LINES: Final = 12

WICE: Final = (sys.executable, "-m", "wice")

_NO_DAEMON: Final = (OSError, trio.BrokenResourceError, RemoteProtocolError)


class DemoFailedError(Exception):
    """The homes cannot connect any more; the message is one line for a person."""


@dataclass(slots=True)
class Demo:
    """One run in a lab that stands.

    bootstrap, homes: names of nodes. stop: the home whose daemon is stopped before the counted
    pings, to see that they fail then.
    """

    lab: Lab
    display: Display
    bootstrap: str
    homes: Sequence[str]
    timeout_s: float
    is_kept: bool = False
    stop: str | None = None
    _machines: Mapping[str, Home] = field(default_factory=dict)
    _daemons: dict[str, LabProcess] = field(default_factory=dict)
    _statuses: dict[str, dict[str, Any]] = field(default_factory=dict)
    _started_s: float = 0.0

    async def run(self) -> Report:
        """Start everything, connect, ping, report; afterwards nothing runs unless it is kept."""
        progress = Progress(self.homes, self.display.reached)
        pings: Mapping[Pair, PingStatistics] = {}
        problems: list[str] = []
        async with trio.open_nursery() as nursery:
            try:
                with trio.move_on_after(self.timeout_s) as timeout:
                    await self._start(nursery)
                    await self._while_daemons_run(partial(self._connect, progress))
                if timeout.cancelled_caught:
                    raise DemoFailedError(_unfinished(progress, self.timeout_s))
                if self.stop is not None:
                    await self._daemons[self.stop].stop()
                pings = await self._ping(progress.pairs, problems)
            except DemoFailedError as error:
                problems.append(str(error))
            report = Report(
                pairs=tuple(self._pair_report(pair, pings, progress) for pair in progress.pairs),
                stages=progress.reached,
                problems=tuple(problems),
                status={name: await self._status_text(name) for name in self._machines},
            )
            if self.is_kept:
                for daemon in self._daemons.values():
                    daemon.release()
            nursery.cancel_scope.cancel()
        return report

    def log_tails(self) -> dict[str, str]:
        """The last lines that each daemon said."""
        return {
            name: "\n".join(daemon.log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])
            for name, daemon in self._daemons.items()
            if daemon.log is not None
        }

    async def _start(self, nursery: trio.Nursery) -> None:
        """The bootstrap node first, as in the world; then all homes at once."""
        bootstrap, address = equip_bootstrap(self.lab, self.bootstrap)
        self._machines = equip_homes(self.lab, self.homes, address)
        self._daemons[self.bootstrap] = self._daemon(nursery, "bootstrap", bootstrap)
        await self._while_daemons_run(partial(_wait_listening, bootstrap))
        self.display.say(f"bootstrap node: {address}")
        self._started_s = trio.current_time()
        for name, home in self._machines.items():
            self._daemons[name] = self._daemon(nursery, "up", home)

    def _daemon(self, nursery: trio.Nursery, verb: str, machine: Machine) -> LabProcess:
        argv = [*WICE, verb, str(machine.config)]
        return start_process(
            nursery, self.lab, machine.name, argv, machine.log, outlives_owner=self.is_kept
        )

    async def _while_daemons_run(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do ``work``, and give it up with DemoFailedError as soon as a daemon ends."""
        ended: list[str] = []

        async def watch(name: str, scope: trio.CancelScope) -> None:
            await self._daemons[name].wait()
            ended.append(name)
            scope.cancel()

        async with trio.open_nursery() as nursery:
            for name in self._daemons:
                nursery.start_soon(watch, name, nursery.cancel_scope)
            await work()
            nursery.cancel_scope.cancel()
        if ended:
            raise DemoFailedError(self._silence_of(ended[0]))

    async def _connect(self, progress: Progress) -> None:
        """Wait until every home has a handshake with every other, and a first ping came back."""
        async with trio.open_nursery() as nursery:
            for home in self._machines.values():
                nursery.start_soon(self._follow, home, progress)
            for pair in progress.pairs:
                nursery.start_soon(self._ping_first, pair, progress)
            await progress.wait_connected()
            nursery.cancel_scope.cancel()

    async def _follow(self, home: Home, progress: Progress) -> None:
        """Read the status of a daemon whenever something happened in it, until it ends."""
        await _wait_answering(home)
        with suppress(*_NO_DAEMON):
            async with open_events(home.control_socket) as events:
                while True:
                    await self._read_status(home, progress)
                    with trio.move_on_after(STATUS_INTERVAL_MAX_S):
                        await anext(events, None)

    async def _read_status(self, home: Home, progress: Progress) -> None:
        status = await request_async(home.control_socket, "status")
        self._statuses[home.name] = status
        names = {str(other.public_key): other.name for other in self._machines.values()}
        progress.read_status(home.name, names, status, trio.current_time() - self._started_s)

    async def _ping_first(self, pair: Pair, progress: Progress) -> None:
        source, destination = (self._machines[name].tunnel_address for name in pair)
        await wait_first_reply(self.lab, pair.source, source, destination)
        progress.reach(pair, Stage.PING, trio.current_time() - self._started_s)

    async def _ping(
        self, pairs: Sequence[Pair], problems: list[str]
    ) -> Mapping[Pair, PingStatistics]:
        """Ping every way at once; note what is wrong with the replies and with the counters."""
        pings: dict[Pair, PingStatistics] = {}

        async def ping_one(pair: Pair) -> None:
            source, destination = (self._machines[name].tunnel_address for name in pair)
            pings[pair] = await ping(self.lab, pair.source, source, destination, PING_COUNT)

        before = await self._transfers(problems)
        async with trio.open_nursery() as nursery:
            for pair in pairs:
                nursery.start_soon(ping_one, pair)
        after = await self._transfers(problems)
        for pair in pairs:
            statistics = pings[pair]
            if statistics.received < PING_COUNT:
                problems.append(f"{pair}: {statistics.received} of {PING_COUNT} pings came back")
            problems.extend(transfer_problems(pair, before.get(pair), after.get(pair)))
        return pings

    async def _transfers(self, problems: list[str]) -> dict[Pair, tuple[int, int]]:
        """What each device received from and sent to each peer, in bytes."""
        names = {str(home.public_key): home.name for home in self._machines.values()}
        transfers = {}
        for name, home in self._machines.items():
            try:
                with trio.fail_after(ANSWER_TIMEOUT_S):
                    status = await request_async(home.control_socket, "status")
            except (*_NO_DAEMON, trio.TooSlowError):
                problems.append(self._silence_of(name))
                continue
            self._statuses[name] = status
            for peer in _peers(status):
                pair = Pair(name, names[peer["public_key"]])
                transfers[pair] = (peer["rx_bytes"], peer["tx_bytes"])
        return transfers

    def _silence_of(self, name: str) -> str:
        status = self._daemons[name].returncode
        if status is None:
            return f"the daemon of {name} does not answer"
        return f"the daemon of {name} ended with status {status}"

    def _pair_report(
        self, pair: Pair, pings: Mapping[Pair, PingStatistics], progress: Progress
    ) -> PairReport:
        path, reason = None, "its daemon never answered"
        for peer in _peers(self._statuses.get(pair.source, {"interfaces": []})):
            if peer["public_key"] == str(self._machines[pair.destination].public_key):
                path, reason = peer["path"], peer["reason"]
        return PairReport(
            pair=pair,
            path=path,
            reason=reason,
            ping=pings.get(pair, PingStatistics()),
            time_to_first_ping_s=progress.reached[pair].get(Stage.PING),
        )

    async def _status_text(self, name: str) -> str:
        """What ``wice status`` prints on this home."""
        argv = [*WICE, "status", str(self._machines[name].config)]
        async with trio.open_nursery() as nursery:
            process = start_process(nursery, self.lab, name, argv)
            return "\n".join([line async for line in process.lines()])


def _peers(status: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [peer for interface in status["interfaces"] for peer in interface["peers"]]


def transfer_problems(
    pair: Pair, before: tuple[int, int] | None, after: tuple[int, int] | None
) -> Iterator[str]:
    """What is wrong with the (received, sent) bytes that a device counted for a peer.

    Pings went both ways, so requests and replies were received, and as many sent.
    """
    if before is None or after is None:
        return
    pinged_bytes = 2 * PING_COUNT * PACKET_SIZE_BYTES
    for counter, old, new in zip(("received", "sent"), before, after, strict=True):
        if new - old < pinged_bytes:
            yield (
                f"{pair}: the device {counter} {new - old} bytes more "
                f"while pings had {pinged_bytes}"
            )


def _unfinished(progress: Progress, timeout_s: float) -> str:
    waits = []
    for pair, reached in progress.reached.items():
        lacking = [LABELS[stage] for stage in Stage if stage not in reached]
        if lacking:
            waits.append(f"{pair} waits for: {lacking[0]}")
    return f"not connected after {timeout_s:g} s; {'; '.join(waits) or 'no daemon was started'}"


async def _wait_answering(machine: Machine) -> dict[str, Any]:
    """Wait until the daemon's control socket answers; give its status."""
    while True:
        with suppress(*_NO_DAEMON):
            return await request_async(machine.control_socket, "status")
        await trio.sleep(SOCKET_POLL_S)


async def _wait_listening(bootstrap: Machine) -> None:
    while True:
        status = await _wait_answering(bootstrap)
        if status["overlay"].get("listen"):
            return
        await trio.sleep(SOCKET_POLL_S)
