"""What two peers say of themselves in descriptions: our side put into one, theirs read from it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from wice.errors import RemoteProtocolError
from wice.ice import Candidate, Credentials, format_candidate, parse_candidate
from wice.peer.effects import Gathered
from wice.signaling.description import Description, fitting_candidates

SESSION_OPTION: Final = "wireguard-session"
"""WireGuard has a session with you and will not start a handshake."""

NAT_MAPPING_OPTION: Final = "nat-mapping="
"""How the sender's NAT maps, in the words of ``MappingBehaviour``."""

RENOMINATION_OPTION: Final = "renomination"
"""The sender follows a later nomination (draft-thatcher-ice-renomination)."""


def describe(credentials: Credentials, gathered: Gathered, *, has_session: bool) -> Description:
    """Our side now. has_session: WireGuard's, with the peer."""
    options = [f"{NAT_MAPPING_OPTION}{gathered.nat_mapping}", RENOMINATION_OPTION]
    if has_session:
        options.append(SESSION_OPTION)
    return Description(
        ufrag=credentials.ufrag,
        password=credentials.password,
        candidates=fitting_candidates(map(format_candidate, gathered.candidates)),
        end_of_candidates=gathered.is_complete,
        options=tuple(options),
    )


@dataclass(slots=True)
class RemoteSide:
    """What the peer said of itself last. nat_mapping: in its words, empty before it said so."""

    candidates: tuple[Candidate, ...] = ()
    nat_mapping: str = ""
    has_session: bool = False
    can_renominate: bool = False

    def take(self, said: Description, refuse: Callable[[RemoteProtocolError], None]) -> None:
        """A description names all candidates; ``refuse`` is told of those that are none."""
        self.has_session = SESSION_OPTION in said.options
        self.can_renominate = RENOMINATION_OPTION in said.options
        for option in said.options:
            if option.startswith(NAT_MAPPING_OPTION):
                self.nat_mapping = option.removeprefix(NAT_MAPPING_OPTION)
        candidates = []
        for text in said.candidates:
            try:
                candidates.append(parse_candidate(text))
            except RemoteProtocolError as error:
                refuse(error)
        self.candidates = tuple(candidates)
