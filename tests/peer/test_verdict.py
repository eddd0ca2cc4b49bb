"""The sentence that each situation gets, by table: facts in, words out."""

from dataclasses import replace

import pytest

from wice.datagram import Endpoint, Path
from wice.ice import Attempt, Candidate, CandidatePolicy, MappingBehaviour, PairReport
from wice.ice.candidate import host_candidate, relayed_candidate, server_reflexive_candidate
from wice.ice.report import ANSWERED, Purpose
from wice.peer.obstacle import Side
from wice.peer.path_log import PATH_CHANGES_MAX, PathChange, PathLog
from wice.peer.states import State
from wice.peer.verdict import RIVALS_MAX, Facts, Finding, duration, judge

NOW = 1_000.0
EIM = MappingBehaviour.ENDPOINT_INDEPENDENT
SYMMETRIC = MappingBehaviour.ADDRESS_AND_PORT_DEPENDENT
RELAY = Endpoint("203.0.113.10", 49_152)
OUR_BASE = "192.168.1.2"
DIRECT_PATH = Path(Endpoint("198.51.100.11", 51_820), OUR_BASE)
SLOWER_PATH = Path(Endpoint("192.0.2.9", 7), OUR_BASE)
RELAYED_PATH = Path(RELAY, OUR_BASE)


def candidates(host: str, outside: str | None, *, relay: bool = False) -> tuple[Candidate, ...]:
    base, server = Endpoint(host, 51_820), Endpoint("203.0.113.10", 3_478)
    found = [host_candidate(base, 65_535)]
    if outside is not None:
        mapped = Endpoint(outside, 40_000)
        found.append(server_reflexive_candidate(mapped, base, server, 65_535))
    if relay:
        found.append(relayed_candidate(RELAY, base, server, 65_535))
    return tuple(found)


def here(mapping: MappingBehaviour = EIM, **changes: object) -> Side:
    side = Side("here", mapping, candidates(OUR_BASE, "198.51.100.10"), is_here=True)
    return replace(side, **changes)  # type: ignore[arg-type]


def there(mapping: MappingBehaviour = EIM, **changes: object) -> Side:
    told = candidates("192.168.2.2", "198.51.100.11", relay=True)
    side = Side("home-2", mapping, told, is_here=False)
    return replace(side, **changes)  # type: ignore[arg-type]


def pair(
    path: Path = DIRECT_PATH, state: str = "failed", *, remark: str = "", is_new: bool = False
) -> PairReport:
    outcome = ANSWERED if state == "succeeded" else "no answer"
    attempt = Attempt(NOW - 20, Purpose.ORDINARY, outcome, 0.01, 9)
    is_relayed = path.remote == RELAY
    return PairReport(
        path=path,
        local_type="host",
        remote_type="relay" if is_relayed else "srflx",
        state=state,
        priority=1,
        is_selected=False,
        is_relayed=is_relayed,
        rtt_s=0.012 if state == "succeeded" else None,
        checks_sent=9,
        answers=0,
        checks_received=0,
        first_sent_at_s=NOW - 20,
        last_sent_at_s=NOW - 14,
        last_answer_at_s=None,
        last_check_received_at_s=None,
        attempts=() if is_new else (attempt,),
        remark=remark,
    )


