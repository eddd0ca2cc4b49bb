"""A table of a TOML file as a typed section, with a place and a remedy for what does not fit."""

import difflib
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec

StructT = TypeVar("StructT", bound=msgspec.Struct)

SUGGESTIONS_MAX = 20
"""Names that a remedy lists."""

Place = tuple[str | int, ...]
"""Keys and indexes that lead to a value."""


def place_text(place: Place) -> str:
    """As people write it: ``interfaces.wg0.peers[1].name``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return text.removeprefix(".")


def suggest(name: str, known: Sequence[str], what: str) -> str:
    """The remedy for a name that is none of ``known``, which are ``what``."""
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f"did you mean {close[0]}?"
    shown = ", ".join(known[:SUGGESTIONS_MAX])
    return f"known {what}: {shown}" + (", …" if len(known) > SUGGESTIONS_MAX else "")


def convert_section(
    table: Any, kind: type[StructT], error: Callable[[Place, str, str], Exception]
) -> StructT:
    """``table`` as a ``kind`` that refuses unknown keys and has no struct in it.

    Raises what ``error`` makes of the place in the table, why it does not fit, and the remedy.
    """
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as invalid:
        message, _, at = str(invalid).partition(" - at `$")
    place: Place = tuple(
        int(index) if index else key for key, index in re.findall(r"\.(\w+)|\[(\d+)\]", at)
    )
    missing = re.fullmatch(r"Object missing required field `(.*)`", message)
    if missing:
        raise error((*place, missing[1]), "is missing", "")
    unknown = re.fullmatch(r"Object contains unknown field `(.*)`", message, re.DOTALL)
    if unknown:
        remedy = suggest(unknown[1], kind.__struct_encode_fields__, "keys")
        raise error((*place, unknown[1]), "unknown key", remedy)
    raise error(place, message[0].lower() + message[1:], "")
