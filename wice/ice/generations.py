"""The remote's generations: whose candidates are of now, gone, or of one to come (RFC 8838)."""

from collections import deque
from typing import Final

from wice.errors import RemoteProtocolError
from wice.ice.candidate import Candidate
from wice.ice.early import EarlyCandidates

PAST_UFRAGS_MAX: Final = 8
"""Generations of the remote whose late candidates are known to be late."""


class Generations:
    """Tells by its ufrag which generation something belongs to. is_complete: the one of now has no
    more candidates.
    """

    def __init__(self) -> None:
        self.is_complete = False
        self._ufrag: str | None = None
        self._past: deque[str] = deque(maxlen=PAST_UFRAGS_MAX)
        self._early = EarlyCandidates()

    def begin(self, ufrag: str) -> list[Candidate]:
        """It is described now; give the candidates of it that came before."""
        if self._ufrag is not None:
            self.is_complete = False
            self._past.append(self._ufrag)
        self._ufrag = ufrag
        candidates, is_complete = self._early.take(ufrag)
        self.is_complete = self.is_complete or is_complete
        return candidates

    def is_now(self, ufrag: str | None, candidate: Candidate | None) -> bool:
        """Whether ``candidate``, or their end, is of the generation of now, as all are that name
        none; one of a generation to come is kept.

        Raise RemoteProtocolError for a generation that is gone, and when more came than are kept.
        """
        if ufrag is None or ufrag == self._ufrag:
            return True
        if ufrag in self._past:
            raise RemoteProtocolError("a candidate of a generation that is gone")
        self._early.add(ufrag, candidate)
        return False
