"""Lets the faults of a simulated run happen, those that only a simulator can do among them."""

from collections.abc import Mapping
from functools import partial
from random import Random

from sims.internet.network import Network
from sims.internet.packet import Packet, Protocol
from sims.machines.machine import SimulatedMachine
from sims.model.faults import DelayEnvelopes, Fault, ReplayEnvelopes, ReplayPackets
from sims.running.common_faults import CommonFaultDriver
from sims.running.trace import Trace
from sims.runtime.clock import VirtualClock
from sims.runtime.entropy import Entropy


class FaultDriver(CommonFaultDriver):
    """Does to machines and to the network what faults say; the trace has begin and end of each."""

    def __init__(
        self,
        network: Network,
        machines: Mapping[str, SimulatedMachine],
        clock: VirtualClock,
        entropy: Entropy,
        trace: Trace,
    ) -> None:
        super().__init__(network, machines, trace.fault)
        self._simulated_network = network
        self._simulated_machines = machines
        self._clock = clock
        self._entropy = entropy

    async def _happen_here(self, fault: Fault, number: int) -> None:
        match fault:
            case ReplayPackets():
                await self._replay_packets(fault, self._entropy.random("replay", str(number)))
            case ReplayEnvelopes() | DelayEnvelopes():
                await self._disturb_envelopes(fault, str(number))
            case _:
                await super()._happen_here(fault, number)

    async def _replay_packets(self, fault: ReplayPackets, random: Random) -> None:
        def take(packet: Packet) -> None:
            if packet.protocol is Protocol.UDP and random.random() < fault.share:
                again = partial(self._simulated_network.inject, fault.target, packet)
                self._clock.call_later(fault.after_s, again)

        tap = self._simulated_network.tap(fault.target, take)
        await self._last(fault)
        tap.remove()

    async def _disturb_envelopes(
        self, fault: ReplayEnvelopes | DelayEnvelopes, number: str
    ) -> None:
        machine, until_s = self._simulated_machines[fault.target], self._began_s + fault.ends_at_s
        if isinstance(fault, ReplayEnvelopes):
            random = self._entropy.random("replay", number)
            await machine.replay_envelopes(random, fault.after_s, fault.spread_s, until_s)
        else:
            await machine.delay_envelopes(
                self._entropy.random("delay", number), fault.up_to_s, until_s
            )
