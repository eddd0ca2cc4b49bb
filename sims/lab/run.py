"""From the command line's options to an exit status, with everything removed in between."""

import json
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import trio
from rich.console import Console

from sims.lab.demo import Demo
from sims.lab.display import Display, LiveDisplay, PlainDisplay, SilentDisplay
from sims.lab.lab import Lab, open_lab
from sims.lab.namespaces import LabError
from sims.lab.nat import NAT_KINDS
from sims.lab.progress import Progress
from sims.lab.registry import clean
from sims.lab.report import Report
from sims.lab.requirements import missing
from sims.lab.topology import Site, Topology

HOME_NAMES: Final = ("alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi")
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Options:
    """What the person asked for; see ``wice demo --help``."""

    kinds: tuple[str, ...]
    keep: bool
    as_json: bool
    timeout_s: float
    stop: str | None

    @property
    def homes(self) -> tuple[str, ...]:
        return HOME_NAMES[: len(self.kinds)]


def run(options: Options) -> int:
    """Run a demo; give the exit status. Raise LabError when the machine lacks something."""
    if options.stop is not None and options.stop not in options.homes:
        raise LabError(f"there is no home {options.stop!r} to stop")
    return trio.run(_run, options)


def clean_up() -> None:
    """Remove every lab but those whose owner lives; raise LabError without the rights."""
    if lacking := missing():
        raise LabError(lacking)
    removed = clean(kept=True)
    PlainDisplay(Console()).say(f"removed: {', '.join(removed) or 'nothing'}")


async def _run(options: Options) -> int:
    console = Console(stderr=options.as_json)
    topology = Topology(
        tuple(
            Site(name, NAT_KINDS[kind])
            for name, kind in zip(options.homes, options.kinds, strict=True)
        )
    )
    # From here on a signal waits until the lab stands, and while it is taken down: neither is
    # ever left half done.
    with trio.open_signal_receiver(*_SIGNALS) as signals, open_lab(topology) as lab:
        received: list[int] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_on_signal, signals, nursery.cancel_scope, received)
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
                )
                report = await demo.run()
            nursery.cancel_scope.cancel()
        if received:
            PlainDisplay(console).say("interrupted: everything is removed")
            return 128 + received[0]
        _show(console, options, report, demo)
        if options.keep:
            _show_kept(console, lab)
    return 0 if report.is_connected else 1


async def _cancel_on_signal(
    signals: AsyncIterator[int], scope: trio.CancelScope, received: list[int]
) -> None:
    async for number in signals:
        received.append(number)
        scope.cancel()


@contextmanager
def _display(console: Console, options: Options) -> Iterator[Display]:
    if options.as_json:
        yield SilentDisplay()
    elif console.is_terminal:
        pairs = Progress(options.homes, lambda *_: None).pairs
        with LiveDisplay(console, pairs) as live:
            yield live
    else:
        yield PlainDisplay(console)


def _say_homes(display: Display, lab: Lab, options: Options) -> None:
    for name, kind in zip(options.homes, options.kinds, strict=True):
        node = lab.nodes[name]
        behind = "" if kind == "none" else f", seen as {node.public_address}"
        display.say(f"{name}: {node.address}{behind}, NAT {kind}")


def _show(console: Console, options: Options, report: Report, demo: Demo) -> None:
    if options.as_json:
        sys.stdout.write(json.dumps(report.as_json(), indent=2, ensure_ascii=False) + "\n")
    else:
        plain = PlainDisplay(console)
        for name, text in report.status.items():
            plain.say(f"\n{name}$ wice status\n{text}")
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


def _show_kept(console: Console, lab: Lab) -> None:
    names = lab.keep()
    plain = PlainDisplay(console)
    plain.say("\nThe lab stays up. Enter a machine:")
    for name in names.values():
        plain.say(f"  ip netns exec {name} bash")
    plain.say(f"Configurations and logs: {lab.directory}")
    plain.say("Remove it: wice demo --clean")
