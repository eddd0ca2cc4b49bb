"""One run: a scenario and a seed become a mesh of real daemons, and what came of it."""

import gc
import resource
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import trio

from sims.capture.capture import Capture
from sims.checks import Checks
from sims.internet.network import Network
from sims.internet.packet import PacketEvent
from sims.machines.machine_files import COMMUNITY
from sims.machines.mesh import Mesh
from sims.model.faults import Fault
from sims.model.result import PairResult, RunResult, Until, Violation
from sims.model.scenario import Machine, Scenario
from sims.model.scenario_check import check_scenario
from sims.model.world import Load
from sims.running.churn import asked_of_churn, plan_faults
from sims.running.explaining import explain_paths
from sims.running.fault_driver import FaultDriver
from sims.running.pair_results import pair_results
from sims.running.pings import Pings
from sims.running.progress import OnProgress, Progress
from sims.running.reachability import Reachability
from sims.running.story_recorder import StoryRecorder
from sims.running.surroundings import SimulatedSurroundings
from sims.running.trace import Trace, open_trace_file
from sims.running.watchdog import StandstillError, Watchdog
from sims.runtime.clock import VirtualClock
from sims.runtime.entropy import Entropy
from sims.runtime.scratch import scratch_directory
from sims.runtime.substitutes import real_cpu_s, real_monotonic_s, substituted
from sims.runtime.trio_internals import is_interrupted, seeded_scheduling
from sims.stack.sockets import SimulatedResolver, SimulatedSocketFactory
from wice.events import Event

WALL_CLOCK_FROM_S: Final = 1_750_000_000.0
WALL_CLOCK_SPAN_S: Final = 30 * 86_400.0
"""A run begins at some moment of a month, so that epochs end at any time within runs."""

LOOK_EVERY_S: Final = 5.0
"""How often daemons are asked for their status, and checks look at it."""

PROGRESS_EVERY_PACKETS: Final = 512
"""How often who watches is told how far the run is, beside when checks look."""

COLLECT_EVERY_S: Final = 60.0
"""Virtual seconds between collections of garbage."""


def run(
    scenario: Scenario,
    seed: int,
    *,
    trace_path: Path | None = None,
    progress: OnProgress | None = None,
    recorder: StoryRecorder | None = None,
    capture: Capture | None = None,
    until: Until | None = None,
) -> RunResult:
    """Run ``scenario`` from ``seed`` to its end, or until KeyboardInterrupt.

    recorder: has the story of the run afterwards, capture what passed its interfaces, whatever
    ended it. until: told of each violation; the run ends with the first for which it is true.
    A process should run one: libraries keep things for good that another run would meet. Raise
    ConfigError for a scenario that makes no sense, WiceError for a trace that cannot be opened or
    a trio that is not known.
    """
    check_scenario(scenario)
    with scratch_directory() as directory, open_trace_file(trace_path) as file:
        clock = VirtualClock()
        entropy = Entropy(seed) if capture is None else capture.entropy(seed)
        trace = Trace(file)
        it = Run(scenario, entropy, clock, trace, directory, progress, recorder, capture, until)
        with substituted(it.surroundings), seeded_scheduling(entropy.random("scheduling")):
            try:
                # Anywhere else it would come out of a library's task, which may swallow it.
                trio.run(
                    it.main,
                    clock=clock,
                    instruments=(Watchdog(clock, it.on_standstill),),
                    restrict_keyboard_interrupt_to_checkpoints=True,
                )
            except* KeyboardInterrupt:
                it.is_interrupted = True
            except* StandstillError:
                pass
        return it.result()


