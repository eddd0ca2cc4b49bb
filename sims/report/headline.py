"""The first thing a reader sees: whether it held, in plain words, and a few figures."""

from collections import Counter
from collections.abc import Iterator
from statistics import median
from typing import Final
from xml.etree.ElementTree import Element

from sims.model.result import KERNEL, SIMULATOR
from sims.model.scenario import OVERLAYS
from sims.oracle import DIRECT, RELAYED
from sims.report.data import RunData
from sims.report.document import header_of
from sims.report.words import counted, duration, listed

KINDS: Final = {SIMULATOR: "wice simulation", KERNEL: "wice kernel run"}


def headline(data: RunData) -> Element:
    """The verdict, some sentences, figures."""
    result = data.result
    return header_of(
        f"{KINDS[result.engine]} report",
        result.scenario,
        f"seed {result.seed}",
        verdict(data),
        " ".join(_sentences(data)),
        _figures(data),
        data.commands,
        is_ok=result.is_ok,
    )


def verdict(data: RunData) -> str:
    """One sentence."""
    result = data.result
    failed = list(dict.fromkeys(violation.check for violation in result.violations))
    judged = sum(looked > 0 for looked in result.checks.values())
    if not result.is_complete:
        how = f"ended after {duration(result.virtual_s)}: {result.failure}"
        if not result.failure:
            how = f"was interrupted after {duration(result.virtual_s)}"
        until = f" Until then {_did_not_hold(failed)}" if failed else ""
        return f"The run {how}.{until}"
    if failed:
        return _did_not_hold(failed)
    return f"Everything held: {judged} of {judged} checks found nothing wrong."


def _did_not_hold(failed: list[str]) -> str:
    return f"{counted(len(failed), 'check')} did not hold: {listed(failed)}."


def _sentences(data: RunData) -> Iterator[str]:
    pairs, scenario = data.result.pairs, data.story.scenario
    who = f"{counted(len(data.machines), 'machine')} at {counted(len(scenario.sites), 'site')}"
    faults = data.story.faults
    struck = counted(len(faults), "fault") if faults else "no fault"
    time = " of virtual time" if data.result.engine == SIMULATOR else ""
    yield f"{who} ran for {duration(data.result.virtual_s)}{time}, {struck} planned."
    if data.result.overlay != OVERLAYS[0]:
        yield "The overlay was not simulated: messages went from daemon to daemon in one process."
    if not pairs:
        return
    paths = Counter(pair.path for pair in pairs)
    if paths[DIRECT] == len(pairs):
        yield f"At the end all {counted(len(pairs), 'pair')} are direct."
    else:
        said = ((DIRECT, "direct"), (RELAYED, "relayed"), (None, "without a path"))
        shares = listed([f"{paths[path]} {word}" for path, word in said if paths[path]])
        yield f"At the end, of {counted(len(pairs), 'pair')}, {shares}."
        yield _as_expected(data)
    timed = [pair for pair in pairs if pair.first_ping_s is not None]
    if timed:
        last = max(timed, key=lambda pair: pair.first_ping_s or 0.0)
        yield (
            f"The last to connect was {last.source} to {last.destination}, after "
            f"{duration(last.first_ping_s or 0.0)}."
        )


def _as_expected(data: RunData) -> str:
    unlike = [pair for pair in data.result.pairs if not pair.is_as_expected]
    if not unlike:
        return "That is how NATs and firewalls alone would have it."
    first = f"{unlike[0].source} to {unlike[0].destination}"
    count = counted(len(unlike), "pair is", "pairs are")
    return f"{count} not as NATs and firewalls alone would have it, the first being {first}."


def _figures(data: RunData) -> list[tuple[str, str]]:
    pairs = data.result.pairs
    times_s = [pair.first_ping_s for pair in pairs if pair.first_ping_s is not None]
    paths = Counter(pair.path for pair in pairs)
    return [
        (f"{len(times_s)}/{len(pairs)}", "pairs connected"),
        (str(paths[DIRECT]), "direct"),
        (str(paths[RELAYED]), "relayed"),
        (str(paths[None]), "without a path"),
        (duration(median(times_s)) if times_s else "–", "median to connect"),
        (str(len(data.result.violations)), "violations"),
    ]
