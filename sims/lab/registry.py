"""Which labs are on this machine, so that what a killed one left can be found and removed.

Each lab has a directory under ``LABS_DIRECTORY`` with a record in it, and its owner holds a lock
on the record for as long as it lives: a record that can be locked has no owner any more. The
kernel drops the lock however the owner ends, and a reused process number deceives nobody.
"""

import fcntl
import json
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

LABS_DIRECTORY: Final = Path(os.environ.get("WICE_LABS", "/run/wice-lab"))
"""In memory, gone with a reboot, and short: a Unix socket's path has 107 bytes at most."""
NAMES_DIRECTORY: Final = Path("/run/netns")
"""Where ``ip netns`` keeps the names of namespaces."""
NAME_PREFIX: Final = "wice"

LAB_VARIABLE: Final = "WICE_LAB"
"""Every process of a lab has the lab's id in this environment variable."""

LEASH: Final = ("setpriv", "--pdeathsig", "KILL", "--")
"""Put before a command, has the kernel kill the process when the thread that started it ends."""

STOP_GRACE_S: Final = 3.0
"""How long a process may take to end when asked, before it is killed."""
_POLL_S: Final = 0.02
_TAIL_SIZE_BYTES: Final = 4_096
_RECORD: Final = "lab.json"
_RECORD_VERSION: Final = 1


class Registration:
    """A lab's entry, locked by this process until ``close``."""

    def __init__(self, labs: Path = LABS_DIRECTORY) -> None:
        self.id = secrets.token_hex(4)
        self.directory = labs / self.id
        with _locked(labs):
            self.directory.mkdir(mode=0o700)
            record = self.directory / _RECORD
            self._descriptor = os.open(record, os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._write(kept=False)

    def keep(self) -> None:
        """From now on only ``clean(kept=True)`` removes the lab, though its owner ends."""
        self._write(kept=True)

    def close(self) -> None:
        """Give the lock up. The directory stays, for the sweep or for ``remove``."""
        os.close(self._descriptor)

    def remove(self) -> None:
        """Remove what the lab has on this machine beside its namespaces, and the entry."""
        _remove(self.directory)
        self.close()

    def _write(self, *, kept: bool) -> None:
        record = {"version": _RECORD_VERSION, "owner_pid": os.getpid(), "kept": kept}
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, json.dumps(record).encode(), 0)


def clean(*, kept: bool = False, labs: Path = LABS_DIRECTORY) -> list[str]:
    """Remove labs whose owner is dead, with ``kept`` also those left up on purpose; give ids."""
    removed = []
    with _locked(labs):
        for directory in sorted(labs.iterdir()):
            if directory.is_dir() and _is_abandoned(directory / _RECORD, kept=kept):
                _remove(directory)
                removed.append(directory.name)
    return removed


def last_line(log: Path) -> str:
    """What a process of a lab said last."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _TAIL_SIZE_BYTES))
        lines = file.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "no word"


def namespace_name(lab_id: str, node: str) -> str:
    """The name of a lab's published namespace; no other lab has it."""
    return f"{NAME_PREFIX}-{lab_id}-{node}"


@contextmanager
def _locked(labs: Path) -> Iterator[None]:
    """One at a time makes or sweeps entries, so that nobody sweeps one that is half made."""
    labs.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(labs, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _is_abandoned(record: Path, *, kept: bool) -> bool:
    try:
        descriptor = os.open(record, os.O_RDONLY)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        text = record.read_text()
        # An owner killed before it wrote anything leaves an empty record.
        return kept or not text or not json.loads(text)["kept"]
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)


def _remove(directory: Path) -> None:
    """End a lab's processes, unpublish its namespaces, delete its directory."""
    _end_processes(directory.name)
    for name in NAMES_DIRECTORY.glob(namespace_name(directory.name, "*")):
        subprocess.run(["ip", "netns", "delete", name.name], check=False, capture_output=True)
    shutil.rmtree(directory, ignore_errors=True)


def _end_processes(lab_id: str) -> None:
    """Ask every process of the lab to end, and kill those that do not."""
    pids = _processes(lab_id)
    for pid in pids:
        _signal(pid, signal.SIGTERM)
    deadline_s = time.monotonic() + STOP_GRACE_S
    while pids and time.monotonic() < deadline_s:
        time.sleep(_POLL_S)
        pids = _processes(lab_id)
    for pid in pids:
        _signal(pid, signal.SIGKILL)


def _processes(lab_id: str) -> list[int]:
    mark = f"{LAB_VARIABLE}={lab_id}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            environment = (entry / "environ").read_bytes()
        except OSError:  # It ended while we looked.
            continue
        if mark in environment.split(b"\0"):
            found.append(int(entry.name))
    return found


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
