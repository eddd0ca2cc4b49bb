"""What a run replaces underneath libraries that ask the operating system for chance and time.

wice asks its ``Platform`` and trio, and needs none of this; libp2p asks ``random``, ``secrets``,
``os.urandom`` and ``time``, and OpenSSL for its ephemeral keys. What is replaced is named in
``REPLACED``, and put back afterwards.
"""

import gc
import logging
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pkgutil import resolve_name
from typing import Any, Final, NoReturn, Protocol

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

RANDOM_SEED_SIZE_BYTES: Final = 32

real_monotonic_s: Final = time.monotonic
"""The clock on the wall of who watches a run."""
real_cpu_s: Final = time.process_time


class Surroundings(Protocol):
    """Who asks is known to the run, from the task that runs."""

    def monotonic(self) -> float: ...

    def wall_time(self) -> float: ...

    def random_bytes(self, size_bytes: int) -> bytes: ...


REPLACED: Final = (
    "os.urandom",
    "random._urandom",
    "time.time",
    "time.time_ns",
    "time.monotonic",
    "time.monotonic_ns",
    "time.perf_counter",
    "time.perf_counter_ns",
    "time.sleep",
    "cryptography.hazmat.primitives.asymmetric.x25519.X25519PrivateKey.generate",
)
"""Functions by module, or by module and class.

``random._urandom`` is what ``secrets`` and SystemRandom draw from. The keys of X25519 are those of
libp2p's Noise, which OpenSSL draws.
"""
X25519_KEY_SIZE_BYTES: Final = 32


@contextmanager
def substituted(surroundings: Surroundings) -> Iterator[None]:
    """Replace ``REPLACED``, seed the generator of ``random``, and stop logs and the collector.

    The collector would call finalizers when it sees fit; collect where the run says.
    """
    originals = {name: _get(name) for name in REPLACED}
    state = random.getstate()
    log_level = logging.root.manager.disable
    is_collecting = gc.isenabled()
    for name, replacement in _replacements(surroundings).items():
        _set(name, replacement)
    random.seed(surroundings.random_bytes(RANDOM_SEED_SIZE_BYTES))
    logging.disable(logging.CRITICAL)
    gc.disable()
    try:
        yield
    finally:
        for name, original in originals.items():
            _set(name, original)
        random.setstate(state)
        logging.disable(log_level)
        if is_collecting:
            # All that the run made is old now, and not looked through before as much has come.
            gc.freeze()
            gc.unfreeze()
            gc.enable()


def _replacements(surroundings: Surroundings) -> dict[str, Any]:
    def generate(_class: type[X25519PrivateKey]) -> X25519PrivateKey:
        return X25519PrivateKey.from_private_bytes(surroundings.random_bytes(X25519_KEY_SIZE_BYTES))

    def sleep(_wait_s: float, /) -> NoReturn:
        raise AssertionError("nothing in a simulated host may block")

    def nanoseconds(seconds: Callable[[], float]) -> Callable[[], int]:
        return lambda: round(seconds() * 1e9)

    monotonic, wall_time = surroundings.monotonic, surroundings.wall_time
    return {
        "os.urandom": surroundings.random_bytes,
        "random._urandom": surroundings.random_bytes,
        "time.time": wall_time,
        "time.time_ns": nanoseconds(wall_time),
        "time.monotonic": monotonic,
        "time.monotonic_ns": nanoseconds(monotonic),
        "time.perf_counter": monotonic,
        "time.perf_counter_ns": nanoseconds(monotonic),
        "time.sleep": sleep,
        "cryptography.hazmat.primitives.asymmetric.x25519.X25519PrivateKey.generate": classmethod(
            generate
        ),
    }


def _get(name: str) -> Any:
    """As it is written down there: of a class method not what it is bound to."""
    owner, _, attribute = name.rpartition(".")
    return vars(resolve_name(owner))[attribute]


def _set(name: str, value: Any) -> None:
    owner, _, attribute = name.rpartition(".")
    setattr(resolve_name(owner), attribute, value)
