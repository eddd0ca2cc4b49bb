"""A network is out of the registry at its end, whatever its building and its end come to."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sims.lab.namespaces import LabError
from sims.lab.registered_network import RegisteredNetwork, open_registered
from sims.lab.registry import Registration

pytestmark = pytest.mark.root


class Fake(RegisteredNetwork):
    """Builds and closes as it is told to."""

    def __init__(
        self,
        registration: Registration,
        build: Callable[[], None] = lambda: None,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(registration)
        self._do_build = build
        self._do_close = close

    def build(self) -> None:
        assert self.directory.exists()
        self._do_build()

    def close(self) -> None:
        super().close()
        self._do_close()


def refuse() -> None:
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


def test_what_the_machine_refuses_is_one_line_and_leaves_nothing(labs: Path) -> None:
    closed: list[str] = []

    def make(registration: Registration) -> Fake:
        return Fake(registration, refuse, lambda: closed.append("closed"))

    refused = pytest.raises(LabError, match=r"^the machine refuses: Operation not permitted$")
    with refused, open_registered(make, labs, "the test"):
        pass
    assert closed == ["closed"]
    assert list(labs.iterdir()) == []


def test_an_end_that_fails_leaves_no_entry(labs: Path) -> None:
    def make(registration: Registration) -> Fake:
        return Fake(registration, close=refuse)

    with pytest.raises(PermissionError), open_registered(make, labs, "the test") as network:
        assert [network.directory] == list(labs.iterdir())
    assert list(labs.iterdir()) == []


def test_who_needs_what_the_machine_lacks_is_named(
    labs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1_000)
    refused = pytest.raises(LabError, match=r"^the test needs root ")
    with refused, open_registered(Fake, labs, "the test"):
        pass
    assert not labs.exists()
