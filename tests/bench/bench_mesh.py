"""Whole daemons in the lab: from their start to the first ping, and what they cost at rest.

Needs root, like the lab. Run as ``python -m tests.bench mesh`` and ``... idle``.
"""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import TypeVar

import trio

from sims.lab.lab import Lab, open_lab
from sims.lab.link import Link
from sims.lab.mesh import Mesh, peers_of
from sims.lab.nat import NAT_KINDS
from sims.lab.progress import LABELS, Pair, Stage
from sims.lab.requirements import missing
from sims.lab.topology import HOST_INTERFACE, Topology, sites_of
from tests.bench.report import Goal, Row

LATENCIES_MS = (0, 25)
"""One way."""
ROUNDS = 5
FOUNDERS = ("alice", "bob")
NEWCOMERS = ("carol", "dave", "erin")
NAT = "port-restricted"
START_GOAL, NEWCOMER_GOAL = Goal(5.0), Goal(2.0)
PATIENCE_S = 60.0
IMPORTED = "imports done"

Found = TypeVar("Found")

IDLE_S = 120.0
SETTLE_S = 20.0
"""After connecting, what is done once has been done."""


@dataclass(slots=True)
class Times:
    """Seconds by what was reached, one entry a run."""

    reached: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, seconds: float) -> None:
        self.reached.setdefault(name, []).append(seconds)

    def rows(self, group: str, prefix: str, goal: Goal | None, note: str) -> Iterator[Row]:
        for name, seconds in self.reached.items():
            is_ping = name == LABELS[Stage.PING]
            row_note = note if is_ping else ""
            yield Row(group, f"{prefix}: {name}", "s", seconds, goal if is_ping else None, row_note)


def rows() -> Iterator[Row]:
    if lacking := missing():
        yield Row("mesh", "start to first ping", "s", skipped=lacking)
        return
    starts = {latency_ms: Times() for latency_ms in LATENCIES_MS}
    newcomers = {latency_ms: Times() for latency_ms in LATENCIES_MS}
    rtts_ms: dict[int, list[float]] = {latency_ms: [] for latency_ms in LATENCIES_MS}
    for round_number in range(ROUNDS):
        for latency_ms in LATENCIES_MS:
            # The last rounds let newcomers in as well: three each.
            joining = NEWCOMERS if round_number >= ROUNDS - 2 else ()
            rtt_ms = _in_lab(
                latency_ms,
                (*FOUNDERS, *joining),
                partial(_measure, starts[latency_ms], newcomers[latency_ms], joining),
            )
            rtts_ms[latency_ms].append(rtt_ms)
    for latency_ms in LATENCIES_MS:
        is_plain = latency_ms == 0
        note = f"ping takes {median(rtts_ms[latency_ms]):.1f} ms"
        for what, times, goal in (
            ("both start", starts[latency_ms], START_GOAL),
            ("a new peer", newcomers[latency_ms], NEWCOMER_GOAL),
        ):
            prefix = f"{what}, {latency_ms} ms one way"
            yield from times.rows("mesh", prefix, goal if is_plain else None, note)


def idle_rows() -> Iterator[Row]:
    if lacking := missing():
        yield Row("idle", "a connected pair", "s", skipped=lacking)
        return
    yield from _in_lab(0, FOUNDERS, _measure_idle)


def _in_lab(
    latency_ms: int, homes: tuple[str, ...], work: Callable[[Mesh], Awaitable[Found]]
) -> Found:
    """What ``work`` finds out in a lab of its own, with the bootstrap node running."""

    async def run(lab: Lab) -> Found:
        with trio.fail_after(PATIENCE_S + IDLE_S + SETTLE_S):
            async with trio.open_nursery() as nursery:
                mesh = Mesh(lab, nursery, homes)
                mesh.start_bootstrap()
                await mesh.wait_listening()
                found = await work(mesh)
                nursery.cancel_scope.cancel()
        return found

    sites = sites_of(dict.fromkeys(homes, NAT_KINDS[NAT]))
    with open_lab(Topology(sites, link=Link(latency_s=latency_ms / 1e3))) as lab:
        return trio.run(run, lab)


