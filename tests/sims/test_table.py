"""What a person reads of a run and of a swarm."""

import io
from dataclasses import replace

from rich.console import Console

from sims.commands.progress_line import LINE_INTERVAL_S, REDRAW_INTERVAL_S, ProgressLine, bar
from sims.commands.table import (
    LINES_MAX,
    CountProgress,
    show_grid,
    show_result,
    show_swarm,
)
from sims.many.causes import grouped
from sims.many.grid import DIRECT, NO_PATH, Cell, GridResult
from sims.many.swarm import SeedResult, SwarmResult
from sims.model.result import RunResult
from tests.sims.results import a_pair, a_result, a_scenario, a_violation


def shown(result: RunResult) -> list[str]:
    console = Console(width=80)
    with console.capture() as capture:
        show_result(console, result)
    return capture.get().splitlines()


def row(lines: list[str], *words: str) -> bool:
    return list(words) in [line.split() for line in lines]


def test_a_good_run_is_a_matrix_the_checks_and_a_verdict() -> None:
    lines = shown(a_result())
    assert "30.0 virtual seconds in 0.50 s (60 ×)" in lines[0]
    assert row(lines, "pc-1", "·", "1.2")
    assert row(lines, "pc-2", "1.2", "·")
    assert row(lines, "no-replay", "7", "0")
    assert row(lines, "task-alive", "not", "judged", "0")
    assert lines[-1] == "homes, seed 1: every expectation and check holds"
    assert any(line.startswith("2 of 2 pairs have pinged; now 2 are direct") for line in lines)


def test_faults_that_were_left_out_are_told() -> None:
    text = "9997 faults of churn were left out: they would have met others on their targets"
    assert text in " ".join(shown(a_result(faults_left_out=9_997)))
    assert "left out" not in " ".join(shown(a_result()))


def test_the_matrix_marks_relayed_lost_and_unexpected_pairs() -> None:
    pairs = (
        a_pair("a", "b", best_path="relayed", path="relayed"),
        a_pair("a", "c", path=None, reason="bootstrap is gone"),
        a_pair("b", "a", path=None, first_ping_s=None, best_path=None, reason="UDP blocked"),
        a_pair("b", "c", path=None, first_ping_s=None),
        a_pair("c", "a", best_path=None),
        a_pair("c", "b"),
    )
    lines = shown(a_result(pairs=pairs))
    assert row(lines, "a", "·", "1.2r", "1.2-!")
    assert row(lines, "b", "none", "·", "none!")
    assert row(lines, "c", "1.2!", "1.2", "·")
    # Why not, of those that have no path, and of those that should have none.
    text = "\n".join(lines)
    assert "a → c (could be direct): no path: bootstrap is gone; 10 of 10 pings" in text
    assert "b → a (can have no path): no path: UDP blocked" in text
    assert "c → a (can have no path): direct" in text
    assert "c → b (" not in text


def test_pairs_that_do_not_know_each_other_have_no_cell() -> None:
    ring = replace(a_scenario(5), peers_each_max=2)
    lines = shown(a_result(ring))
    (first,) = [line for line in lines if line.startswith(" pc-1")]
    assert first.split() == ["pc-1", "·", "1.2", "1.2"]


def test_twelve_machines_are_a_matrix_whose_columns_can_be_told_apart() -> None:
    lines = shown(a_result(a_scenario(12)))
    (head,) = [line for line in lines if line.split() == [str(n) for n in range(1, 13)]]
    assert len(head) <= 80
    assert any(line.split()[:3] == ["12", "pc-12", "1.2"] for line in lines)


def test_more_machines_are_summed_up_with_those_that_are_not_as_expected() -> None:
    scenario = a_scenario(13)
    good = a_result(scenario)
    assert not any(line.split()[:1] == ["pc-1"] for line in shown(good))
    pairs = tuple(
        replace(pair, path=None, first_ping_s=None, reason="asleep")
        if pair.destination == "pc-7"
        else pair
        for pair in good.pairs
    )
    lines = shown(replace(good, pairs=pairs))
    assert any(line.startswith("144 of 156 pairs have pinged") for line in lines)
    told = [line for line in lines if "no path: asleep" in line]
    assert len(told) == 12


def test_long_lists_end() -> None:
    violations = tuple(a_violation(at_s=float(n)) for n in range(50))
    lines = shown(a_result(violations=violations))
    assert sum("no ping since" in line for line in lines) == LINES_MAX
    assert any(f"and {50 - LINES_MAX} more" in line for line in lines)


def test_violations_are_counted_by_check_and_listed() -> None:
    lines = shown(a_result(violations=(a_violation(), a_violation(at_s=20.0))))
    assert row(lines, "connected", "2")
    assert "   12.500 s  connected  pc-1 to pc-2: no ping since 3 s" in lines
    assert lines[-1] == "homes, seed 1: 2 violations"


def test_an_interrupted_run_says_so() -> None:
    lines = shown(a_result(is_complete=False, virtual_s=7.25, pairs=(), checks={}))
    assert lines[-1] == "homes, seed 1: interrupted after 7.2 virtual seconds"


def test_what_is_expected_of_a_pair() -> None:
    assert a_pair("a", "b").is_as_expected
    assert a_pair("a", "b", best_path="relayed", path="relayed").is_as_expected
    assert a_pair("a", "b", best_path=None, path=None, first_ping_s=None).is_as_expected
    assert not a_pair("a", "b", path="relayed").is_as_expected
    assert not a_pair("a", "b", best_path="relayed").is_as_expected
    assert not a_pair("a", "b", best_path=None).is_as_expected
    assert not a_pair("a", "b", first_ping_s=None).is_as_expected


