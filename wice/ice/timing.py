"""How fast an agent goes: a profile of RFC 8445's and RFC 7675's timers."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds and counts. The defaults connect fast on a network that loses packets.

    pace_s: least time between two ordinary checks, Ta (RFC 8445 section 14.2 allows 5 ms).
    rto_s: wait for an answer before the first retransmission; it grows by half each time, up to
    ``rto_max_s``. RFC 8445 section 14.3 says at least 500 ms, doubling, which costs most where
    packets are lost. transmissions_max: sendings of one check before its pair has failed: after
    6.4 s.
    retry_s: wait before failed pairs are tried again while no path exists; it doubles up to
    ``retry_max_s``. retry_transmissions_max: sendings of such a check.
    consent_s: mean time between consent checks, varied by a fifth; consent_expiry_s: how long an
    answer is good for (RFC 7675 section 5.1). consent_retry_s: wait for an answer before the next
    consent check.
    """

    pace_s: float = 0.005
    rto_s: float = 0.1
    rto_max_s: float = 1.6
    transmissions_max: int = 9
    retry_s: float = 5.0
    retry_max_s: float = 30.0
    retry_transmissions_max: int = 2
    consent_s: float = 5.0
    consent_retry_s: float = 1.0
    consent_expiry_s: float = 30.0
