"""What the process of the lines is told holds for what is sent after it was told."""

import os
import select
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from sims.kernel.wires_process import Config, WiresProcess
from sims.lab.namespaces import LabError
from sims.model.link import LineModel, LinkModel

ALIVE = LineModel(LinkModel(), LinkModel())
DEAD = LineModel(None, None)
IPV4_FRAME = bytes(12) + b"\x08\x00" + bytes(40)
OFTEN = 200
ANSWER_S = 30.0
SILENCE_S = 0.001


class Wire:
    """One wire, between sockets in place of interfaces."""

    def __init__(self, process: WiresProcess, one: socket.socket, other: socket.socket) -> None:
        self.process = process
        self._one = one
        self._other = other

    def carries(self, wait_s: float) -> bool:
        self._one.send(IPV4_FRAME)
        readable, _, _ = select.select([self._other], (), (), wait_s)
        return bool(readable and self._other.recv(100))


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    with ExitStack() as stack:
        pairs = [socket.socketpair(type=socket.SOCK_DGRAM) for _ in range(2)]
        for end, port in pairs:
            stack.enter_context(end)
            port.setblocking(False)
        config = Config(1, [port.detach() for _, port in pairs], [ALIVE])
        process = WiresProcess(config, (), os.environ, tmp_path / "log")
        stack.callback(process.close)
        process.wait_ready()
        yield Wire(process, *(end for end, _ in pairs))


def test_a_line_is_another_as_soon_as_that_was_said(wire: Wire) -> None:
    for _ in range(OFTEN):
        wire.process.set_line(0, DEAD)
        assert not wire.carries(SILENCE_S)
        wire.process.set_line(0, ALIVE)
        assert wire.carries(ANSWER_S)


def test_a_line_of_a_process_that_is_gone_is_refused_and_closing_it_is_harmless(
    wire: Wire,
) -> None:
    wire.process.check()
    pid = wire.process._popen.pid
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    for refused in (wire.process.check, lambda: wire.process.set_line(0, DEAD)):
        with pytest.raises(LabError, match=r"^the process of the lines ended: no word$"):
            refused()
    wire.process.close()
    wire.process.close()


def test_what_was_counted_is_told_at_the_end(wire: Wire) -> None:
    assert wire.carries(ANSWER_S)
    wire.process.set_line(0, DEAD)
    assert not wire.carries(SILENCE_S)
    wire.process.set_line(0, ALIVE)
    assert wire.carries(ANSWER_S)
    assert wire.process.finish() == {"carried": 2, "dead": 1}
