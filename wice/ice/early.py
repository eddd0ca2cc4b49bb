"""What came in before the description of who sent it: checks, and trickled candidates."""

from dataclasses import dataclass
from typing import Final

from wice.datagram import Endpoint
from wice.errors import RemoteProtocolError
from wice.ice.candidate import Candidate
from wice.ice.messages import Request

EARLY_CHECKS_MAX: Final = 32
"""Checks kept; the oldest give way."""

EARLY_CANDIDATES_MAX: Final = 100
"""Candidates kept of a generation that is not described yet."""


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
        if not self._waiting:
            return []
        taken = [check for check in self._waiting if check.request.remote_ufrag == remote_ufrag]
        self._waiting = [check for check in self._waiting if check not in taken]
        return taken


class EarlyCandidates:
    """Keeps the candidates of the generation that was trickled before its credentials came
    (RFC 8838). One generation: the newest.
    """

    def __init__(self) -> None:
        self._ufrag = ""
        self._candidates: list[Candidate] = []
        self._is_complete = False

    def add(self, ufrag: str, candidate: Candidate | None) -> None:
        """None is the end of candidates; raise RemoteProtocolError when there are too many."""
        if ufrag != self._ufrag:
            self._ufrag, self._candidates, self._is_complete = ufrag, [], False
        if candidate is None:
            self._is_complete = True
        elif len(self._candidates) < EARLY_CANDIDATES_MAX:
            self._candidates.append(candidate)
        else:
            raise RemoteProtocolError("more early candidates than are kept")

    def take(self, ufrag: str) -> tuple[list[Candidate], bool]:
        """The candidates of ``ufrag``, and whether they are all; what is older goes."""
        taken, is_complete = self._candidates, self._is_complete
        is_theirs = ufrag == self._ufrag
        self._ufrag, self._candidates, self._is_complete = "", [], False
        return (taken, is_complete) if is_theirs else ([], False)