def test_a_grid_shows_every_cell_and_those_that_are_wrong() -> None:
    grid = GridResult(
        ip_version=4,
        kinds=("none", "symmetric"),
        first_seed=1,
        is_complete=False,
        real_s=2.0,
        cpu_s=3.0,
        cells=(
            Cell(("none", "none"), DIRECT, DIRECT, "", 1.25),
            Cell(("none", "symmetric"), DIRECT, NO_PATH, "why", 9.0),
        ),
    )
    console = Console(width=80)
    with console.capture() as capture:
        show_grid(console, grid)
    lines = capture.get().splitlines()
    assert row(lines, "none", "1.2")
    assert row(lines, "symmetric", "none!")
    assert "none - symmetric: no path (why) after 9.0 s, expected: direct" in lines
    assert lines[-2] == "2 cells in 2.0 s, 3.0 s of CPU (interrupted; there were to be 4)"
    assert lines[-1] == "1 of 2 cells are as the oracle has them"


def swarm_text(result: SwarmResult) -> str:
    console = Console(width=80)
    with console.capture() as capture:
        show_swarm(console, result, lambda seed: f"wice sim replay homes --seed {seed}")
    return capture.get()


def a_swarm(*results: SeedResult, is_complete: bool = True) -> SwarmResult:
    return SwarmResult(
        scenario="homes",
        first_seed=1,
        seeds=4,
        is_complete=is_complete,
        real_s=2.0,
        results=results,
        causes=grouped([result for result in results if not result.is_ok], a_scenario()),
    )


def test_a_swarm_lists_what_failed_and_how_to_replay_it() -> None:
    good = SeedResult(seed=1, checks={"no-replay": 5}, cpu_s=0.5)
    bad = SeedResult(
        seed=2, checks={"no-replay": 6}, cpu_s=0.5, violations=(a_violation(),), violations_count=3
    )
    dead = SeedResult(seed=3, checks={}, failure="was killed by SIGSEGV")
    text = swarm_text(a_swarm(good, bad, dead))
    assert "3 seeds in 2.0 s, 180 seeds a CPU-minute" in text
    assert "checks looked: no-replay 11" in text
    assert "seed 2: 12.500 s  connected  pc-1 to pc-2: no ping since 3 s; and 2 more" in text
    assert "  wice sim replay homes --seed 2" in text
    assert "seed 3: was killed by SIGSEGV" in text
    assert "  wice sim replay homes --seed 3" in text
    assert "--seed 1" not in text
    assert text.endswith("2 of 3 failed, of 2 causes\n")


def test_seeds_that_failed_of_one_cause_are_one_entry() -> None:
    seeds = [
        SeedResult(seed=n, checks={}, violations=(a_violation(at_s=30.0 - n),), violations_count=1)
        for n in range(1, 26)
    ]
    text = swarm_text(a_swarm(*seeds))
    assert text.count("wice sim replay") == 1
    assert "wice sim replay homes --seed 25" in text, "which fails first"
    assert f"the same with seeds {', '.join(map(str, range(1, 21)))}, and 4 more" in text


def test_a_good_swarm_and_one_that_was_interrupted() -> None:
    good = SeedResult(seed=1, checks={})
    assert swarm_text(a_swarm(good)).endswith("all 1 hold\n")
    assert "interrupted; there were to be 4" in swarm_text(a_swarm(good, is_complete=False))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_one_line_is_drawn_anew_and_cleared() -> None:
    terminal = Terminal()
    with ProgressLine(terminal) as line:
        line.show("one", 0.0)
        line.show("too early", REDRAW_INTERVAL_S / 2)
        line.show("x" * 1_000, REDRAW_INTERVAL_S)
    drawn = terminal.getvalue().split("\r\x1b[K")
    assert drawn[1] == "one"
    assert set(drawn[2]) == {"x"}
    assert len(drawn[2]) < 1_000, "a longer line would wrap, and stay"
    assert drawn[3] == ""
    assert len(drawn) == 4
    assert "\n" not in terminal.getvalue()


def test_elsewhere_a_line_now_and_then() -> None:
    log = io.StringIO()
    with ProgressLine(log) as line:
        for tenth in range(round(25 * LINE_INTERVAL_S / 10) * 10):
            line.show(f"{tenth}", tenth / 10)
    assert log.getvalue() == f"{LINE_INTERVAL_S * 10:.0f}\n{LINE_INTERVAL_S * 20:.0f}\n"


def test_a_watcher_who_goes_ends_nothing() -> None:
    class Gone(Terminal):
        def write(self, _text: str) -> int:
            raise BrokenPipeError

    with ProgressLine(Gone()) as line:
        line.show("one", 0.0)


def test_the_bar_of_a_swarm() -> None:
    assert bar(0, 4) == f"[{'·' * 24}]"
    assert bar(1, 4) == f"[{'#' * 6}{'·' * 18}]"
    assert bar(4, 4) == f"[{'#' * 24}]"
    terminal = Terminal()
    line = ProgressLine(terminal)
    progress = CountProgress(line, 4, "seeds")
    assert "0 of 4 seeds" in terminal.getvalue()
    line._next_at_s = 0.0
    progress.tell(is_ok=False)
    assert "1 of 4 seeds, 1 failed" in terminal.getvalue()
