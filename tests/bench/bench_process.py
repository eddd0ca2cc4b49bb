"""What it costs to start: imports and whole processes, in turns, each in a fresh interpreter.

Run as ``python -m tests.bench process``.
"""

import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.report import Goal, Row
from tests.fuzz.texts import STATUS as ANSWER
from wice.daemon.control_protocol import encode_line

ROUNDS = 7
STATUS_GOAL = Goal(200.0)

REPORT = """
import atexit, os, sys, time
def report():
    hwm = next(line for line in open("/proc/self/status") if line.startswith("VmHWM:"))
    cpu_ms, memory_mb = time.process_time() * 1e3, int(hwm.split()[1]) / 1024
    os.write(2, f"[{cpu_ms}, {memory_mb}]".encode())
atexit.register(report)
"""
"""Before everything else: at its end the process says what it used. What ``wait4`` knows of memory
may be the parent's."""

UP_IMPORTS = """
import gc
gc.disable()
import wice.cli.run
from wice.daemon.backends import load_backend
from wice.overlay_choice import BACKEND_DEFAULT
load_backend(BACKEND_DEFAULT)
"""
"""What ``wice up`` has imported when it begins to connect, the way it does it."""

STATUS_VERB = """
sys.argv = ["wice", "status", {config!r}]
from wice.cli import main
main()
"""


@dataclass(slots=True)
class Costs:
    """One entry a run."""

    wall_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    memory_mb: list[float] = field(default_factory=list)

    def run(self, code: str) -> None:
        began_s = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", REPORT + code], capture_output=True, text=True)
        self.wall_ms.append((time.perf_counter() - began_s) * 1e3)
        assert done.returncode == 0, done.stderr
        cpu_ms, memory_mb = json.loads(done.stderr)
        self.cpu_ms.append(cpu_ms)
        self.memory_mb.append(memory_mb)


def rows() -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as directory:
        config = Path(directory) / "wice.toml"
        config.write_text('control_socket = "wice.sock"\n')
        answering = socket.socket(socket.AF_UNIX)
        answering.bind(str(config.with_name("wice.sock")))
        answering.listen()
        threading.Thread(target=_answer, args=(answering,), daemon=True).start()
        commands = {
            "python, nothing else": "",
            "import libp2p": "import libp2p",
            "imports of wice up": UP_IMPORTS,
            "wice status, whole": STATUS_VERB.format(config=str(config)),
        }
        costs = {name: Costs() for name in commands}
        for _ in range(ROUNDS):
            for name, code in commands.items():
                costs[name].run(code)
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
