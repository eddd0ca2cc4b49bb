"""The page of a run: what it says, what it escapes, how large it grows."""

from dataclasses import replace

import pytest

import sims.checks.acknowledgements
import sims.checks.connectivity
import sims.checks.paths
import sims.checks.quiet
import sims.checks.suite  # noqa: F401 - has every check loaded
from sims.checks.check import Check
from sims.model.faults import FAULT_KINDS, AddressChange, Crash, Partition
from sims.model.nat import NAT_KINDS, Firewall, NatModel
from sims.model.presets import LINE_PRESETS
from sims.model.result import Violation
from sims.model.scenario import Machine, Site
from sims.model.story import Explanation, PathChange, Silence
from sims.report.connectivity import COLUMN_CHARACTERS_MAX, NAME_CHARACTERS_MAX
from sims.report.data import RunData
from sims.report.fault_words import _SAID, fault_name
from sims.report.markup import element, html
from sims.report.page import report
from sims.report.topology import CHARACTER_WIDTH, NARROW, PADDING, WIDE
from sims.report.words import CHECK_MEANINGS, duration, line_name, nat_name, shortened
from tests.sims.page import Page
from tests.sims.results import a_pair, a_result, a_scenario, a_violation
from tests.sims.stories import (
    a_pair_story,
    a_story,
    hundred_machines,
    relayed,
    some_data,
    with_odd_names,
)

SIZE_MAX_BYTES = 2_000_000
HUNDRED_SIZE_MAX_BYTES = 1_000_000


def test_a_good_run_says_so_in_words() -> None:
    page = Page(report(some_data()))
    assert "✓ Everything held: 1 of 1 checks found nothing wrong." in page.text
    assert "At the end all 2 pairs are direct." in page.text
    assert "Every pair has a direct path at the end." in page.text
    assert "did not hold" not in page.text


def test_a_bad_run_names_check_subject_and_detail() -> None:
    result = a_result(violations=(a_violation(), replace(a_violation(), check="healed")))
    page = Page(report(some_data(result)))
    assert "✗ 2 checks did not hold: connected and healed." in page.text
    assert "12.500 s pc-1 to pc-2 no ping since 3 s".replace(" ", "") in page.text.replace(" ", "")
    assert CHECK_MEANINGS["healed"] in page.text


def test_of_many_violations_some_are_shown_and_all_are_counted() -> None:
    violations = tuple(a_violation(subject=f"nobody-{n}") for n in range(100))
    text = Page(report(some_data(a_result(violations=violations)))).text
    assert "nobody-11" in text
    assert "nobody-12" not in text
    assert "… and 88 more" in text


def test_an_interrupted_run_says_when_and_a_failed_one_why() -> None:
    text = report(some_data(a_result(is_complete=False, virtual_s=12.0)))
    assert "was interrupted after 12 s" in text
    text = report(some_data(a_result(is_complete=False, failure="no disk left")))
    assert "no disk left" in text


def test_a_run_that_never_began_has_a_page() -> None:
    data = some_data(replace(a_result(is_complete=False, virtual_s=0.0), pairs=(), checks={}))
    assert "was interrupted after 0 s" in Page(report(data)).text


def test_why_stands_once_for_all_that_it_is_said_of() -> None:
    scenario = a_scenario(4)
    paths = {"pc-1": None, "pc-2": "relayed", "pc-3": "relayed", "pc-4": "direct"}
    pairs = tuple(a_pair(*pair, path=paths[pair[1]]) for pair in scenario.pairs)
    stories = tuple(relayed(*pair) for pair in scenario.pairs)
    data = some_data(a_result(scenario, pairs=pairs), a_story(scenario, pairs=stories))
    text = Page(report(data)).text
    assert text.count("relayed: the peer's NAT maps per destination") == 1
    assert "pc-1, pc-4 → pc-2, pc-3" in text
    assert text.count("relayed: pc-1's NAT maps per destination") == 1
    assert "pc-2, pc-3, pc-4 → pc-1" in text
    assert "pc-4's NAT" not in text


def test_a_name_that_begins_with_another_is_not_taken_for_it() -> None:
    scenario = a_scenario(3)
    stories = []
    for source, destination in scenario.pairs:
        sentence = f"{destination}0 is in the way"
        explanation = Explanation(finding="relayed", sentence=sentence)
        stories.append(a_pair_story(source, destination, explanation=explanation))
    pairs = tuple(a_pair(*pair, path="relayed") for pair in scenario.pairs)
    story = a_story(scenario, pairs=tuple(stories))
    text = Page(report(some_data(a_result(scenario, pairs=pairs), story))).text
    assert "pc-20 is in the way" in text
    assert "pc-30 is in the way" in text


