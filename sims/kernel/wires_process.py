"""The process that carries frames over the wires of a scenario, and its owner's handle on it.

A process of its own, so that what the engine does beside never delays a frame.
"""

import errno
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Final

import msgspec

from sims.kernel.wires import Wires
from sims.lab.namespaces import LabError
from sims.lab.registry import last_line
from sims.lab.switch_process import (
    END_TIMEOUT_S,
    FRAME_SIZE_MAX_BYTES,
    FRAMES_PER_TURN_MAX,
    READY,
    go_first,
    said_within,
    wait_ready,
)
from sims.model.link import LineModel

_ORDER_SIZE_MAX_BYTES: Final = 1 << 20
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


class WiresProcess:
    """Running wires; gone with it."""

    def __init__(
        self, config: Config, leash: Sequence[str], environment: Mapping[str, str], log: Path
    ) -> None:
        """Its descriptors are the process's from now on. log: where its errors go."""
        argv = [*leash, sys.executable, "-m", "sims.kernel.wires_process"]
        try:
            with log.open("w") as errors:
                self._popen = subprocess.Popen(
                    [*argv, msgspec.json.encode(config).decode()],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    pass_fds=config.descriptors,
                    env=environment,
                    start_new_session=True,
                )
        finally:
            for descriptor in config.descriptors:
                os.close(descriptor)
        self._log = log

    def wait_ready(self) -> None:
        """Wait until it carries frames: Python takes a while to start. Raise LabError."""
        wait_ready(self._popen, "the process of the lines", self._log)

    def check(self) -> None:
        """Raise LabError when it carries nothing any more."""
        if self._popen.poll() is not None:
            raise LabError(f"the process of the lines ended: {last_line(self._log)}")

    def set_line(self, wire: int, line: LineModel) -> None:
        """What is sent from now on finds this line. Raise LabError when the process is gone."""
        assert self._popen.stdin is not None
        try:
            self._popen.stdin.write(msgspec.json.encode(Order(wire, line)) + b"\n")
            self._popen.stdin.flush()
            obeyed = said_within(self._popen, len(_OBEYED), _OBEYED_TIMEOUT_S)
        except BrokenPipeError:
            obeyed = b""
        if obeyed is None:
            raise LabError(f"the process of the lines did nothing for {_OBEYED_TIMEOUT_S:g} s")
        if obeyed != _OBEYED:
            raise LabError(f"the process of the lines ended: {last_line(self._log)}")

    def finish(self) -> dict[str, int]:
        """End it, and give what it counted: packets by what became of them."""
        try:
            output, _ = self._popen.communicate(timeout=END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.close()
            return {}
        return msgspec.json.decode(output, type=dict[str, int]) if output else {}

    def close(self) -> None:
        """End it, however it is; harmless when it has ended."""
        if self._popen.poll() is None:
            self._popen.kill()
        self._popen.wait()
        for stream in (self._popen.stdin, self._popen.stdout):
            if stream is not None and not stream.closed:
                stream.close()


def run(ends: Sequence[int], wires: Wires, orders: int, answers: int) -> None:
    """Carry frames until ``orders``, of which there is one a line, end; each is answered."""
    numbers = {descriptor: number for number, descriptor in enumerate(ends)}
    waiting = b""
    while True:
        deadline = wires.deadline()
        timeout_s = None if deadline is None else max(0.0, deadline - time.monotonic())
        readable, _, _ = select.select([*ends, orders], (), (), timeout_s)
        for descriptor in readable:
            if descriptor == orders:
                read = os.read(orders, _ORDER_SIZE_MAX_BYTES)
                if not read:
                    return
                *lines, waiting = (waiting + read).split(b"\n")
                for line in lines:
                    order = msgspec.json.decode(line, type=Order)
                    wires.set_line(order.wire, order.line)
                    os.write(answers, _OBEYED)
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
                _write(ends, wires.receive(numbers[descriptor], frame, time.monotonic()))
        _write(ends, wires.handle_timeout(time.monotonic()))


def _write(ends: Sequence[int], frames: Iterable[tuple[int, bytes]]) -> None:
    for end, frame in frames:
        try:
            os.write(ends[end], frame)
        except OSError:
            continue  # The interface is down or its queue full: a cable loses it.


def main() -> None:
    config = msgspec.json.decode(sys.argv[1], type=Config)
    go_first()
    wires = Wires(config.lines, lambda end: Random(f"{config.seed}/{end}"))
    os.write(sys.stdout.fileno(), READY)
    run(config.descriptors, wires, sys.stdin.fileno(), sys.stdout.fileno())
    os.write(sys.stdout.fileno(), msgspec.json.encode(dict(wires.counts)))


if __name__ == "__main__":
    main()
