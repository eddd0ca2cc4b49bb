"""The demo: homes that know only each other's public key meet, and ping through WireGuard.

It counts pings only while the transfer counters of both WireGuard devices rise by what was
pinged.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import trio

from sims.lab.display import Display
from sims.lab.homes import Home
from sims.lab.lab import Lab
from sims.lab.mesh import NO_ANSWER, Cost, Mesh, peers_of, wait_answering
from sims.lab.ping import PACKET_SIZES_BYTES, PingStatistics
from sims.lab.progress import LABELS, Pair, Progress, Stage
from sims.lab.report import PairReport, Report
from sims.lab.topology import Topology
from wice.daemon.control import open_events, request_async

PING_COUNT: Final = 10
"""Counted pings in each direction; all must come back, unless links lose some on purpose."""
PINGS_AT_ONCE_MAX: Final = 16
"""Pairs that ping at the same time."""

STATUS_INTERVAL_MAX_S: Final = 0.5
"""Status is read after every event, and at least this often."""
STATUS_INTERVAL_MIN_S: Final = 0.01
"""For each home there is: a status holds all peers, and many homes have many events."""
STATUS_TEXTS_MAX: Final = 2
"""With more homes than this, what ``wice status`` says of each is more than a person reads."""
DIRECT_PATIENCE_S: Final = 15.0
"""How long a pair that is relayed may look for a direct path before it is judged."""
LOG_TAIL_LINES: Final = 12
KNOCKING_PAIRS_MAX: Final = 2
"""With more pairs than this, each is pinged only from its handshake on."""


class DemoFailedError(Exception):
    """The homes cannot connect any more; the message is one line for a person."""


@dataclass(slots=True)
class Demo:
    """One run in a lab that stands.

    bootstrap, homes: names of nodes. stop: the home whose daemon is stopped before the counted
    pings, to see that they fail then. has_relay: the bootstrap node relays.
    """

    lab: Lab
    display: Display
    bootstrap: str
    homes: Sequence[str]
    timeout_s: float
    is_kept: bool = False
    stop: str | None = None
    has_relay: bool = True
    _mesh: Mesh = field(init=False)
    _statuses: dict[str, dict[str, Any]] = field(default_factory=dict)
    _started_s: float = 0.0
    _settled_s: float = 0.0

    async def run(self) -> Report:
        """Start everything, connect, ping, report; afterwards nothing runs unless it is kept."""
        progress = Progress(self.homes, self.display.reached)
        pings: Mapping[Pair, PingStatistics] = {}
        problems: list[str] = []
        async with trio.open_nursery() as nursery:
            self._mesh = Mesh(
                self.lab,
                nursery,
                self.homes,
                bootstrap=self.bootstrap,
                has_relay=self.has_relay,
                is_kept=self.is_kept,
            )
            try:
                with trio.move_on_after(self.timeout_s) as timeout:
                    await self._start()
                    await self._while_daemons_run(partial(self._connect, progress))
                if timeout.cancelled_caught:
                    raise DemoFailedError(_unfinished(progress, self.timeout_s))
                self._settled_s = trio.current_time() - self._started_s
                await self._while_daemons_run(partial(self._try_direct, progress.connected))
                problems += (f"{pair}: {why}" for pair, why in progress.without_path.items())
                costs = {name: self._mesh.cost(name) for name in self._mesh.daemons}
                if self.stop is not None:
                    await self._mesh.stop(self.stop)
                pings = await self._ping(progress, problems)
            except DemoFailedError as error:
                costs = {}
                problems.append(str(error))
            report = await self._report(progress, pings, problems, costs)
            if self.is_kept:
                self._mesh.release()
            nursery.cancel_scope.cancel()
        return report

    def log_tails(self) -> dict[str, str]:
        """The last lines that each daemon said."""
        return {name: self._mesh.log_tail(name, LOG_TAIL_LINES) for name in self._mesh.daemons}

    async def _start(self) -> None:
        """The bootstrap node first, as in the world; then all homes at once."""
        self._mesh.start_bootstrap()
        await self._while_daemons_run(self._mesh.wait_listening)
        for address in self._mesh.bootstrap_addresses:
            self.display.say(f"bootstrap node: {address}")
        self._started_s = trio.current_time()
        for name in self.homes:
            self._mesh.start(name)

    async def _while_daemons_run(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do ``work``, and give it up with DemoFailedError as soon as a daemon ends."""
        ended: list[str] = []

        async def watch(name: str) -> None:
            await self._mesh.daemons[name].wait()
            ended.append(name)
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            for name in self._mesh.daemons:
                nursery.start_soon(watch, name)
            await work()
            nursery.cancel_scope.cancel()
        if ended:
            raise DemoFailedError(self._silence_of(ended[0]))

    async def _connect(self, progress: Progress) -> None:
        """Wait until every pair has a handshake and a first ping, or knows that it has no path."""
        places = trio.CapacityLimiter(PINGS_AT_ONCE_MAX)
        async with trio.open_nursery() as nursery:
            for home in self._mesh.homes.values():
                nursery.start_soon(self._follow, home, progress)
            for pair in progress.pairs:
                nursery.start_soon(self._ping_first, pair, progress, places)
            await progress.wait_settled()
            nursery.cancel_scope.cancel()

    async def _try_direct(self, pairs: Sequence[Pair]) -> None:
        """Wait until those who are relayed are direct, or have tried all that could be."""
        with trio.move_on_after(DIRECT_PATIENCE_S):
            async with trio.open_nursery() as nursery:
                for pair in pairs:
                    nursery.start_soon(self._mesh.wait_tried, pair)

    async def _follow(self, home: Home, progress: Progress) -> None:
        """Read the status of a daemon whenever something happened in it, until it ends."""
        await wait_answering(home)
        interval_min_s = STATUS_INTERVAL_MIN_S * len(self.homes)
        with suppress(*NO_ANSWER):
            async with open_events(home.control_socket) as events:
                while True:
                    await self._read_status(home, progress)
                    with trio.move_on_after(STATUS_INTERVAL_MAX_S):
                        await anext(events, None)
                    with trio.move_on_after(interval_min_s):
                        async for _ in events:
                            pass

    async def _read_status(self, home: Home, progress: Progress) -> None:
        status = await request_async(home.control_socket, "status")
        self._statuses[home.name] = status
        elapsed_s = trio.current_time() - self._started_s
        progress.read_status(home.name, self._mesh.peer_names(), status, elapsed_s)

    async def _ping_first(
        self, pair: Pair, progress: Progress, places: trio.CapacityLimiter
    ) -> None:
        # Many knock in vain before there is a way, at a cost that would delay the way itself.
        if len(progress.pairs) > KNOCKING_PAIRS_MAX:
            await progress.wait_reached(pair, Stage.HANDSHAKE)
        async with places:
            await self._mesh.wait_first_reply(pair)
        progress.reach(pair, Stage.PING, trio.current_time() - self._started_s)

    async def _ping(self, progress: Progress, problems: list[str]) -> Mapping[Pair, PingStatistics]:
        """Ping many ways at once; note what is wrong with the replies and with the counters."""
        pairs = progress.connected
        pings: dict[Pair, PingStatistics] = {}
        places = trio.CapacityLimiter(PINGS_AT_ONCE_MAX)

        async def ping_one(pair: Pair) -> None:
            async with places:
                pings[pair] = await self._mesh.ping(pair, PING_COUNT)

        before = await self._transfers(progress, problems)
        async with trio.open_nursery() as nursery:
            for pair in pairs:
                nursery.start_soon(ping_one, pair)
        after = await self._transfers(progress, problems)
        for pair in pairs:
            statistics = pings[pair]
            if statistics.received < replies_min(loss_of(self.lab.topology)):
                problems.append(f"{pair}: {statistics.received} of {PING_COUNT} pings came back")
            version = self._mesh.homes[pair.source].tunnel_address.version
            back = pings.get(Pair(pair.destination, pair.source), PingStatistics())
            pinged_bytes = (statistics.received + back.received) * PACKET_SIZES_BYTES[version]
            transfers = before.get(pair), after.get(pair)
            problems.extend(transfer_problems(pair, *transfers, pinged_bytes))
        return pings

    async def _transfers(
        self, progress: Progress, problems: list[str]
    ) -> dict[Pair, tuple[int, int]]:
        """What each device received from and sent to each peer, in bytes."""
        names = self._mesh.peer_names()
        transfers = {}
        for name in self.homes:
            try:
                await self._read_status(self._mesh.homes[name], progress)
            except NO_ANSWER:
                problems.append(self._silence_of(name))
                continue
            for peer in peers_of(self._statuses[name]):
                pair = Pair(name, names[peer["public_key"]])
                transfers[pair] = (peer["rx_bytes"], peer["tx_bytes"])
        return transfers

    def _silence_of(self, name: str) -> str:
        status = self._mesh.daemons[name].returncode
        if status is None:
            return f"the daemon of {name} does not answer"
        return f"the daemon of {name} ended with status {status}"

    async def _report(
        self,
        progress: Progress,
        pings: Mapping[Pair, PingStatistics],
        problems: Sequence[str],
        costs: Mapping[str, Cost],
    ) -> Report:
        texts = [*self.homes] if len(self.homes) <= STATUS_TEXTS_MAX else []
        reports = tuple(self._pair_report(pair, pings, progress) for pair in progress.pairs)
        explained = [report.pair for report in reports if report.path != "direct" and texts]
        return Report(
            pairs=reports,
            stages=progress.reached,
            problems=tuple(problems),
            status={name: await self._mesh.status_text(name) for name in texts},
            why={pair: await self._mesh.why_text(pair) for pair in explained},
            costs=costs,
            settled_s=self._settled_s,
        )

    def _pair_report(
        self, pair: Pair, pings: Mapping[Pair, PingStatistics], progress: Progress
    ) -> PairReport:
        path, reason = None, "its daemon never answered"
        for peer in peers_of(self._statuses.get(pair.source, {"interfaces": []})):
            if peer["public_key"] == str(self._mesh.homes[pair.destination].public_key):
                path, reason = peer["path"], peer["reason"]
        return PairReport(
            pair=pair,
            path=path,
            reason=reason,
            ping=pings.get(pair, PingStatistics()),
            time_to_first_ping_s=progress.reached[pair].get(Stage.PING),
        )


def loss_of(topology: Topology) -> float:
    """The share of packets that the worst link loses."""
    return max([topology.link.loss, *(site.link.loss for site in topology.sites if site.link)])


def replies_min(loss: float) -> int:
    """Replies that must come back: all, or where links lose packets half of what they let by."""
    return PING_COUNT if not loss else int(PING_COUNT * (1 - loss) ** 2 / 2)


def transfer_problems(
    pair: Pair,
    before: tuple[int, int] | None,
    after: tuple[int, int] | None,
    pinged_bytes: int,
) -> Iterator[str]:
    """What is wrong with the (received, sent) bytes that a device counted for a peer.

    pinged_bytes: pings went both ways, so requests and replies were received, and as many sent.
    """
    if before is None or after is None:
        return
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
