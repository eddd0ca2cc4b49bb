"""What no scenario may be, also when it was made in Python."""

import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sims import (
    AddressChange,
    Churn,
    Corrupt,
    Crash,
    Degrade,
    Expectation,
    Fault,
    LineModel,
    LinkDown,
    LinkModel,
    Machine,
    Move,
    NatModel,
    NatReboot,
    Partition,
    ReplayEnvelopes,
    ReplayPackets,
    Scenario,
    Site,
    Sleep,
    Stop,
)
from sims.model.nat import Filtering, Mapping
from sims.model.presets import LINE_PRESETS
from sims.model.scenario import MACHINES_MAX, SITES_MAX
from sims.model.scenario_check import check_scenario
from wice.errors import ConfigError

HOME = Site(
    name="home",
    line=LINE_PRESETS["dsl"],
    nats=(NatModel(),),
    machines=(Machine(name="laptop", starts_at_s=5), Machine(name="nas")),
)
SHIP = Site(
    name="ship",
    line=LineModel(None, LinkModel()),
    nats=(NatModel(is_one_to_one=True),),
    machines=(Machine(name="radio"),),
)
RACK = Site(name="rack", line=LINE_PRESETS["lan"], machines=(Machine(name="server"),))
GOOD = Scenario(name="story", duration_s=100, sites=(HOME, SHIP, RACK))


def refusal(scenario: Scenario) -> str:
    with pytest.raises(ConfigError) as caught:
        check_scenario(scenario)
    return str(caught.value).removeprefix("scenario story: ")


def with_home(**changes: Any) -> Scenario:
    return replace(GOOD, sites=(replace(HOME, **changes), SHIP, RACK))


def with_link(**changes: Any) -> Scenario:
    return with_home(line=LineModel(LinkModel(), replace(LinkModel(), **changes)))


