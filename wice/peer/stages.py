"""How far a peer has come since it was added, for status."""

from dataclasses import dataclass

from wice.peer.states import Stimulus


@dataclass(slots=True)
class Stages:
    """When each stage was first reached, on trio's clock."""

    found: float | None = None
    described: float | None = None
    checking: float | None = None
    selected: float | None = None
    handshake: float | None = None

    def note_found(self, now: float) -> None:
        if self.found is None:
            self.found = now

    def note(self, stimulus: Stimulus, now: float) -> None:
        """A transition happened; only the first of its kind counts."""
        match stimulus:
            case Stimulus.DESCRIPTION_RECEIVED if self.described is None:
                self.described = now
            case Stimulus.CHECKS_STARTED if self.checking is None:
                self.checking = now
            case Stimulus.PATH_SELECTED if self.selected is None:
                self.selected = now
            case Stimulus.HANDSHAKE_COMPLETED if self.handshake is None:
                self.handshake = now
            case _:
                pass
