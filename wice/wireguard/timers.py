"""The timers of one peer (white paper, section 6), named after what they wait for.

Only when each falls due is decided here; what happens then is the peer's business.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

REKEY_AFTER_MESSAGES: Final = 1 << 60
REJECT_AFTER_MESSAGES: Final = (1 << 64) - (1 << 13) - 1
REKEY_AFTER_TIME_S: Final = 120.0
REJECT_AFTER_TIME_S: Final = 180.0
REKEY_ATTEMPT_TIME_S: Final = 90.0
REKEY_TIMEOUT_S: Final = 5.0
KEEPALIVE_TIMEOUT_S: Final = 10.0

REKEY_TIMEOUT_JITTER_MAX_S: Final = 0.334
"""Spread of retransmissions, so that two peers that began at once do not stay in step."""

REKEY_ON_RECEIVE_AFTER_TIME_S: Final = REJECT_AFTER_TIME_S - KEEPALIVE_TIMEOUT_S - REKEY_TIMEOUT_S
"""An initiator that only receives renews the session at this age, while it can still answer."""

ZERO_KEY_MATERIAL_AFTER_TIME_S: Final = 3 * REJECT_AFTER_TIME_S

NEVER: Final = float("inf")


@dataclass(slots=True)
class Timers:
    """When each timer falls due, on the caller's clock; NEVER where it is not set."""

    retransmit_handshake_at_s: float = NEVER
    send_keepalive_at_s: float = NEVER
    new_handshake_at_s: float = NEVER
    zero_key_material_at_s: float = NEVER
    persistent_keepalive_at_s: float = NEVER
    needs_another_keepalive: bool = False
    """Data came while a keepalive was already due: one more is owed after it."""

    def deadline(self) -> float:
        """The earliest of all, or NEVER."""
        return min(
            self.retransmit_handshake_at_s,
            self.send_keepalive_at_s,
            self.new_handshake_at_s,
            self.zero_key_material_at_s,
            self.persistent_keepalive_at_s,
        )

    def data_sent(self, now: float, jitter_s: Callable[[], float]) -> None:
        """An answer, if only a keepalive, must come before the new handshake is due."""
        if self.new_handshake_at_s == NEVER:
            self.new_handshake_at_s = now + KEEPALIVE_TIMEOUT_S + REKEY_TIMEOUT_S + jitter_s()

    def data_received(self, now: float) -> None:
        """The other side waits for an answer: a keepalive, unless we have something to say."""
        if self.send_keepalive_at_s == NEVER:
            self.send_keepalive_at_s = now + KEEPALIVE_TIMEOUT_S
        else:
            self.needs_another_keepalive = True

    def authenticated_packet_sent(self) -> None:
        self.send_keepalive_at_s = NEVER
        self.needs_another_keepalive = False

    def authenticated_packet_received(self) -> None:
        self.new_handshake_at_s = NEVER

    def authenticated_packet_passed(self, now: float, persistent_keepalive_s: int) -> None:
        """In either direction: the mappings of NATs on the way were refreshed."""
        if persistent_keepalive_s:
            self.persistent_keepalive_at_s = now + persistent_keepalive_s

    def handshake_initiated(self, now: float, jitter_s: float) -> None:
        self.retransmit_handshake_at_s = now + REKEY_TIMEOUT_S + jitter_s

    def session_derived(self, now: float) -> None:
        self.zero_key_material_at_s = now + ZERO_KEY_MATERIAL_AFTER_TIME_S

    def handshake_completed(self) -> None:
        self.retransmit_handshake_at_s = NEVER

    def sending_stopped(self) -> None:
        """No path: nothing may become due that would send."""
        self.retransmit_handshake_at_s = NEVER
        self.send_keepalive_at_s = NEVER
        self.new_handshake_at_s = NEVER
        self.persistent_keepalive_at_s = NEVER
        self.needs_another_keepalive = False
