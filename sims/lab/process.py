"""Processes inside a lab's namespaces: every one belongs to a nursery and ends with it.

A process runs in a session of its own, so that Ctrl-C in the terminal reaches only the lab's
owner, which then ends its processes in order. Should the owner be killed, the kernel kills them.
"""

import os
import signal
import subprocess
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Final, Protocol

import trio

from sims.lab.namespaces import Namespace
from sims.lab.registry import LAB_VARIABLE, LEASH, STOP_GRACE_S

LINE_SIZE_MAX_BYTES: Final = 65_536
"""A line of output that is longer than this is not handed out."""


class Nodes(Protocol):
    """What processes run in: namespaces by name, of a lab with an id."""

    @property
    def id(self) -> str: ...

    def __getitem__(self, name: str) -> Namespace: ...


class LabProcess:
    """A process in one node of a lab, whose nursery's task runs ``supervise``."""

    def __init__(
        self,
        lab: Nodes,
        node: str,
        argv: Sequence[str],
        log: Path | None,
        *,
        outlives_owner: bool,
        stdin: int = subprocess.DEVNULL,
    ) -> None:
        leash = () if outlives_owner else LEASH
        sink = subprocess.PIPE if log is None else _append_to(log)
        try:
            with lab[node].entered():
                self._popen = subprocess.Popen(
                    [*leash, *argv],
                    stdin=stdin,
                    stdout=sink,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, LAB_VARIABLE: lab.id},
                    start_new_session=True,
                )
        finally:
            if sink >= 0:
                os.close(sink)
        self.node = node
        self.log = log
        self.returncode: int | None = None
        """The exit status as ``subprocess`` has it, None while the process runs."""
        self._pidfd = os.pidfd_open(self._popen.pid)
        self._ended = trio.Event()
        self._is_released = False

    @property
    def pid(self) -> int:
        return self._popen.pid

    async def wait(self) -> int:
        """Wait for the end and give the exit status."""
        await self._ended.wait()
        assert self.returncode is not None
        return self.returncode

    async def stop(self) -> None:
        """Ask the process to end, kill it when it does not within ``STOP_GRACE_S``."""
        self._signal(signal.SIGTERM)
        with trio.move_on_after(STOP_GRACE_S) as grace:
            await self._ended.wait()
        if grace.cancelled_caught:
            self._signal(signal.SIGKILL)
            await self._ended.wait()

    def pause(self) -> None:
        """Let it compute nothing until ``resume``."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    async def kill(self) -> None:
        """End the process as a crash would, without a warning."""
        self._signal(signal.SIGKILL)
        await self._ended.wait()

    def release(self) -> None:
        """Let the process run on when its nursery ends; it must have been told it may."""
        self._is_released = True

    async def supervise(self) -> None:
        """Watch the process to its end; cancelled, bring that about first."""
        try:
            await trio.lowlevel.wait_readable(self._pidfd)
        finally:
            with trio.CancelScope(shield=True):
                if self._is_released:
                    # Nobody waits for it any more; Popen would warn that nobody did.
                    self._popen.returncode = 0
                else:
                    await self._end()
            self._close()

    async def lines(self) -> AsyncGenerator[str, None]:
        """What a process without a log says, line by line until it ends; for one reader.

        Wrap it in ``contextlib.aclosing`` when leaving before the end.
        """
        assert self._popen.stdout is not None, "a process with a log writes it there"
        waiting = b""
        async with trio.lowlevel.FdStream(os.dup(self._popen.stdout.fileno())) as output:
            async for data in output:
                *whole, waiting = (waiting + data).split(b"\n")
                for line in whole:
                    yield line.decode(errors="replace")
                if len(waiting) > LINE_SIZE_MAX_BYTES:
                    waiting = b""

    async def _end(self) -> None:
        self._signal(signal.SIGTERM)
        with trio.move_on_after(STOP_GRACE_S) as grace:
            await trio.lowlevel.wait_readable(self._pidfd)
        if grace.cancelled_caught:
            self._signal(signal.SIGKILL)
            await trio.lowlevel.wait_readable(self._pidfd)
        # Not reaped yet, the process still owns its group's number: this hits only children.
        os.killpg(self.pid, signal.SIGKILL)
        self.returncode = self._popen.wait()
        self._ended.set()

    def _signal(self, number: signal.Signals) -> None:
        if self.returncode is None:
            signal.pidfd_send_signal(self._pidfd, number)

    def _close(self) -> None:
        os.close(self._pidfd)
        if self._popen.stdout is not None:
            self._popen.stdout.close()


def start_process(
    nursery: trio.Nursery,
    lab: Nodes,
    node: str,
    argv: Sequence[str],
    log: Path | None = None,
    *,
    outlives_owner: bool = False,
    stdin: int = subprocess.DEVNULL,
) -> LabProcess:
    """Run ``argv`` inside ``node``, owned by ``nursery``: cancelled, it ends the process first.

    Output goes to the file ``log``, or without one to ``LabProcess.lines``. outlives_owner: the
    process may be released, so the kernel shall not kill it when this process is gone. stdin: a
    descriptor that it reads from; it stays the caller's.
    """
    process = LabProcess(lab, node, argv, log, outlives_owner=outlives_owner, stdin=stdin)
    nursery.start_soon(process.supervise)
    return process


def _append_to(log: Path) -> int:
    return os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
