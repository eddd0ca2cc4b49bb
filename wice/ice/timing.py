"""How fast an agent goes: a profile of RFC 8445's and RFC 7675's timers."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds and counts. The defaults connect fast on a network that loses packets;
    ``RFC_8445`` is what the RFCs recommend.

    pace_s: least time between two checks of the list, Ta (RFC 8445 section 14.2 allows 5 ms).
    rto_s: wait for an answer before the first retransmission; it grows ``backoff`` times each, up
    to ``rto_max_s``. RFC 8445 section 14.3 says at least 500 ms, doubling, which costs most where
    packets are lost. rto_min_s: the least first wait where the round trip of the pair is known.
    is_rto_by_load: the RTO is at least Ta for each pair that waits or is being
    checked. transmissions_max: sendings of one check before its pair has failed: after 6.4 s.
    last_wait_rtos: wait after the last of them, in first RTOs; 0 goes on with the backoff.
    is_by_the_rfc: pairs are checked by priority alone and all are paced, and a frozen one waits for
    its foundation.
    patience_s: how long connectivity is awaited before it has failed (RFC 8863).
    retry_s: wait before failed pairs are tried again while no path exists; it doubles up to
    ``retry_max_s``. retry_transmissions_max: sendings of such a check. spare_transmissions_max:
    sendings of a first check that begins, or goes on, when a pair of no lesser kind is selected
    (RFC 8445 section 8.1.2 says none). upgrade_s: wait before the
    direct pairs that failed are tried again while the path is relayed; it grows by half each time
    up to ``upgrade_max_s``. upgrade_min_s: between two tries, whatever changes.
    consent_s: mean time between consent checks, varied by a fifth; consent_expiry_s: how long an
    answer is good for (RFC 7675 section 5.1). consent_retry_s: wait for an answer before the next
    consent check. spare_s: between two checks of a pair that could replace the selected one: under
    the 30 s after which NATs forget. sample_s: the same, of one that may be better and is not known
    well enough yet. keepalive_s: Tr, between the indications of a side that sends
    no checks (RFC 8445 section 11).
    """

    pace_s: float = 0.005
    rto_s: float = 0.1
    rto_min_s: float = 0.05
    rto_max_s: float = 1.6
    backoff: float = 1.5
    is_rto_by_load: bool = False
    transmissions_max: int = 9
    last_wait_rtos: float = 0.0
    is_by_the_rfc: bool = False
    patience_s: float = 39.5
    retry_s: float = 5.0
    retry_max_s: float = 30.0
    retry_transmissions_max: int = 2
    spare_transmissions_max: int = 4
    upgrade_s: float = 5.0
    upgrade_max_s: float = 30.0
    upgrade_min_s: float = 1.0
    consent_s: float = 5.0
    consent_retry_s: float = 1.0
    consent_expiry_s: float = 30.0
    spare_s: float = 20.0
    sample_s: float = 0.2
    keepalive_s: float = 15.0


RFC_8445: Final = Timing(
    pace_s=0.05,
    rto_s=0.5,
    rto_min_s=0.5,
    rto_max_s=float("inf"),
    backoff=2.0,
    is_rto_by_load=True,
    transmissions_max=7,
    last_wait_rtos=16.0,
    is_by_the_rfc=True,
    consent_retry_s=float("inf"),
)
"""RFC 8445 section 14, RFC 8489 section 6.2.1 (Rc 7, Rm 16), RFC 7675: a check takes 39.5 s to
fail."""
