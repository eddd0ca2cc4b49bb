"""``[[ice.turn]]``: relays that a person has elsewhere, beside those of the community."""

import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any, Final

import msgspec

from wice.section import Place, convert_section
from wice.stun import LongTermCredentials, TurnURI, parse_turn_uri
from wice.stun.uri import Transport

SERVERS_MAX: Final = 4
PASSWORD_SIZE_MAX_BYTES: Final = 763
"""RFC 8489 section 9.2.2 has no bound; what comes as REALM and the like has this one."""

Fault = Callable[[Place, str, str], Exception]
"""What is raised: of the place in the list, why it does not fit, and the remedy."""

StandIn = Callable[[FilePath], str]
"""The text of a file of secrets that is elsewhere."""


class _TurnSection(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    uri: str
    username: str
    password_file: str


@dataclass(frozen=True, slots=True)
class TurnServerConfig:
    """A TURN server over UDP and what opens it for us."""

    uri: TurnURI
    credentials: LongTermCredentials


def read_turn_servers(
    tables: Sequence[Any],
    file: Callable[[str, str], FilePath],
    fault: Fault,
    stand_in: StandIn | None = None,
) -> tuple[TurnServerConfig, ...]:
    """Check every table, and read the files of passwords; raise what ``fault`` makes.

    file: the path of a text at a place, relative to the configuration. stand_in: for files of
    passwords that cannot be read here; None refuses them.
    """
    if len(tables) > SERVERS_MAX:
        raise fault((), f"has more than {SERVERS_MAX} servers", "")

    def read(index: int, table: Any) -> TurnServerConfig:
        def fault_here(within: Place, why: str, hint: str) -> Exception:
            return fault((index, *within), why, hint)

        section = convert_section(table, _TurnSection, fault_here)
        try:
            uri = parse_turn_uri(section.uri)
        except ValueError as error:
            raise fault_here(("uri",), str(error), "") from None
        if uri.is_secure or uri.transport is Transport.TCP:
            raise fault_here(("uri",), f"{section.uri!r}: only UDP is spoken here", "use turn:")
        if not section.username:
            raise fault_here(("username",), "is empty", "write the user name of this server")
        path = file(section.password_file, f"ice.turn[{index}].password_file")
        if stand_in is not None and not is_readable_file(path):
            password = stand_in(path)
        else:
            password = _password(path, fault_here)
        try:
            return TurnServerConfig(uri, LongTermCredentials(section.username, password))
        except ValueError as error:
            raise fault_here(("username",), f"the user name or password: {error}", "") from None

    return tuple(read(index, table) for index, table in enumerate(tables))


def is_readable_file(path: FilePath) -> bool:
    """Whether a secret can be there: what is no regular file may keep its reader waiting."""
    try:
        return stat.S_ISREG(path.stat().st_mode) and os.access(path, os.R_OK)
    except OSError:
        return False


def _password(path: FilePath, fault: Fault) -> str:
    place = ("password_file",)
    try:
        with path.open("rb") as file:
            mode = path.stat().st_mode
            content = file.read(PASSWORD_SIZE_MAX_BYTES + 1)
        password = content.decode().strip()
    except OSError as error:
        raise fault(place, f"{path} cannot be read: {error.strerror}", "") from None
    except UnicodeDecodeError:
        raise fault(place, f"{path} is not UTF-8", "") from None
    if stat.S_IMODE(mode) & 0o077:
        raise fault(place, f"{path} is readable by others", f"chmod 600 {path}")
    if not password or len(content) > PASSWORD_SIZE_MAX_BYTES:
        raise fault(place, f"{path} must hold 1 to {PASSWORD_SIZE_MAX_BYTES} bytes", "")
    return password
