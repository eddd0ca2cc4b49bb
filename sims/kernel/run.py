"""One run of a scenario on kernel namespaces: real processes, real NATs, real time."""

import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import trio

from sims.checks import Checks
from sims.kernel.events import event_of
from sims.kernel.machine import KernelMachine
from sims.kernel.mesh import KernelMesh
from sims.kernel.network import KernelNetwork, open_network
from sims.kernel.refusals import check_for_kernel
from sims.lab.mesh import SOCKET_POLL_S
from sims.lab.namespaces import LabError, lab_error
from sims.lab.registry import LABS_DIRECTORY
from sims.machines.machine_files import COMMUNITY
from sims.model.faults import Fault
from sims.model.result import KERNEL, PairResult, RunResult
from sims.model.scenario import Machine, Scenario
from sims.model.scenario_check import check_scenario
from sims.model.world import Load
from sims.running.churn import asked_of_churn, plan_faults
from sims.running.common_faults import CommonFaultDriver
from sims.running.explaining import explain_paths
from sims.running.pair_results import pair_results
from sims.running.pings import Pings
from sims.running.progress import OnProgress, Progress
from sims.running.reachability import Reachability
from sims.running.story_recorder import StoryRecorder
from sims.runtime.entropy import Entropy

LOOK_EVERY_S: Final = 5.0
"""How often daemons are asked for their status, and checks look at it."""

READY_WITHIN_S: Final = 60.0
"""How long processes may take to import what they are made of, and bootstrap nodes to listen."""

JUDGED: Final = frozenset(
    {
        "tasks",
        "replays",
        "endpoint-is-selected",
        "all-pairs-connected",
        "healed",
        "tunnels",
        "relayed-by-need",
        "expected-paths",
        "unreachable",
    }
)
"""Checks that need no packets, no insides of daemons, and nothing that happens before a daemon's
control socket answers."""


