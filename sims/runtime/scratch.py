"""Directories that live as long as who made them, and are removed even when that was killed."""

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sims.runtime.interrupts import undisturbed

PREFIX: Final = "wice-sim"
MEMORY: Final = Path("/dev/shm")

_NAME: Final = re.compile(rf"{PREFIX}-(\d+)-.+")
"""With the id of the process that made it."""

_shared: Path | None = None


def in_memory() -> Path:
    """Where directories are in memory, or at least temporary."""
    return MEMORY if MEMORY.is_dir() else Path(tempfile.gettempdir())


@contextmanager
def scratch_directory(parent: Path | None = None) -> Iterator[Path]:
    """A new directory, in ``parent`` or in memory, removed at the end of this with all in it.

    What killed processes left beside it is removed too. Within ``shared_scratch`` it is in what
    that has made.
    """
    if parent is None and _shared is not None:
        parent = _shared
    parent = parent or in_memory()
    _sweep(parent)
    # A Ctrl-C after it was made, and before there is something to remove it, would leave it.
    with undisturbed():
        path = Path(tempfile.mkdtemp(prefix=f"{PREFIX}-{os.getpid()}-", dir=parent))
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield path
    finally:
        with undisturbed():
            shutil.rmtree(path, ignore_errors=True)
            os.close(lock)


@contextmanager
def shared_scratch() -> Iterator[None]:
    """One directory for all that this process and its forks make within this.

    So what a fork leaves that was killed is removed when this process ends.
    """
    global _shared
    before = _shared
    with scratch_directory() as _shared:
        try:
            yield
        finally:
            _shared = before


def _sweep(parent: Path) -> None:
    """Remove what killed processes left in ``parent``."""
    for path in parent.glob(f"{PREFIX}-*"):
        name = _NAME.fullmatch(path.name)
        # The id alone proves nothing: it may be of another container, or given out again.
        if name is not None and not Path(f"/proc/{name[1]}").exists() and _is_abandoned(path):
            shutil.rmtree(path, ignore_errors=True)


def _is_abandoned(path: Path) -> bool:
    """Whether it is ours to remove: nobody holds its lock, neither who made it nor its forks."""
    try:
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    else:
        return os.fstat(lock).st_uid == os.geteuid()
    finally:
        os.close(lock)
