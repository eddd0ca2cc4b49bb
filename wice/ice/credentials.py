"""The short-term credentials of one agent (RFC 8445 section 5.3)."""

import base64
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Self

from wice.errors import RemoteProtocolError

_UFRAG: Final = re.compile(r"[A-Za-z0-9+/]{4,256}", re.ASCII)
_PASSWORD: Final = re.compile(r"[A-Za-z0-9+/]{22,256}", re.ASCII)
_UFRAG_RANDOM_BYTES: Final = 6
_PASSWORD_RANDOM_BYTES: Final = 18


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user name fragment and a password; raises RemoteProtocolError where ICE forbids them."""

    ufrag: str
    password: str = field(repr=False)

    def __post_init__(self) -> None:
        if not _UFRAG.fullmatch(self.ufrag):
            raise RemoteProtocolError("an ufrag that is not 4 to 256 ice-chars")
        if not _PASSWORD.fullmatch(self.password):
            raise RemoteProtocolError("a password that is not 22 to 256 ice-chars")

    @classmethod
    def generate(cls, random_bytes: Callable[[int], bytes]) -> Self:
        """48 bits of ufrag, unique on a port for all practical purposes; 144 bits of password."""
        return cls(
            base64.b64encode(random_bytes(_UFRAG_RANDOM_BYTES)).decode(),
            base64.b64encode(random_bytes(_PASSWORD_RANDOM_BYTES)).decode(),
        )
