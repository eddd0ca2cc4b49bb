"""``wice why``: which peer is meant, what the daemon answers, and how a person reads it."""

import json
from typing import Any

import pytest

from tests.peer.conftest import Mesh, Side
from wice.cli.why import ROWS_MAX, format_why
from wice.config import InterfaceConfig, NamedPeer
from wice.daemon.why import NAMES_MAX, answer_of, find_peer, gather_facts, overlay_trouble
from wice.errors import ConfigError, RemoteProtocolError
from wice.ice import CandidatePolicy
from wice.keys import PrivateKey
from wice.wireguard.device import PeerConfig

KEYS = [PrivateKey(bytes([i] * 32)).public_key() for i in range(1, 14)]


def interface(name: str, *peers: tuple[int, str]) -> InterfaceConfig:
    named = tuple(NamedPeer(PeerConfig(KEYS[i], ()), peer_name) for i, peer_name in peers)
    return InterfaceConfig(name, PrivateKey(bytes([99] * 32)), 0, (), "auto", 1420, named)


INTERFACES = (
    interface("wg0", (0, "nas"), (1, "laptop"), (2, "")),
    interface("wg1", (3, "laptop"), (0, "nas-too")),
)


@pytest.mark.parametrize(
    ("text", "name", "which"),
    [
        ("nas", "wg0", 0),
        ("nas-too", "wg1", 0),
        ("wg1/laptop", "wg1", 3),
        (str(KEYS[2]), "wg0", 2),
        (str(KEYS[1])[:6], "wg0", 1),
        (f"wg1/{KEYS[0]}", "wg1", 0),
    ],
)
def test_a_peer_is_found_by_name_key_or_its_beginning(text: str, name: str, which: int) -> None:
    found_interface, peer = find_peer(INTERFACES, text)
    assert (found_interface.name, peer.config.public_key) == (name, KEYS[which])


@pytest.mark.parametrize(
    ("text", "why", "hint"),
    [
        ("laptop", "'laptop' is 2 peers", f"one of wg0/{KEYS[1]}, wg1/{KEYS[3]}"),
        (str(KEYS[0]), "is 2 peers", "one of nas, nas-too"),
        ("phone", "'phone' is no peer of this daemon", "it has: nas, wg0/"),
        ("", "'' is no peer", "it has: "),
        (str(KEYS[2])[:3], "4 characters or more are needed", "it has: "),
        ("wg2/nas", "is no peer", "it has: "),
    ],
)
def test_a_peer_that_is_none_or_several_is_refused(text: str, why: str, hint: str) -> None:
    with pytest.raises(ConfigError) as refused:
        find_peer(INTERFACES, text)
    assert refused.value.where == "peer"
    assert why in refused.value.why and hint in refused.value.hint


def test_a_refusal_names_a_few_peers_only() -> None:
    many = interface("wg0", *((i, f"host-{i}") for i in range(13)))
    with pytest.raises(ConfigError) as refused:
        find_peer([many], "phone")
    assert refused.value.hint.count("host-") == NAMES_MAX
    assert refused.value.hint.endswith("host-7 and 5 more")
    with pytest.raises(ConfigError, match="has no peers"):
        find_peer([], "phone")


def test_trouble_with_the_overlay_has_its_reasons() -> None:
    assert overlay_trouble({"joined": True, "unreachable": {"12D3": "refused"}}) == ""
    assert overlay_trouble({"joined": False, "unreachable": {}}) == "it is being joined"
    three = {"joined": False, "unreachable": {"a": "1 is dead", "b": "2 is dead", "c": "3 is"}}
    assert overlay_trouble(three) == "no node of it answers (1 is dead, 2 is dead)"


def answer(mesh: Mesh, side: Side) -> dict[str, Any]:
    facts = gather_facts(
        side.machine,
        name="home-2",
        policy=CandidatePolicy.ALL,
        overlay_trouble="",
        handshake_at_s=None,
        now=mesh.now,
    )
    said = {"interface": "wg0", **answer_of(facts, side.machine)}
    assert json.loads(json.dumps(said)) == said
    return said


