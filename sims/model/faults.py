"""What goes wrong in a run, when and to whom: typed, timed, and known before the run starts."""

from dataclasses import dataclass
from typing import Final

from sims.model.link import LineModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something that happens at ``at_s`` after the start of the run."""

    at_s: float

    @property
    def ends_at_s(self) -> float:
        """When everything is as it should be again, as far as this fault is concerned."""
        return self.at_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Lasting(Fault):
    """A fault that is over after ``for_s``; None is never."""

    for_s: float | None = None

    @property
    def ends_at_s(self) -> float:
        return float("inf") if self.for_s is None else self.at_s + self.for_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Crash(Lasting):
    """The daemon of machine ``target`` is gone without a word; after ``for_s`` it starts again.

    loses_disk: and finds nothing of its state then.
    """

    target: str
    loses_disk: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop(Lasting):
    """The daemon of machine ``target`` is asked to end, as by SIGTERM, and started again."""

    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sleep(Lasting):
    """Machine ``target`` stands still, nothing reaches it, and its overdue timers fire at once
    when it wakes, as after SIGSTOP and SIGCONT."""

    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Move(Lasting):
    """Machine ``target`` goes over to site ``to`` with new addresses, as a phone from Wi-Fi to
    4G; after ``for_s`` it comes back. On both ways it is nowhere for ``gap_s``."""

    target: str
    to: str
    gap_s: float = 0.0

    @property
    def leaves_again_at_s(self) -> float:
        return float("inf") if self.for_s is None else self.at_s + self.for_s

    @property
    def ends_at_s(self) -> float:
        return self.leaves_again_at_s + self.gap_s


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressChange(Fault):
    """Site ``target`` gets other public addresses; its NAT forgets everything.

    ip_version: the one whose addresses change, 4 or 6; None is both.
    """

    target: str
    ip_version: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NatReboot(Fault):
    """The NATs of site ``target`` forget all mappings; the public address stays, the ports may
    not."""

    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkDown(Lasting):
    """The line of site ``target`` carries nothing, in one direction (up, down) or both."""

    target: str
    direction: str = "both"


@dataclass(frozen=True, slots=True, kw_only=True)
class Degrade(Lasting):
    """The line of site ``target`` becomes ``line``."""

    target: str
    line: LineModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition(Lasting):
    """No packet passes from a site of ``one`` to one of ``other``, nor back unless is_one_way."""

    one: tuple[str, ...]
    other: tuple[str, ...]
    is_one_way: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrupt(Lasting):
    """The share ``share`` of the packets on the line of site ``target`` comes with bits turned."""

    target: str
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayPackets(Lasting):
    """An attacker on the line of site ``target`` sends the share ``share`` of the UDP packets
    that came down it again, ``after_s`` later."""

    target: str
    share: float
    after_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayEnvelopes(Lasting):
    """A bootstrap node ``target`` that keeps envelopes delivers each again, ``after_s`` later.

    spread_s: and up to so much more, each its own, so that those of one moment come one by one and
    in another order.
    """

    target: str
    after_s: float
    spread_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DelayEnvelopes(Lasting):
    """A bootstrap node ``target`` takes up to ``up_to_s`` to deliver an envelope, so that they
    overtake one another."""

    target: str
    up_to_s: float


FAULT_KINDS: Final[dict[str, type[Fault]]] = {
    "crash": Crash,
    "stop": Stop,
    "sleep": Sleep,
    "move": Move,
    "address-change": AddressChange,
    "nat-reboot": NatReboot,
    "link-down": LinkDown,
    "degrade": Degrade,
    "partition": Partition,
    "corrupt": Corrupt,
    "replay-packets": ReplayPackets,
    "replay-envelopes": ReplayEnvelopes,
    "delay-envelopes": DelayEnvelopes,
}
"""By the names that scenario files have for them."""

KIND_NAMES: Final = {kind: name for name, kind in FAULT_KINDS.items()}
"""The other way round."""

MachineFault = Crash | Stop | Sleep | Move | ReplayEnvelopes | DelayEnvelopes
"""What happens to a machine; everything else but a partition happens to a site."""

SiteFault = AddressChange | NatReboot | LinkDown | Degrade | Corrupt | ReplayPackets
