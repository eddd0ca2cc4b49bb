"""What a recorder keeps of a run, and that the run is the same with one."""

from typing import Any

import pytest

from sims.files.scenario_file import find_scenario, load_scenario
from sims.model.faults import Crash
from sims.model.scenario import Scenario
from sims.model.story import PairStory, PathChange, Silence
from sims.report.data import RunData
from sims.report.page import report
from sims.running import story_recorder
from sims.running.run import run
from sims.running.story_recorder import PAIR_NOTES_MAX, StoryRecorder
from tests.sims.results import a_scenario
from wice.events import OverlayJoined, OverlayLost, PeerTransitioned
from wice.keys import PrivateKey

KEYS = {name: PrivateKey(bytes([n]) * 32).public_key() for n, name in enumerate(("pc-1", "pc-2"))}
RELAYS = {"192.0.2.9": "bootstrap-1", "2001:db8::9": "bootstrap-1"}
DIRECT = "203.0.113.1:51820"


def a_recorder(scenario: Scenario | None = None, *faults: Crash) -> StoryRecorder:
    recorder = StoryRecorder(scenario or a_scenario())
    recorder.begin(faults, {str(key): name for name, key in KEYS.items()}, RELAYS)
    return recorder


def transition(cause: str, detail: str = "", new: str = "connected") -> PeerTransitioned:
    return PeerTransitioned(
        at_s=0.0,
        interface="wice0",
        peer=KEYS["pc-2"],
        old="checking",
        new=new,
        cause=cause,
        detail=detail,
    )


def of_pair(recorder: StoryRecorder, ended_at_s: float = 30.0) -> PairStory:
    (pair,) = (p for p in recorder.story(ended_at_s).pairs if p.source == "pc-1")
    return pair


@pytest.mark.parametrize(
    ("detail", "change"),
    [
        (DIRECT, PathChange(at_s=1.0, path="direct", towards=DIRECT)),
        (
            f"{DIRECT} through 192.0.2.9:4000",
            PathChange(at_s=1.0, path="relayed", towards=DIRECT, relay="bootstrap-1"),
        ),
        (
            "[2001:db8::9]:50000",
            PathChange(
                at_s=1.0, path="relayed", towards="[2001:db8::9]:50000", relay="bootstrap-1"
            ),
        ),
        (
            f"{DIRECT} through 198.51.100.77:4000",
            PathChange(at_s=1.0, path="relayed", towards=DIRECT),
        ),
    ],
)
def test_a_path_is_relayed_where_one_of_its_ends_is_a_relay(
    detail: str, change: PathChange
) -> None:
    recorder = a_recorder()
    recorder.on_event(1.0, "pc-1", transition("path selected", detail))
    assert of_pair(recorder).changes == (change,)


def test_the_same_path_again_is_no_change_and_a_lost_one_is() -> None:
    recorder = a_recorder()
    for at_s in (1.0, 2.0):
        recorder.on_event(at_s, "pc-1", transition("path selected", DIRECT))
    recorder.on_event(2.5, "pc-1", transition("handshake completed"))
    recorder.on_event(3.0, "pc-1", transition("path lost", DIRECT, new="checking"))
    assert [(c.at_s, c.path) for c in of_pair(recorder).changes] == [(1.0, "direct"), (3.0, None)]


def test_a_daemon_that_is_gone_has_no_path() -> None:
    recorder = a_recorder(None, Crash(at_s=5.0, target="pc-1", for_s=1.0))
    recorder.on_event(1.0, "pc-1", transition("path selected", DIRECT))
    recorder.on_event(7.0, "pc-1", transition("path selected", DIRECT))
    changes = [(change.at_s, change.path) for change in of_pair(recorder).changes]
    assert changes == [(1.0, "direct"), (5.0, None), (7.0, "direct")]


def test_pings_without_an_answer_are_a_silence_once_the_pair_was_connected() -> None:
    recorder = a_recorder()
    pair = ("pc-1", "pc-2")
    recorder.on_ping(1.0, *pair)
    recorder.on_pong(9.0, *pair)
    recorder.on_ping(10.0, *pair)
    recorder.on_ping(11.0, *pair)
    recorder.on_pong(14.0, *pair)
    recorder.on_ping(20.0, *pair)
    recorder.on_pong(20.1, *pair)
    recorder.on_ping(25.0, *pair)
    silences = of_pair(recorder).silences
    assert silences == (
        Silence(began_s=10.0, ended_s=14.0),
        Silence(began_s=25.0, ended_s=None),
    )
    assert len(of_pair(recorder, ended_at_s=26.0).silences) == 1


def test_losses_of_the_overlay_are_of_the_machine() -> None:
    recorder = a_recorder()
    recorder.on_event(0.1, "pc-2", OverlayJoined(at_s=0.0, peer_id="x"))
    recorder.on_event(5.0, "pc-2", OverlayLost(at_s=0.0))
    recorder.on_event(6.0, "pc-2", OverlayJoined(at_s=0.0, peer_id="x"))
    recorder.on_event(7.0, "pc-2", OverlayLost(at_s=0.0))
    assert recorder.story(30.0).overlay_losses == {
        "pc-2": (Silence(began_s=5.0, ended_s=6.0), Silence(began_s=7.0, ended_s=None))
    }


def test_what_is_kept_of_a_pair_is_bounded_and_the_rest_counted() -> None:
    recorder = a_recorder()
    for n in range(PAIR_NOTES_MAX + 10):
        recorder.on_event(float(n), "pc-1", transition("path selected", f"203.0.113.1:{n + 1}"))
    assert len(of_pair(recorder).changes) == PAIR_NOTES_MAX
    assert of_pair(recorder).left_out == 10


def test_what_is_kept_of_all_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(story_recorder, "NOTES_MAX", 3)
    recorder = a_recorder()
    for n in range(5):
        recorder.on_event(float(n), "pc-1", transition("path selected", f"203.0.113.1:{n + 1}"))
    assert (len(of_pair(recorder).changes), of_pair(recorder).left_out) == (3, 2)


def statuses(paths: dict[str, str | None]) -> dict[str, dict[str, Any]]:
    peers = [{"name": name, "path": path} for name, path in paths.items()]
    return {"pc-1": {"interfaces": [{"peers": peers}]}}


def test_only_what_is_not_direct_is_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = a_recorder(a_scenario(4))
    paths = statuses({"pc-2": "direct", "pc-3": "relayed", "pc-4": None})
    assert recorder.to_explain(paths)["pc-1"] == ["pc-3", "pc-4"]
    monkeypatch.setattr(story_recorder, "EXPLANATIONS_MAX", 1)
    recorder = a_recorder(a_scenario(4))
    assert recorder.to_explain(paths) == {"pc-1": ["pc-3"]}
    assert recorder.story(30.0).not_asked == 10


def test_a_run_is_the_same_with_a_recorder_and_daemons_say_why() -> None:
    scenario = load_scenario(find_scenario("udp-blocked"))
    alone = run(scenario, 3)
    recorder = StoryRecorder(scenario)
    watched = run(scenario, 3, recorder=recorder)
    assert watched.trace_sha256 == alone.trace_sha256
    assert watched.pairs == alone.pairs
    story = recorder.story(watched.virtual_s)
    by_pair = {(pair.source, pair.destination): pair for pair in story.pairs}
    explanation = by_pair["alice", "desk"].explanation
    assert explanation is not None
    assert explanation.finding == "unanswered"
    assert "at desk" in explanation.sentence
    assert by_pair["alice", "bob"].explanation is None
    assert by_pair["alice", "bob"].changes[0].path == "direct"
    assert explanation.sentence in report(RunData(watched, story))
