"""What can happen to a daemon in a simulated run, by the product's own tables, and what did."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol, get_args

from sims.internet.drops import Drop
from sims.model.faults import FAULT_KINDS, KIND_NAMES
from sims.model.result import RunResult
from sims.model.scenario import Scenario
from sims.oracle import DIRECT, RELAYED
from sims.runtime.scratch import scratch_directory
from wice.events import Event
from wice.ice.candidate import TYPES
from wice.ice.events import AgentEvent, PairSelected
from wice.ice.outbox import Outbox
from wice.peer.states import TRANSITIONS, State

TRANSITION: Final = "transitions of peers"
ICE_EVENT: Final = "events of ICE agents"
DAEMON_EVENT: Final = "events of daemons"
FAULT_AT_STAGE: Final = "faults while a peer was"
DROP: Final = "reasons why packets were dropped"
PATH: Final = "kinds of paths selected"
OUTCOME: Final = "pairs at the end"

NO_PATH: Final = "no path"
LASTING_STATES: Final = tuple(state for state in State if state is not State.REMOVED)
"""Those that a fault can meet a peer in."""

_REPORT: Final = "report"
"""The one method of the product that is listened to where it is called."""

_FAULT_NAMES: Final = {kind.__name__: name for kind, name in KIND_NAMES.items()}
_RECEIVED_OR_SENT: Final = ('"kind":"sent"', '"kind":"received"')
_KIND_WITHIN: Final = 64
"""Characters from the start of a line of a trace that hold its time and kind."""


class Story(NamedTuple):
    """Something that can happen. group: of what kind it is."""

    group: str
    name: str


Stories = Mapping[Story, int]
"""How often each happened that did."""


class TracedRun(Protocol):
    """``sims.running.run.run``."""

    def __call__(
        self, scenario: Scenario, seed: int, *, trace_path: Path | None = None
    ) -> RunResult: ...


def possible_stories() -> tuple[Story, ...]:
    """All that the product's tables, and the simulator's of faults and drops, have room for."""
    outcomes = [(best, path) for best in (DIRECT, RELAYED, NO_PATH) for path in (best, NO_PATH)]
    names: dict[str, Iterable[str]] = {
        TRANSITION: (
            _transition(str(old), str(stimulus), str(new))
            for (old, stimulus), new in TRANSITIONS.items()
        ),
        ICE_EVENT: (event.__name__ for event in get_args(AgentEvent)),
        DAEMON_EVENT: (event.__name__ for event in Event.__subclasses__()),
        FAULT_AT_STAGE: (
            _fault_at_stage(fault, str(state)) for fault in FAULT_KINDS for state in LASTING_STATES
        ),
        DROP: map(str, Drop),
        PATH: (_path(*ends) for ends in product(TYPES, TYPES)),
        OUTCOME: dict.fromkeys(_outcome(*each) for each in [*outcomes, (DIRECT, RELAYED)]),
    }
    return tuple(Story(group, name) for group, each in names.items() for name in each)


def run_and_listen(scenario: Scenario, seed: int, run: TracedRun) -> tuple[RunResult, Stories]:
    """The run that it would be anyway, and what happened in it.

    All but what ICE agents report is in the trace; their reports are counted where they are made.
    The process must end with the run, as one of a swarm does.
    """
    stories: Counter[Story] = Counter()
    with scratch_directory() as directory, _listening_to_agents(stories):
        path = directory / "trace"
        result = run(scenario, seed, trace_path=path)
        with path.open() as lines:
            stories.update(_Reader(scenario).read(lines))
    for pair in result.pairs:
        stories[Story(OUTCOME, _outcome(pair.best_path or NO_PATH, pair.path or NO_PATH))] += 1
    return result, stories


@contextmanager
def _listening_to_agents(stories: Counter[Story]) -> Iterator[None]:
    report = Outbox.report

    def count_and_report(outbox: Outbox, event: AgentEvent) -> None:
        stories[Story(ICE_EVENT, type(event).__name__)] += 1
        if isinstance(event, PairSelected):
            stories[Story(PATH, _path(event.local_type, event.remote_type))] += 1
        report(outbox, event)

    setattr(Outbox, _REPORT, count_and_report)
    try:
        yield
    finally:
        setattr(Outbox, _REPORT, report)


class _Reader:
    """Reads the trace of a run, and keeps where machines and their peers are meanwhile."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._home_of = {
            machine.name: site.name for site in scenario.sites for machine in site.machines
        }
        self._site_of = dict(self._home_of)
        self._names: dict[str, str] = {}
        self._states = dict.fromkeys(scenario.pairs, str(State.SEEKING))
        self._event_names = tuple(event.__name__ for event in Event.__subclasses__())

    def read(self, lines: Iterable[str]) -> Counter[Story]:
        stories: Counter[Story] = Counter()
        for text in lines:
            # To parse what arrived would take longer than the run.
            if not any(kind in text[:_KIND_WITHIN] for kind in _RECEIVED_OR_SENT):
                stories.update(self._stories(json.loads(text)))
        return stories

    def _stories(self, line: Mapping[str, Any]) -> Iterator[Story]:
        kind = line["kind"]
        if kind == "dropped":
            yield Story(DROP, line["reason"])
        elif kind == "machine":
            self._names[line["public_key"]] = line["machine"]
        elif kind == "fault":
            yield from self._fault(line)
        elif kind in self._event_names:
            yield Story(DAEMON_EVENT, kind)
            if kind == "PeerTransitioned":
                yield self._transitioned(line)

    def _transitioned(self, line: Mapping[str, Any]) -> Story:
        pair = (line["machine"], self._names.get(line["peer"], line["peer"]))
        self._states[pair] = line["new"]
        return Story(TRANSITION, _transition(line["old"], line["cause"], line["new"]))

    def _fault(self, line: Mapping[str, Any]) -> Iterator[Story]:
        name, target = _FAULT_NAMES[line["fault"]], line.get("target", "")
        if line["phase"] == "begin":
            touched = self._touched(line)
            states = dict.fromkeys(
                state for pair, state in self._states.items() if touched.intersection(pair)
            )
            for state in states:
                yield Story(FAULT_AT_STAGE, _fault_at_stage(name, state))
        if name == "move":
            begins = line["phase"] == "begin"
            self._site_of[target] = line["to"] if begins else self._home_of[target]
        elif name in ("crash", "stop"):
            # Its daemon knows nobody when it comes back.
            self._states |= {pair: str(State.SEEKING) for pair in self._states if pair[0] == target}

    def _touched(self, line: Mapping[str, Any]) -> frozenset[str]:
        """Machines that a fault is about; a bootstrap node's are everybody's."""
        places = {line.get("target", ""), *line.get("one", ()), *line.get("other", ())}
        if not places.isdisjoint(self._scenario.bootstrap_names):
            return frozenset(self._home_of)
        return frozenset(
            machine
            for machine, site in self._site_of.items()
            if machine in places or site in places
        )


def _transition(old: str, stimulus: str, new: str) -> str:
    return f"{old} – {stimulus} → {new}"


def _fault_at_stage(fault: str, state: str) -> str:
    return f"{state}: {fault}"


def _path(local_type: str, remote_type: str) -> str:
    return f"{local_type} – {remote_type}"


def _outcome(best: str, path: str) -> str:
    return f"{path}, could be {best}" if best != path else path