UNHEARD = Facts(
    peer="home-2",
    now=NOW,
    state=State.SEEKING,
    added_at_s=NOW - 125,
    overlay_trouble="",
    found_at_s=None,
    delivered_at_s=None,
    is_acknowledged=False,
    described_at_s=None,
    path=None,
    is_relayed=False,
    is_doubted=False,
    awaits_handshake=False,
    rtt_s=None,
    path_changes=(),
    pairs=(),
    handshake_at_s=None,
    here=here(),
    there=there(MappingBehaviour.UNKNOWN, candidates=()),
    policy=CandidatePolicy.ALL,
)
DESCRIBED = replace(
    UNHEARD,
    state=State.CHECKING,
    found_at_s=NOW - 31,
    delivered_at_s=NOW - 31,
    described_at_s=NOW - 30,
    there=there(candidates=candidates("192.168.2.2", "198.51.100.11")),
    pairs=(pair(),),
)
RELAYED = replace(
    DESCRIBED,
    state=State.CONNECTED,
    path=RELAYED_PATH,
    is_relayed=True,
    path_changes=(PathChange(NOW - 29, RELAYED_PATH, True),),
    handshake_at_s=NOW - 29,
    pairs=(pair(), pair(RELAYED_PATH, "succeeded")),
    there=there(),
)
DIRECT = replace(
    RELAYED,
    path=DIRECT_PATH,
    is_relayed=False,
    rtt_s=0.0123,
    path_changes=(PathChange(NOW - 29, DIRECT_PATH, False),),
    pairs=(pair(DIRECT_PATH, "succeeded"),),
)
BOTH_SYMMETRIC = replace(RELAYED, here=here(SYMMETRIC), there=there(SYMMETRIC))
CARRIERS = (host_candidate(Endpoint("100.64.3.4", 51_820), 65_535),)
HOST_ALONE = candidates(OUR_BASE, None)
IPV6 = (host_candidate(Endpoint("2001:db8::1", 51_820), 65_535),)


def lost(**changes: object) -> Facts:
    changes_of_path = (PathChange(NOW - 90, DIRECT_PATH, False), PathChange(NOW - 34, None, False))
    facts = replace(DESCRIBED, delivered_at_s=NOW - 90, path_changes=changes_of_path)
    return replace(facts, **changes)  # type: ignore[arg-type]


