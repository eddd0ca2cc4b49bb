"""Nothing is taken twice by WireGuard, however often the network brings it."""

import re
from collections import OrderedDict
from typing import Final

from sims.checks.check import Check
from sims.checks.findings import Findings
from sims.checks.quiet import Quiet
from sims.checks.relayed import Said
from sims.model.world import PING_MARKER, World

NUMBERS_MAX: Final = 1 << 23
"""Pings of one pair whose second copy is known as such, a bit for each; more than in the longest
run with the most frequent pings."""

RESPONSES_REMEMBERED_MAX: Final = 65_536
"""Of all machines together."""

_PING: Final = re.compile(re.escape(PING_MARKER) + rb"([^#]*)#(\d{1,15})")
"""Whose ping it is, and its number."""

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
        self._seen: dict[tuple[str, bool, bytes], bytearray] = {}
        """Bits by the numbers of pings: of a machine, in echo replies or requests, of a pair."""
        self._responses: OrderedDict[tuple[str, float | None, bytes], float] = OrderedDict()

    def came_out(self, machine: str, source: str, payload: bytes, *, is_reply: bool) -> None:
        """An echo request or reply came out of the tunnel of ``machine``."""
        self.looked()
        ping = _PING.match(payload)
        if ping is None or int(ping[2]) >= NUMBERS_MAX:
            self.violation(
                machine,
                f"{payload[:40].decode(errors='replace')!r} of {source} came out of the tunnel, "
                "which is no ping of this run; WireGuard must drop what was not sent",
            )
            return
        number = int(ping[2])
        seen = self._seen.setdefault((machine, is_reply, ping[1]), bytearray())
        block, bit = divmod(number, 8)
        if block >= len(seen):
            seen.extend(bytes(block + 1 - len(seen)))
        if seen[block] >> bit & 1:
            what = "reply" if is_reply else "request"
            self.violation(
                machine,
                f"the echo {what} {ping[0].decode(errors='replace')!r} of {source} came out of "
                "the tunnel a second time; WireGuard must drop what it has received before",
            )
        seen[block] |= 1 << bit

    def sent(self, machine: str, said: Said) -> None:
        """``machine``, which has a tunnel, sends a datagram."""
        payload = said.payload
        if not payload.startswith(_RESPONSE):
            return
        self.looked()
        answered = (machine, self.world.running_since_s(machine), payload[_RECEIVER])
        before_s = self._responses.setdefault(answered, self.world.now_s)
        if before_s < self.world.now_s:
            self.violation(
                machine,
                f"answered to a handshake initiation from {said.way} a second time, "
                f"first at {before_s:.3f} s; WireGuard must drop what it has received before",
            )
        if len(self._responses) > RESPONSES_REMEMBERED_MAX:
            self._responses.popitem(last=False)