SCENARIOS: list[tuple[Scenario, str]] = [
    (
        replace(GOOD, duration_s=math.nan),
        "scenario.duration_s: is no finite number; use 1 to 604800",
    ),
    (
        replace(GOOD, duration_s=1e9),
        "scenario.duration_s: is more than 604800; use 1 to 604800",
    ),
    (
        replace(GOOD, ip_versions=(5,)),
        "scenario.ip_versions: (5,) are no versions of IP; use (4,), (6,) or (4, 6)",
    ),
    (
        replace(GOOD, peers_each_max=1),
        "scenario.peers_each_max: is less than 2; use 2 to 1000",
    ),
    (
        replace(GOOD, sites=()),
        'sites: there is no machine; give a site machines = ["laptop"]',
    ),
    (
        replace(GOOD, sites=(HOME, HOME)),
        "sites.home: there are two sites home; rename one",
    ),
    (
        replace(GOOD, sites=(HOME, replace(RACK, machines=HOME.machines))),
        "sites.rack.machines[0].name: laptop is a machine at home, too; rename one",
    ),
    (
        replace(GOOD, sites=(HOME,) * (SITES_MAX + 1)),
        "sites: 1001 are too many; use at most 1000 sites",
    ),
    (
        with_home(machines=tuple(Machine(name=f"m{n}") for n in range(MACHINES_MAX))),
        "sites: 1002 machines are too many; use at most 1000",
    ),
    (
        with_home(machines=tuple(Machine(name=f"m{n}") for n in range(198))),
        "scenario.peers_each_max: 39800 ordered pairs know each other, more than 20000; "
        "use at most 100 peers each",
    ),
    (
        with_home(machines=(Machine(name="laptop", peers=("server", "rdaio")),)),
        "sites.home.machines[0].peers[1]: there is no machine rdaio; did you mean radio?",
    ),
    (
        with_home(machines=(Machine(name="laptop", peers=("laptop",)),)),
        "sites.home.machines[0].peers[0]: laptop is the machine itself; leave it out",
    ),
    (
        with_home(machines=(Machine(name="laptop", peers=("radio", "radio")),)),
        "sites.home.machines[0].peers[1]: radio is here already; name it once",
    ),
    (
        with_home(
            machines=(Machine(name="laptop", peers=("nas",)), Machine(name="nas", peers=("radio",)))
        ),
        "sites.home.machines[0].peers[0]: nas does not know laptop, so that neither gets through "
        "to the other; name laptop among the peers of nas, too, or leave nas out here",
    ),
    (
        replace(with_home(machines=(Machine(name="laptop", peers=()),)), peers_each_max=2),
        "sites.home.machines[0].peers: scenario.peers_each_max says already who knows whom; "
        "leave one of the two out",
    ),
    (
        with_home(machines=tuple(Machine(name=f"m{n}", peers=("radio",) * 99) for n in range(210))),
        "scenario.peers_each_max: 21212 ordered pairs know each other, more than 20000; "
        "use at most 94 peers each",
    ),
    (
        with_home(name="../home"),
        "sites.../home: '../home' is no name; use 1 to 40 letters, digits, - and _",
    ),
    (
        with_home(behind="home"),
        "sites.home.behind: goes round in a circle: home behind home; "
        "leave one out: the outermost is behind nothing",
    ),
    (
        replace(GOOD, sites=(replace(HOME, behind="rack"), replace(RACK, behind="home"))),
        "sites.home.behind: goes round in a circle: home behind rack behind home; "
        "leave one out: the outermost is behind nothing",
    ),
    (
        with_home(nats=(NatModel(is_one_to_one=True),)),
        "sites.home.nats[0].is_one_to_one: one machine has the public address to itself, "
        "and here are laptop, nas; give each a site of its own",
    ),
    (
        with_home(nats=(NatModel(),) * 5),
        "sites.home.nats: 5 are too many; use at most 4",
    ),
    (
        with_link(latency_s=-1),
        "sites.home.line.down.latency_s: is negative; use 0 to 60 s",
    ),
    (
        with_link(latencies_s=(1.0, math.inf)),
        "sites.home.line.down.latencies_s[1]: is no finite number; use 0 to 60 s",
    ),
    (
        with_link(duplicate=math.nan),
        "sites.home.line.down.duplicate: nan is no share; use 0 to 1, as 0.02 for 2 %",
    ),
    (
        with_link(mtu_bytes=100),
        "sites.home.line.down.mtu_bytes: is less than 576; use 576 to 65535",
    ),
    (
        replace(GOOD, expect=Expectation(unreachable=(("nas", "nas"),))),
        "expect.unreachable[0]: nas is no pair with itself; name two machines",
    ),
    (
        replace(GOOD, churn=(Churn(count=9_999_999, kinds=("stop",), between_s=(1, 2)),)),
        "churn[0].count: is more than 10000; use 1 to 10000",
    ),
    (
        replace(GOOD, churn=(Churn(count=1, kinds=("stop",), between_s=(1, 200)),)),
        "churn[0].between_s[1]: 200 is beyond the run's 100 s; "
        "end it earlier, or make scenario.duration_s longer",
    ),
]


@pytest.mark.parametrize(("scenario", "line"), SCENARIOS, ids=[line for _, line in SCENARIOS])
def test_a_scenario_that_cannot_be_is_refused(scenario: Scenario, line: str) -> None:
    assert refusal(scenario) == line