CASES: list[tuple[str, Facts, Finding, str]] = [
    (
        "not in the overlay",
        replace(UNHEARD, overlay_trouble="no node of it answers (12D3: refused)"),
        Finding.NO_OVERLAY,
        "this host is not in the overlay: no node of it answers (12D3: refused); check that the "
        "bootstrap nodes in its [overlay] run and are reached over TCP",
    ),
    (
        "not found",
        UNHEARD,
        Finding.NOT_FOUND,
        "home-2 was not found in the overlay for 2 min 5 s: it is off, has not joined, or has "
        "another key, community or secret than this configuration says; check `wice status` at "
        "home-2",
    ),
    (
        "found, takes no message",
        replace(UNHEARD, found_at_s=NOW - 61),
        Finding.NOT_DELIVERED,
        "home-2 was found in the overlay 1 min 1 s ago, but takes no message: it may have gone "
        "since, or its anchors may; check `wice status` at home-2",
    ),
    (
        "found, no description",
        replace(UNHEARD, found_at_s=NOW - 61, delivered_at_s=NOW - 3),
        Finding.NOT_DESCRIBED,
        "home-2 takes our messages and has not answered for 1 min 1 s: this host's public key "
        "seems to be missing in its configuration, or to stand there under another interface's; "
        "check that the configuration of home-2 has this interface's public key as a peer",
    ),
    (
        "checks on their way",
        replace(DESCRIBED, described_at_s=NOW - 0.25, pairs=(pair(state="waiting", is_new=True),)),
        Finding.CHECKING,
        "no path yet: 1 pair is being checked, home-2 answered 0.2 s ago",
    ),
    (
        "checks unanswered, no relay",
        replace(
            DESCRIBED,
            here=here(SYMMETRIC),
            there=there(SYMMETRIC, candidates=DESCRIBED.there.candidates),
        ),
        Finding.UNANSWERED,
        "no path for 30 s: both NATs map per destination; neither side has a relay; "
        "opening UDP 51820 at home-2 would make it direct",
    ),
    (
        "checks unanswered, relays neither",
        replace(DESCRIBED, there=there(), pairs=(pair(), pair(RELAYED_PATH))),
        Finding.UNANSWERED,
        "no path for 30 s: the only direct pair does not answer, though these NATs let one "
        "through: a firewall seems to drop UDP; no relayed pair answers either; "
        "check that the relays are reached over UDP 3478",
    ),
    (
        "no server answers here",
        replace(
            DESCRIBED,
            here=here(MappingBehaviour.UNKNOWN, candidates=HOST_ALONE),
            there=there(SYMMETRIC),
        ),
        Finding.UNANSWERED,
        "no path for 30 s: UDP seems blocked here: no STUN server or relay answers; "
        "letting UDP out here would help",
    ),
    (
        "no server answers there",
        replace(
            DESCRIBED,
            here=here(SYMMETRIC),
            there=there(MappingBehaviour.UNREACHED, candidates=HOST_ALONE),
        ),
        Finding.UNANSWERED,
        "no path for 30 s: UDP seems blocked at home-2: no STUN server or relay answers; "
        "letting UDP out at home-2 would help",
    ),
    (
        "a relay answers, and no STUN server",
        replace(
            DESCRIBED,
            here=here(
                MappingBehaviour.UNREACHED, candidates=candidates(OUR_BASE, None, relay=True)
            ),
        ),
        Finding.UNANSWERED,
        "no path for 30 s: no STUN server is reached over UDP here: a firewall seems to block it; "
        "no relayed pair answers either; check that the relays are reached over UDP 3478",
    ),
    (
        "both NATs per destination",
        BOTH_SYMMETRIC,
        Finding.RELAYED,
        "relayed: both NATs map per destination; opening UDP 51820 at home-2 would make it direct",
    ),
    (
        "the side that can be opened",
        replace(
            BOTH_SYMMETRIC,
            there=there(SYMMETRIC, candidates=(*CARRIERS, *candidates("10.1.1.1", None))),
        ),
        Finding.RELAYED,
        "relayed: both NATs map per destination; opening UDP 51820 here would make it direct",
    ),
    (
        "neither can be opened",
        replace(
            BOTH_SYMMETRIC,
            here=here(SYMMETRIC, candidates=CARRIERS),
            there=there(SYMMETRIC, candidates=CARRIERS),
        ),
        Finding.RELAYED,
        "relayed: both NATs map per destination, and each host is behind a carrier's NAT; "
        "IPv6 on both sides would make it direct",
    ),
    (
        "our NAT per destination",
        replace(RELAYED, here=here(SYMMETRIC)),
        Finding.RELAYED,
        "relayed: the NAT here maps per destination, and home-2 is closed to senders it does not "
        "know; opening UDP 51820 at home-2 would make it direct",
    ),
    (
        "the peer's NAT per destination",
        replace(RELAYED, there=there(MappingBehaviour.ADDRESS_DEPENDENT)),
        Finding.RELAYED,
        "relayed: home-2's NAT maps per destination, and this host is closed to senders it does "
        "not know; opening UDP 51820 here would make it direct",
    ),
    (
        "UDP blocked here",
        replace(RELAYED, here=here(MappingBehaviour.UNREACHED)),
        Finding.RELAYED,
        "relayed: no STUN server is reached over UDP here: a firewall seems to block it; "
        "letting UDP out here would help",
    ),
    (
        "UDP blocked there",
        replace(RELAYED, there=there(MappingBehaviour.UNREACHED)),
        Finding.RELAYED,
        "relayed: no STUN server is reached over UDP at home-2: a firewall seems to block it; "
        "letting UDP out at home-2 would help",
    ),
    (
        "relays alone by our policy",
        replace(BOTH_SYMMETRIC, policy=CandidatePolicy.RELAY),
        Finding.RELAYED,
        'relayed: this host uses relays alone, since its [ice] says candidates = "relay"; '
        'candidates = "all" here would allow a direct path',
    ),
    (
        "relays alone by the peer's policy",
        replace(RELAYED, there=there(candidates=there().candidates[-1:])),
        Finding.RELAYED,
        "relayed: home-2 tells its relays alone; "
        'candidates = "all" in the [ice] of home-2 would allow a direct path',
    ),
    (
        "no IP version in common",
        replace(RELAYED, there=there(candidates=IPV6), pairs=(pair(RELAYED_PATH, "succeeded"),)),
        Finding.RELAYED,
        "relayed: no IP version in common: IPv4 here, IPv6 at home-2",
    ),
    (
        "a firewall",
        replace(RELAYED, here=here(MappingBehaviour.NO_NAT), there=there(MappingBehaviour.NO_NAT)),
        Finding.RELAYED,
        "relayed: the only direct pair does not answer, though there is no NAT: a firewall seems "
        "to drop UDP; opening UDP 51820 at home-2 would make it direct",
    ),
    (
        "a mapping that is not known",
        replace(RELAYED, there=there(MappingBehaviour.UNKNOWN)),
        Finding.RELAYED,
        "relayed: the only direct pair does not answer; how the NAT maps at home-2 is not known; "
        "a second STUN server in the [ice] at home-2 would tell how the NAT maps",
    ),
    (
        "relayed at first",
        replace(RELAYED, pairs=(pair(state="in progress", is_new=True), *RELAYED.pairs[1:])),
        Finding.RELAYED,
        "relayed: so far, the only direct pair is being checked",
    ),
    (
        "relayed although a direct pair answers",
        replace(RELAYED, pairs=(pair(state="succeeded", remark="the peer is old"),)),
        Finding.RELAYED,
        "relayed: a direct pair answers, to 198.51.100.11:51820, but the peer is old",
    ),
    (
        "direct",
        DIRECT,
        Finding.DIRECT,
        "direct: 192.168.1.2 (host) → 198.51.100.11:51820 (srflx), round trip 12.3 ms, for 29 s",
    ),
    (
        "direct, chosen over another",
        replace(
            DIRECT,
            pairs=(
                *DIRECT.pairs,
                pair(SLOWER_PATH, "succeeded", remark="its round trip is 4.0 ms longer"),
                pair(Path(Endpoint("192.0.2.9", 8), OUR_BASE)),
                pair(RELAYED_PATH, "succeeded", remark="relayed, and the selected pair is direct"),
            ),
        ),
        Finding.DIRECT,
        "direct: 192.168.1.2 (host) → 198.51.100.11:51820 (srflx), round trip 12.3 ms, for 29 s; "
        "192.168.1.2 (host) → 192.0.2.9:7 (srflx) answers too, but its round trip is 4.0 ms "
        "longer; 1 relayed pair in reserve",
    ),
    (
        "direct, relayed before",
        replace(
            DIRECT,
            path_changes=(
                PathChange(NOW - 80, RELAYED_PATH, True),
                PathChange(NOW - 65, DIRECT_PATH, False),
            ),
        ),
        Finding.DIRECT,
        "direct: 192.168.1.2 (host) → 198.51.100.11:51820 (srflx), round trip 12.3 ms, "
        "for 1 min 5 s; relayed until 1 min 5 s ago",
    ),
    (
        "direct, and WireGuard not yet",
        replace(
            DIRECT,
            handshake_at_s=None,
            awaits_handshake=True,
            path_changes=(PathChange(NOW - 0.5, DIRECT_PATH, False),),
        ),
        Finding.DIRECT,
        "direct: 192.168.1.2 (host) → 198.51.100.11:51820 (srflx), round trip 12.3 ms, for 0.5 s; "
        "no handshake on it yet",
    ),
    (
        "direct, doubted",
        replace(DIRECT, is_doubted=True, pairs=()),
        Finding.DIRECT,
        "direct: to 198.51.100.11:51820, round trip 12.3 ms, for 29 s; it does not answer at the "
        "moment, others are being checked",
    ),
    (
        "a path that was lost",
        lost(),
        Finding.LOST,
        "no path: the direct one to 198.51.100.11:51820 stopped answering 34 s ago; check that "
        "home-2 is on and connected",
    ),
    (
        "a path that was lost, and the peer answers",
        lost(delivered_at_s=NOW - 33, is_acknowledged=True),
        Finding.LOST,
        "no path: the direct one to 198.51.100.11:51820 stopped answering 34 s ago; check that "
        "home-2 is on and connected",
    ),
    (
        "a path that was lost since the peer has our key no more",
        lost(delivered_at_s=NOW - 33),
        Finding.LOST,
        "no path: the direct one to 198.51.100.11:51820 stopped answering 34 s ago; home-2 takes "
        "our messages and does not answer; check that the configuration of home-2 still has our "
        "public key",
    ),
    (
        "a path that was lost with the overlay",
        lost(overlay_trouble="it is being joined", pairs=(pair(), pair())),
        Finding.LOST,
        "no path: the direct one to 198.51.100.11:51820 stopped answering 34 s ago, and none of "
        "2 pairs tried since answers; this host has lost the overlay, too: it is being joined",
    ),
    (
        "no handshake",
        replace(DIRECT, state=State.SELECTED, handshake_at_s=None),
        Finding.NO_HANDSHAKE,
        "a direct path works since 29 s, but WireGuard completed no handshake on it: the "
        "preshared keys of both sides seem to differ; compare preshared_key_file of both "
        "configurations",
    ),
    (
        "an old handshake",
        replace(RELAYED, handshake_at_s=NOW - 400),
        Finding.NO_HANDSHAKE,
        "a relayed path works, but WireGuard's last handshake is 6 min 40 s old; check that the "
        "preshared key was not changed at home-2",
    ),
]


