"""From both descriptions known to the first valid pair, in round trips, in virtual time; and what
a connection and an idle peer cost in CPU.

Run as ``python tests/bench/bench_ice.py [--json]``.
"""

import argparse
import json
import runpy
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from wice.ice import PairSelected, PairValidated

HARNESS = runpy.run_path(str(Path(__file__).parents[1] / "ice" / "conftest.py"))
Network, Nat = HARNESS["Network"], HARNESS["Nat"]
LATENCY_S = 0.02
SEEDS = 50
MANY = [f"10.{i}.0.1" for i in range(5)]


def connect(seed: int, scenario: str, loss: float) -> tuple[Any, Any, Any]:
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


def rounds(scenario: str, loss: float) -> dict[str, float]:
    """Round trips to the first valid pair and to selection, on the later side."""
    valid, selected = [], []
    for seed in range(SEEDS if loss else 1):
        network, a, b = connect(seed, scenario, loss)
        start = network.now
        network.run(10)
        for kind, found in ((PairValidated, valid), (PairSelected, selected)):
            found.append((max(h.time_of(kind) for h in (a, b)) - start) / (2 * LATENCY_S))
    return {
        "valid_rtt_median": statistics.median(valid),
        "valid_rtt_worst": max(valid),
        "selected_rtt_median": statistics.median(selected),
    }


def cpu() -> dict[str, float]:
    """CPU milliseconds of both agents together, the simulated network included."""
    count = 200
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
        "connect_ms": (connected - start) / count * 1e3,
        "idle_ms_per_minute": (idle - settled) / count / 10 * 1e3,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    results = {
        f"{scenario}, {loss:.0%} loss": rounds(scenario, loss)
        for scenario in ("no NAT", "port-restricted NATs", "5 addresses each")
        for loss in (0.0, 0.2)
    }
    costs = cpu()
    if parser.parse_args().json:
        sys.stdout.write(json.dumps({"rounds": results, "cpu": costs}) + "\n")
        return
    for name, row in results.items():
        sys.stdout.write(
            f"ice {name:32} valid {row['valid_rtt_median']:5.2f} RTT (worst "
            f"{row['valid_rtt_worst']:5.2f})   selected {row['selected_rtt_median']:5.2f} RTT\n"
        )
    sys.stdout.write(
        f"ice CPU, both sides: connect {costs['connect_ms']:.2f} ms, "
        f"idle {costs['idle_ms_per_minute']:.2f} ms a minute\n"
    )


if __name__ == "__main__":
    main()