FAULTS: list[tuple[Fault, str]] = [
    (
        Crash(at_s=10, target="home"),
        "target: there is no machine home; home is a site; its machines: laptop, nas",
    ),
    (
        Crash(at_s=2, target="laptop"),
        "at_s: laptop is started at 5 s only; let it happen later",
    ),
    (Crash(at_s=math.nan, target="nas"), "at_s: is no finite number; use 0 or more"),
    (Stop(at_s=1, target="nas", for_s=0), "for_s: 0 is no span of time; use more than 0"),
    (
        Move(at_s=1, target="bootstrap-1", to="home"),
        "target: bootstrap-1 is where everybody expects it; move another machine",
    ),
    (
        Move(at_s=1, target="nas", to="home"),
        "to: nas is there already; name another site",
    ),
    (
        Move(at_s=1, target="nas", to="ship"),
        "to: ship has its public address for one machine; name another site",
    ),
    (
        Move(at_s=1, target="nas", to="rak"),
        "to: there is no site rak, thus no line; did you mean rack?",
    ),
    (
        Move(at_s=1, target="nas", to="rack", gap_s=-1),
        "gap_s: is negative; use 0 or more",
    ),
    (
        Move(at_s=1, target="nas", to="rack", for_s=5, gap_s=5),
        "gap_s: nas would leave rack before it gets there; use less than the 5 s of for_s",
    ),
    (
        AddressChange(at_s=1, target="bootstrap-1"),
        "target: bootstrap-1 is known by its address, which stays; name a site with machines",
    ),
    (
        AddressChange(at_s=1, target="home", ip_version=5),
        "ip_version: there is no IPv5 in the scenario; known versions: 4",
    ),
    (
        NatReboot(at_s=1, target="rack"),
        "target: rack has no NAT; name a site with one",
    ),
    (
        LinkDown(at_s=1, target="ship", direction="up"),
        "direction: the line of ship carries nothing up anyway; name the other direction",
    ),
    (
        LinkDown(at_s=1, target="home", direction="upp"),
        "direction: upp is no direction; did you mean up?",
    ),
    (
        LinkDown(at_s=1, target="hom"),
        "target: there is no site hom, thus no line; did you mean home?",
    ),
    (
        Degrade(at_s=1, target="home", line=LineModel(None, LinkModel(loss=2))),
        "line.down.loss: 2 is no share; use 0 to 1, as 0.02 for 2 %",
    ),
    (Partition(at_s=1, one=(), other=("home",)), "one: is empty; name a site"),
    (
        Partition(at_s=1, one=("home",), other=("rack", "home")),
        "other: home is on both sides; name it on one of them",
    ),
    (
        Corrupt(at_s=1, target="home", share=-0.1),
        "share: -0.1 is no share; use 0 to 1, as 0.02 for 2 %",
    ),
    (
        ReplayPackets(at_s=1, target="home", share=0.5, after_s=0),
        "after_s: 0 is no span of time; use more than 0",
    ),
    (
        ReplayEnvelopes(at_s=1, target="nas", after_s=1),
        "target: nas is no bootstrap node, and none else is handed envelopes to keep; "
        "use bootstrap-1",
    ),
]


@pytest.mark.parametrize(("fault", "line"), FAULTS, ids=[line for _, line in FAULTS])
def test_a_fault_that_makes_no_sense_is_refused(fault: Fault, line: str) -> None:
    before = Stop(at_s=50, target="nas", for_s=1)
    assert refusal(replace(GOOD, faults=(before, fault))) == f"faults[1].{line}"


OVERLAPS: list[tuple[Fault, Fault, str]] = [
    (
        Crash(at_s=10, target="nas", for_s=10),
        Crash(at_s=15, target="nas"),
        "nas still has the crash of 10 s until 20 s",
    ),
    (
        Crash(at_s=10, target="nas"),
        Sleep(at_s=90, target="nas"),
        "nas still has the crash of 10 s for good",
    ),
    (
        LinkDown(at_s=10, target="home", for_s=10),
        Corrupt(at_s=19, target="home", share=0.1),
        "home still has the link-down of 10 s until 20 s",
    ),
]


@pytest.mark.parametrize(("one", "other", "why"), OVERLAPS)
def test_two_faults_that_have_one_thing_to_themselves_may_not_overlap(
    one: Fault, other: Fault, why: str
) -> None:
    remedy = "let one begin when the other is over"
    for faults, index in (((one, other), 1), ((other, one), 0)):
        line = refusal(replace(GOOD, faults=faults))
        assert line == f"faults[{index}].at_s: {why}; {remedy}"


@pytest.mark.parametrize(
    "faults",
    [
        (Crash(at_s=10, target="nas", for_s=10), Crash(at_s=20, target="nas")),
        (Crash(at_s=10, target="nas"), Crash(at_s=10, target="server")),
        (Sleep(at_s=10, target="nas"), Move(at_s=12, target="nas", to="rack")),
        (LinkDown(at_s=10, target="home"), NatReboot(at_s=12, target="home")),
        (Crash(at_s=10, target="bootstrap-1"), LinkDown(at_s=1, target="bootstrap-1")),
    ],
)
def test_faults_that_leave_each_other_alone_may_overlap(faults: tuple[Fault, ...]) -> None:
    check_scenario(replace(GOOD, faults=faults))


NUMBERS = st.floats() | st.integers(-(2**70), 2**70)


