"""Who should reach whom, and by when: stories that hold, and stories that do not."""

from sims.checks.connectivity import FRESH_SILENT_MAX_S, OLD_SILENT_MAX_S
from sims.model.faults import AddressChange, Crash, LinkDown, Partition, ReplayPackets, Sleep
from sims.model.link import BurstLoss
from sims.model.scenario import Expectation
from tests.sims.story_for_checks import LAPTOP, NAS, TO_NAS, Story, a_line


def select(story: Story) -> None:
    story.proved(TO_NAS)
    for machine in (LAPTOP, NAS):
        story.transition("connected", "connected", "path selected", str(TO_NAS), machine=machine)


# all_pairs_connected_by_s


def test_pairs_that_pinged_in_time() -> None:
    story = Story(expect=Expectation(all_pairs_connected_by_s=20))
    story.wait(30)
    assert story.found("all-pairs-connected") == []
    assert story.checks.looked["all-pairs-connected"] == 2


def test_pairs_that_pinged_late_or_never_are_told_once() -> None:
    story = Story(expect=Expectation(all_pairs_connected_by_s=12))
    story.wait(10, is_answered=False)
    story.now_s = 12.5
    story.checks.on_reply(LAPTOP, "10.77.0.2", b"late")
    story.wait(30, is_answered=False)
    assert story.found("all-pairs-connected") == [
        "laptop to nas: a ping was answered only after 12.500 s; expected by 12 s, and they can "
        "reach each other",
        "nas to laptop: a ping was answered never; expected by 12 s, and they can reach each other",
    ]


def test_nobody_expects_pings_of_who_cannot_be_reached() -> None:
    story = Story(expect=Expectation(all_pairs_connected_by_s=12))
    story.are_reachable = False
    story.wait(30, is_answered=False)
    assert story.found("all-pairs-connected") == []


def test_a_run_that_ends_at_the_very_time_is_judged() -> None:
    story = Story(expect=Expectation(all_pairs_connected_by_s=12))
    story.now_s = 12
    story.checks.finish()
    assert len(story.found("all-pairs-connected")) == 2


# healed


def test_who_came_back_after_the_last_fault() -> None:
    story = Story(faults=[LinkDown(at_s=10, for_s=20, target="home-nas")])
    story.wait(30, is_answered=False)
    assert story.checks.looked["healed"] == 0
    story.wait(100)
    assert story.found("healed") == []
    assert story.checks.looked["healed"] == 2


def test_who_did_not_is_told_with_its_reason() -> None:
    story = Story(faults=[LinkDown(at_s=10, for_s=20, target="home-nas")])
    story.wait(10)
    story.peers[LAPTOP].update(state="checking", reason="no direct path so far")
    story.wait(110, is_answered=False)
    found = story.found("healed")
    assert found[0] == (
        "laptop to nas: is checking (no direct path so far) and had its last answer at 10.0 s; "
        "the last fault was over at 30.0 s, and by 120.0 s they should be connected and ping: "
        "they can reach each other"
    )
    assert len(found) == 2


def test_who_is_gone_or_cut_off_for_good_is_not_expected() -> None:
    for fault in (
        Crash(at_s=10, target=NAS),
        Partition(at_s=10, one=("home-laptop",), other=("home-nas",)),
        LinkDown(at_s=10, target="home-nas"),
    ):
        story = Story(faults=[fault])
        if isinstance(fault, Crash):
            story.running_since[NAS] = None
        story.peers[LAPTOP]["state"] = story.peers[NAS]["state"] = "checking"
        story.wait(200, is_answered=False)
        assert story.found("healed") == []
        assert story.checks.looked["healed"] == 0


# tunnels


def test_a_tunnel_that_is_called_connected_and_is_silent_is_told() -> None:
    for answered_s, silent_max_s in ((10, FRESH_SILENT_MAX_S), (0, OLD_SILENT_MAX_S)):
        story = Story(faults=[AddressChange(at_s=30, target="home-nas")])
        story.wait(30)
        story.wait(answered_s)
        # What was silent before is judged from the first look in a quiet network on.
        story.wait(silent_max_s + (5 if answered_s else 10), is_answered=False)
        assert story.found("tunnels") == []
        story.wait(5, is_answered=False)
        said = f"no ping was answered for {silent_max_s + 10:.0f} s"
        assert said in story.found("tunnels")[0]


