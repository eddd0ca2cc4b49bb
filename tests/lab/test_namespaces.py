"""Commands in namespaces: whatever becomes of them, a person gets one line."""

import os
from collections.abc import Iterator
from contextlib import closing

import pytest

from sims.lab import namespaces
from sims.lab.namespaces import LabError, Namespace

pytestmark = pytest.mark.root


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    with closing(Namespace()) as made:
        yield made


def test_ctrl_c_in_the_terminal_is_not_for_commands(namespace: Namespace) -> None:
    """It would end them with a failure of their own, and that would be told instead."""
    group = int(namespace.run(["cut", "-d", " ", "-f", "5", "/proc/self/stat"]))
    assert group != os.getpgrp()


def test_a_command_that_hangs_is_ended_and_named(
    namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(namespaces, "COMMAND_TIMEOUT_S", 0.05)
    with pytest.raises(LabError, match=r"^sleep 600: did not end within 0\.05 s$"):
        namespace.run(["sleep", "600"])