@given(NUMBERS, NUMBERS, NUMBERS, NUMBERS)
def test_any_numbers_are_taken_or_refused(
    at_s: float, for_s: float, share: float, latency_s: float
) -> None:
    line = LineModel(LinkModel(latency_s=latency_s), LinkModel(loss=share))
    fault = Degrade(at_s=at_s, for_s=for_s, target="home", line=line)
    is_good = 0 <= at_s < 100 and 0 < for_s < math.inf and 0 <= share <= 1
    is_good = is_good and 0 <= latency_s <= 60
    check: Callable[[], None] = lambda: check_scenario(replace(GOOD, faults=(fault,)))  # noqa: E731
    if is_good:
        check()
    else:
        with pytest.raises(ConfigError):
            check()


def test_the_parts_of_a_scenario_are_light_to_import() -> None:
    program = (
        "import sys, sims;"
        "print(*sorted({'trio', 'libp2p', 'nacl', 'msgspec', 'wice'} & set(sys.modules)))"
    )
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert loaded.stdout.strip() == b""


# What nobody could judge


def expecting(**expect: Any) -> Scenario:
    return replace(GOOD, expect=Expectation(**expect))


def test_what_is_expected_after_the_end_is_refused() -> None:
    check_scenario(expecting(healed_within_s=95))
    assert refusal(expecting(healed_within_s=96)) == (
        "expect.healed_within_s: 96 s after the last fault may be over, at 5 s, "
        "is beyond the run's 100 s; expect it sooner, end faults earlier, or make "
        "scenario.duration_s longer"
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"faults": (Crash(at_s=30, for_s=21, target="nas"),)},
        {"faults": (Crash(at_s=51, target="nas"),)},
        {"churn": (Churn(count=1, kinds=("nat-reboot",), between_s=(0, 51), for_s=(0.5, 1)),)},
        {
            "churn": (
                Churn(count=1, kinds=("nat-reboot", "stop"), between_s=(0, 30), for_s=(0.5, 21)),
            )
        },
    ],
)
def test_no_fault_may_end_too_late_for_what_is_expected(changes: dict[str, Any]) -> None:
    check_scenario(replace(expecting(healed_within_s=49), **changes))
    assert "50 s after the last fault" in refusal(replace(expecting(healed_within_s=50), **changes))
    # Nobody wrote that it is to be judged.
    check_scenario(replace(GOOD, **changes))


def test_that_all_are_connected_must_be_about_somebody() -> None:
    hard = NatModel(
        mapping=Mapping.ADDRESS_AND_PORT_DEPENDENT, filtering=Filtering.ADDRESS_AND_PORT_DEPENDENT
    )
    sites = tuple(
        Site(
            name=f"home-{name}",
            line=LINE_PRESETS["dsl"],
            nats=(hard,),
            machines=(Machine(name=name),),
        )
        for name in ("one", "other")
    )
    scenario = replace(expecting(all_pairs_connected_by_s=20), sites=sites, has_relay=False)
    assert "no two machines can reach each other, so it would hold" in refusal(scenario)
    check_scenario(replace(scenario, has_relay=True))
    move = Move(at_s=1, target="one", to="home-other")
    check_scenario(replace(scenario, faults=(move,)))
    churn = Churn(count=1, kinds=("move",), between_s=(0, 1), for_s=(1, 2))
    check_scenario(replace(scenario, churn=(churn,)))
    check_scenario(replace(scenario, sites=(*sites, RACK)))


# Who knows whom


def test_machines_know_each_other_unless_one_leaves_the_other_out() -> None:
    hub = replace(
        HOME, machines=(Machine(name="laptop", peers=("server", "radio")), Machine(name="nas"))
    )
    scenario = replace(GOOD, sites=(hub, SHIP, RACK))
    check_scenario(scenario)
    assert scenario.peers_of("laptop") == ("radio", "server")
    assert scenario.peers_of("nas") == ("radio", "server")
    assert scenario.peers_of("radio") == ("laptop", "nas", "server")
    assert len(scenario.pairs) == 10


def test_that_all_are_connected_needs_somebody_who_knows_somebody() -> None:
    alone = replace(HOME, machines=(Machine(name="laptop", peers=()),))
    scenario = replace(expecting(all_pairs_connected_by_s=20), sites=(alone, RACK))
    assert "no two machines can reach each other" in refusal(scenario)
