"""Jobs in processes of their own: what they give, how they fail, and that none is left."""

import os
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from sims.many import processes
from sims.many.processes import Finished, preload, run_in_processes

HANGS_S = 0.3
"""So long a job of these tests may take where hanging is the point."""
PATIENCE_S = 30.0
"""A process that has not ended after this time never will."""


def run_all(work, jobs, at_once=2, **options):  # type: ignore[no-untyped-def]
    return sorted(run_in_processes(work, jobs, at_once, **options), key=lambda done: done.job)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_every_job_gives_its_value_from_a_process_of_its_own() -> None:
    done = run_all(lambda job: (job * job, os.getpid()), range(7), at_once=3)
    assert [(one.job, one.value[0]) for one in done] == [(job, job * job) for job in range(7)]
    pids = {one.value[1] for one in done}
    assert len(pids) == 7
    assert os.getpid() not in pids


def test_no_more_run_at_once_and_no_more_jobs_are_made_than_asked() -> None:
    taken: list[int] = []

    def jobs():  # type: ignore[no-untyped-def]
        for job in range(6):
            taken.append(job)
            yield job

    finished = run_in_processes(lambda job: job, jobs(), 2)
    for count, _ in enumerate(finished, start=1):
        assert len(taken) <= count + 1
    assert taken == list(range(6))


def test_large_results_come_whole() -> None:
    (done,) = run_all(lambda size: b"x" * size, [3_000_000])
    assert done.value == b"x" * 3_000_000


def test_a_job_that_raises_fails_alone_with_its_last_words() -> None:
    def work(job: int) -> int:
        if job == 1:
            raise ValueError("one is odd")
        return job

    zero, one, two = run_all(work, range(3))
    assert (zero.value, two.value) == (0, 2)
    assert (zero.failure, zero.stderr) == ("", "")
    assert one.value is None
    assert one.failure == "ended with exit status 1: ValueError: one is odd"
    assert "Traceback" in one.stderr


def test_a_job_that_dies_fails_with_the_signal_and_what_it_said() -> None:
    def work(job: int) -> int:
        print("about to die", flush=True)  # noqa: T201
        os.kill(os.getpid(), signal.SIGKILL)
        return job

    (done,) = run_all(work, [0])
    assert done == Finished(0, None, "was killed by SIGKILL", "about to die")


def test_a_job_that_exits_is_no_success() -> None:
    (done,) = run_all(lambda _: sys.exit(7), [0])
    assert done.failure.startswith("ended with exit status 1")
    assert "SystemExit: 7" in done.stderr


def stands_still(_: int) -> None:
    while True:
        pass


class Started:
    """Whether a job has come to where it hangs, however long that took it: time is up then."""

    def __init__(self) -> None:
        self.read, self._write = os.pipe()

    def say(self, word: int = 0) -> None:
        os.write(self._write, str(word).encode())

    def monotonic(self) -> float:
        return 1e6 if select.select([self.read], (), (), 0)[0] else 0.0

    def close(self) -> None:
        os.close(self.read)
        os.close(self._write)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[Started]:
    with closing(Started()) as started:
        monkeypatch.setattr(processes, "time", SimpleNamespace(monotonic=started.monotonic))
        yield started


def test_a_job_that_hangs_fails_and_says_where(started: Started) -> None:
    def hangs(_: int) -> None:
        started.say()
        stands_still(0)

    (done,) = run_all(hangs, [0], time_max_s=HANGS_S)
    assert done.failure == "did not end within 0.3 s"
    assert "in hangs" in done.stderr


def test_a_job_that_hangs_and_does_not_listen_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "ABORT_GRACE_S", 0.05)

    def deaf(_: int) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGABRT})
        stands_still(0)

    (done,) = run_all(deaf, [0], time_max_s=HANGS_S)
    assert done.failure == "did not end within 0.3 s"


def test_a_result_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "RESULT_SIZE_MAX_BYTES", 1_000)
    large, small = run_all(lambda job: b"x" * (50 if job else 500_000), range(2))
    assert large.failure == "gave a result of more than 1000 bytes"
    assert small.value == b"x" * 50


def test_what_does_not_pickle_is_a_failure() -> None:
    (done,) = run_all(lambda _: lambda: None, [0])
    assert done.value is None
    assert "pickle" in done.failure


def test_a_job_that_eats_memory_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "JOB_MEMORY_MAX_BYTES", 2 * 2**30)
    (done,) = run_all(lambda _: len(bytearray(3 * 2**30)), [0])
    assert done.failure == "ended with exit status 1: MemoryError"


def test_only_the_last_of_what_it_said_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "STDERR_TAIL_BYTES", 100)

    def talkative(_: int) -> None:
        for line in range(20_000):
            print("line", line)  # noqa: T201
        raise ValueError("done talking")

    (done,) = run_all(talkative, [0])
    assert len(done.stderr) <= 100
    assert done.stderr.endswith("ValueError: done talking")


def test_closed_in_the_middle_it_leaves_no_process() -> None:
    def work(job: int) -> int:
        if job:
            stands_still(job)
        return os.getppid()

    others = processes_of(os.getpid())
    with closing(run_in_processes(work, range(3), 3)) as finished:
        assert next(finished).value == os.getpid()
        children = [pid for pid in processes_of(os.getpid()) if pid not in others]
        assert len(children) == 2
    assert not any(is_alive(pid) for pid in children)


def test_ctrl_c_reaches_the_parent_alone_which_ends_its_children() -> None:
    others = processes_of(os.getpid())

    def work(job: int) -> int:
        if job == 0:
            # As a terminal would: to the whole group, children too.
            children = [pid for pid in processes_of(os.getppid()) if pid not in others]
            for pid in (os.getppid(), *children):
                os.kill(pid, signal.SIGINT)
        stands_still(job)
        return job

    with pytest.raises(KeyboardInterrupt), closing(run_in_processes(work, range(2), 2)) as done:
        list(done)
    assert processes_of(os.getpid()) == others


def test_without_its_parent_a_job_ends(started: Started) -> None:
    def parent(_: int) -> None:
        def child(_: int) -> None:
            started.say(os.getpid())
            stands_still(0)

        list(run_in_processes(child, [0], 1, time_max_s=2e6))

    with closing(run_in_processes(parent, [0], 1, time_max_s=HANGS_S)) as finished:
        (done,) = finished
    assert done.failure
    try:
        child = os.pidfd_open(int(os.read(started.read, 20)))
    except ProcessLookupError:
        return
    with ExitStack() as stack:
        stack.callback(os.close, child)
        assert select.select([child], (), (), PATIENCE_S)[0], "it lives"


def processes_of(parent: int) -> list[int]:
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text()
    return [int(pid) for pid in children.split()]


def test_modules_are_there_before_the_fork() -> None:
    preload(("colorsys",))
    (done,) = run_all(lambda _: "colorsys" in sys.modules, [0])
    assert done.value is True


def test_of_a_group_of_exceptions_the_last_one_is_said() -> None:
    def work(_job: int) -> None:
        raise ExceptionGroup("several", [KeyError("one"), ValueError("the other")])

    (done,) = run_in_processes(work, [1], 1)
    assert done.failure == "ended with exit status 1: ValueError: the other"