def test_a_switch_to_a_dead_path_is_told_soon() -> None:
    story = Story(faults=[AddressChange(at_s=30, target="home-nas")])
    story.wait(40)
    select(story)
    story.wait(FRESH_SILENT_MAX_S + 5, is_answered=False)
    assert story.found("tunnels") == []
    story.wait(5, is_answered=False)
    assert (
        "no ping was answered for 30 s; paths were selected at 40.0 s here and 40.0 s there"
        in (story.found("tunnels")[0])
    )


def test_going_from_dead_path_to_dead_path_is_no_excuse() -> None:
    story = Story()
    story.wait(10)
    for _ in range(8):
        select(story)
        story.wait(10, is_answered=False)
    assert len(story.found("tunnels")) > 0


def test_a_disturbance_excuses_silence_and_a_replay_does_not() -> None:
    for fault, is_excuse in (
        (LinkDown(at_s=20, for_s=200, target="home-nas"), True),
        (Partition(at_s=20, for_s=200, one=("home-nas",), other=("home-laptop",)), True),
        (Partition(at_s=20, for_s=200, one=("home-nas",), other=("bootstrap-1",)), False),
        (Crash(at_s=20, for_s=200, target="bootstrap-1"), False),
        (ReplayPackets(at_s=20, for_s=200, target="home-nas", share=0.5, after_s=1), False),
    ):
        story = Story(faults=[fault])
        story.wait(20)
        story.wait(150, is_answered=False)
        assert (story.found("tunnels") == []) is is_excuse, fault


def test_a_machine_that_sleeps_answers_nobody() -> None:
    story = Story(faults=[Sleep(at_s=20, for_s=100, target=NAS)])
    story.wait(19)
    story.running_since[NAS] = None
    story.wait(100, is_answered=False)
    assert story.found("tunnels") == []


def test_lossy_lines_may_lose_more_pings_in_a_row() -> None:
    burst = BurstLoss(enters=0.02, leaves=0.15)
    story = Story(line=a_line(loss=0.1, burst_loss=burst))
    story.wait(10)
    story.wait(OLD_SILENT_MAX_S + 15, is_answered=False)
    assert story.found("tunnels") == []
    story.wait(300, is_answered=False)
    assert len(story.found("tunnels")) > 0


# unreachable


def test_a_direct_path_that_nobody_expected_is_told() -> None:
    story = Story(expect=Expectation(unreachable=((LAPTOP, NAS),)))
    story.peers[LAPTOP]["path"] = None
    story.peers[NAS]["path"] = None
    story.wait(10, is_answered=False)
    assert story.found("unreachable") == []
    assert story.checks.looked["unreachable"] == 4
    story.peers[NAS]["path"] = "direct"
    story.look()
    assert story.found("unreachable") == [
        f"nas to laptop: has a direct path to {TO_NAS}; the scenario expects that there can be none"
    ]


# what never looked


def test_a_check_that_never_looked_though_it_had_to_is_told() -> None:
    story = Story(expect=Expectation(healed_within_s=60))
    story.now_s = 59
    story.checks.finish()
    told = {violation.check for violation in story.checks.violations}
    assert told == {"tasks", "bounds", "cleartext"}
    story.now_s = 60
    story.checks.finish()
    told = {violation.check for violation in story.checks.violations}
    never_due = {"all-pairs-connected", "unreachable", "expected-paths", "relayed-by-need"}
    assert told == set(story.checks.looked) - never_due
    assert story.found("tunnels") == [
        "all: there was something to judge, and it was never looked at; what was not looked at "
        "holds for nobody"
    ]


def test_nothing_is_due_of_pairs_that_cannot_reach_each_other() -> None:
    for fault in (None, Crash(at_s=10, target=NAS), LinkDown(at_s=10, target="home-nas")):
        story = Story(faults=[fault] if fault else [])
        story.are_reachable = fault is not None
        story.now_s = 500
        story.checks.finish()
        told = {violation.check for violation in story.checks.violations}
        assert told == {"tasks", "bounds", "cleartext"}


def test_no_understanding_is_due_without_a_bootstrap_node() -> None:
    story = Story(faults=[Crash(at_s=0, target="bootstrap-1")])
    story.now_s = 500
    story.checks.finish()
    assert story.found("acknowledgements") == []
    assert story.found("tunnels") != []


def test_expectations_are_due() -> None:
    expect = Expectation(all_pairs_connected_by_s=10, unreachable=((LAPTOP, NAS),))
    story = Story(expect=expect)
    story.are_reachable = False
    story.now_s = 10
    story.checks.finish()
    assert story.found("all-pairs-connected") != []
    assert story.found("unreachable") != []
