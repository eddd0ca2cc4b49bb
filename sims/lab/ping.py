"""Real pings between real addresses, by the machine's own ``ping``."""

import errno
import re
import socket
from contextlib import aclosing
from dataclasses import dataclass
from statistics import median
from typing import Final

import trio

from sims.lab.lab import Lab
from sims.lab.process import start_process
from sims.lab.topology import IPAddress

PING_INTERVAL_S: Final = 0.1
PING_REPLY_TIMEOUT_S: Final = 2.0
"""How long ``ping`` waits for the last reply."""
PACKET_SIZES_BYTES: Final = {4: 84, 6: 104}
"""An echo request or reply as it goes into the tunnel: IP and ICMP header and 56 bytes."""

FIRST_REPLY_INTERVAL_S: Final = 0.05
"""How often to knock while the way is not there yet: the resolution of the time measured."""

ADDRESS_POLL_S: Final = 0.01

_FAMILIES: Final = {4: socket.AF_INET, 6: socket.AF_INET6}
_REPLY: Final = re.compile(r"bytes from .* time=([0-9.]+) ms")
_SUMMARY: Final = re.compile(r"(\d+) packets transmitted, (\d+) received")


@dataclass(frozen=True, slots=True)
class PingStatistics:
    """What ``ping`` counted. rtts_ms: one for each reply, in the order they came."""

    sent: int = 0
    received: int = 0
    rtts_ms: tuple[float, ...] = ()

    @property
    def rtt_ms_median(self) -> float | None:
        return round(median(self.rtts_ms), 3) if self.rtts_ms else None


async def wait_first_reply(lab: Lab, node: str, source: IPAddress, destination: IPAddress) -> None:
    """Ping from ``source``, an address that may come into being only later, until a reply."""
    argv = _ping(source, destination, FIRST_REPLY_INTERVAL_S)
    while True:
        await _wait_address(lab, node, source)
        # Should the address go away again, ping ends without a reply.
        if await _has_reply(lab, node, argv):
            return


async def _wait_address(lab: Lab, node: str, address: IPAddress) -> None:
    while True:
        with lab[node].entered():
            probe = socket.socket(_FAMILIES[address.version], socket.SOCK_DGRAM)
        with probe:
            try:
                probe.bind((str(address), 0))
            except OSError as error:
                if error.errno != errno.EADDRNOTAVAIL:
                    raise
            else:
                return
        await trio.sleep(ADDRESS_POLL_S)


async def _has_reply(lab: Lab, node: str, argv: list[str]) -> bool:
    async with trio.open_nursery() as nursery:
        process = start_process(nursery, lab, node, argv)
        has_reply = False
        async with aclosing(process.lines()) as lines:
            async for line in lines:
                if _REPLY.search(line):
                    has_reply = True
                    break
        nursery.cancel_scope.cancel()
    return has_reply


async def ping(
    lab: Lab, node: str, source: IPAddress, destination: IPAddress, count: int
) -> PingStatistics:
    """Send ``count`` echo requests from ``source`` and count what comes back."""
    argv = _ping(source, destination, PING_INTERVAL_S)
    argv += ["-c", str(count), "-W", str(PING_REPLY_TIMEOUT_S)]
    sent = received = 0
    rtts_ms = []
    async with trio.open_nursery() as nursery:
        process = start_process(nursery, lab, node, argv)
        async with aclosing(process.lines()) as lines:
            async for line in lines:
                if reply := _REPLY.search(line):
                    rtts_ms.append(float(reply[1]))
                elif summary := _SUMMARY.search(line):
                    sent, received = int(summary[1]), int(summary[2])
    return PingStatistics(sent, received, tuple(rtts_ms))


def _ping(source: IPAddress, destination: IPAddress, interval_s: float) -> list[str]:
    return ["ping", "-n", "-i", str(interval_s), "-I", str(source), str(destination)]
