"""Nothing is taken twice by WireGuard, however often the network brings it."""

from collections import OrderedDict
from typing import Final

from sims.checks.check import Check
from sims.checks.findings import Findings
from sims.checks.quiet import Quiet
from sims.packet import Packet, Protocol
from sims.world import World

PAYLOADS_REMEMBERED_MAX: Final = 65_536
"""Pings of one machine whose second copy is known as such."""

RESPONSES_REMEMBERED_MAX: Final = 65_536
"""Of all machines together."""

_RESPONSE: Final = bytes((2, 0, 0, 0))
_RECEIVER: Final = slice(8, 12)
"""The field of a response that names the initiation it answers (white paper, section 5.4.3)."""


class Replays(Check):
    """WireGuard's counters: each ping's payload is unique, so it is seen at most once.

    And its timestamps: each initiation has an index of its own, so one life of a daemon answers
    to it at most once. What was answered before a restart, nobody remembers.
    """

    name = "replays"

    def __init__(self, world: World, quiet: Quiet, findings: Findings) -> None:
        super().__init__(world, quiet, findings)
        self._seen: dict[tuple[str, bool], OrderedDict[bytes, float]] = {}
        self._responses: OrderedDict[tuple[str, float | None, bytes], float] = OrderedDict()

    def came_out(self, machine: str, source: str, payload: bytes, *, is_reply: bool) -> None:
        """An echo request or reply came out of the tunnel of ``machine``."""
        self.looked()
        seen = self._seen.setdefault((machine, is_reply), OrderedDict())
        before_s = seen.get(payload)
        if before_s is not None:
            what = "reply" if is_reply else "request"
            self.violation(
                machine,
                f"the echo {what} {payload.decode(errors='replace')!r} of {source} came out of "
                f"the tunnel a second time, first at {before_s:.3f} s; WireGuard must drop what it "
                "has received before",
            )
            return
        seen[payload] = self.world.now_s
        if len(seen) > PAYLOADS_REMEMBERED_MAX:
            seen.popitem(last=False)

    def sent(self, machine: str, packet: Packet) -> None:
        """``machine`` sends ``packet``."""
        payload = packet.payload
        if packet.protocol is not Protocol.UDP or not payload.startswith(_RESPONSE):
            return
        self.looked()
        answered = (machine, self.world.running_since_s(machine), payload[_RECEIVER])
        before_s = self._responses.setdefault(answered, self.world.now_s)
        if before_s < self.world.now_s:
            self.violation(
                machine,
                f"answered to a handshake initiation from {packet.destination} a second time, "
                f"first at {before_s:.3f} s; WireGuard must drop what it has received before",
            )
        if len(self._responses) > RESPONSES_REMEMBERED_MAX:
            self._responses.popitem(last=False)
