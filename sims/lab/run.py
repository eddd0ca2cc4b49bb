"""From the command line's options to an exit status, with everything removed in between."""

import json
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Final

import trio
from rich.console import Console

from sims.lab.demo import Demo
from sims.lab.display import (
    COLUMNS_MAX,
    BriefDisplay,
    Display,
    LiveDisplay,
    PlainDisplay,
    SilentDisplay,
    pair_grid,
)
from sims.lab.grid import cells_as_json, kinds_of, run_grid
from sims.lab.lab import Lab, open_lab
from sims.lab.link import Link
from sims.lab.namespaces import LabError
from sims.lab.nat import NAT_KINDS
from sims.lab.progress import Pair, Progress
from sims.lab.registry import clean
from sims.lab.report import Report
from sims.lab.requirements import missing
from sims.lab.topology import IpVersions, Topology, sites_of
from sims.many.grid import Cell, grid_table

HOME_NAMES: Final = (
    *("alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi"),
    *("ivan", "judy", "kim", "liam", "mia", "nina", "oscar", "peggy"),
)
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Options:
    """What the person asked for; see ``wice demo --help``."""

    kinds: tuple[str, ...]
    ip: IpVersions
    link: Link
    keep: bool
    as_json: bool
    timeout_s: float
    stop: str | None
    has_relay: bool = True

    @property
    def homes(self) -> tuple[str, ...]:
        return HOME_NAMES[: len(self.kinds)]


def run(options: Options) -> int:
    """Run a demo; give the exit status. Raise LabError when the machine lacks something."""
    if options.stop is not None and options.stop not in options.homes:
        raise LabError(f"there is no home {options.stop!r} to stop")
    return _until_signal(partial(_run_demo, options), options.as_json)


def run_every_pair(ip: IpVersions, link: Link, *, as_json: bool, has_relay: bool = True) -> int:
    """Run a demo of every pair of NAT kinds; give the exit status. Raise LabError like ``run``."""
    return _until_signal(partial(_run_grid, ip, link, has_relay, as_json), as_json)


def clean_up() -> None:
    """Remove every lab but those whose owner lives; raise LabError without the rights."""
    if lacking := missing():
        raise LabError(lacking)
    removed = clean(kept=True)
    PlainDisplay(Console()).say(f"removed: {', '.join(removed) or 'nothing'}")


def _until_signal(work: Callable[[Console], Awaitable[int]], as_json: bool) -> int:
    return trio.run(_run_until_signal, work, as_json)


async def _run_until_signal(work: Callable[[Console], Awaitable[int]], as_json: bool) -> int:
    console = Console(stderr=as_json)
    received: list[int] = []
    status = 1
    # From here on a signal waits until a lab stands, and while it is taken down: neither is
    # ever left half done.
    with trio.open_signal_receiver(*_SIGNALS) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_on_signal, signals, nursery.cancel_scope, received)
            try:
                status = await work(console)
            except* LabError as group:
                # The one line that a person can do something about.
                raise group.exceptions[0] from None
            nursery.cancel_scope.cancel()
    if received:
        PlainDisplay(console).say("interrupted: everything is removed")
        return 128 + received[0]
    return status


async def _cancel_on_signal(
    signals: AsyncIterator[int], scope: trio.CancelScope, received: list[int]
) -> None:
    async for number in signals:
        received.append(number)
        scope.cancel()


async def _run_demo(options: Options, console: Console) -> int:
    nats = (NAT_KINDS[kind] for kind in options.kinds)
    sites = sites_of(dict(zip(options.homes, nats, strict=True)))
    topology = Topology(sites, ip=options.ip, link=options.link)
    with open_lab(topology, is_kept=options.keep) as lab:
        with _display(console, options) as display:
            _say_homes(display, lab, options)
            demo = Demo(
                lab=lab,
                display=display,
                bootstrap=topology.bootstraps[0],
                homes=options.homes,
                timeout_s=options.timeout_s,
                is_kept=options.keep,
                stop=options.stop,
                has_relay=options.has_relay,
            )
            report = await demo.run()
        _show(console, options, report, demo)
        if options.keep:
            _show_kept(console, lab)
    return 0 if report.is_connected else 1


