"""Waiting with a limit in time that costs nothing where there is nothing to wait for."""

from collections.abc import Coroutine, Generator
from types import coroutine
from typing import Any, TypeVar

import trio

T = TypeVar("T")


async def finish_within(
    wait_s: float, begun: Coroutine[Any, Any, T], *, is_shielded: bool = False
) -> T:
    """Await ``begun``; raise ``trio.TooSlowError`` where that takes longer than ``wait_s``.

    begun: enters no scope before it waits. is_shielded: nobody cancels it meanwhile. A scope is
    made only once there is something to wait for. Frames mostly are there, or have room: theirs
    were two fifths of all scopes of nodes that join an overlay.
    """
    if is_shielded and trio.current_effective_deadline() == -float("inf"):
        # It would be cancelled before it can wait.
        with trio.fail_after(wait_s) as scope:
            scope.shield = True
            return await begun
    try:
        awaited = begun.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    with trio.fail_after(wait_s) as scope:
        scope.shield = is_shielded
        return await _go_on(begun, awaited)


@coroutine
def _go_on(begun: Coroutine[Any, Any, T], awaited: Any) -> Generator[Any, Any, T]:
    """What ``await begun`` does once it has asked for ``awaited``."""
    try:
        while True:
            try:
                answer = yield awaited
            except BaseException as error:  # noqa: BLE001 - it is handed on
                awaited = begun.throw(error)
            else:
                awaited = begun.send(answer)
    except StopIteration as end:
        result: T = end.value
        return result
