"""Where random bytes come from: whoever constructs a thing hands them in (DESIGN D2)."""

from collections.abc import Callable
from typing import TypeAlias

RandomBytes: TypeAlias = Callable[[int], bytes]
"""Gives that many bytes fit for keys and nonces, as ``Platform.random_bytes``."""
