"""TAI64N timestamps that never go back (white paper, section 5.1; cr.yp.to/libtai/tai64.html)."""

from collections.abc import Callable

TAI64N_SIZE_BYTES = 12
RESOLUTION_NS = 1 << 24
"""Some 16.8 ms: a finer timestamp would tell others how our clock drifts."""

_TAI64_EPOCH = (1 << 62) + 10
"""The label of 1970-01-01, which was 10 s behind TAI by convention."""

_SECOND_NS = 1_000_000_000
_SECONDS_MAX = (1 << 63) - 1


class Tai64nClock:
    """Timestamps of initiations, each greater than the one before.

    A peer refuses an initiation that is not newer than the last, for as long as it runs. So a
    host whose clock was set back, even across its own restart, must go on from its last one.
    """

    def __init__(self, wall_time: Callable[[], float], floor: bytes = b"") -> None:
        """wall_time: seconds since 1970 UTC. floor: a timestamp that was used before, or none."""
        if floor and len(floor) != TAI64N_SIZE_BYTES:
            raise ValueError(f"a TAI64N timestamp has {TAI64N_SIZE_BYTES} bytes")
        self._wall_time = wall_time
        self._latest_ns = _decode_ns(floor) if floor else 0

    def next(self) -> bytes:
        """The time now, or a step after the latest timestamp where that is later."""
        wall_ns = max(0, int(self._wall_time() * _SECOND_NS))
        rounded_ns = wall_ns - wall_ns % RESOLUTION_NS
        self._latest_ns = max(rounded_ns, self._latest_ns + RESOLUTION_NS)
        return self.latest

    @property
    def latest(self) -> bytes:
        """The newest timestamp given out, or the floor."""
        return encode(self._latest_ns)


def is_timestamp(data: bytes) -> bool:
    """Whether ``data`` may be a floor."""
    if len(data) != TAI64N_SIZE_BYTES:
        return False
    try:
        _decode_ns(data)
    except ValueError:
        return False
    return True


def encode(unix_ns: int) -> bytes:
    seconds, nanoseconds = divmod(unix_ns, _SECOND_NS)
    return (_TAI64_EPOCH + seconds).to_bytes(8, "big") + nanoseconds.to_bytes(4, "big")


def _decode_ns(timestamp: bytes) -> int:
    seconds = int.from_bytes(timestamp[:8], "big") - _TAI64_EPOCH
    nanoseconds = int.from_bytes(timestamp[8:], "big")
    if not 0 <= seconds <= _SECONDS_MAX - _TAI64_EPOCH or nanoseconds >= _SECOND_NS:
        raise ValueError("not a TAI64N timestamp after 1970")
    return seconds * _SECOND_NS + nanoseconds
