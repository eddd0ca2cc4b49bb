import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from sims.lab.lab import Lab, open_lab
from sims.lab.nat import NAT_KINDS, Nat
from sims.lab.requirements import missing
from sims.lab.topology import Site, Topology


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("root") and (lacking := missing()):
        pytest.skip(lacking)


@pytest.fixture
def labs(tmp_path: Path) -> Path:
    """Where this test's labs are registered: no other test sweeps them, nor they others."""
    return tmp_path / "labs"


@pytest.fixture
def short_labs() -> Iterator[Path]:
    """The same with a name short enough for the daemons' Unix sockets in it."""
    with tempfile.TemporaryDirectory(prefix="wice-") as directory:
        yield Path(directory)


@pytest.fixture
def build(labs: Path) -> Iterator[Callable[..., Lab]]:
    """Builds a lab of sites by name and NAT kind; it stands until the test ends."""
    with ExitStack() as stack:

        def build(**sites: str | Nat) -> Lab:
            topology = Topology(
                tuple(
                    Site(name, nat if isinstance(nat, Nat) else NAT_KINDS[nat])
                    for name, nat in sites.items()
                )
            )
            return stack.enter_context(open_lab(topology, labs))

        yield build
