"""What libraries ask the operating system for, answered by the machine whose task it is."""

from collections.abc import Mapping

from sims.machines.machine import SimulatedMachine
from sims.runtime.clock import STARTS_AT_S, VirtualClock
from sims.runtime.entropy import ByteStream
from sims.stack.host import current_host


class SimulatedSurroundings:
    """The clocks and the randomness of ``machines``, and of the run where no machine's task asks.

    wall_clock_began_s: seconds since 1970-01-01 when the run was made, by a clock that is right.
    """

    def __init__(
        self,
        machines: Mapping[str, SimulatedMachine],
        clock: VirtualClock,
        wall_clock_began_s: float,
        entropy: ByteStream,
    ) -> None:
        self._machines = machines
        self._clock = clock
        self._wall_clock_began_s = wall_clock_began_s
        self._entropy = entropy

    def monotonic(self) -> float:
        return self._clock.now_s

    def wall_time(self) -> float:
        machine = self._machine_that_runs()
        if machine is None:
            return self._wall_clock_began_s + self._clock.now_s - STARTS_AT_S
        return machine.wall_time()

    def random_bytes(self, size_bytes: int) -> bytes:
        machine = self._machine_that_runs()
        if machine is None or machine.boot is None:
            return self._entropy.read(size_bytes)
        return machine.random_bytes(size_bytes)

    def _machine_that_runs(self) -> SimulatedMachine | None:
        host = current_host.get(None)
        return None if host is None else self._machines.get(host.name)
