"""Scratch directories are gone when who made them is, however it ended."""

import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from sims.many.processes import run_in_processes
from sims.runtime import scratch
from sims.runtime.scratch import scratch_directory


@pytest.fixture(autouse=True)
def memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(scratch, "MEMORY", tmp_path)
    return tmp_path


def test_it_is_removed_with_all_in_it(memory: Path) -> None:
    with scratch_directory() as path:
        (path / "disk").mkdir()
        (path / "disk" / "file").touch()
        assert list(memory.iterdir()) == [path]
        assert str(os.getpid()) in path.name
    assert list(memory.iterdir()) == []


def test_what_was_killed_is_swept_and_what_lives_is_not(memory: Path) -> None:
    code = (
        "import signal, sys; from pathlib import Path\n"
        "from sims.runtime.scratch import scratch_directory\n"
        "with scratch_directory(Path(sys.argv[1])) as path:\n"
        "    print(path, flush=True); signal.pause()\n"
    )
    argv = [sys.executable, "-c", code, str(memory)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        left = Path(owner.stdout.readline().strip())
        (left / "disk").touch()
        with scratch_directory():
            assert left.exists()
        owner.kill()
    with scratch_directory() as path:
        assert list(memory.iterdir()) == [path]


def test_what_is_not_ours_is_left_alone(memory: Path) -> None:
    for name in ("wice-sim-x-1", "wice-sim-999999999", "other-999999999-x"):
        (memory / name).mkdir()
    (memory / "wice-sim-999999999-link").symlink_to(memory / "wice-sim-x-1")
    with scratch_directory():
        pass
    assert len(list(memory.iterdir())) == 4


def test_a_number_of_a_process_that_is_gone_is_no_proof(memory: Path) -> None:
    """It may be of another container: who holds the lock, lives."""
    with scratch_directory() as path:
        other = path.with_name("wice-sim-999999999-x")
        path.rename(other)
        with scratch_directory():
            assert other.exists()
    other.rmdir()


@pytest.mark.parametrize("killed", [False, True])
def test_jobs_share_one_directory_which_their_parent_removes(memory: Path, killed: bool) -> None:
    def work(job: int) -> list[str]:
        with scratch_directory():
            if killed and job:
                os.kill(os.getpid(), signal.SIGKILL)
            return [path.name for path in memory.iterdir()]

    with closing(run_in_processes(work, range(4), 2)) as finished:
        seen = {name for done in finished for name in done.value or ()}
    assert len(seen) == 1
    assert list(memory.iterdir()) == []


def test_jobs_that_are_killed_by_ctrl_c_leave_nothing(memory: Path) -> None:
    def work(job: int) -> None:
        with scratch_directory():
            os.kill(os.getppid(), signal.SIGINT)
            signal.pause()

    with pytest.raises(KeyboardInterrupt), closing(run_in_processes(work, [0], 1)) as finished:
        list(finished)
    assert list(memory.iterdir()) == []
