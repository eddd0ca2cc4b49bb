"""Seeds that once found a bug of the daemon: they hold."""

from pathlib import Path
from typing import Final

import pytest

from sims.files.scenario_file import load_scenario
from sims.many.processes import preload, run_in_processes
from sims.model.result import RunResult
from sims.running.run import run

SCENARIOS: Final = Path(__file__).parent / "scenarios"

AMONG_CONNECTED: Final = "faults-among-connected"

SEEDS: Final = {
    # A doubted path was left for one that was validated, then its consent was answered again: ICE
    # stayed with it, while the peer called the other one selected and pointed WireGuard there.
    "a path that is trusted again": (AMONG_CONNECTED, 119),
    # A path was lost and found within the life of one WireGuard session: no handshake followed,
    # and a peer whose pings came through was called selected, not connected, for two minutes.
    "a session older than its path": (AMONG_CONNECTED, 138),
    # A daemon spun for ever: the end of a silence was due by one reckoning and not yet by another.
    "an end of silence between two floats": (AMONG_CONNECTED, 23),
    # WireGuard's session goes on along a lost path through a relay that nothing had come by.
    "a session on a lost relayed path": (AMONG_CONNECTED, 106),
    # Back in a network that it had left, a home's relay refreshed the allocation of then, and
    # relayed from another address than the home told of: half of the pings were lost.
    "two allocations of one home": (AMONG_CONNECTED, 47),
    # A direct pair that had worked once and was not kept warm was never tried again.
    "a direct pair of long ago": (AMONG_CONNECTED, 126),
    # Checks from a port that was not told were not learned from, since a peer had told of sixteen
    # others at its address: the nomination was never heard, and each side kept a pair of its own.
    "a nomination from one port too many": ("offices-of-many-relays", 1),
    # An envelope to who a peer was before it came back held up all newer ones for five seconds.
    "an envelope to who was there before": ("back-while-written-to", 15),
}


def run_seed(named: tuple[str, int]) -> RunResult:
    scenario, seed = named
    return run(load_scenario(SCENARIOS / f"{scenario}.toml"), seed)


@pytest.mark.parametrize("story", SEEDS)
def test_what_went_wrong_once_holds(story: str) -> None:
    preload()
    (done,) = run_in_processes(run_seed, [SEEDS[story]], 1)
    assert done.value is not None, done.failure
    assert done.value.violations == ()