class Run:
    """The state of a run; a ``World`` for its checks, and the ``Observer`` of its machines."""

    def __init__(
        self,
        scenario: Scenario,
        entropy: Entropy,
        clock: VirtualClock,
        trace: Trace,
        directory: Path,
        progress: OnProgress | None,
        recorder: StoryRecorder | None = None,
        capture: Capture | None = None,
        until: Until | None = None,
    ) -> None:
        self.scenario = scenario
        self.community = COMMUNITY
        self.is_interrupted = False
        self._failure = ""
        """Why the run ended early, if that was not asked for."""
        self._scope = trio.CancelScope()
        self.faults: Sequence[Fault] = plan_faults(scenario, entropy)
        self._entropy = entropy
        self._clock = clock
        self._trace = trace
        self._progress = progress
        self._capture = capture
        self._recorder = recorder
        self._until = until
        self._began_real_s, self._began_cpu_s = real_monotonic_s(), real_cpu_s()
        self._began_s = clock.now_s
        self._wall_clock_began_s = (
            WALL_CLOCK_FROM_S + entropy.random("wall clock").random() * WALL_CLOCK_SPAN_S
        )
        self._packets = 0
        self._events: Counter[str] = Counter()
        self._is_over = False
        self._standstills: list[Violation] = []
        self._statuses: dict[str, dict[str, Any]] = {}
        self._ended_at_s: float | None = None
        self._reachability = Reachability(scenario, self.site_of)
        self._network = Network(clock, entropy, scenario.ip_versions, self.on_packet)
        mesh = Mesh(
            scenario, entropy, clock, self._network, directory, self._wall_clock_began_s, self
        )
        if capture is not None:
            wall_clock_began_s = self._wall_clock_began_s
            capture.begin(scenario, entropy.seed, clock, wall_clock_began_s, self._network, mesh)
        self.private_keys = mesh.private_keys
        self.tunnel_addresses = {name: (str(ip.ip),) for name, ip in mesh.tunnels.items()}
        self._machines = mesh.machines
        self.surroundings = SimulatedSurroundings(
            self._machines, clock, self._wall_clock_began_s, entropy.stream("run")
        )
        self._pings = Pings(
            clock,
            self._machines,
            {name: addresses[0] for name, addresses in self.tunnel_addresses.items()},
            scenario.pairs,
            scenario.ping_every_s,
            partial(self._tell_ping, "ping"),
        )
        self._checks = Checks(self, self._on_violation)
        self._pairs: tuple[PairResult, ...] | None = None
        """What came of them, once the run is over."""
        if recorder is not None:
            recorder.begin(self.faults, self._names_of_keys(), self._relays())

    # The run

    async def main(self) -> None:
        """The whole of it; cancelled by KeyboardInterrupt."""
        trio.socket.set_custom_socket_factory(SimulatedSocketFactory())
        trio.socket.set_custom_hostname_resolver(SimulatedResolver())
        with self._scope:
            async with trio.open_nursery() as nursery:
                try:
                    await self._play(nursery)
                    if not self._failure:
                        self._checks.finish()
                    self._close()
                    if self._recorder is not None:
                        await explain_paths(self._recorder, self._machines, self._statuses)
                finally:
                    self._end()
                self._scope.cancel()

    async def _play(self, nursery: trio.Nursery) -> None:
        for name in self.scenario.bootstrap_names:
            await self._machines[name].start(nursery)
        self._began_s = self._trace.began_s = self._clock.now_s
        for machine in self.scenario.machines:
            nursery.start_soon(self._start_later, machine, nursery)
        self._introduce()
        self._pings.start()
        driver = FaultDriver(self._network, self._machines, self._clock, self._entropy, self._trace)
        nursery.start_soon(driver.drive, self.faults, self._began_s, nursery)
        await self._look_until_over()

    def _introduce(self) -> None:
        """Whose the keys in the lines of the trace are."""
        for name, private_key in self.private_keys.items():
            public_key = str(private_key.public_key())
            self._trace.line("machine", self.now_s, machine=name, public_key=public_key)

    def _close(self) -> None:
        """Nothing after this is part of the run, though daemons may still be asked things."""
        if not self._is_over:
            self._ended_at_s = self.now_s
            self._trace.end(self.now_s)
            if self._capture is not None:
                self._capture.finish()
            self._pairs = self._pair_results()
            self._is_over = True

    def _end(self) -> None:
        """Daemons are not even asked to end."""
        self._close()
        for machine in self._machines.values():
            machine.kill()

    async def _start_later(self, machine: Machine, nursery: trio.Nursery) -> None:
        await trio.sleep_until(self._began_s + machine.starts_at_s)
        if is_interrupted():
            # Hundreds start in one pass of the scheduler, and Ctrl-C would wait for all of them.
            return
        await self._machines[machine.name].start(nursery)

    async def _look_until_over(self) -> None:
        ends_at_s = self._began_s + self.scenario.duration_s
        collected_at_s = self._clock.now_s
        while self._clock.now_s < ends_at_s and not self._failure:
            await trio.sleep_until(min(self._clock.now_s + LOOK_EVERY_S, ends_at_s))
            await self._look()
            is_due = self._clock.now_s - collected_at_s >= COLLECT_EVERY_S
            if is_due and self._clock.now_s < ends_at_s:
                gc.collect()
                collected_at_s = self._clock.now_s

    async def _look(self) -> None:
        async def ask(name: str) -> None:
            status = await self._machines[name].status()
            if status is not None:
                statuses[name] = status

        statuses: dict[str, dict[str, Any]] = {}
        async with trio.open_nursery() as nursery:
            for name in self.private_keys:
                nursery.start_soon(ask, name)
        statuses = {name: statuses[name] for name in self.private_keys if name in statuses}
        self._statuses.update(statuses)
        self._checks.look(statuses)
        self._see_trace()
        if self._progress is not None:
            self._progress(self._progress_now())

    def _progress_now(self) -> Progress:
        return Progress(
            virtual_s=self.now_s,
            duration_s=self.scenario.duration_s,
            real_s=real_monotonic_s() - self._began_real_s,
            events=self._events.total(),
            packets=self._packets,
            pairs_connected=self._pings.connected,
            pairs=len(self._pings.pairs),
        )

    def _see_trace(self) -> None:
        if self._trace.failure is not None and not self._failure:
            self._failure = f"the trace cannot be written: {self._trace.failure.strerror}"
        failure = None if self._capture is None else self._capture.failure
        if failure is not None and not self._failure:
            self._failure = f"captures cannot be written: {failure.strerror}"

    def result(self) -> RunResult:
        """What is known now."""
        sha256 = self._trace.sha256
        self._see_trace()
        left_out = len(self.scenario.faults) + asked_of_churn(self.scenario) - len(self.faults)
        is_complete = not (self._ended_at_s is None or self.is_interrupted or self._failure)
        if not is_complete:
            self._ended_at_s = self.now_s
        return RunResult(
            scenario=self.scenario.name,
            seed=self._entropy.seed,
            is_complete=is_complete,
            virtual_s=self._ended_at_s or 0.0,
            real_s=real_monotonic_s() - self._began_real_s,
            cpu_s=real_cpu_s() - self._began_cpu_s,
            memory_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            packets=self._packets,
            events=self._events.total(),
            pairs=self._pair_results() if self._pairs is None else self._pairs,
            checks=dict(self._checks.looked),
            violations=(*self._checks.violations, *self._standstills),
            counters=dict(sorted(self._events.items())),
            trace_sha256=sha256,
            faults=len(self.faults),
            faults_left_out=left_out,
            failure=self._failure,
            overlay=self.scenario.overlay,
        )

    def _pair_results(self) -> tuple[PairResult, ...]:
        return pair_results(
            self.scenario, self._pings, self._statuses, self._began_s, self._reachability.best_path
        )

    def _names_of_keys(self) -> dict[str, str]:
        return {str(key.public_key()): name for name, key in self.private_keys.items()}

    def _relays(self) -> dict[str, str]:
        return {
            str(address.ip): name
            for name in self.scenario.bootstrap_names
            for address in self._machines[name].addresses
        }

    # World

    @property
    def now_s(self) -> float:
        return self._clock.now_s - self._began_s

    def running_since_s(self, machine: str) -> float | None:
        since_s = self._machines[machine].running_since_s
        return None if since_s is None else since_s - self._began_s

    def site_of(self, machine: str) -> str:
        return self._machines[machine].site

    def is_reachable(self, one: str, other: str) -> bool:
        return self._reachability.is_reachable(one, other)

    def can_be_direct(self, one: str, other: str) -> bool:
        return self._reachability.can_be_direct(one, other)

    def load_of(self, machine: str) -> Load:
        return self._machines[machine].load()

    # Observer of machines and of the network

    def on_event(self, machine: str, event: Event) -> None:
        if self._is_over:
            return
        self._events[type(event).__name__] += 1
        self._trace.event(self.now_s, machine, event)
        if self._recorder is not None:
            self._recorder.on_event(self.now_s, machine, event)
        self._checks.on_event(machine, event)

    def on_packet(self, event: PacketEvent) -> None:
        if self._is_over:
            return
        self._packets += 1
        if self._progress is not None and self._packets % PROGRESS_EVERY_PACKETS == 0:
            self._progress(self._progress_now())
        self._trace.packet(event)
        if self._capture is not None:
            self._capture.on_packet(event)
        self._checks.on_packet(event)

    def on_echo_request(self, machine: str, source: str, payload: bytes) -> None:
        if not self._is_over:
            self._checks.on_ping_received(machine, source, payload)

    def on_echo_reply(self, machine: str, source: str, payload: bytes) -> None:
        if self._is_over:
            return
        ping = self._pings.replied(machine, source, payload)
        if ping is not None:
            self._tell_ping("pong", *ping)
        self._checks.on_reply(machine, source, payload)

    def _tell_ping(self, kind: str, source: str, destination: str, number: int) -> None:
        if self._is_over:
            return
        self._trace.line(kind, self.now_s, machine=source, destination=destination, number=number)
        if self._recorder is not None:
            tell = self._recorder.on_ping if kind == "ping" else self._recorder.on_pong
            tell(self.now_s, source, destination)

    def task_died(self, machine: str, error: BaseException) -> None:
        if not self._is_over:
            self._checks.task_died(machine, error)

    def _on_violation(self, violation: Violation) -> None:
        if self._until is not None and self._until(violation):
            self._scope.cancel()

    def on_standstill(self, machine: str, where: str) -> None:
        """Virtual time does not go on; nothing else ends then by itself."""
        detail = f"virtual time stands still because of {where}; no task may run without end"
        at_s = round(self.now_s, 6)
        violation = Violation(at_s=at_s, check="standstill", subject=machine, detail=detail)
        self._standstills.append(violation)
        self._failure = self._failure or f"virtual time stands still at {at_s:.3f} s"
        self._scope.cancel()
