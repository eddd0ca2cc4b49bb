"""What it costs to start: imports and whole processes, in turns, each in a fresh interpreter.

Run as ``python -m tests.bench process``.
"""

import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.report import Goal, Row
from wice.daemon.control_protocol import encode_line

ROUNDS = 7
STATUS_GOAL = Goal(200.0)

PYTHON = (sys.executable, "-c")
UP_IMPORTS = "import wice.cli.run, p2p.backend"
"""What ``wice up`` has imported when it begins to connect."""

ANSWER = {
    "uptime_s": 1.5,
    "overlay": {"joined_s": 1.0, "peer_id": "12D3KooW", "connections": []},
    "interfaces": [],
    "counters": {},
}


@dataclass(slots=True)
class Costs:
    """One entry a run."""

    wall_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    memory_mb: list[float] = field(default_factory=list)

    def run(self, argv: Sequence[str]) -> None:
        began_s = time.perf_counter()
        process = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0, argv
        self.wall_ms.append((time.perf_counter() - began_s) * 1e3)
        self.cpu_ms.append((usage.ru_utime + usage.ru_stime) * 1e3)
        self.memory_mb.append(usage.ru_maxrss / 1024)


def rows() -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as directory:
        config = Path(directory) / "wice.toml"
        config.write_text('control_socket = "wice.sock"\n')
        answering = socket.socket(socket.AF_UNIX)
        answering.bind(str(config.with_name("wice.sock")))
        answering.listen()
        threading.Thread(target=_answer, args=(answering,), daemon=True).start()
        commands = {
            "python, nothing else": (*PYTHON, "pass"),
            "import libp2p": (*PYTHON, "import libp2p"),
            "imports of wice up": (*PYTHON, UP_IMPORTS),
            "wice status, whole": (sys.executable, "-m", "wice", "status", str(config)),
        }
        costs = {name: Costs() for name in commands}
        for _ in range(ROUNDS):
            for name, argv in commands.items():
                costs[name].run(argv)
    for name, cost in costs.items():
        goal = STATUS_GOAL if "status" in name else None
        yield Row("process", f"{name}: time", "ms", cost.wall_ms, goal)
        yield Row("process", f"{name}: CPU", "ms", cost.cpu_ms)
        yield Row("process", f"{name}: memory, most", "MB", cost.memory_mb)


def _answer(listener: socket.socket) -> None:
    """In place of a daemon, so that neither root nor a lab is needed."""
    while True:
        client, _ = listener.accept()
        with client:
            client.recv(4_096)
            client.sendall(encode_line(ANSWER))
