"""What ends the work of this process from outside: Ctrl-C, and signals that mean the same."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

LIKE_CTRL_C: Final = (signal.SIGTERM, signal.SIGHUP)
"""Who ends a process or closes its terminal wants what Ctrl-C does: an end that leaves nothing."""

INTERRUPTING: Final = (signal.SIGINT, *LIKE_CTRL_C)


@contextmanager
def ended_as_by_ctrl_c() -> Iterator[None]:
    """Have ``LIKE_CTRL_C`` be KeyboardInterrupt, in the main thread, where nobody ignores them."""
    taken = [number for number in LIKE_CTRL_C if signal.getsignal(number) is signal.SIG_DFL]
    try:
        for number in taken:
            signal.signal(number, _interrupt)
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Ctrl-C, and what is like it, waits until the end of this; in the main thread.

    To block the signals in this thread would not do: the kernel hands them to any other thread,
    and Python runs their handlers in the main thread all the same.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting: list[int] = []
    handlers = {number: signal.getsignal(number) for number in INTERRUPTING}
    ours = {number: handler for number, handler in handlers.items() if handler is not None}
    try:
        for number in ours:
            signal.signal(number, lambda number, _: waiting.append(number))
        yield
    finally:
        for number, handler in ours.items():
            signal.signal(number, handler)
        for each in waiting:
            signal.raise_signal(each)


def _interrupt(_number: int, frame: FrameType | None) -> None:
    # Whoever handles Ctrl-C now knows where it may be raised, as trio does during a run.
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler):
        handler = signal.default_int_handler
    handler(signal.SIGINT, frame)