@pytest.mark.parametrize(
    ("facts", "finding", "sentence"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_each_situation_has_its_sentence(facts: Facts, finding: Finding, sentence: str) -> None:
    verdict = judge(facts)
    assert verdict.sentence == sentence
    assert verdict.finding is finding


def test_every_finding_is_in_the_table() -> None:
    assert {finding for _, _, finding, _ in CASES} == set(Finding)


def test_opening_either_side_is_said_where_either_helps() -> None:
    assert judge(BOTH_SYMMETRIC).hints == (
        "opening UDP 51820 at home-2 would make it direct",
        "opening UDP 51820 here would make it direct",
    )


def test_a_port_is_named_where_the_peer_tells_it() -> None:
    """A server-reflexive candidate has the port of its base, unless the peer hides it."""
    told = there().candidates[1]
    untold = candidates("192.168.2.2", "198.51.100.11")[1]
    untold.related_address, untold.related_port = "0.0.0.0", 9
    for candidate, port in ((told, "UDP 51820"), (untold, "its UDP port")):
        facts = replace(BOTH_SYMMETRIC, there=there(SYMMETRIC, candidates=(candidate,)))
        assert judge(facts).hints[0] == f"opening {port} at home-2 would make it direct"


def test_an_answer_gets_its_time() -> None:
    changes = (PathChange(NOW - 90, DIRECT_PATH, False), PathChange(NOW - 4, None, False))
    young = lost(delivered_at_s=NOW - 3, path_changes=changes)
    assert "does not answer" not in judge(young).sentence


def test_a_handshake_gets_its_time() -> None:
    young = replace(
        DIRECT, handshake_at_s=None, path_changes=(PathChange(NOW - 9, DIRECT_PATH, False),)
    )
    assert judge(young).finding is Finding.DIRECT


def test_many_pairs_that_answer_are_not_all_told() -> None:
    rivals = [
        pair(Path(Endpoint("192.0.2.9", port), OUR_BASE), "succeeded") for port in range(1, 9)
    ]
    said = judge(replace(DIRECT, pairs=(*DIRECT.pairs, *rivals))).sentence
    assert said.count("answers too") == RIVALS_MAX
    assert said.endswith(f"; {len(rivals) - RIVALS_MAX} more answer")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-0.1, "0.0 s"),
        (0.26, "0.3 s"),
        (10.0, "10 s"),
        (60.0, "1 min"),
        (184.9, "3 min 4 s"),
        (7_500.0, "2 h 5 min"),
        (3_601.0, "1 h"),
        (90_000.0, "1 d 1 h"),
    ],
)
def test_durations_are_said_as_people_do(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_the_path_log_has_changes_only_and_a_bound() -> None:
    log = PathLog()
    log.note(None, False, 1.0)
    log.note(DIRECT_PATH, False, 2.0)
    log.note(DIRECT_PATH, False, 3.0)
    assert log.changes == (PathChange(2.0, DIRECT_PATH, False),)
    for at_s in range(4, 4 + 2 * PATH_CHANGES_MAX):
        log.note(DIRECT_PATH if at_s % 2 else None, False, float(at_s))
    assert len(log.changes) == PATH_CHANGES_MAX
    assert log.changes[-1].at_s == 3 + 2 * PATH_CHANGES_MAX