def test_a_pair_that_is_not_as_it_should_be_is_marked_and_explained_first() -> None:
    scenario = a_scenario(3)
    worse = ("pc-3", "pc-1")
    pairs = tuple(
        a_pair(*pair, path="relayed", best_path="direct" if pair == worse else "relayed")
        for pair in scenario.pairs
    )
    text = Page(report(some_data(a_result(scenario, pairs=pairs), a_story(scenario)))).text
    assert "1 pair is not as NATs and firewalls alone would have it" in text
    assert "could be direct" in text
    assert text.index("pc-3 → pc-1") < text.index("pc-1 → pc-2")


def test_the_timeline_has_paths_silences_and_faults() -> None:
    changes = (
        PathChange(at_s=1.0, path="direct", towards="192.0.2.1:51820"),
        PathChange(at_s=10.0, path="relayed", towards="192.0.2.9:5000", relay="bootstrap-1"),
        PathChange(at_s=20.0, path=None),
    )
    silence = Silence(began_s=20.0, ended_s=None)
    story = a_pair_story("pc-1", "pc-2", changes=changes, silences=(silence,))
    faults = (
        Crash(at_s=20.0, for_s=None, target="pc-2"),
        Partition(at_s=25.0, one=("home-1",), other=("home-2",), for_s=1.0),
    )
    pairs = (story, a_pair_story("pc-2", "pc-1"))
    data = some_data(story=a_story(pairs=pairs, faults=faults))
    text = report(data)
    assert "1.0–10.0 s: direct to 192.0.2.1:51820" in text
    assert "10.0–20.0 s: relayed to 192.0.2.9:5000 through bootstrap-1" in text
    assert "20.0–30.0 s: pings unanswered" in text
    assert "pc-1 to pc-2: direct for 9 s, relayed for 10 s" in text
    assert 'aria-label="Faults: 2: home-1 cut off from home-2 at 25.0 s"' in text
    assert "Faults: 1: crash of pc-2 at 20.0 s; 2: home-1 cut off" in text


def test_the_drawing_has_the_paths_of_each_machine_on_demand() -> None:
    scenario = a_scenario(3)
    pairs = tuple(
        a_pair(*pair, path="relayed" if "pc-3" in pair else "direct") for pair in scenario.pairs
    )
    stories = tuple(
        relayed(*pair) if "pc-3" in pair else a_pair_story(*pair) for pair in scenario.pairs
    )
    text = report(some_data(a_result(scenario, pairs=pairs), a_story(scenario, pairs=stories)))
    assert text.count('class="path of-0 of-1 direct"') == 2
    assert text.count('class="path of-0 of-2 relayed"') == 2
    assert "#paths-2:checked~svg .of-2{display:inline}" in text
    assert 'id="paths-2"' in text


def test_long_names_leave_room_beside_them() -> None:
    names = ("the-notebook-of-my-grandmother-2024-asus", "the-television-of-my-grandmother-lg")
    sites = tuple(
        replace(a_scenario().sites[0], name=n, machines=(Machine(name=n),)) for n in names
    )
    scenario = replace(a_scenario(), sites=sites)
    violation = a_violation(subject=" to ".join(names))
    page = Page(report(some_data(a_result(scenario, violations=(violation,)), a_story(scenario))))
    assert ("title", names[0]) in page.attributes
    column = shortened(names[0], COLUMN_CHARACTERS_MAX)
    assert column in page.texts and shortened(names[0], NAME_CHARACTERS_MAX) in page.texts
    marked = [len(text) for text in page.texts if text.endswith("⚠")]
    fitting = [
        int((size.card_width - 2 * PADDING - 16) / CHARACTER_WIDTH) for size in (WIDE, NARROW)
    ]
    assert [max(marked[:2]) <= fitting[0], max(marked[2:]) <= fitting[1]] == [True, True]
    assert "A check that did not hold is about who has ⚠." in page.text


def test_nothing_is_loaded_and_nothing_runs() -> None:
    page = Page(report(some_data(a_result(violations=(a_violation(),)))))
    assert not {"script", "link", "img", "iframe", "object"}.intersection(page.tags)
    for name, value in page.attributes:
        assert not name.startswith("on")
        assert name not in ("src", "srcset", "style")
        if name == "href":
            assert (value or "").startswith("#")
    assert "url(" not in report(some_data())
    assert "@import" not in report(some_data())


def test_names_are_escaped_wherever_they_stand() -> None:
    text = report(with_odd_names())
    page = Page(text)
    assert not {"script", "b\x00", "i", "u"}.intersection(page.tags)
    assert page.text.count("</title><script>alert(1)</script>") > 3
    assert "\x00" not in text
    assert '<b>&"bold"' in page.text


