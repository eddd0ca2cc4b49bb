"""``[overlay]``: which backend carries envelopes, and the rest of the table, which is its own."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from wice.section import Place, convert_section

BACKEND_DEFAULT: Final = "libp2p"
"""The entry point in ``wice.backends``, where none is chosen."""


class _Choice(msgspec.Struct):
    backend: str = BACKEND_DEFAULT


def split_overlay(
    table: Mapping[str, Any], error: Callable[[Place, str, str], Exception]
) -> tuple[str, dict[str, Any]]:
    """The backend that ``[overlay]`` chooses, and what of the table is the backend's.

    Raises what ``error`` makes of a place in the table, why it does not fit, and the remedy.
    """
    choice = convert_section(table, _Choice, error)
    return choice.backend, {key: value for key, value in table.items() if key != "backend"}
