"""The demo where no lab can be built: the same homes, daemons and pings in the simulator."""

import json
import math
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from sims.commands.progress_line import ProgressLine
from sims.commands.story import Line, parsed
from sims.commands.table import CountProgress, progress_text, show_grid, violation_line
from sims.lab.demo import replies_min
from sims.lab.display import COLUMNS_MAX, BriefDisplay, PlainDisplay
from sims.lab.link import Link
from sims.lab.namespaces import LabError
from sims.lab.nat import NAT_KINDS as LAB_NAT_KINDS
from sims.lab.ping import PING_REPLY_TIMEOUT_S, PingStatistics
from sims.lab.progress import Pair, Stage
from sims.lab.report import PairReport, Report
from sims.lab.run import Options, show_many
from sims.lab.topology import SHARED_SITE, IpVersions
from sims.many.grid import Cell, kinds_of, run_grid
from sims.many.processes import preload, processors
from sims.model.link import LineModel, LinkModel
from sims.model.nat import NAT_KINDS
from sims.model.result import RunResult
from sims.model.scenario import LAN, Machine, Scenario, Site
from sims.runtime.interrupts import ended_as_by_ctrl_c
from sims.runtime.scratch import scratch_directory
from wice.cli import EXIT_FAILED, EXIT_INTERRUPTED

SEED: Final = 1
DURATION_S: Final = 60.0
"""Virtual seconds, as long as the lab waits for its homes."""
PING_EVERY_S: Final = 3.0
LATENCY_S: Final = 0.001
"""One way between two homes where ``--link`` says nothing; no internet has none."""

_STAGES: Final = {
    "described": Stage.DESCRIBED,
    "checking": Stage.CHECKING,
    "selected": Stage.SELECTED,
    "connected": Stage.HANDSHAKE,
}
"""The stage at which a peer's state is reached first."""


def say_instead(lacking: str, console: Console) -> None:
    """One line for a person who expected a lab."""
    PlainDisplay(console).say(f"{lacking}; the simulator plays the same instead")


def demo_scenario(
    homes: Sequence[str], kinds: Sequence[str], ip: IpVersions, link: Link
) -> Scenario:
    """Homes of these NAT kinds, as the lab would have built them."""
    line = _line(link)
    machines: dict[str, list[Machine]] = {}
    kind_of: dict[str, str] = {}
    for home, kind in zip(homes, kinds, strict=True):
        name = SHARED_SITE if LAB_NAT_KINDS[kind].is_shared else home
        machines.setdefault(name, []).append(Machine(name=home))
        kind_of[name] = kind
    return Scenario(
        name="demo",
        duration_s=DURATION_S,
        ip_versions=ip.versions,
        ping_every_s=PING_EVERY_S,
        sites=tuple(
            Site(
                name=name,
                line=line,
                nats=NAT_KINDS[kind_of[name]].nats,
                firewall=NAT_KINDS[kind_of[name]].firewall,
                machines=tuple(inside),
                is_isolating=name == SHARED_SITE,
            )
            for name, inside in machines.items()
        ),
    )


def _line(link: Link) -> LineModel:
    """What the lab does to all that a router sends into the core."""
    up = LinkModel(
        latency_s=link.latency_s or LATENCY_S,
        # The lab's jitter is even, from -jitter_s to jitter_s: this is its standard deviation.
        jitter_s=link.jitter_s / math.sqrt(3),
        loss=link.loss,
        rate_bits_s=link.rate_bits_s,
    )
    return LineModel(up=up, down=LAN)


def run_demo(options: Options, lacking: str) -> int:
    """Play the demo; give the exit status, 0 only if pings came back every way."""
    from sims.running.run import run

    console = Console(stderr=options.as_json)
    say_instead(lacking, console)
    scenario = demo_scenario(options.homes, options.kinds, options.ip, options.link)
    with ended_as_by_ctrl_c(), scratch_directory(Path(tempfile.gettempdir())) as directory:
        trace = directory / "trace"
        with ProgressLine(sys.stderr) as line:
            result = run(
                scenario,
                SEED,
                trace_path=trace,
                progress=lambda now: line.show(progress_text(now), now.real_s),
            )
        with trace.open() as lines:
            story = Story(scenario.pairs, parsed(lines))
    report = _report(result, story, replies_min(options.link.loss))
    _show(console, options, report)
    if not result.is_complete:
        PlainDisplay(console).say(result.failure or "interrupted")
        return EXIT_FAILED if result.failure else EXIT_INTERRUPTED
    return 0 if report.is_connected else EXIT_FAILED


