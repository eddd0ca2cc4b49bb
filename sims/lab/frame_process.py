"""Processes that carry frames between TAP devices, and their owner's handle on them.

Processes of their own, so that what the owner does beside never delays a frame. They have no clock
but the monotonic one, and wait with ``select``, which counts microseconds where epoll counts
milliseconds.
"""

import errno
import fcntl
import os
import select
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, Final, Protocol

from sims.lab.namespaces import LabError
from sims.lab.registry import last_line

TUN_DEVICE: Final = "/dev/net/tun"
FRAME_SIZE_MAX_BYTES: Final = 65_535
FRAMES_PER_TURN_MAX: Final = 64
"""Frames read from one end before the others have their turn."""
ORDERS_SIZE_MAX_BYTES: Final = 1 << 20
READY: Final = b"ready"
REALTIME_PRIORITY: Final = 1
NICENESS: Final = -10
"""Where the machine has no real-time scheduling for us."""
START_TIMEOUT_S: Final = 30.0

_TUNSETIFF: Final = 0x400454CA
_IFF_TAP: Final = 0x0002
_IFF_NO_PI: Final = 0x1000
_IFREQ: Final = struct.Struct("16sH22x")


class FrameCarrier(Protocol):
    """What is between ends, without I/O: frames and the time in, frames and their ends out."""

    def receive(self, end: int, frame: bytes, now_s: float, /) -> Iterable[tuple[int, bytes]]:
        """A frame came in at ``end``; give what goes out at once."""
        ...

    def handle_timeout(self, now_s: float, /) -> Iterable[tuple[int, bytes]]:
        """Give what is to go out by now."""
        ...

    def deadline(self) -> float | None:
        """When ``handle_timeout`` is next needed, or None."""
        ...


class FrameProcess:
    """A running process that carries frames; gone with it.

    title: what errors call it. module: what it runs. stdin: as ``subprocess`` has it.
    """

    title: ClassVar[str]
    module: ClassVar[str]
    stdin: ClassVar[int] = subprocess.DEVNULL

    def __init__(
        self,
        config: str,
        descriptors: Sequence[int],
        leash: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
    ) -> None:
        """config: the argument of its module. descriptors: of TAP devices, which are the process's
        from now on. leash: words before the command, which tie the process to us. log: where its
        errors go.
        """
        try:
            # Our own output is not for a process that may outlive us: who reads it waits for all.
            with log.open("w") as errors:
                self._popen = subprocess.Popen(
                    [*leash, sys.executable, "-m", self.module, config],
                    stdin=self.stdin,
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
        said = self._said_within(len(READY), START_TIMEOUT_S)
        if said is None:
            raise LabError(f"{self.title} did not start within {START_TIMEOUT_S:g} s")
        if said != READY:
            raise LabError(f"{self.title} did not start: {last_line(self._log)}")

    def close(self) -> None:
        """End it, however it is; harmless when it has ended."""
        if self._popen.returncode is None:
            # It holds nothing that it would have to put away.
            self._popen.kill()
            self._popen.wait()
        self._close_streams()

    def _said_within(self, size_bytes: int, timeout_s: float) -> bytes | None:
        """What it says next, in one write of so many bytes: none at its end, None if late."""
        assert self._popen.stdout is not None
        output = self._popen.stdout.fileno()
        readable, _, _ = select.select([output], (), (), timeout_s)
        return os.read(output, size_bytes) if readable else None

    def _close_streams(self) -> None:
        for stream in (self._popen.stdin, self._popen.stdout):
            if stream is not None:
                with suppress(BrokenPipeError):  # An order that it did not live to read.
                    stream.close()


def open_tap(name: str) -> int:
    """Make the interface ``name`` in this thread's network namespace; give its descriptor."""
    descriptor = os.open(TUN_DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(descriptor, _TUNSETIFF, _IFREQ.pack(name.encode(), _IFF_TAP | _IFF_NO_PI))
    return descriptor


def go_first() -> None:
    """Who waits for a processor is a link with more jitter than asked for.

    Who is root only in a user namespace may do neither, and has that jitter.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(REALTIME_PRIORITY))
    except PermissionError:
        with suppress(PermissionError):
            os.nice(NICENESS)


def carry_frames(
    ends: Sequence[int],
    carrier: FrameCarrier,
    orders: int | None = None,
    obey: Callable[[bytes], None] = lambda _: None,
) -> None:
    """Carry frames between the TAP devices ``ends`` until killed, or an interface is removed.

    orders: a descriptor, with whose end this ends too; ``obey`` takes what comes out of it, in
    pieces of any size.
    """
    numbers = {descriptor: number for number, descriptor in enumerate(ends)}
    sources = [*ends] if orders is None else [*ends, orders]
    while True:
        deadline = carrier.deadline()
        timeout_s = None if deadline is None else max(0.0, deadline - time.monotonic())
        readable, _, _ = select.select(sources, (), (), timeout_s)
        for descriptor in readable:
            if descriptor == orders:
                read = os.read(orders, ORDERS_SIZE_MAX_BYTES)
                if not read:
                    return
                obey(read)
                continue
            for _ in range(FRAMES_PER_TURN_MAX):
                try:
                    frame = os.read(descriptor, FRAME_SIZE_MAX_BYTES)
                except BlockingIOError:
                    break
                except OSError as error:
                    if error.errno == errno.EBADFD:
                        return  # The interface is gone, and with it the lab.
                    break
                _write(ends, carrier.receive(numbers[descriptor], frame, time.monotonic()))
        _write(ends, carrier.handle_timeout(time.monotonic()))


def _write(ends: Sequence[int], frames: Iterable[tuple[int, bytes]]) -> None:
    for end, frame in frames:
        try:
            os.write(ends[end], frame)
        except OSError:
            continue  # The interface is down or its queue full: a cable loses it.