def test_the_same_run_gives_the_same_bytes_whatever_it_cost() -> None:
    cheap = a_result(real_s=0.1, cpu_s=0.1, memory_bytes=1)
    dear = a_result(real_s=900.0, cpu_s=800.0, memory_bytes=10**9)
    assert report(some_data(cheap)) == report(some_data(dear))


def test_a_hundred_machines_have_a_page_of_bounded_size() -> None:
    text = report(hundred_machines())
    assert len(text.encode()) < HUNDRED_SIZE_MAX_BYTES
    page = Page(text)
    assert all(name in page.text for name in ("machine-of-neighbour-0", "machine-of-neighbour-99"))
    assert page.tags.count("table") == 2


def test_a_hundred_machines_of_which_each_has_a_long_story_too() -> None:
    data = hundred_machines()
    changes = tuple(
        PathChange(at_s=float(n), path=("direct", "relayed", None)[n % 3], towards=f"192.0.2.{n}:1")
        for n in range(60)
    )
    pairs = tuple(replace(pair, changes=changes) for pair in data.story.pairs)
    violations = tuple(
        Violation(at_s=1.0, check=f"check-{n % 20}", subject=f"machine-of-neighbour-{n % 100}",
                  detail="x" * 200)
        for n in range(5_000)
    )  # fmt: skip
    text = report(
        RunData(replace(data.result, violations=violations), replace(data.story, pairs=pairs))
    )
    assert len(text.encode()) < SIZE_MAX_BYTES


def _all_checks(kind: type[Check]) -> list[type[Check]]:
    return [kind, *(found for sub in kind.__subclasses__() for found in _all_checks(sub))]


def test_every_check_has_a_meaning() -> None:
    names = {kind.name for kind in _all_checks(Check)[1:] if kind.__module__.startswith("sims.")}
    assert len(names) > 10
    assert names <= set(CHECK_MEANINGS)


def test_every_fault_has_a_name() -> None:
    assert set(_SAID) | {Partition} == set(FAULT_KINDS.values())
    one_way = Partition(at_s=0.0, one=("a", "b"), other=("c",), is_one_way=True)
    assert fault_name(one_way) == "nothing passes from a and b to c"
    assert fault_name(Crash(at_s=0.0, target="a", loses_disk=True)) == "crash of a, its disk lost"
    both = AddressChange(at_s=0.0, target="a")
    assert fault_name(both) == "a gets other addresses"
    assert fault_name(replace(both, ip_version=6)) == "a gets other IPv6 addresses"


@pytest.mark.parametrize("name", [name for name in NAT_KINDS if name != "none"])
def test_a_site_is_called_by_its_kind_of_nat(name: str) -> None:
    kind = NAT_KINDS[name]
    site = Site(name="a", line=LINE_PRESETS["dsl"], nats=kind.nats, firewall=kind.firewall)
    assert nat_name(site) == name


def test_a_site_of_no_kind_is_described() -> None:
    site = Site(name="a", line=LINE_PRESETS["dsl"], nats=(NatModel(lifetime_s=7.0),) * 2)
    assert nat_name(site) == "2 NATs"
    blocked = replace(site, nats=(), firewall=Firewall.STATEFUL)
    assert nat_name(blocked) == "no NAT, stateful firewall"


def test_a_line_is_called_by_its_preset() -> None:
    line = LINE_PRESETS["4g"]
    assert line.up is not None
    assert line_name(line) == "4g"
    assert line_name(replace(line, up=replace(line.up, loss=0.2))) == "4g, altered"
    assert line_name(replace(line, up=None)) == "dead / 20 ms, 40 Mbit/s, 0.2% loss"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 s"),
        (0.04, "40 ms"),
        (3.0, "3 s"),
        (3.26, "3.3 s"),
        (45.4, "45 s"),
        (150.0, "2 min 30 s"),
        (3_600.0, "1 h"),
        (3_725.0, "1 h 2 min"),
    ],
)
def test_durations_as_a_person_says_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_long_names_keep_what_tells_them_apart() -> None:
    assert shortened("machine-of-neighbour-17", 12) == "machin…ur-17"
    assert shortened("short", 12) == "short"


def test_elements_take_texts_and_attributes_as_they_are() -> None:
    made = element("p", "a < b ", element("b", "&"), " c", None, class_="x", hidden=True, id=None)
    assert html(made) == '<!DOCTYPE html>\n<p class="x" hidden="">a &lt; b <b>&amp;</b> c</p>\n'
    assert html(element("i", x=1.0, y=1.239, z=3)).endswith('<i x="1" y="1.24" z="3"></i>\n')
