"""What a parser of outside bytes is to the fuzzer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.mutation import BINARY, Change
from wice.errors import RemoteProtocolError


def nothing_to_check() -> None:
    """For parsers without a state."""


@dataclass(frozen=True, slots=True)
class Case:
    """A parser in the state that a run begins with.

    samples: valid messages; each alone is accepted by a fresh ``parse``. parse: takes any bytes.
    check: after any number of messages, asserts that every table has its bound and that the
    parser still does its work.
    """

    samples: Sequence[bytes]
    parse: Callable[[bytes], object]
    check: Callable[[], None] = nothing_to_check


@dataclass(frozen=True, slots=True)
class Target:
    """A row of the table. build: a new case; it may write into the directory.

    errors: what ``parse`` is documented to raise; anything else is a defect. changes: those that
    mutations are made of. tokens: pieces worth trying in a text.
    """

    name: str
    build: Callable[[Path], Case]
    errors: tuple[type[Exception], ...] = (RemoteProtocolError,)
    changes: Sequence[Change] = BINARY
    tokens: tuple[bytes, ...] = ()
