"""Checks that came in before the description of who sent them."""

from dataclasses import dataclass
from typing import Final

from wice.datagram import Endpoint
from wice.ice.messages import Request

EARLY_CHECKS_MAX: Final = 32
"""Checks kept; the oldest give way."""


@dataclass(frozen=True, slots=True)
class EarlyCheck:
    """A verified request and the way it came."""

    request: Request
    source: Endpoint
    destination: str | None


class EarlyChecks:
    """Keeps checks until their remote is known: from then on each triggers one of ours."""

    def __init__(self) -> None:
        self._waiting: list[EarlyCheck] = []

    def add(self, check: EarlyCheck) -> None:
        self._waiting.append(check)
        del self._waiting[:-EARLY_CHECKS_MAX]

    def take(self, remote_ufrag: str) -> list[EarlyCheck]:
        """Those of ``remote_ufrag``; others are of a generation not described yet, or gone."""
        taken = [check for check in self._waiting if check.request.remote_ufrag == remote_ufrag]
        self._waiting = [check for check in self._waiting if check not in taken]
        return taken
