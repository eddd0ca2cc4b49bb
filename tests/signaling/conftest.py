"""Helpers shared by the tests of signaling."""

from collections.abc import Callable
from random import Random

import pytest

from wice.events import Dropped, Event
from wice.keys import LocalKeyHolder, PrivateKey


class RecordingSink:
    """Keeps the events it gets."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        self.events.append(event)

    @property
    def dropped(self) -> list[str]:
        return [event.reason for event in self.events if isinstance(event, Dropped)]


@pytest.fixture
def sink() -> RecordingSink:
    return RecordingSink()


@pytest.fixture
def make_holder() -> Callable[[], LocalKeyHolder]:
    """Makes key holders, each with its own key, the same in each run."""
    random = Random(1)
    return lambda: LocalKeyHolder(PrivateKey(random.randbytes(32)), random.randbytes)