def test_a_running_pair_of_machines_is_explained() -> None:
    mesh = Mesh()
    before = answer(mesh, mesh.controlling)
    assert before["finding"] == "not found" and before["path"] is None
    assert before["pairs"] == [] and before["nat"]["there"] == "unknown"

    mesh.run(5.0)
    for side in (mesh.controlling, mesh.controlled):
        said = answer(mesh, side)
        assert said["finding"] == "direct" and said["path"] == "direct"
        remote = f"{mesh.other(side).host}:51820"
        assert said["sentence"].startswith(f"direct: {side.host} (host) → {remote} (host)")
        assert said["nat"] == {"here": "endpoint-independent", "there": "endpoint-independent"}
        assert [f"{c}".split()[4] for c in said["candidates"]["there"]] == [mesh.other(side).host]
        (pair,) = said["pairs"]
        assert pair["is_selected"] and pair["to"] == remote and pair["answers"] >= 1
        assert "answered" in [attempt["outcome"] for attempt in pair["attempts"]]
        assert 4.0 < pair["first_sent_age_s"] < 5.0
        assert said["signaling"]["described_age_s"] > 4.0 and said["signaling"]["settled"]
        assert said["paths"][-1]["endpoint"] == remote and not said["paths"][-1]["is_relayed"]


def test_a_path_that_stops_answering_is_lost_and_said_since_when() -> None:
    mesh = Mesh()
    mesh.run(5.0)
    mesh.is_path_up = False
    mesh.run(60.0)
    said = answer(mesh, mesh.controlling)
    assert said["finding"] == "lost" and said["path"] is None
    assert said["sentence"].startswith("no path: the direct one to 192.0.2.2:51820 stopped answ")
    assert 20.0 < said["paths"][-1]["age_s"] < 45.0
    assert any(a["outcome"] == "no answer" for p in said["pairs"] for a in p["attempts"])


def test_a_peer_that_lost_our_key_is_told_from_one_that_is_off() -> None:
    for is_on in (True, False):
        mesh = Mesh()
        mesh.run(5.0)
        mesh.is_path_up = mesh.is_signaling_up = False
        mesh.controlling.machine.message_delivered(mesh.now)
        mesh.run(45.0)
        if is_on:
            mesh.controlling.machine.message_delivered(mesh.now)
        mesh.run(10.0)
        said = answer(mesh, mesh.controlling)
        assert said["finding"] == "lost"
        assert ("takes our messages and does not answer" in said["sentence"]) is is_on


def test_a_person_reads_the_sentence_first_and_then_what_was_tried() -> None:
    mesh = Mesh()
    mesh.run(5.0)
    said = answer(mesh, mesh.controlling)
    said["hints"] = ["the first is in the sentence", "the second"]
    lines = format_why(said).splitlines()
    assert lines[0] == said["sentence"]
    assert lines[1] == "  or: the second"
    assert "peer: " + said["public_key"] + " (home-2) on wg0" in lines
    assert "  NAT mapping: endpoint-independent here, endpoint-independent there" in lines
    row = next(line for line in lines if "192.0.2.1 (host)" in line and "selected" in line)
    assert "192.0.2.2:51820 (host)" in row and "after 20.0 ms" in row


def test_the_table_has_a_bound_and_what_answers_comes_first() -> None:
    mesh = Mesh()
    mesh.run(5.0)
    said = answer(mesh, mesh.controlling)
    (selected,) = said["pairs"]
    dead = {**selected, "is_selected": False, "state": "failed", "last_answer_age_s": None}
    dead["attempts"] = [{**selected["attempts"][0], "outcome": "no answer"}]
    rival = {**selected, "is_selected": False, "remark": "its round trip is 4.0 ms longer"}
    said["pairs"] = [dead] * 20 + [rival, selected]
    text = format_why(said)
    rows = text.splitlines()[text.splitlines().index("") + 6 :]
    assert len([row for row in rows if "(host)" in row]) == ROWS_MAX
    assert "selected" in rows[0] and "succeeded" in rows[1] and "no answer" in rows[3]
    assert rows[2] == "    its round trip is 4.0 ms longer"
    assert f"and {22 - ROWS_MAX} more pairs" in text


def test_an_answer_of_another_version_is_one_line() -> None:
    with pytest.raises(RemoteProtocolError, match="one version"):
        format_why({"version": 1, "sentence": "direct"})


def test_an_address_behind_a_nat_is_not_called_the_one_of_the_nat() -> None:
    mesh = Mesh()
    mesh.run(5.0)
    said = answer(mesh, mesh.controlling)
    (pair,) = said["pairs"]
    assert f"  {pair['from']} (host)  " in format_why(said)
    pair["from_type"] = "prflx"
    assert f"  via {pair['from']} (prflx)  " in format_why(said)
