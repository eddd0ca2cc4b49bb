"""The process that runs a switch over TAP devices, and how the lab makes it."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random

import msgspec

from sims.lab.frame_process import READY, FrameProcess, carry_frames, go_first
from sims.lab.link import Link
from sims.lab.switch import Switch


class Port(msgspec.Struct):
    """descriptor: of a TAP device. link: what it does to frames that come in."""

    descriptor: int
    link: Link


class SwitchProcess(FrameProcess):
    """A running switch; its ports are gone with it."""

    title = "the switch of the lab's links"
    module = "sims.lab.switch_process"

    def __init__(
        self,
        ports: Sequence[Port],
        leash: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
    ) -> None:
        """The rest as with ``FrameProcess``."""
        descriptors = [port.descriptor for port in ports]
        argument = msgspec.json.encode(ports).decode()
        super().__init__(argument, descriptors, leash, environment, log)

    def release(self) -> None:
        """Let it run on; nobody waits for it any more."""
        self._popen.returncode = 0
        self._close_streams()


def main() -> None:
    ports = msgspec.json.decode(sys.argv[1], type=list[Port])
    go_first()
    switch = Switch([port.link for port in ports], Random())
    os.write(sys.stdout.fileno(), READY)
    os.close(sys.stdout.fileno())
    carry_frames([port.descriptor for port in ports], switch)


if __name__ == "__main__":
    main()
