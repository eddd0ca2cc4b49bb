"""How fast a TURN client goes: a profile of RFC 8489's and RFC 8656's timers."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds and counts. The defaults allocate fast on a network that loses packets.

    rto_s: wait for an answer before the first retransmission; it grows by ``rto_factor`` up to
    ``rto_max_s``. transmissions_max: sendings of one request; ``final_wait_s`` after the last it
    has failed: after 6.4 s.
    retry_s: wait before a failed allocation is tried again; it doubles up to ``retry_max_s``.
    full_retry_s: least wait after 486 and 508 (RFC 8656 section 7.4).
    keepalive_s: an allocation is refreshed so often, far more than it must be: many NATs on the way
    forget a mapping after 30 s, and it may have been lost where nobody says so. silence_max_s: it
    is given up once refreshing has failed for so long. permission_refresh_s: age at which
    permissions and channels are refreshed.
    """

    rto_s: float = 0.1
    rto_factor: float = 1.5
    rto_max_s: float = 1.6
    transmissions_max: int = 9
    final_wait_s: float = 1.6
    retry_s: float = 5.0
    retry_max_s: float = 300.0
    full_retry_s: float = 60.0
    keepalive_s: float = 25.0
    silence_max_s: float = 20.0
    permission_refresh_s: float = 240.0


RFC_8489_TIMING: Final = Timing(
    rto_s=0.5, rto_factor=2.0, rto_max_s=32.0, transmissions_max=7, final_wait_s=8.0
)
"""Section 6.2.1: RTO 500 ms, doubling, Rc = 7, Rm = 16: a request has failed after 39.5 s."""