class KernelClock:
    """Real seconds, by trio's clock."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery

    @property
    def now_s(self) -> float:
        return trio.current_time()

    def call_later(self, wait_s: float, callback: Callable[[], object]) -> None:
        self._nursery.start_soon(self._call_at, self.now_s + wait_s, callback)

    async def _call_at(self, at_s: float, callback: Callable[[], object]) -> None:
        await trio.sleep_until(at_s)
        callback()


def run_on_kernel(
    scenario: Scenario,
    seed: int,
    *,
    progress: OnProgress | None = None,
    recorder: StoryRecorder | None = None,
    labs: Path = LABS_DIRECTORY,
) -> RunResult:
    """Run ``scenario`` to its end, or until KeyboardInterrupt; everything is removed then.

    seed: of keys, of churn and of what lines leave to chance; the kernel and the processors are
    not bound by it. recorder: has the story of the run afterwards. Raise ConfigError for a
    scenario that makes no sense here, LabError where the machine lacks something.
    """
    check_scenario(scenario)
    check_for_kernel(scenario)
    entropy = Entropy(seed)
    with open_network(scenario, seed, labs) as network:
        it = KernelRun(scenario, entropy, network, progress, recorder)
        try:
            trio.run(it.main, restrict_keyboard_interrupt_to_checkpoints=True)
        except* KeyboardInterrupt:
            it.is_interrupted = True
        except* (LabError, OSError) as group:
            it.fail(group)
        if it.failure and not it.has_begun:
            raise LabError(it.failure)
        return it.result()


class KernelRun:
    """The state of a run; a ``World`` for its checks, and the ``Watcher`` of its machines."""

    def __init__(
        self,
        scenario: Scenario,
        entropy: Entropy,
        network: KernelNetwork,
        progress: OnProgress | None,
        recorder: StoryRecorder | None,
    ) -> None:
        self.scenario = scenario
        self.community = COMMUNITY
        self.is_interrupted = False
        self.failure = ""
        """Why the run ended early, if that was not asked for."""
        self.faults: Sequence[Fault] = plan_faults(scenario, entropy)
        self._entropy = entropy
        self._network = network
        self._progress = progress
        self._recorder = recorder
        self._began_real_s = time.monotonic()
        self._began_s = 0.0
        self._ended_at_s: float | None = None
        self._events: Counter[str] = Counter()
        self._statuses: dict[str, dict[str, Any]] = {}
        self._packets = 0
        self._pairs: tuple[PairResult, ...] = ()
        self._reachability = Reachability(scenario, self.site_of)
        self._machines: Mapping[str, KernelMachine] = {}
        self._pings: Pings
        self._checks: Checks | None = None

    @property
    def has_begun(self) -> bool:
        return self._began_s > 0

    def fail(self, group: BaseExceptionGroup[BaseException]) -> None:
        """Keep the one line that a person can do something about."""
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        self.failure = str(lab_error(error) if isinstance(error, OSError) else error)

    # The run

    async def main(self) -> None:
        """The whole of it; cancelled by KeyboardInterrupt."""
        async with trio.open_nursery() as nursery:
            self._equip(nursery)
            try:
                await self._get_ready(nursery)
                await self._play(nursery)
                if self._checks is not None:
                    self._checks.finish()
                self._close()
                if self._recorder is not None:
                    await explain_paths(self._recorder, self._machines, self._statuses)
            finally:
                self._close()
                self._packets = self._network.finish()
                for machine in self._machines.values():
                    machine.note_cost()
            nursery.cancel_scope.cancel()

    def _equip(self, nursery: trio.Nursery) -> None:
        mesh = KernelMesh(self.scenario, self._entropy, self._network, nursery, self)
        self._machines = mesh.machines
        self.private_keys = mesh.private_keys
        self.tunnel_addresses = {name: (str(ip.ip),) for name, ip in mesh.tunnels.items()}
        self._pings = Pings(
            KernelClock(nursery),
            mesh.machines,
            {name: addresses[0] for name, addresses in self.tunnel_addresses.items()},
            self.scenario.pairs,
            self.scenario.ping_every_s,
            self._on_ping,
        )
        self._checks = Checks(self, judged=JUDGED)
        if self._recorder is not None:
            names = {str(key.public_key()): name for name, key in self.private_keys.items()}
            relays = {
                str(address.ip): name
                for name, cable in self._network.layout.bootstraps.items()
                for address in cable.addresses
            }
            self._recorder.begin(self.faults, names, relays)
        for name in self.private_keys:
            version = mesh.tunnels[name].version
            nursery.start_soon(mesh.machines[name].receive_echoes, version)

    async def _get_ready(self, nursery: trio.Nursery) -> None:
        """What takes the time of processors is done before the run begins."""
        with trio.move_on_after(READY_WITHIN_S) as in_time:
            async with trio.open_nursery() as preparing:
                for machine in self._machines.values():
                    preparing.start_soon(machine.prepare)
            for name in self.scenario.bootstrap_names:
                await self._machines[name].start(nursery)
            for name in self.scenario.bootstrap_names:
                await self._wait_listening(name)
        if in_time.cancelled_caught:
            raise LabError(
                f"the daemons were not ready after {READY_WITHIN_S:g} s: have fewer machines, or "
                "let nothing else run beside"
            )

    async def _wait_listening(self, name: str) -> None:
        while True:
            status = await self._machines[name].status()
            if status is not None and status["overlay"].get("listen"):
                return
            await trio.sleep(SOCKET_POLL_S)

    async def _play(self, nursery: trio.Nursery) -> None:
        self._began_s = trio.current_time()
        for machine in self.scenario.machines:
            nursery.start_soon(self._start_later, machine, nursery)
        self._pings.start()
        driver = CommonFaultDriver(self._network, self._machines, lambda *_: None)
        nursery.start_soon(driver.drive, self.faults, self._began_s, nursery)
        ends_at_s = self._began_s + self.scenario.duration_s
        look_at_s = self._began_s
        while look_at_s < ends_at_s:
            look_at_s = min(look_at_s + LOOK_EVERY_S, ends_at_s)
            await self._tell_until(look_at_s)
            await self._look()

    async def _start_later(self, machine: Machine, nursery: trio.Nursery) -> None:
        await trio.sleep_until(self._began_s + machine.starts_at_s)
        await self._machines[machine.name].start(nursery)

    async def _tell_until(self, at_s: float) -> None:
        """Say every second how far the run is, and see that its lines are there."""
        while trio.current_time() < at_s:
            await trio.sleep_until(min(at_s, trio.current_time() + 1.0))
            self._network.check()
            if self._progress is not None:
                self._progress(
                    Progress(
                        virtual_s=self.now_s,
                        duration_s=self.scenario.duration_s,
                        real_s=time.monotonic() - self._began_real_s,
                        events=self._events.total(),
                        packets=self._packets,
                        pairs_connected=self._pings.connected,
                        pairs=len(self._pings.pairs),
                    )
                )

    async def _look(self) -> None:
        async def ask(name: str) -> None:
            status = await self._machines[name].status()
            if status is not None:
                statuses[name] = status

        statuses: dict[str, dict[str, Any]] = {}
        async with trio.open_nursery() as nursery:
            for name in self.private_keys:
                nursery.start_soon(ask, name)
        self._statuses.update(statuses)
        if self._checks is not None:
            self._checks.look(statuses)

    def _close(self) -> None:
        """Nothing after this is part of the run."""
        if self._ended_at_s is None:
            began_s = self._began_s or trio.current_time()
            self._ended_at_s = trio.current_time() - began_s
            self._pairs = pair_results(
                self.scenario, self._pings, self._statuses, began_s, self._reachability.best_path
            )

    def result(self) -> RunResult:
        """What is known at the end."""
        costs = [cost for machine in self._machines.values() for cost in machine.costs]
        own = os.times()
        checks = self._checks
        left_out = len(self.scenario.faults) + asked_of_churn(self.scenario) - len(self.faults)
        return RunResult(
            scenario=self.scenario.name,
            seed=self._entropy.seed,
            is_complete=not (self.is_interrupted or self.failure),
            virtual_s=self._ended_at_s or 0.0,
            real_s=time.monotonic() - self._began_real_s,
            cpu_s=own.user + own.system + sum(cost.cpu_s for cost in costs),
            memory_bytes=sum(cost.memory_bytes for cost in costs),
            packets=self._packets,
            events=self._events.total(),
            pairs=self._pairs,
            checks={} if checks is None else dict(checks.looked),
            violations=() if checks is None else tuple(checks.violations),
            counters=dict(sorted(self._events.items())),
            trace_sha256="",
            faults=len(self.faults),
            faults_left_out=left_out,
            failure="" if self.is_interrupted else self.failure,
            engine=KERNEL,
        )

    # World

    @property
    def now_s(self) -> float:
        return trio.current_time() - self._began_s

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
        """Nobody sees into a process."""
        raise KeyError(machine)

    # Watcher of machines

    def on_event(self, machine: str, said: dict[str, Any]) -> None:
        if self._ended_at_s is not None or not self.has_begun:
            return
        self._events[said["event"]] += 1
        event = event_of(said)
        if event is None:
            return
        if self._recorder is not None:
            self._recorder.on_event(self.now_s, machine, event)
        if self._checks is not None:
            self._checks.on_event(machine, event)

    def on_echo_reply(self, machine: str, source: str, payload: bytes) -> None:
        if self._ended_at_s is not None:
            return
        pong = self._pings.replied(machine, source, payload)
        if pong is not None and self._recorder is not None:
            self._recorder.on_pong(self.now_s, *pong[:2])
        if pong is not None and self._checks is not None:
            self._checks.on_reply(machine, source, payload)

    def task_died(self, machine: str, error: BaseException) -> None:
        if not self.has_begun:
            raise LabError(f"{machine}: {error}")
        if self._ended_at_s is None and self._checks is not None:
            self._checks.task_died(machine, error)

    def _on_ping(self, source: str, destination: str, _number: int) -> None:
        if self._ended_at_s is None and self._recorder is not None:
            self._recorder.on_ping(self.now_s, source, destination)
