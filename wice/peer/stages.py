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
        """Only the first of a kind counts. It may come late and change the state no more: the other
        side's handshake can be here before the answer to our own check."""
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
