import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sims.lab.requirements import missing


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("root") and (lacking := missing()):
        pytest.skip(lacking)


@pytest.fixture
def labs() -> Iterator[Path]:
    """Where this test's networks are registered, with a name short enough for Unix sockets."""
    with tempfile.TemporaryDirectory(prefix="wice-") as directory:
        yield Path(directory)
