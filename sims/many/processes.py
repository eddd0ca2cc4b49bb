"""Many jobs, each in a process of its own that is forked from this one.

A fork has every module loaded already: to import libp2p takes longer than many a run. Nothing
of one job is there for the next, and a job that hangs, dies or eats all memory ends alone.
"""

import ctypes
import faulthandler
import gc
import os
import pickle
import resource
import selectors
import signal
import sys
import time
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Final, Generic, NoReturn, TypeVar

from sims.runtime.interrupts import undisturbed
from sims.runtime.scratch import shared_scratch

JOB_TIME_MAX_S: Final = 600.0
"""Real seconds; a job that takes longer hangs."""
JOB_MEMORY_MAX_BYTES: Final = 8 * 2**30
"""Address space of a job's process."""
RESULT_SIZE_MAX_BYTES: Final = 64 * 2**20
STDERR_TAIL_BYTES: Final = 16_384

ABORT_GRACE_S: Final = 2.0
"""For a job that hangs to say where, before it is killed."""

PRODUCT_MODULES: Final = (
    "p2p.backend",
    "p2p.host",
    "wice.daemon.daemon",
    "wice.wireguard.embedded",
)
"""What a run of the product loads, and what takes the longest of it."""

_READ_SIZE_BYTES: Final = 65_536
_PR_SET_PDEATHSIG: Final = 1
_libc: Final = ctypes.CDLL(None, use_errno=True)

Job = TypeVar("Job")
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Finished(Generic[Job, Value]):
    """What came of one job.

    value: what the work gave, None if it failed. failure: one line that says why there is no
    value, empty if there is one. stderr: the last of what the process of a failed job said.
    """

    job: Job
    value: Value | None
    failure: str = ""
    stderr: str = ""


def processors() -> int:
    """How many processes can run at the same time on this machine."""
    return len(os.sched_getaffinity(0))


def preload(modules: Iterable[str] = PRODUCT_MODULES) -> None:
    """Import what every job would, and keep the garbage collector's hands off it in all forks."""
    for module in modules:
        import_module(module)
    gc.collect()
    gc.freeze()


def run_in_processes(
    work: Callable[[Job], Value],
    jobs: Iterable[Job],
    at_once: int,
    *,
    time_max_s: float = JOB_TIME_MAX_S,
) -> Generator[Finished[Job, Value], None, None]:
    """Do ``work`` for each of ``jobs``, and give what came of them in the order they end in.

    work: gives something that pickles; what it writes to standard output and error is kept only
    of a job that fails. at_once: processes at the same time, 1 or more; ``jobs`` is read as they
    are needed. Ctrl-C reaches only this process. Closed or interrupted, the generator kills what
    it started: wrap it in ``contextlib.closing``.
    """
    waiting = iter(jobs)
    with shared_scratch(), selectors.DefaultSelector() as selector, _woken_by_signals(selector):
        running: list[_Process[Job, Value]] = []
        try:
            while True:
                while len(running) < at_once and (job := _next(waiting)) is not None:
                    # A Ctrl-C between the fork and the list would leave a process to nobody.
                    with undisturbed():
                        running.append(_Process(work, job[0], time_max_s, selector))
                if not running:
                    return
                yield from _wait(running, selector)
        finally:
            with undisturbed():
                for process in running:
                    process.kill()


@contextmanager
def _woken_by_signals(selector: selectors.BaseSelector) -> Iterator[None]:
    """Have any signal end a wait: one that another thread takes interrupts no call of this one."""
    woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    selector.register(woken, selectors.EVENT_READ, lambda: os.read(woken, _READ_SIZE_BYTES))
    former = signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(former)
        selector.unregister(woken)
        os.close(woken)
        os.close(wake)


def _next(jobs: Iterator[Job]) -> tuple[Job] | None:
    for job in jobs:
        return (job,)
    return None


def _wait(
    running: "list[_Process[Job, Value]]", selector: selectors.BaseSelector
) -> Iterator[Finished[Job, Value]]:
    """Take what the processes say until some end, or one is overdue."""
    overdue_at_s = min(process.overdue_at_s for process in running)
    for key, _ in selector.select(max(0.0, overdue_at_s - time.monotonic())):
        key.data()
    for process in list(running):
        if process.has_ended:
            running.remove(process)
            yield process.finish()
        elif process.overdue_at_s <= time.monotonic():
            process.expire()


