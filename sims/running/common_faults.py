"""Lets the faults happen that any engine has, each at its time, and ends those that end."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from typing import Final, Protocol

import trio

from sims.model.faults import (
    AddressChange,
    Corrupt,
    Crash,
    Degrade,
    Fault,
    Lasting,
    LinkDown,
    Move,
    NatReboot,
    Partition,
    Sleep,
    Stop,
)
from sims.model.link import LineModel, LinkModel

LineFault = LinkDown | Degrade | Corrupt

BEGINS_AFTER_S: Final = 1e-6
"""What ends in the same instant ends first: a machine has to run again before it crashes anew."""


class Liftable(Protocol):
    def lift(self) -> None: ...


class FaultyNetwork(Protocol):
    """What can be done to sites, bootstrap nodes among them."""

    def line_of(self, site: str) -> LineModel: ...

    def set_line(self, site: str, line: LineModel) -> None: ...

    def change_address(self, site: str, ip_version: int | None = None) -> None: ...

    def reboot_nat(self, site: str) -> None: ...

    def block(self, sources: Collection[str], destinations: Collection[str]) -> Liftable: ...


class FaultyMachine(Protocol):
    """What can be done to a machine."""

    site: str

    async def start(self, nursery: trio.Nursery) -> None: ...

    def kill(self, *, loses_disk: bool = False) -> None: ...

    async def stop(self) -> None: ...

    async def sleep_until(self, at_s: float) -> None: ...

    def leave(self) -> None: ...

    def move(self, site: str) -> None: ...


class CommonFaultDriver:
    """Does to machines and to the network what faults say, by trio's clock."""

    def __init__(
        self,
        network: FaultyNetwork,
        machines: Mapping[str, FaultyMachine],
        note: Callable[[float, Fault, str], None],
    ) -> None:
        """note: is told of the ``begin`` and the ``end`` of each, and when that was."""
        self._network = network
        self._machines = machines
        self._note_to = note
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
            case LinkDown() | Degrade() | Corrupt():
                await self._worsen_line(fault)
            case _:
                await self._happen_here(fault, number)
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

    async def _happen_here(self, fault: Fault, number: int) -> None:
        """What one engine alone can do. number: of the fault, in the order of time."""
        raise AssertionError(f"fault {number} is none of this engine: {fault}")

    def _note(self, fault: Fault, phase: str) -> None:
        self._note_to(trio.current_time() - self._began_s, fault, phase)


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
