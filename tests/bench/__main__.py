"""``python -m tests.bench [--json FILE] [GROUP ...]``: one table and one JSON file."""

import argparse
import sys
from importlib import import_module
from pathlib import Path

from tests.bench.report import Machine, Row, print_table, write_json

GROUPS = {
    "stun": ("bench_stun", "rows"),
    "ice": ("bench_ice", "rows"),
    "ice-idle": ("bench_ice_idle", "rows"),
    "wireguard": ("bench_wireguard_tunnel", "rows"),
    "process": ("bench_process", "rows"),
    "simulation": ("bench_simulation", "rows"),
    "scale": ("bench_scale", "rows"),
    "engines": ("bench_engines", "rows"),
    "mesh": ("bench_mesh", "rows"),
    "idle": ("bench_mesh", "idle_rows"),
    "relay": ("bench_relay", "rows"),
    "relay-throughput": ("bench_relay_throughput", "rows"),
}
"""Module and function of each; imported when asked for, so that none weighs on another."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(GROUPS)}")
    parser.add_argument("--json", type=Path, default=Path("build/bench.json"), metavar="FILE")
    arguments = parser.parse_args()
    if unknown := set(arguments.groups) - GROUPS.keys():
        parser.error(f"no such group: {', '.join(sorted(unknown))}")
    machine = Machine()
    rows: list[Row] = []
    for name in arguments.groups or GROUPS:
        sys.stderr.write(f"{name} …\n")
        module, function = GROUPS[name]
        rows.extend(getattr(import_module(f"tests.bench.{module}"), function)())
    machine.finish()
    print_table(rows, machine)
    write_json(arguments.json, rows, machine)
    sys.stdout.write(f"written: {arguments.json}\n")


if __name__ == "__main__":
    main()