async def _measure(starts: Times, newcomers: Times, joining: tuple[str, ...], mesh: Mesh) -> float:
    """Both founders at once, then one newcomer after the other; give the tunnel's RTT in ms."""
    await _time(mesh, FOUNDERS, {FOUNDERS[0]: FOUNDERS[1], FOUNDERS[1]: FOUNDERS[0]}, starts)
    for newcomer in joining:
        await _time(mesh, (newcomer,), {newcomer: FOUNDERS[0]}, newcomers)
    statistics = await mesh.ping(Pair(*FOUNDERS), 10)
    assert statistics.rtt_ms_median is not None
    return statistics.rtt_ms_median


async def _time(mesh: Mesh, starting: tuple[str, ...], pings: dict[str, str], times: Times) -> None:
    """Start daemons, and note when the last of ``pings`` came back and what lay before it."""
    began_s = trio.current_time()
    first_s: dict[str, float] = {}

    async def wait(source: str, destination: str) -> None:
        await mesh.wait_first_reply(Pair(source, destination))
        first_s[source] = trio.current_time() - began_s

    async with trio.open_nursery() as nursery:
        for home in starting:
            mesh.start(home)
        for source, destination in pings.items():
            nursery.start_soon(wait, source, destination)
    later = max(first_s, key=lambda source: first_s[source])
    stages = await _stages(mesh, later, pings[later], began_s)
    for name, at_s in stages.items():
        times.add(name, at_s)
    times.add(LABELS[Stage.PING], first_s[later])
    times.add("ping, from the imports on", first_s[later] - stages[IMPORTED])


async def _stages(mesh: Mesh, home: str, other: str, began_s: float) -> dict[str, float]:
    """When ``home`` reached each stage towards ``other``, seconds since ``began_s``."""
    status = await mesh.status(home)
    daemon_began_s = trio.current_time() - began_s - status["uptime_s"]
    found = {IMPORTED: daemon_began_s}
    if (joined_s := status["overlay"]["joined_s"]) is not None:
        found[LABELS[Stage.JOINED]] = daemon_began_s + joined_s
    key = str(mesh.homes[other].public_key)
    stages = next(p["stages"] for p in peers_of(status) if p["public_key"] == key)
    for stage in Stage:
        if (at_s := stages.get(stage.value)) is not None:
            found[LABELS[stage]] = daemon_began_s + at_s
    return found


@dataclass(frozen=True, slots=True)
class Usage:
    """What a machine has used so far."""

    cpu_s: float
    wire_bytes: int
    wire_packets: int


async def _measure_idle(mesh: Mesh) -> list[Row]:
    machines = (mesh.bootstrap.name, *FOUNDERS)
    await _time(mesh, FOUNDERS, {FOUNDERS[0]: FOUNDERS[1], FOUNDERS[1]: FOUNDERS[0]}, Times())
    await trio.sleep(SETTLE_S)
    before = {name: _usage(mesh, name) for name in machines}
    await trio.sleep(IDLE_S)
    after = {name: _usage(mesh, name) for name in machines}
    rows = []
    for what, names in (("a peer", FOUNDERS), ("the bootstrap node", machines[:1])):
        for title, unit, attribute in (
            ("CPU", "s", "cpu_s"),
            ("bytes on the wire, both ways", "B", "wire_bytes"),
            ("packets on the wire, both ways", "", "wire_packets"),
        ):
            used = [getattr(after[n], attribute) - getattr(before[n], attribute) for n in names]
            rows.append(Row("idle", f"{what}, {IDLE_S:g} s: {title}", unit, used))
        memory = [mesh.cost(name).memory_bytes / 2**20 for name in names]
        rows.append(Row("idle", f"{what}: memory, most", "MB", memory))
    return rows


def _usage(mesh: Mesh, name: str) -> Usage:
    with mesh.lab[name].entered():
        text = Path("/proc/thread-self/net/dev").read_text()
    fields = next(
        line.partition(":")[2].split()
        for line in text.splitlines()
        if line.strip().startswith(f"{HOST_INTERFACE}:")
    )
    wire_bytes, wire_packets = int(fields[0]) + int(fields[8]), int(fields[1]) + int(fields[9])
    return Usage(mesh.cost(name).cpu_s, wire_bytes, wire_packets)
