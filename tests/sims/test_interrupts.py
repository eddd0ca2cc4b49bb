"""Ctrl-C waits while what it must not cut in two is done, whichever thread the kernel gives it."""

import signal
import threading

import pytest

from sims.runtime.interrupts import INTERRUPTING, undisturbed


def send_through_another_thread(number: int) -> None:
    thread = threading.Thread(target=signal.raise_signal, args=(number,))
    thread.start()
    thread.join()


def test_ctrl_c_that_another_thread_takes_waits_for_the_end() -> None:
    done: list[str] = []
    with pytest.raises(KeyboardInterrupt), undisturbed():
        send_through_another_thread(signal.SIGINT)
        done.append("all")
    assert done == ["all"]


@pytest.mark.parametrize("number", INTERRUPTING)
def test_handlers_are_as_before_and_each_signal_arrives(number: int) -> None:
    arrived: list[int] = []
    before = signal.signal(number, lambda number, _: arrived.append(number))
    try:
        ours = signal.getsignal(number)
        with undisturbed():
            signal.raise_signal(number)
            assert arrived == []
        assert arrived == [number]
        assert signal.getsignal(number) is ours
    finally:
        signal.signal(number, before)


def test_in_another_thread_it_does_nothing() -> None:
    before = [signal.getsignal(number) for number in INTERRUPTING]
    during: list[object] = []

    def work() -> None:
        with undisturbed():
            during.extend(signal.getsignal(number) for number in INTERRUPTING)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert during == before