class _Process(Generic[Job, Value]):
    """One job under way."""

    def __init__(
        self,
        work: Callable[[Job], Value],
        job: Job,
        time_max_s: float,
        selector: selectors.BaseSelector,
    ) -> None:
        self.job = job
        self.has_ended = False
        self.overdue_at_s = time.monotonic() + time_max_s
        self._time_max_s = time_max_s
        self._failure = ""
        self._result = bytearray()
        self._stderr = bytearray()
        self._selector = selector
        # What Python has not written yet, the child would write again.
        sys.stdout.flush()
        sys.stderr.flush()
        self._result_pipe, result = os.pipe()
        self._stderr_pipe, stderr = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            _be_child(work, job, result, stderr)
        os.close(result)
        os.close(stderr)
        self._pidfd = os.pidfd_open(self.pid)
        for pipe in (self._result_pipe, self._stderr_pipe):
            os.set_blocking(pipe, False)
        selector.register(self._result_pipe, selectors.EVENT_READ, self._read_result)
        selector.register(self._stderr_pipe, selectors.EVENT_READ, self._read_stderr)
        selector.register(self._pidfd, selectors.EVENT_READ, self._see_end)

    def expire(self) -> None:
        """The time is over: let it say where it is, and at the next call kill it."""
        signal_number = signal.SIGKILL if self._failure else signal.SIGABRT
        self._failure = self._failure or f"did not end within {self._time_max_s:g} s"
        self.overdue_at_s = time.monotonic() + ABORT_GRACE_S
        signal.pidfd_send_signal(self._pidfd, signal_number)

    def kill(self) -> None:
        signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self._close()

    def finish(self) -> Finished[Job, Value]:
        """What came of it; it must have ended."""
        self._drain()
        _, status = os.waitpid(self.pid, 0)
        self._close()
        stderr = self._stderr.decode(errors="replace").strip()
        if not self._failure and status == 0:
            return Finished(self.job, pickle.loads(self._result))
        return Finished(self.job, None, self._failure or _why(status, stderr), stderr)

    def _drain(self) -> None:
        while self._read_result() or self._read_stderr():
            pass

    def _read_result(self) -> bool:
        data = self._read(self._result_pipe)
        self._result += data
        if len(self._result) > RESULT_SIZE_MAX_BYTES and not self._failure:
            self._failure = f"gave a result of more than {RESULT_SIZE_MAX_BYTES} bytes"
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        if self._failure:
            self._result.clear()
        return bool(data)

    def _read_stderr(self) -> bool:
        data = self._read(self._stderr_pipe)
        self._stderr += data
        del self._stderr[:-STDERR_TAIL_BYTES]
        return bool(data)

    def _read(self, pipe: int) -> bytes:
        try:
            data = os.read(pipe, _READ_SIZE_BYTES)
        except BlockingIOError:
            return b""
        if not data and pipe in self._selector.get_map():
            self._selector.unregister(pipe)
        return data

    def _see_end(self) -> None:
        self.has_ended = True

    def _close(self) -> None:
        for descriptor in (self._result_pipe, self._stderr_pipe, self._pidfd):
            if descriptor in self._selector.get_map():
                self._selector.unregister(descriptor)
            os.close(descriptor)


def _why(status: int, stderr: str) -> str:
    """One line about a process that ended with what ``os.waitpid`` says."""
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    # A group of exceptions ends in a line that is drawn.
    lines = (line.strip(" |+-") for line in reversed(stderr.splitlines()))
    last_line = next(filter(None, lines), "")
    return f"ended with exit status {code}" + (f": {last_line}" if last_line else "")


def _be_child(work: Callable[[Job], Value], job: Job, result: int, stderr: int) -> NoReturn:
    """The whole life of a job's process; nothing of the parent's may go on in it."""
    status = 1
    try:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        # A terminal that closes tells all of its processes, too.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (JOB_MEMORY_MAX_BYTES, JOB_MEMORY_MAX_BYTES))
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(stderr, 1)
        os.dup2(stderr, 2)
        sys.stdout = sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
        faulthandler.enable(2)
        data = memoryview(pickle.dumps(work(job)))
        while data:
            data = data[os.write(result, data) :]
        status = 0
    except BaseException:  # noqa: BLE001 — whatever it was, the parent is told
        traceback.print_exc()
    finally:
        # Neither the parent's handlers at exit nor its buffers are the child's.
        os._exit(status)
