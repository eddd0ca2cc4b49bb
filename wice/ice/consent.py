"""Consent to keep sending along the selected pair (RFC 7675)."""

from collections.abc import Callable

from wice.ice.timing import Timing


class Consent:
    """When to ask again on one pair, and when the last answer is no longer good.

    A NAT's mapping lives on these checks too. Each is a transaction of its own and is not
    retransmitted; any answer counts, to an earlier one as well.
    """

    def __init__(self, timing: Timing, random_bytes: Callable[[int], bytes], now: float) -> None:
        self._timing = timing
        self._random_bytes = random_bytes
        self.expires_at = now + timing.consent_expiry_s
        self.next_at = now
        self.asked(now)

    def asked(self, now: float) -> None:
        """A check went out; the next follows after 80 to 120 per cent of the mean."""
        fraction = int.from_bytes(self._random_bytes(2), "big") / 0xFFFF
        self.next_at = now + self._timing.consent_s * (0.8 + 0.4 * fraction)

    def answered(self, now: float) -> None:
        self.expires_at = now + self._timing.consent_expiry_s

    def deadline(self) -> float:
        return min(self.next_at, self.expires_at)
