"""Tables of what expires: they are swept only when they are full."""

from collections.abc import Callable
from typing import TypeVar

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


def has_room(
    table: dict[_Key, _Value],
    size_max: int,
    expires_at_s: Callable[[_Value], float],
    now_s: float,
) -> bool:
    """Whether one more may go in, once what has expired is out."""
    if len(table) < size_max:
        return True
    for key in [known for known, value in table.items() if expires_at_s(value) <= now_s]:
        del table[key]
    return len(table) < size_max
