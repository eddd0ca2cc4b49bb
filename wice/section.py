"""A table of a TOML file as a typed section, with a place and a remedy for what does not fit."""

import difflib
import re
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec

StructT = TypeVar("StructT", bound=msgspec.Struct)

SUGGESTIONS_MAX = 20
"""Names that a remedy lists."""

REFERENCE: Final = "docs/reference/configuration.md has all keys"

_TYPES: Final = {
    "array": "a list",
    "bool": "true or false",
    "date": "a date",
    "datetime": "a date",
    "float": "a number",
    "int": "a whole number",
    "object": "a table",
    "str": "text",
    "time": "a time",
}
"""msgspec's names for them, and people's."""

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
    table: Any,
    kind: type[StructT],
    error: Callable[[Place, str, str], Exception],
    *,
    reference: str = REFERENCE,
) -> StructT:
    """``table`` as a ``kind`` that refuses unknown keys and has no struct in it.

    Raises what ``error`` makes of the place in the table, why it does not fit, and the remedy:
    ``reference`` where there is no better one.
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
        raise error((*place, missing[1]), "is missing", reference)
    unknown = re.fullmatch(r"Object contains unknown field `(.*)`", message, re.DOTALL)
    if unknown:
        remedy = suggest(unknown[1], kind.__struct_encode_fields__, "keys")
        raise error((*place, unknown[1]), "unknown key", remedy)
    none_of = re.fullmatch(r"Invalid enum value (.*)", message, re.DOTALL)
    if none_of:
        choices = _choices(kind, place)
        raise error(place, f"{none_of[1]} is not among its values", choices or reference)
    raise error(place, _in_words(message), reference)


def _choices(kind: type[StructT], place: Place) -> str:
    hint = get_type_hints(kind).get(str(place[0])) if len(place) == 1 else None
    if get_origin(hint) is not Literal:
        return ""
    *others, last = (f'"{choice}"' for choice in get_args(hint))
    return f"use {', '.join(others)} or {last}"


def _in_words(message: str) -> str:
    """What msgspec says of a value of the wrong type, without its names for types."""
    wrong = re.fullmatch(r"Expected `([\w |]+)`, got `(\w+)`", message)
    if wrong is None:
        return message[0].lower() + message[1:]
    expected = [_TYPES.get(name, name) for name in wrong[1].split(" | ") if name != "null"]
    return f"is {_TYPES.get(wrong[2], wrong[2])}, not {' or '.join(expected)}"
