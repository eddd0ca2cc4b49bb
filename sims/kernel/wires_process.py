"""The process that carries frames over the wires of a scenario, and its owner's handle on it."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Final

import msgspec

from sims.kernel.wires import Wires
from sims.lab.frame_process import READY, FrameProcess, carry_frames, go_first
from sims.lab.namespaces import LabError
from sims.lab.registry import last_line
from sims.model.link import LineModel

END_TIMEOUT_S: Final = 3.0

_OBEYED: Final = b"."
_OBEYED_TIMEOUT_S: Final = 30.0


class Config(msgspec.Struct):
    """descriptors: of TAP devices, two for each of ``lines``, that of the site first."""

    seed: int
    descriptors: list[int]
    lines: list[LineModel]


class Order(msgspec.Struct):
    """``wire`` is to be ``line`` from now on."""

    wire: int
    line: LineModel


class WiresProcess(FrameProcess):
    """Running wires; gone with it."""

    title = "the process of the lines"
    module = "sims.kernel.wires_process"
    stdin = subprocess.PIPE

    def __init__(
        self, config: Config, leash: Sequence[str], environment: Mapping[str, str], log: Path
    ) -> None:
        """The rest as with ``FrameProcess``."""
        argument = msgspec.json.encode(config).decode()
        super().__init__(argument, config.descriptors, leash, environment, log)

    def check(self) -> None:
        """Raise LabError when it carries nothing any more."""
        if self._popen.poll() is not None:
            raise LabError(f"{self.title} ended: {last_line(self._log)}")

    def set_line(self, wire: int, line: LineModel) -> None:
        """What is sent from now on finds this line. Raise LabError when the process is gone."""
        assert self._popen.stdin is not None
        try:
            self._popen.stdin.write(msgspec.json.encode(Order(wire, line)) + b"\n")
            self._popen.stdin.flush()
            obeyed = self._said_within(len(_OBEYED), _OBEYED_TIMEOUT_S)
        except BrokenPipeError:
            obeyed = b""
        if obeyed is None:
            raise LabError(f"{self.title} did nothing for {_OBEYED_TIMEOUT_S:g} s")
        if obeyed != _OBEYED:
            raise LabError(f"{self.title} ended: {last_line(self._log)}")

    def finish(self) -> dict[str, int]:
        """End it, and give what it counted: packets by what became of them."""
        try:
            output, _ = self._popen.communicate(timeout=END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.close()
            return {}
        return msgspec.json.decode(output, type=dict[str, int]) if output else {}


class OrderReader:
    """Obeys orders, one a line, and answers each."""

    def __init__(self, wires: Wires, answers: int) -> None:
        """answers: a descriptor."""
        self._wires = wires
        self._answers = answers
        self._unfinished = b""

    def obey(self, read: bytes) -> None:
        *lines, self._unfinished = (self._unfinished + read).split(b"\n")
        for line in lines:
            order = msgspec.json.decode(line, type=Order)
            self._wires.set_line(order.wire, order.line)
            os.write(self._answers, _OBEYED)


def main() -> None:
    config = msgspec.json.decode(sys.argv[1], type=Config)
    go_first()
    wires = Wires(config.lines, lambda end: Random(f"{config.seed}/{end}"))
    os.write(sys.stdout.fileno(), READY)
    orders = OrderReader(wires, sys.stdout.fileno())
    carry_frames(config.descriptors, wires, sys.stdin.fileno(), orders.obey)
    os.write(sys.stdout.fileno(), msgspec.json.encode(dict(wires.counts)))


if __name__ == "__main__":
    main()
