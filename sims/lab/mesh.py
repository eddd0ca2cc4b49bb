"""The daemons of a lab: started, asked, pinged through, killed and started again.

Everything in it is real: the daemons, their overlay, the NATs, ``ping``. Whatever happens to one
of them is done to the process or to the network, never asked of the daemon.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import trio

from sims.lab.homes import Home, equip_bootstrap, equip_homes
from sims.lab.lab import Lab
from sims.lab.ping import PingStatistics, ping, wait_first_reply
from sims.lab.process import LabProcess, start_process
from sims.lab.progress import Pair
from sims.machines.machine_files import MachineFiles
from wice.daemon.control import request_async
from wice.errors import RemoteProtocolError

SOCKET_POLL_S: Final = 0.02
"""How often to look whether a daemon that starts answers already."""
TRIED_POLL_S: Final = 0.2
ANSWER_TIMEOUT_S: Final = 5.0
"""A daemon that takes longer to answer does not."""

WICE: Final = (sys.executable, "-m", "wice")

NO_ANSWER: Final = (OSError, trio.BrokenResourceError, trio.TooSlowError, RemoteProtocolError)
"""What a request to a daemon raises when there is none."""

_CLOCK_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Cost:
    """What a process has used. memory_bytes: the most that it had resident."""

    cpu_s: float
    memory_bytes: int


class Mesh:
    """A bootstrap node and homes on the nodes of a lab, whose daemons ``nursery`` owns.

    Made, every machine has its files and nothing runs.
    """

    def __init__(
        self,
        lab: Lab,
        nursery: trio.Nursery,
        homes: Sequence[str],
        *,
        bootstrap: str = "bootstrap",
        has_relay: bool = True,
        is_kept: bool = False,
    ) -> None:
        """has_relay: the bootstrap node relays for the homes."""
        self.lab = lab
        self.bootstrap, self.bootstrap_addresses = equip_bootstrap(lab, bootstrap)
        self.homes: Mapping[str, Home] = equip_homes(lab, homes, self.bootstrap_addresses)
        self.daemons: dict[str, LabProcess] = {}
        """The latest process of each machine that was started."""
        self._nursery = nursery
        self._has_relay = has_relay
        self._is_kept = is_kept

    # What happens to the machines

    def start_bootstrap(self) -> None:
        """Start the daemon of the bootstrap node, for the first time or again."""
        self._start(self.bootstrap, "bootstrap", *(["--relay"] if self._has_relay else []))

    async def wait_listening(self) -> None:
        """Wait until others can connect to the bootstrap node."""
        while True:
            status = await wait_answering(self.bootstrap)
            if status["overlay"].get("listen"):
                return
            await trio.sleep(SOCKET_POLL_S)

    def start(self, home: str) -> None:
        """Start the daemon of a home, for the first time or again."""
        self._start(self.homes[home], "up")

    async def kill(self, name: str) -> None:
        """SIGKILL to the daemon of a machine."""
        await self.daemons[name].kill()

    async def stop(self, name: str) -> None:
        """SIGTERM to the daemon of a machine."""
        await self.daemons[name].stop()

    def release(self) -> None:
        """Let the daemons outlive us; they must have been started as kept."""
        for daemon in self.daemons.values():
            daemon.release()

    # What they say and do

    async def status(self, name: str) -> dict[str, Any]:
        """What the daemon of a machine says; raise one of ``NO_ANSWER``."""
        machine = self.homes.get(name, self.bootstrap)
        with trio.fail_after(ANSWER_TIMEOUT_S):
            return await request_async(machine.control_socket, "status")

    async def status_text(self, name: str) -> str:
        """What ``wice status`` prints on a home."""
        return await self._say(name, "status")

    async def wait_tried(self, pair: Pair) -> None:
        """Wait until a pair is direct, or every direct way was tried in vain."""
        home = self.homes[pair.source]
        while True:
            answer = await request_async(home.control_socket, "why", peer=pair.destination)
            ways = [way["state"] for way in answer["pairs"] if not way["is_relayed"]]
            if answer["path"] == "direct" or all(state == "failed" for state in ways):
                return
            await trio.sleep(TRIED_POLL_S)

    async def why_text(self, pair: Pair) -> str:
        """What ``wice why`` prints on a home of its peer."""
        return await self._say(pair.source, "why", pair.destination)

    async def _say(self, name: str, *verb: str) -> str:
        argv = [*WICE, *verb, str(self.homes[name].config)]
        async with trio.open_nursery() as nursery:
            process = start_process(nursery, self.lab, name, argv)
            return "\n".join([line async for line in process.lines()])

    def peer_names(self) -> dict[str, str]:
        """The names of homes by public key."""
        return {str(home.public_key): home.name for home in self.homes.values()}

    async def ping(self, pair: Pair, count: int) -> PingStatistics:
        """Ping through the tunnel and count what comes back."""
        return await ping(self.lab, pair.source, *self._tunnel(pair), count)

    async def wait_first_reply(self, pair: Pair) -> None:
        """Ping through the tunnel until a reply comes."""
        await wait_first_reply(self.lab, pair.source, *self._tunnel(pair))

    def cost(self, name: str) -> Cost:
        """What the daemon of a machine, which runs, has used so far."""
        return cost_of(self.daemons[name].pid)

    def log_tail(self, name: str, lines: int) -> str:
        """The last lines that the daemon of a machine said."""
        machine = self.homes.get(name, self.bootstrap)
        return "\n".join(machine.log.read_text(errors="replace").splitlines()[-lines:])

    def _start(self, machine: MachineFiles, *verb: str) -> None:
        argv = [*WICE, *verb, str(machine.config)]
        self.daemons[machine.name] = start_process(
            self._nursery, self.lab, machine.name, argv, machine.log, outlives_owner=self._is_kept
        )

    def _tunnel(self, pair: Pair) -> tuple[Any, Any]:
        return self.homes[pair.source].tunnel_address, self.homes[pair.destination].tunnel_address


def cost_of(pid: int) -> Cost:
    """What a process, which runs, has used so far; raise OSError where there is none."""
    process = Path(f"/proc/{pid}")
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    cpu_s = (int(fields[11]) + int(fields[12])) / _CLOCK_TICKS_PER_S
    for line in (process / "status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return Cost(cpu_s, int(line.split()[1]) * 1024)
    return Cost(cpu_s, 0)


async def wait_answering(machine: MachineFiles) -> dict[str, Any]:
    """Wait until the daemon's control socket answers; give its status."""
    while True:
        with suppress(*NO_ANSWER):
            return await request_async(machine.control_socket, "status")
        await trio.sleep(SOCKET_POLL_S)


def peers_of(status: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every peer of every interface in a daemon's status."""
    return [peer for interface in status["interfaces"] for peer in interface["peers"]]
