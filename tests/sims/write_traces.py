"""A fresh interpreter that writes the traces of runs, each made in a process of its own.

``python -m tests.sims.write_traces DIRECTORY AT_ONCE SCENARIO:SEED[:OVERLAY]…`` writes
``DIRECTORY/SCENARIO:SEED[:OVERLAY]``.
"""

import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from sims.files.scenario_file import find_scenario, load_scenario
from sims.many.processes import preload, run_in_processes
from sims.running.run import run


def main(directory: Path, at_once: int, runs: list[str]) -> None:
    """Raise RuntimeError for a run that does not hold."""

    def write_trace(name: str) -> None:
        scenario_name, seed, *overlay = name.split(":")
        scenario = load_scenario(find_scenario(scenario_name))
        if overlay:
            scenario = replace(scenario, overlay=overlay[0])
        result = run(scenario, int(seed), trace_path=directory / name)
        if not result.is_ok:
            raise RuntimeError(f"{len(result.violations)} violations: {result.violations[:3]}")

    preload()
    with closing(run_in_processes(write_trace, runs, at_once)) as finished:
        for done in finished:
            if done.failure:
                raise RuntimeError(f"{done.job} {done.failure}\n{done.stderr}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
