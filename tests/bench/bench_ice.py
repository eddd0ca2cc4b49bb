"""From both descriptions known to the first valid pair, in round trips, in virtual time; and what
a connection and an idle peer cost in CPU.

Run as ``python -m tests.bench ice``.
"""

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from tests.bench.aioice_network import connect_aioice
from tests.bench.report import Goal, Row
from tests.ice.conftest import Host, Nat, Network
from wice.ice import PairSelected, PairValidated

LATENCY_S = 0.02
ROUND_TRIP_S = 2 * LATENCY_S
SEEDS = 200
LOSS_OF_GOAL = 0.05
MANY = [f"10.{i}.0.1" for i in range(5)]


@dataclass(frozen=True, slots=True)
class Scenario:
    name: str
    ours: Sequence[str]
    theirs: Sequence[str]
    has_nats: bool = True

    def nats(self) -> tuple[Nat | None, Nat | None]:
        return (Nat("198.51.100.1"), Nat("198.51.100.2")) if self.has_nats else (None, None)


NATS = Scenario("port-restricted NATs", ["10.0.0.1"], ["10.0.0.2"])
SCENARIOS = (
    Scenario("no NAT", ["192.0.2.1"], ["192.0.2.2"], has_nats=False),
    NATS,
    Scenario("5 addresses each", MANY, [address[:-1] + "2" for address in MANY]),
)


def connect(seed: int, scenario: Scenario, loss: float) -> tuple[Network, Host, Host]:
    network = Network(seed)
    network.latency_s, network.loss = LATENCY_S, loss
    nats = scenario.nats()
    a = network.host(*scenario.ours, controlling=True, nat=nats[0])
    b = network.host(*scenario.theirs, nat=nats[1])
    a.meet(b)
    b.meet(a)
    return network, a, b


def rounds(scenario: Scenario, loss: float) -> tuple[list[float], list[float]]:
    """Round trips to the first valid pair and to selection, on the later side, by seed."""
    valid: list[float] = []
    selected: list[float] = []
    for seed in range(SEEDS if loss else 1):
        network, a, b = connect(seed, scenario, loss)
        start = network.now
        network.run(10)
        for kind, found in ((PairValidated, valid), (PairSelected, selected)):
            found.append((max(h.time_of(kind) for h in (a, b)) - start) / ROUND_TRIP_S)
    return valid, selected


def aioice_rounds(scenario: Scenario, loss: float) -> tuple[list[float], list[float]]:
    """``rounds`` of two aioice peers on the same links; where one of them gave up, it is left out:
    it does now and then at 20 % loss.
    """
    valid: list[float] = []
    selected: list[float] = []
    for seed in range(SEEDS if loss else 1):
        with suppress(ConnectionError):
            times = connect_aioice(
                seed, LATENCY_S, loss, scenario.ours, scenario.theirs, scenario.nats()
            )
            for found, time_s in zip((valid, selected), times, strict=True):
                found.append(time_s / ROUND_TRIP_S)
    return valid, selected


def percentile_95(samples: Sequence[float]) -> float:
    return statistics.quantiles(samples, n=20, method="inclusive")[-1]


def cpu() -> dict[str, float]:
    """CPU milliseconds of both agents together, the simulated network included."""
    count = 100
    start = time.process_time()
    peers = [connect(seed, NATS, 0.0) for seed in range(count)]
    for network, _, _ in peers:
        network.run(1)
    connected = time.process_time()
    for network, _, _ in peers:
        network.run(20)
    settled = time.process_time()
    for network, _, _ in peers:
        network.run(600)
    idle = time.process_time()
    return {
        "CPU to connect, both sides": (connected - start) / count * 1e3,
        "CPU of an idle minute, both sides": (idle - settled) / count / 10 * 1e3,
    }


def time_rows(scenario: Scenario, loss: float) -> Iterator[Row]:
    ours, theirs = rounds(scenario, loss), aioice_rounds(scenario, loss)
    for index, what in enumerate(("valid pair", "selected")):
        name = f"{scenario.name}, {loss:.0%} loss: {what}"
        goal = Goal(1.0) if not loss and what == "valid pair" else None
        yield Row("ice", name, "RTT", [round(rtts, 6) for rtts in ours[index]], goal)
        yield Row("ice", f"… aioice: {what}", "RTT", theirs[index])
        if not loss:
            continue
        worst = [percentile_95(side[index]) for side in (theirs, ours)]
        goal = Goal(2, is_least=True) if loss == LOSS_OF_GOAL else None
        name = f"… 95th percentile, aioice / ours: {what}"
        note = f"{worst[0]:.2f} / {worst[1]:.2f} RTT"
        yield Row("ice", name, "×", [worst[0] / worst[1]], goal, note)


def rows() -> Iterator[Row]:
    for scenario in SCENARIOS:
        for loss in (0.0, LOSS_OF_GOAL, 0.2):
            yield from time_rows(scenario, loss)
    for name, cpu_ms in cpu().items():
        yield Row("ice", name, "ms", [cpu_ms])
