"""The process that runs a switch over TAP devices, and how the lab makes the one and the others.

A process of its own, so that what the lab does beside never delays a frame. It has no clock but
the monotonic one, and waits with ``select``, which counts microseconds where epoll counts
milliseconds.
"""

import errno
import fcntl
import json
import os
import select
import struct
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Final

from sims.lab.link import Link
from sims.lab.namespaces import LabError
from sims.lab.registry import last_line
from sims.lab.switch import Switch

TUN_DEVICE: Final = "/dev/net/tun"
FRAME_SIZE_MAX_BYTES: Final = 65_535
FRAMES_PER_TURN_MAX: Final = 64
"""Frames read from one port before the others have their turn."""
READY: Final = b"ready"
REALTIME_PRIORITY: Final = 1
NICENESS: Final = -10
"""Where the machine has no real-time scheduling for us."""
START_TIMEOUT_S: Final = 30.0
END_TIMEOUT_S: Final = 3.0

_TUNSETIFF: Final = 0x400454CA
_IFF_TAP: Final = 0x0002
_IFF_NO_PI: Final = 0x1000
_IFREQ: Final = struct.Struct("16sH22x")


def open_tap(name: str) -> int:
    """Make the interface ``name`` in this thread's network namespace; give its descriptor."""
    descriptor = os.open(TUN_DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(descriptor, _TUNSETIFF, _IFREQ.pack(name.encode(), _IFF_TAP | _IFF_NO_PI))
    return descriptor


class SwitchProcess:
    """A running switch; its ports are gone with it."""

    def __init__(
        self,
        ports: Sequence[tuple[int, Link]],
        leash: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
    ) -> None:
        """ports: descriptors of TAP devices, which are the process's from now on, and their links.

        leash: words before the command, which tie the process to us. log: where its errors go.
        """
        descriptors = [descriptor for descriptor, _ in ports]
        config = json.dumps([[descriptor, asdict(link)] for descriptor, link in ports])
        argv = [*leash, sys.executable, "-m", "sims.lab.switch_process", config]
        try:
            # Our own output is not for a process that may outlive us: who reads it waits for all.
            with log.open("w") as errors:
                self._popen = subprocess.Popen(
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    pass_fds=descriptors,
                    env=environment,
                    start_new_session=True,
                )
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        self._log = log

    def wait_ready(self) -> None:
        """Wait until it carries frames: Python takes a while to start. Raise LabError."""
        assert self._popen.stdout is not None
        with self._popen.stdout:
            wait_ready(self._popen, "the switch of the lab's links", self._log)

    def release(self) -> None:
        """Let it run on; nobody waits for it any more."""
        self._popen.returncode = 0

    def close(self) -> None:
        """End it."""
        if self._popen.returncode is None:
            self._popen.terminate()
            try:
                self._popen.wait(END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._popen.kill()
                self._popen.wait()


def wait_ready(process: subprocess.Popen[bytes], name: str, log: Path) -> None:
    """Wait until ``process`` has said ``READY``. log: has its errors. Raise LabError."""
    said = said_within(process, len(READY), START_TIMEOUT_S)
    if said is None:
        raise LabError(f"{name} did not start within {START_TIMEOUT_S:g} s")
    if said != READY:
        raise LabError(f"{name} did not start: {last_line(log)}")


def said_within(
    process: subprocess.Popen[bytes], size_bytes: int, timeout_s: float
) -> bytes | None:
    """What ``process`` says next, in one write of so many bytes: none at its end, None if late."""
    assert process.stdout is not None
    output = process.stdout.fileno()
    readable, _, _ = select.select([output], (), (), timeout_s)
    return os.read(output, size_bytes) if readable else None


def run(ports: Sequence[int], switch: Switch) -> None:
    """Carry frames until killed, or an interface is removed."""
    numbers = {descriptor: number for number, descriptor in enumerate(ports)}
    while True:
        deadline = switch.deadline()
        timeout_s = None if deadline is None else max(0.0, deadline - time.monotonic())
        readable, _, _ = select.select(ports, (), (), timeout_s)
        for descriptor in readable:
            for _ in range(FRAMES_PER_TURN_MAX):
                try:
                    frame = os.read(descriptor, FRAME_SIZE_MAX_BYTES)
                except BlockingIOError:
                    break
                except OSError as error:
                    if error.errno == errno.EBADFD:
                        return  # The interface is gone, and with it the lab.
                    break
                _write(ports, switch.receive(numbers[descriptor], frame, time.monotonic()))
        _write(ports, switch.handle_timeout(time.monotonic()))


def _write(ports: Sequence[int], frames: Iterable[tuple[int, bytes]]) -> None:
    for port, frame in frames:
        try:
            os.write(ports[port], frame)
        except OSError:
            continue  # The interface is down or its queue full: a cable loses it.


def go_first() -> None:
    """A switch that waits for a processor is a link with more jitter than asked for.

    Who is root only in a user namespace may do neither, and has that jitter.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(REALTIME_PRIORITY))
    except PermissionError:
        with suppress(PermissionError):
            os.nice(NICENESS)


def main() -> None:
    config = json.loads(sys.argv[1])
    go_first()
    switch = Switch([Link(**link) for _, link in config], Random())
    os.write(sys.stdout.fileno(), READY)
    os.close(sys.stdout.fileno())
    run([descriptor for descriptor, _ in config], switch)


if __name__ == "__main__":
    main()