class Story:
    """When each pair came to each stage, and what became of its pings."""

    def __init__(self, pairs: Iterable[tuple[str, str]], lines: Iterable[Line]) -> None:
        self.stages: dict[Pair, dict[Stage, float]] = {Pair(*pair): {} for pair in pairs}
        self._sent_at_s: dict[Pair, dict[int, float]] = {pair: {} for pair in self.stages}
        self._rtts_s: dict[Pair, dict[int, float]] = {pair: {} for pair in self.stages}
        self._ended_at_s = 0.0
        names: dict[str, str] = {}
        for line in lines:
            self._ended_at_s = line["at_s"]
            if line["kind"] == "machine":
                names[line["public_key"]] = line["machine"]
            else:
                self._take(line, names)

    def pings(self, pair: Pair) -> PingStatistics:
        """From the first that was answered on; before there is a path, all are in vain."""
        rtts_s = self._rtts_s[pair]
        if not rtts_s:
            return PingStatistics()
        overdue_at_s = self._ended_at_s - PING_REPLY_TIMEOUT_S
        counted = [
            number
            for number, at_s in self._sent_at_s[pair].items()
            if number in rtts_s or (number > min(rtts_s) and at_s < overdue_at_s)
        ]
        rtts_ms = tuple(rtt_s * 1000 for rtt_s in rtts_s.values())
        return PingStatistics(len(counted), len(rtts_s), rtts_ms)

    def _take(self, line: Line, names: Mapping[str, str]) -> None:
        at_s, source = line["at_s"], line.get("machine", "")
        pair = Pair(source, names.get(line.get("peer", ""), ""))
        match line["kind"]:
            case "OverlayJoined":
                for own in self.stages:
                    if own.source == source:
                        self._reach(own, Stage.JOINED, at_s)
            case "PeerFound":
                self._reach(pair, Stage.FOUND, at_s)
            case "PeerTransitioned" if line["new"] in _STAGES:
                # Some states are passed in no time, and no event says so.
                for state, stage in _STAGES.items():
                    self._reach(pair, stage, at_s)
                    if state == line["new"]:
                        break
            case "ping":
                self._sent_at_s[Pair(source, line["destination"])][line["number"]] = at_s
            case "pong":
                pair, number = Pair(source, line["destination"]), line["number"]
                self._reach(pair, Stage.PING, at_s)
                self._rtts_s[pair][number] = at_s - self._sent_at_s[pair][number]

    def _reach(self, pair: Pair, stage: Stage, at_s: float) -> None:
        if pair in self.stages:
            self.stages[pair].setdefault(stage, round(at_s, 3))


def _report(result: RunResult, story: Story, replies: int) -> Report:
    pairs = tuple(
        PairReport(
            pair=Pair(pair.source, pair.destination),
            path=pair.path,
            reason=pair.reason,
            ping=story.pings(Pair(pair.source, pair.destination)),
            time_to_first_ping_s=pair.first_ping_s,
        )
        for pair in result.pairs
    )
    problems = [
        f"{pair.pair}: {pair.ping.received} of {pair.ping.sent} pings came back"
        + (f" ({pair.reason})" if pair.reason else "")
        for pair in pairs
        if pair.ping.received < replies
    ]
    problems += [violation_line(violation).strip() for violation in result.violations]
    return Report(
        pairs=pairs,
        stages=story.stages,
        problems=tuple(problems),
        status={},
        costs={},
        settled_s=max((pair.first_ping_s or 0.0 for pair in result.pairs), default=0.0),
    )


def _show(console: Console, options: Options, report: Report) -> None:
    plain = PlainDisplay(console)
    if options.as_json:
        _write_json(report.as_json())
    else:
        for name, kind in zip(options.homes, options.kinds, strict=True):
            plain.say(f"{name}: NAT {kind}")
        is_many = len(report.pairs) > COLUMNS_MAX
        display = BriefDisplay(console) if is_many else plain
        reached = [
            (at_s, number, stage, pair)
            for pair, stages in report.stages.items()
            for number, stage in enumerate(Stage)
            if (at_s := stages.get(stage)) is not None
        ]
        for at_s, _, stage, pair in sorted(reached):
            display.reached(pair, stage, at_s)
        if is_many:
            show_many(console, report)
        else:
            plain.say("")
            for entry in report.pairs:
                ping = entry.ping
                rtt = "" if ping.rtt_ms_median is None else f", median {ping.rtt_ms_median} ms"
                plain.say(f"{entry.pair}: {ping.received} of {ping.sent} pings came back{rtt}")
        if options.keep:
            plain.say("there is nothing to keep: nothing was built on this machine")
    errors = PlainDisplay(Console(stderr=True))
    for problem in report.problems:
        errors.say(f"wice demo: {problem}")


def run_every_pair(ip: IpVersions, link: Link, lacking: str, *, as_json: bool) -> int:
    """Play the grid; give the exit status. Raise LabError for one that the simulator has not."""
    from sims.running.run import run

    if ip is IpVersions.DUAL or not link.is_plain:
        raise LabError(f"{lacking}; the simulator's grid is for --ip 4 or 6, without --link")
    console = Console(stderr=as_json)
    say_instead(lacking, console)
    version = ip.versions[0]
    kinds = kinds_of(version)
    preload()
    with ProgressLine(sys.stderr) as line:
        progress = CountProgress(line, len(kinds) ** 2, "cells")

        def tell(cell: Cell) -> None:
            progress.tell(is_ok=cell.is_as_expected)

        grid = run_grid(kinds, version, processors(), run, tell)
    if as_json:
        _write_json(grid.as_json())
    show_grid(console, grid)
    if not grid.is_complete:
        return EXIT_INTERRUPTED
    return 0 if grid.is_ok else EXIT_FAILED


def clean_up(lacking: str) -> None:
    """There is nothing to."""
    PlainDisplay(Console()).say(f"{lacking}; the simulator leaves nothing to remove")


def _write_json(report: dict[str, Any]) -> None:
    text = json.dumps({**report, "simulated": True}, indent=2, ensure_ascii=False)
    sys.stdout.write(text + "\n")