async def _run_grid(
    ip: IpVersions, link: Link, has_relay: bool, as_json: bool, console: Console
) -> int:
    plain = PlainDisplay(console)

    def tell(cell: Cell) -> None:
        plain.say(str(cell))

    cells = await run_grid(ip, link, tell, has_relay=has_relay)
    if as_json:
        sys.stdout.write(json.dumps(cells_as_json(ip, cells), indent=2) + "\n")
    else:
        plain.say("\nseconds from the start of the daemons to the first ping both ways; r where a")
        plain.say("relay carries it, none where both sides say that there is no path; ! where NAT")
        plain.say("theory has it otherwise")
        console.print(grid_table(kinds_of(ip), cells))
    wrong = [cell for cell in cells if not cell.is_as_expected]
    for cell in wrong:
        PlainDisplay(Console(stderr=True)).say(f"wice demo: {cell}")
    plain.say(f"{len(cells) - len(wrong)} of {len(cells)} pairs are as NAT theory has it")
    return 1 if wrong else 0


@contextmanager
def _display(console: Console, options: Options) -> Iterator[Display]:
    pairs = Progress(options.homes, lambda *_: None).pairs
    if options.as_json:
        yield SilentDisplay()
    elif console.is_terminal:
        with LiveDisplay(console, pairs) as live:
            yield live
    elif len(pairs) > COLUMNS_MAX:
        yield BriefDisplay(console)
    else:
        yield PlainDisplay(console)


def _say_homes(display: Display, lab: Lab, options: Options) -> None:
    for name, kind in zip(options.homes, options.kinds, strict=True):
        node = lab.nodes[name]
        assert node.uplink is not None
        own = [str(address.ip) for address in node.uplink.addresses]
        seen = [str(address) for address in node.public_addresses if str(address) not in own]
        behind = f", seen as {', '.join(seen)}" if seen else ""
        display.say(f"{name}: {', '.join(own)}{behind}, NAT {kind}")


def _show(console: Console, options: Options, report: Report, demo: Demo) -> None:
    plain = PlainDisplay(console)
    if options.as_json:
        sys.stdout.write(json.dumps(report.as_json(), indent=2, ensure_ascii=False) + "\n")
    elif len(report.pairs) > COLUMNS_MAX:
        show_many(console, report)
    else:
        for name, text in report.status.items():
            plain.say(f"\n{name}$ wice status\n{text}")
        for told, text in report.why.items():
            plain.say(f"\n{told.source}$ wice why {told.destination}\n{text}")
        plain.say("")
        for pair in report.pairs:
            ping = pair.ping
            rtt = "" if ping.rtt_ms_median is None else f", median {ping.rtt_ms_median} ms"
            plain.say(f"{pair.pair}: {ping.received} of {ping.sent} pings came back{rtt}")
    if report.is_connected:
        return
    errors = PlainDisplay(Console(stderr=True))
    for name, tail in demo.log_tails().items():
        errors.say(f"\nlast lines of {name}:\n{tail}")
    for problem in report.problems:
        errors.say(f"wice demo: {problem}")


def show_many(console: Console, report: Report) -> None:
    """Of many homes one cell for each pair, and what the whole cost."""
    by_pair = {entry.pair: entry for entry in report.pairs}

    def cell(pair: Pair) -> str:
        entry = by_pair[pair]
        if not entry.ping.received:
            return "none"
        mark = "" if entry.ping.received == entry.ping.sent else "!"
        return f"{entry.ping.rtt_ms_median:.1f}{mark}"

    plain = PlainDisplay(console)
    plain.say("\nmedian round trip in ms, from the row's home to the column's; ! where some")
    plain.say("pings did not come back, none where no ping did")
    console.print(pair_grid([entry.pair for entry in report.pairs], cell))
    paths = [entry.path for entry in report.pairs]
    direct, relayed = paths.count("direct"), paths.count("relayed")
    whole = sum(0 < entry.ping.sent == entry.ping.received for entry in report.pairs)
    plain.say(f"{whole} of {len(report.pairs)} pairs have every ping back")
    plain.say(f"{direct} are direct, {relayed} relayed")
    if report.costs:
        cpu_s = median(cost.cpu_s for cost in report.costs.values())
        memory = median(cost.memory_bytes for cost in report.costs.values()) / 2**20
        plain.say(f"a daemon used {cpu_s:.1f} s of CPU and {memory:.0f} MiB until then (median)")


def _show_kept(console: Console, lab: Lab) -> None:
    names = lab.keep()
    plain = PlainDisplay(console)
    plain.say("\nThe lab stays up. Enter a machine:")
    for name in names.values():
        plain.say(f"  ip netns exec {name} bash")
    plain.say(f"Configurations and logs: {lab.directory}")
    plain.say("Remove it: wice demo --clean")
