"""Nothing comes out of a tunnel twice, however often the network brings it."""

from collections import OrderedDict
from typing import Final

from sims.checks.check import Check
from sims.checks.findings import Findings
from sims.checks.quiet import Quiet
from sims.world import World

PAYLOADS_REMEMBERED_MAX: Final = 65_536
"""Pings of one machine whose second copy is known as such."""


class Replays(Check):
    """WireGuard's counters: each ping's payload is unique, so it is seen at most once."""

    name = "replays"

    def __init__(self, world: World, quiet: Quiet, findings: Findings) -> None:
        super().__init__(world, quiet, findings)
        self._seen: dict[tuple[str, bool], OrderedDict[bytes, float]] = {}

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
