"""Lets the faults of a run happen, each at its time, and ends those that end."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial, reduce
from random import Random
from typing import Final

import trio

from sims.internet.network import Network
from sims.internet.packet import Packet, Protocol
from sims.machines.machine import SimulatedMachine
from sims.model.faults import (
    AddressChange,
    Corrupt,
    Crash,
    Degrade,
    DelayEnvelopes,
    Fault,
    Lasting,
    LinkDown,
    Move,
    NatReboot,
    Partition,
    ReplayEnvelopes,
    ReplayPackets,
    Sleep,
    Stop,
)
from sims.model.link import LineModel, LinkModel
from sims.running.trace import Trace
from sims.runtime.clock import VirtualClock
from sims.runtime.entropy import Entropy

LineFault = LinkDown | Degrade | Corrupt

BEGINS_AFTER_S: Final = 1e-6
"""What ends in the same instant ends first: a machine has to run again before it crashes anew."""


class FaultDriver:
    """Does to machines and to the network what faults say; the trace has begin and end of each."""

    def __init__(
        self,
        network: Network,
        machines: Mapping[str, SimulatedMachine],
        clock: VirtualClock,
        entropy: Entropy,
        trace: Trace,
    ) -> None:
        self._network = network
        self._machines = machines
        self._clock = clock
        self._entropy = entropy
        self._trace = trace
        self._began_s = 0.0
        self._lines: dict[str, tuple[LineModel, list[LineFault]]] = {}
        """By site: its line as it should be, and what worsens it now."""

    async def drive(self, faults: Sequence[Fault], began_s: float, nursery: trio.Nursery) -> None:
        """Let ``faults`` happen; their times count from ``began_s``. Machines start in nursery."""
        self._began_s = began_s
        for number, fault in enumerate(faults):
            nursery.start_soon(self._happen, fault, number, nursery)

    async def _happen(self, fault: Fault, number: int, nursery: trio.Nursery) -> None:
        await trio.sleep_until(self._began_s + fault.at_s + BEGINS_AFTER_S)
        self._note(fault, "begin")
        match fault:
            case Crash():
                self._machines[fault.target].kill(loses_disk=fault.loses_disk)
                await self._last(fault)
                await self._machines[fault.target].start(nursery)
            case Stop():
                await self._machines[fault.target].stop()
                await self._last(fault)
                await self._machines[fault.target].start(nursery)
            case Sleep():
                until_s = self._began_s + fault.ends_at_s
                await self._machines[fault.target].sleep_until(until_s)
            case Move():
                home = self._machines[fault.target].site
                await self._move(fault, fault.to)
                await trio.sleep_until(self._began_s + fault.leaves_again_at_s)
                await self._move(fault, home)
            case AddressChange():
                self._network.change_address(fault.target, fault.ip_version)
            case NatReboot():
                self._network.reboot_nat(fault.target)
            case Partition():
                await self._partition(fault)
            case ReplayPackets():
                await self._replay_packets(fault, self._entropy.random("replay", str(number)))
            case ReplayEnvelopes() | DelayEnvelopes():
                await self._disturb_envelopes(fault, str(number))
            case LinkDown() | Degrade() | Corrupt():
                await self._worsen_line(fault)
            case _:
                raise AssertionError(f"no such fault: {fault}")
        if isinstance(fault, Lasting):
            self._note(fault, "end")

    async def _last(self, fault: Lasting) -> None:
        await trio.sleep_until(self._began_s + fault.ends_at_s)

    async def _move(self, fault: Move, site: str) -> None:
        machine = self._machines[fault.target]
        if fault.gap_s:
            machine.leave()
            await trio.sleep(fault.gap_s)
        machine.move(site)

    async def _worsen_line(self, fault: LineFault) -> None:
        """Several may have hold of one line, and each lets go when it ends."""
        site = fault.target
        usual, worsening = self._lines.setdefault(site, (self._network.line_of(site), []))
        worsening.append(fault)
        self._network.set_line(site, reduce(_worse, worsening, usual))
        await self._last(fault)
        worsening.remove(fault)
        self._network.set_line(site, reduce(_worse, worsening, usual))

    async def _partition(self, fault: Partition) -> None:
        blocks = [self._network.block(fault.one, fault.other)]
        if not fault.is_one_way:
            blocks.append(self._network.block(fault.other, fault.one))
        await self._last(fault)
        for block in blocks:
            block.lift()

    async def _replay_packets(self, fault: ReplayPackets, random: Random) -> None:
        def take(packet: Packet) -> None:
            if packet.protocol is Protocol.UDP and random.random() < fault.share:
                again = partial(self._network.inject, fault.target, packet)
                self._clock.call_later(fault.after_s, again)

        tap = self._network.tap(fault.target, take)
        await self._last(fault)
        tap.remove()

    async def _disturb_envelopes(
        self, fault: ReplayEnvelopes | DelayEnvelopes, number: str
    ) -> None:
        machine, until_s = self._machines[fault.target], self._began_s + fault.ends_at_s
        if isinstance(fault, ReplayEnvelopes):
            entropy = self._entropy.stream("replay", number)
            await machine.replay_envelopes(entropy, fault.after_s, until_s)
        else:
            await machine.delay_envelopes(
                self._entropy.random("delay", number), fault.up_to_s, until_s
            )

    def _note(self, fault: Fault, phase: str) -> None:
        self._trace.fault(self._clock.now_s - self._began_s, fault, phase)


def _worse(line: LineModel, fault: LineFault) -> LineModel:
    match fault:
        case Degrade():
            return fault.line
        case LinkDown():
            return LineModel(
                None if fault.direction in ("up", "both") else line.up,
                None if fault.direction in ("down", "both") else line.down,
            )
        case Corrupt():
            return LineModel(_corrupting(line.up, fault), _corrupting(line.down, fault))


def _corrupting(link: LinkModel | None, fault: Corrupt) -> LinkModel | None:
    return None if link is None else replace(link, corrupt=fault.share)
