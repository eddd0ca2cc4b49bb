"""Stories of runs that never were, for what tells of them."""

from dataclasses import replace
from typing import Any

from sims.model.faults import Crash, LinkDown, NatReboot, Partition
from sims.model.link import LineModel
from sims.model.nat import NAT_KINDS
from sims.model.presets import LINE_PRESETS
from sims.model.result import RunResult
from sims.model.scenario import LAN, Machine, Scenario, Site
from sims.model.story import Explanation, PairStory, PathChange, RunStory, Silence
from sims.report.data import RunData
from tests.sims.results import a_pair, a_result, a_scenario

SENTENCE = "relayed: {peer}'s NAT maps per destination, and this host is closed"


def a_pair_story(source: str, destination: str, **changes: Any) -> PairStory:
    story = PairStory(
        source=source,
        destination=destination,
        changes=(PathChange(at_s=0.5, path="direct", towards="192.0.2.1:51820"),),
    )
    return replace(story, **changes)


def a_story(scenario: Scenario | None = None, **changes: Any) -> RunStory:
    scenario = scenario or a_scenario()
    story = RunStory(
        scenario=scenario,
        faults=(),
        pairs=tuple(a_pair_story(*pair) for pair in scenario.pairs),
        overlay_losses={},
    )
    return replace(story, **changes)


def some_data(result: RunResult | None = None, story: RunStory | None = None) -> RunData:
    story = story or a_story()
    return RunData(result or a_result(story.scenario), story)


def relayed(source: str, destination: str) -> PairStory:
    change = PathChange(at_s=1.0, path="relayed", towards="192.0.2.9:5000", relay="bootstrap-1")
    sentence = SENTENCE.format(peer=destination)
    return a_pair_story(
        source,
        destination,
        changes=(change,),
        explanation=Explanation(finding="relayed", sentence=sentence),
    )


def hundred_machines() -> RunData:
    """Everybody knows everybody; a third of all pairs is relayed, and some have no path."""
    kinds, lines = list(NAT_KINDS.values()), list(LINE_PRESETS.values())
    sites = tuple(
        Site(
            name=f"neighbour-{n}",
            line=lines[n % len(lines)],
            nats=kinds[n % len(kinds)].nats,
            firewall=kinds[n % len(kinds)].firewall,
            machines=(Machine(name=f"machine-of-neighbour-{n}"),),
        )
        for n in range(100)
    )
    scenario = Scenario(name="hundred", duration_s=300.0, sites=sites, bootstraps=12)
    results, stories = [], []
    for number, pair in enumerate(scenario.pairs):
        path = ("direct", "direct", "relayed")[number % 3] if number % 50 else None
        first_ping_s = None if path is None else 0.3 + number % 97 / 20
        results.append(a_pair(*pair, path=path, first_ping_s=first_ping_s))
        if path == "relayed":
            stories.append(relayed(*pair))
            continue
        changes = tuple(
            PathChange(at_s=float(number % 60 + 60 * turn), path=turning, towards="192.0.2.1:51820")
            for turn, turning in enumerate(("direct", None, "relayed", path))
        )
        silence = Silence(began_s=60.0 + number % 60, ended_s=100.0)
        stories.append(a_pair_story(*pair, changes=changes, silences=(silence,)))
    faults = (
        Crash(at_s=10.0, for_s=20.0, target="machine-of-neighbour-1"),
        *(NatReboot(at_s=20.0 + n, target=f"neighbour-{n}") for n in range(60)),
        Partition(at_s=100.0, for_s=30.0, one=("neighbour-4",), other=("neighbour-5",)),
        LinkDown(at_s=200.0, for_s=None, target="neighbour-6"),
    )
    result = replace(a_result(), scenario="hundred", virtual_s=300.0, pairs=tuple(results))
    return RunData(result, a_story(scenario, pairs=tuple(stories), faults=faults))


def with_odd_names() -> RunData:
    """Names that would end an element or an attribute, were they not escaped."""
    names = ('<b>&"bold"', "</title><script>alert(1)</script>")
    sites = tuple(
        Site(name=f"'{name}'", line=LineModel(LAN, LAN), machines=(Machine(name=name),))
        for name in names
    )
    scenario = Scenario(name='<i>"&\x00', duration_s=30.0, sites=sites)
    result = replace(a_result(scenario), scenario=scenario.name)
    return RunData(result, a_story(scenario), (("<u>", "run '<&\">'"),))
