"""From both descriptions known to the first valid pair, in round trips, in virtual time; and what
a connection and an idle peer cost in CPU.

Run as ``python -m tests.bench ice``.
"""

import time
from collections.abc import Iterator

from tests.bench.report import Row
from tests.ice.conftest import Host, Nat, Network
from wice.ice import PairSelected, PairValidated

LATENCY_S = 0.02
SEEDS = 50
MANY = [f"10.{i}.0.1" for i in range(5)]


def connect(seed: int, scenario: str, loss: float) -> tuple[Network, Host, Host]:
    network = Network(seed)
    network.latency_s, network.loss = LATENCY_S, loss
    if scenario == "no NAT":
        a, b = network.host("192.0.2.1", controlling=True), network.host("192.0.2.2")
    else:
        ours, theirs = ["10.0.0.1"], ["10.0.0.2"]
        if scenario == "5 addresses each":
            ours, theirs = MANY, [address[:-1] + "2" for address in MANY]
        a = network.host(*ours, controlling=True, nat=Nat("198.51.100.1"))
        b = network.host(*theirs, nat=Nat("198.51.100.2"))
    a.meet(b)
    b.meet(a)
    return network, a, b


def rounds(scenario: str, loss: float) -> tuple[list[float], list[float]]:
    """Round trips to the first valid pair and to selection, on the later side, by seed."""
    valid: list[float] = []
    selected: list[float] = []
    for seed in range(SEEDS if loss else 1):
        network, a, b = connect(seed, scenario, loss)
        start = network.now
        network.run(10)
        for kind, found in ((PairValidated, valid), (PairSelected, selected)):
            found.append((max(h.time_of(kind) for h in (a, b)) - start) / (2 * LATENCY_S))
    return valid, selected


def cpu() -> dict[str, float]:
    """CPU milliseconds of both agents together, the simulated network included."""
    count = 100
    start = time.process_time()
    peers = [connect(seed, "port-restricted NATs", 0.0) for seed in range(count)]
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


def rows() -> Iterator[Row]:
    for scenario in ("no NAT", "port-restricted NATs", "5 addresses each"):
        for loss in (0.0, 0.2):
            valid, selected = rounds(scenario, loss)
            name = f"{scenario}, {loss:.0%} loss"
            yield Row("ice", f"{name}: valid pair", "RTT", valid)
            yield Row("ice", f"{name}: selected", "RTT", selected)
    for name, cpu_ms in cpu().items():
        yield Row("ice", name, "ms", [cpu_ms])
