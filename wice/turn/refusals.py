"""Why a server gives no allocation, and how long that is respected."""

from typing import Final

from wice.turn.messages import ErrorCode
from wice.turn.timing import Timing

_REASONS: Final[dict[int | None, str]] = {
    None: "the server does not answer",
    0: "the server's allocations do not last",
    ErrorCode.UNAUTHENTICATED: "the server refuses the credentials",
    ErrorCode.FORBIDDEN: "the server does not serve us",
    ErrorCode.ALLOCATION_MISMATCH: "another allocation has our address and port",
    ErrorCode.ADDRESS_FAMILY_NOT_SUPPORTED: "the server has no relay of that address family",
    ErrorCode.WRONG_CREDENTIALS: "another user's allocation has our address and port",
    ErrorCode.UNSUPPORTED_TRANSPORT: "the server does not relay UDP",
    ErrorCode.ALLOCATION_QUOTA_REACHED: "our quota at the server is used up",
    ErrorCode.INSUFFICIENT_CAPACITY: "the server is full",
}
_NOT_SOON: Final = frozenset(
    {
        ErrorCode.UNAUTHENTICATED,
        ErrorCode.FORBIDDEN,
        ErrorCode.UNKNOWN_ATTRIBUTE,
        ErrorCode.ADDRESS_FAMILY_NOT_SUPPORTED,
        ErrorCode.UNSUPPORTED_TRANSPORT,
    }
)
"""Errors that time does not mend."""
_FULL: Final = frozenset({ErrorCode.ALLOCATION_QUOTA_REACHED, ErrorCode.INSUFFICIENT_CAPACITY})


def reason_of(code: int | None) -> str:
    """In words; None is for a server that did not answer, 0 for a success of no use."""
    return _REASONS.get(code) or f"the server refuses with error {code}"


def wait_after(code: int | None, retry_s: float, timing: Timing) -> float:
    """Seconds until the next attempt, at least ``retry_s``."""
    if code in _FULL:
        return max(retry_s, timing.full_retry_s)
    return timing.retry_max_s if code in _NOT_SOON else retry_s
