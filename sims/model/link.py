"""What a line does to the packets that are sent through it."""

from dataclasses import dataclass
from typing import Final

MTU_DEFAULT_BYTES: Final = 1_500


@dataclass(frozen=True, slots=True, kw_only=True)
class BurstLoss:
    """Gilbert and Elliott: a line is good or bad, and loses packets in its bad time.

    enters, leaves: how likely a packet finds the line turned bad, or good again.
    loss_good, loss_bad: how likely it is lost in either.
    """

    enters: float
    leaves: float
    loss_good: float = 0.0
    loss_bad: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkModel:
    """One direction of a line.

    latency_s: one way. jitter_s: the standard deviation around it (normal, cut at none), which
    changes slowly: ``jitter_correlation`` of one packet's is the next one's. latencies_s, where
    given, is a table that is drawn from instead. Packets keep their order, but for the share
    ``reorder`` that overtakes. loss: the share that vanishes, each by itself, and burst_loss in
    runs. duplicate, corrupt: shares that come twice, or with a bit turned.
    rate_bits_s: None is no limit; what exceeds it waits in a queue of ``queue_bytes`` and is
    dropped beyond. Packets larger than mtu_bytes are dropped.
    """

    latency_s: float = 0.0
    jitter_s: float = 0.0
    jitter_correlation: float = 0.0
    latencies_s: tuple[float, ...] = ()
    loss: float = 0.0
    burst_loss: BurstLoss | None = None
    reorder: float = 0.0
    duplicate: float = 0.0
    corrupt: float = 0.0
    rate_bits_s: float | None = None
    queue_bytes: int = 64_000
    mtu_bytes: int = MTU_DEFAULT_BYTES


@dataclass(frozen=True, slots=True)
class LineModel:
    """Both directions of a site's line to the internet; None for a direction that is dead."""

    up: LinkModel | None
    down: LinkModel | None
