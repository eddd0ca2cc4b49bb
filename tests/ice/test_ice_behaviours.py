"""The rules of docs/reference/ice-behaviours.md that need two agents, or one and the wire."""

import itertools
from collections import Counter
from typing import Any

import pytest

from wice.datagram import Endpoint
from wice.errors import RemoteProtocolError
from wice.ice import (
    RFC_8445,
    CandidatePolicy,
    ChecksExhausted,
    ConnectivityFailed,
    Credentials,
    Hysteresis,
    PairSelected,
    PairValidated,
    SelectedPathLost,
    Timing,
    parse_candidate,
)
from wice.ice import budget as budget_module
from wice.ice import checklist as checklist_module
from wice.ice.candidate import host_candidate, server_reflexive_candidate
from wice.ice.policy import told_candidates
from wice.stun import Attribute, Class, IntegrityKey, Method, encode, pack_xor_address, parse

Network = Any
Host = Any

RTT_S = 0.1
REMOTE = Credentials("abcdefgh", "r" * 24)
RELAY = Endpoint("198.51.100.77", 50_000)


def _told(index: int, foundation: int = 0, kind: str = "host") -> Any:
    related = "" if kind == "host" else " raddr 10.0.0.1 rport 9"
    text = f"{foundation or index} 1 udp {1_000 - index} 10.0.0.{index} 9 typ {kind}{related}"
    return parse_candidate(text)


def _answer(transmit: Any, error: int = 0) -> bytes:
    tid = parse(transmit.data).transaction_id
    mapped = pack_xor_address(Endpoint(transmit.path.source, 51_820), tid)
    attributes = [(Attribute.XOR_MAPPED_ADDRESS, mapped)]
    if error:
        attributes = [(Attribute.ERROR_CODE, bytes((0, 0, error // 100, error % 100)))]
    kind = Class.ERROR if error else Class.SUCCESS
    key = IntegrityKey(REMOTE.password.encode())
    return encode(Method.BINDING, kind, tid, attributes, key=key)


def _check(agent: Any, *extra: tuple[int, bytes], tid: int = 0, controlling: bool = True) -> bytes:
    role = Attribute.ICE_CONTROLLING if controlling else Attribute.ICE_CONTROLLED
    attributes = [
        (Attribute.USERNAME, f"{agent.local.ufrag}:{REMOTE.ufrag}".encode()),
        (Attribute.PRIORITY, bytes(4)),
        (role, bytes(8)),
        *extra,
    ]
    key = IntegrityKey(agent.local.password.encode())
    return encode(Method.BINDING, Class.REQUEST, tid.to_bytes(12, "big"), attributes, key=key)


def _sent(agent: Any) -> list[Any]:
    return list(iter(agent.poll_transmit, None))


def _requests(agent: Any) -> list[Any]:
    return [t for t in _sent(agent) if parse(t.data).message_class is Class.REQUEST]


def _alone(network: Network, *addresses: str, **options: Any) -> Any:
    """An agent whose remote the test plays."""
    host = network.host(*(addresses or ("192.0.2.1",)), **options)
    host.agent.set_remote(REMOTE, network.now)
    return host.agent


def _pass(network: Network, agent: Any, duration_s: float) -> list[tuple[float, Any]]:
    """Let time pass for one agent; what it sent, and when."""
    end, sent = network.now + duration_s, []
    while (at := agent.deadline()) is not None and at <= end:
        network.now = max(at, network.now)
        agent.handle_timeout(network.now)
        sent += [(network.now, transmit) for transmit in _sent(agent)]
    network.now = end
    return sent


# Check list


def test_a_frozen_pair_waits_for_its_foundation(network: Network) -> None:
    agent = _alone(network, controlling=True, timing=RFC_8445)
    for index in (1, 2):
        agent.add_remote_candidate(_told(index, foundation=7), network.now)
    agent.add_remote_candidate(_told(3, foundation=8), network.now)
    sent = [t.path.remote.host for t in _sent(agent)]
    sent += [t.path.remote.host for _, t in _pass(network, agent, 0.3)]
    assert sent == ["10.0.0.1", "10.0.0.3"]
    states = {p.path.remote.host: p.state for p in agent.pairs()}
    assert states["10.0.0.2"] == "frozen"


def test_success_thaws_the_foundation(network: Network) -> None:
    agent = _alone(network, controlling=True, timing=RFC_8445)
    for index in (1, 2, 3):
        agent.add_remote_candidate(_told(index, foundation=7), network.now)
    (first,) = _sent(agent)
    agent.receive(_answer(first), first.path.remote, first.path.source, network.now)
    sent = {t.path.remote.host for _, t in _pass(network, agent, 0.2)}
    assert {"10.0.0.2", "10.0.0.3"} <= sent


def test_the_fast_profile_leaves_no_slot_empty_for_frozen_pairs(network: Network) -> None:
    agent = _alone(network, controlling=True)
    for index in (1, 2):
        agent.add_remote_candidate(_told(index, foundation=7), network.now)
    agent.add_remote_candidate(_told(3, foundation=8), network.now)
    sent = [t.path.remote.host for t in _sent(agent)]
    sent += [t.path.remote.host for _, t in _pass(network, agent, 0.02)]
    assert sent == ["10.0.0.1", "10.0.0.3", "10.0.0.2"]


def test_a_reflexive_candidate_and_its_base_make_one_pair(network: Network) -> None:
    agent = _alone(network, controlling=True)
    base, mapped = Endpoint("10.0.0.9", 51_820), Endpoint("198.51.100.1", 1_234)
    server = Endpoint("203.0.113.1", 3478)
    local = [host_candidate(base, 9), server_reflexive_candidate(mapped, base, server, 9)]
    agent.set_local_candidates(local, network.now)
    agent.add_remote_candidate(_told(1), network.now)
    assert [pair.path.source for pair in agent.pairs()] == ["10.0.0.9"]


def test_a_hundred_pairs_are_kept_and_the_best(network: Network) -> None:
    agent = _alone(network, "192.0.2.1", "192.0.2.2", controlling=True)
    for index in range(1, 91):
        agent.add_remote_candidate(_told(index), network.now)
    pairs = agent.pairs()
    assert len(pairs) == checklist_module.PAIRS_MAX == 100
    of_best = Counter(pair.path.remote.host for pair in pairs)
    assert of_best["10.0.0.1"] == 2 and of_best["10.0.0.90"] == 0


# Pacing and retransmission


def test_the_rfc_profile_retransmits_as_rfc_8489_has_it(network: Network) -> None:
    agent = _alone(network, controlling=True, timing=RFC_8445)
    start = network.now
    agent.add_remote_candidate(_told(1), network.now)
    assert len(_sent(agent)) == 1
    times = [0.0, *(at - start for at, _ in _pass(network, agent, 39.0))]
    assert times == pytest.approx([0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5])
    assert agent.pairs()[0].state == "in progress"
    _pass(network, agent, 0.6)
    assert agent.pairs()[0].state == "failed"


def test_the_rto_of_the_rfc_grows_with_the_list(network: Network) -> None:
    agent = _alone(network, controlling=True, timing=RFC_8445)
    for index in range(1, 41):
        agent.add_remote_candidate(_told(index), network.now)
    sent = _pass(network, agent, 2.1)
    best = [at for at, t in sent if t.path.remote.host == "10.0.0.2"]
    # 40 pairs wait or are checked, 50 ms each.
    assert len(best) == 2 and best[1] - best[0] == pytest.approx(40 * 0.05)


@pytest.mark.parametrize("timing", [Timing(), RFC_8445])
def test_the_first_of_each_kind_waits_for_no_other(network: Network, timing: Timing) -> None:
    agent = _alone(network, "192.0.2.1", "2001:db8::1", controlling=True, timing=timing)
    kinds = ["host", "host", "srflx", "srflx", "relay"]
    for index, kind in enumerate(kinds, start=1):
        agent.add_remote_candidate(_told(index, kind=kind), network.now)
    agent.add_remote_candidate(parse_candidate("9 1 udp 9 2001:db8::2 9 typ host"), network.now)
    at_once = {t.path.remote.host for t in _requests(agent)}
    if timing.is_by_the_rfc:
        assert at_once == {"10.0.0.1"}
        return
    assert at_once == {"10.0.0.1", "10.0.0.3", "10.0.0.5", "2001:db8::2"}
    assert len(_pass(network, agent, 0.02)) == 2


def test_a_nomination_is_repeated_by_the_round_trip_that_is_known(network: Network) -> None:
    agent = _alone(network, controlling=True)
    agent.add_remote_candidate(_told(1), network.now)
    (check,) = _requests(agent)
    network.now += 0.06
    agent.receive(_answer(check), check.path.remote, check.path.source, network.now)
    (nomination,) = _requests(agent)
    start = network.now
    again = [at for at, t in _pass(network, agent, 0.3) if t.data == nomination.data]
    assert again[0] - start == pytest.approx(1.25 * 0.06)


def test_a_triggered_check_overtakes_the_list_and_takes_its_slot(network: Network) -> None:
    agent = _alone(network, controlling=False)
    for index in range(1, 11):
        agent.add_remote_candidate(_told(index), network.now)
    _sent(agent)
    network.now += 0.001
    agent.receive(_check(agent), Endpoint("10.0.0.9", 9), "192.0.2.1", network.now)
    assert [t.path.remote.host for t in _requests(agent)] == ["10.0.0.9"]
    assert [t for _, t in _pass(network, agent, 0.008)] == []
    assert len(_pass(network, agent, 0.002)) == 1


def test_triggered_checks_are_paced(network: Network) -> None:
    agent = _alone(network, controlling=False, timing=Timing(rto_s=60, rto_max_s=60))
    for index in range(1, 21):
        source = Endpoint(f"10.0.1.{index}", 9)
        agent.receive(_check(agent, tid=index), source, "192.0.2.1", network.now)
    assert len(_requests(agent)) == 1
    times = [at for at, _ in _pass(network, agent, 1)]
    assert len(times) == 19
    assert min(b - a for a, b in itertools.pairwise(times)) == pytest.approx(0.005)


# Roles


def test_a_role_conflict_brings_a_new_tie_breaker_and_the_check_again(network: Network) -> None:
    agent = _alone(network, controlling=True)
    agent.add_remote_candidate(_told(1), network.now)
    (check,) = _sent(agent)
    before = parse(check.data).attributes[Attribute.ICE_CONTROLLING]
    agent.receive(_answer(check, 487), check.path.remote, check.path.source, network.now)
    (again,) = _sent(agent)
    assert again.path == check.path
    after = parse(again.data).attributes[Attribute.ICE_CONTROLLED]
    assert after != before


def test_a_487_for_a_role_of_long_ago_turns_nothing(network: Network) -> None:
    """The role went and came back meanwhile: it is the same, the conflict is an old one."""
    agent = _alone(network, controlling=True)
    for index in (1, 2):
        agent.add_remote_candidate(_told(index), network.now)
    old, first = _sent(agent)[0], _pass(network, agent, 0.006)[0][1]
    agent.receive(_answer(first, 487), first.path.remote, first.path.source, network.now)
    network.now += 0.01
    agent.handle_timeout(network.now)
    second = next(t for t in _sent(agent) if t.path == first.path)
    agent.receive(_answer(second, 487), second.path.remote, second.path.source, network.now)
    assert agent.controlling
    agent.receive(_answer(old, 487), old.path.remote, old.path.source, network.now)
    assert agent.controlling


# Lite


def test_a_lite_agent_answers_and_sends_no_check(network: Network) -> None:
    a = network.host("192.0.2.1", controlling=False)
    b = network.host("192.0.2.2", controlling=True, lite=True)
    requests: list[Host] = []
    network.on_send = lambda host, data: (
        requests.append(host) if parse(data).message_class is Class.REQUEST else None
    )
    a.meet(b)
    b.meet(a)
    network.run(120)
    assert b not in requests
    assert a.agent.controlling and not b.agent.controlling
    assert b.agent.selected.path.remote == Endpoint("192.0.2.1", 51_820)
    assert a.agent.selected.path.remote == Endpoint("192.0.2.2", 51_820)
    assert not a.named(SelectedPathLost) and not b.named(SelectedPathLost)


def test_a_lite_agent_keeps_alive_and_notices_silence(network: Network) -> None:
    a = network.host("192.0.2.1", controlling=True)
    b = network.host("192.0.2.2", lite=True)
    a.meet(b)
    b.meet(a)
    network.run(1)
    indications: list[float] = []
    network.on_send = lambda _, data: (
        indications.append(network.now) if parse(data).message_class is Class.INDICATION else None
    )
    network.run(60)
    assert len(indications) == 4
    network.is_cut = lambda *_: True
    network.run(31)
    assert len(b.named(SelectedPathLost)) == 1


def test_two_lite_agents_take_the_best_pair_unchecked(network: Network) -> None:
    a = network.host("192.0.2.1", "2001:db8::1", controlling=True, lite=True)
    b = network.host("192.0.2.2", "2001:db8::2", lite=True)
    a.meet(b)
    b.meet(a)
    network.run(1)
    assert a.agent.selected.path.remote.host in b.addresses
    assert b.agent.selected.path.remote.host == a.agent.selected.path.source


# Trickle


def test_candidates_before_credentials(network: Network) -> None:
    a, b = network.host("192.0.2.1", controlling=True), network.host("192.0.2.2")
    for candidate in b.candidates():
        a.agent.add_remote_candidate(candidate, network.now, ufrag=b.agent.local.ufrag)
    a.agent.end_of_candidates(network.now, ufrag=b.agent.local.ufrag)
    network.run(1)
    assert a.sent == 0
    b.meet(a, candidates=[])
    a.agent.set_remote(b.agent.local, network.now)
    start = network.now
    network.run(1)
    assert a.time_of(PairValidated) - start == pytest.approx(RTT_S)
    assert a.agent.selected.remote_type == "host"


def test_a_candidate_of_a_generation_that_is_gone_is_refused(network: Network) -> None:
    agent = _alone(network, controlling=True)
    agent.set_remote(Credentials("newufrag", "n" * 24), network.now)
    with pytest.raises(RemoteProtocolError, match="gone"):
        agent.add_remote_candidate(_told(1), network.now, ufrag=REMOTE.ufrag)
    with pytest.raises(RemoteProtocolError, match="gone"):
        agent.end_of_candidates(network.now, ufrag=REMOTE.ufrag)
    assert agent.pairs() == []


def test_early_candidates_are_bounded(network: Network) -> None:
    agent = _alone(network, controlling=True)
    refused = 0
    for index in range(10_000):
        try:
            agent.add_remote_candidate(_told(index % 200 + 1), network.now, ufrag="later")
        except RemoteProtocolError:
            refused += 1
    assert refused == 10_000 - 100


def test_a_candidate_after_completion_and_after_the_end_is_checked(network: Network) -> None:
    agent = _alone(network, controlling=True)
    agent.add_remote_candidate(_told(1), network.now)
    agent.end_of_candidates(network.now)
    for _ in range(2):
        for sent in _requests(agent):
            agent.receive(_answer(sent), sent.path.remote, sent.path.source, network.now)
    assert agent.selected is not None
    network.now += 1
    agent.add_remote_candidate(_told(2), network.now)
    assert [t.path.remote.host for t in _requests(agent)] == ["10.0.0.2"]


def test_a_candidate_after_completion_is_checked_and_can_win(network: Network) -> None:
    a = network.host("192.0.2.1", controlling=True)
    b = network.host("192.0.2.2", "192.0.2.3")
    network.extra_s = lambda s, r: 0.1 if "192.0.2.2" in (s.host, r.host) else 0.0
    first, late = b.candidates()
    b.agent.set_local_candidates([first], network.now)
    a.meet(b, candidates=[first], renomination=True)
    b.meet(a, renomination=True)
    network.run(2)
    assert a.agent.selected.path.remote.host == "192.0.2.2"
    b.agent.set_local_candidates([first, late], network.now)
    a.agent.add_remote_candidate(late, network.now)
    network.run(120)
    for host in (a, b):
        assert len(host.named(PairSelected)) == 2 and not host.named(SelectedPathLost)
    assert a.agent.selected.path.remote.host == "192.0.2.3"
    assert b.agent.selected.path.source == "192.0.2.3"


def test_withdrawn_candidates_go_but_not_the_pair_that_works(network: Network) -> None:
    a = network.host("192.0.2.1", controlling=True)
    b = network.host("192.0.2.2", "192.0.2.3", "192.0.2.4")
    a.meet(b)
    b.meet(a)
    network.is_cut = lambda s, r: "192.0.2.4" in (s.host, r.host)
    network.run(10)
    a.agent.retain_remote_candidates([Endpoint("192.0.2.99", 9)], network.now)
    kept = {pair.path.remote.host for pair in a.agent.pairs()}
    assert kept == {"192.0.2.2", "192.0.2.3"}
    network.run(60)
    assert not a.named(SelectedPathLost)


def test_a_withdrawn_selected_candidate_is_left_at_once(network: Network) -> None:
    a = network.host("192.0.2.1", controlling=True)
    b = network.host("192.0.2.2", "192.0.2.3")
    a.meet(b)
    b.meet(a)
    network.run(5)
    used = a.agent.selected.path.remote
    left = [c for c in b.candidates() if c.host != used.host]
    b.agent.set_local_candidates(left, network.now)
    network.is_cut = lambda s, r: used.host in (s.host, r.host)
    a.agent.retain_remote_candidates([Endpoint(c.host, c.port) for c in left], network.now)
    start = network.now
    network.run(1)
    back_at = [at for at, event in a.events if isinstance(event, PairSelected)][1]
    assert back_at - start <= 2.2 * RTT_S
    assert a.agent.selected.path.remote.host == left[0].host
    assert b.agent.selected.path.source == left[0].host


def test_a_peer_reflexive_candidate_that_is_told_is_checked_and_withdrawn_as_others_are(
    network: Network,
) -> None:
    """RFC 8839 section 5.1 has a word for it: no check came from there."""
    agent = _alone(network, controlling=True)
    agent.add_remote_candidate(_told(1, kind="prflx"), network.now)
    assert [t.path.remote.host for t in _requests(agent)] == ["10.0.0.1"]
    agent.retain_remote_candidates([], network.now)
    assert not agent.pairs()


def test_a_pair_that_a_check_comes_in_on_is_checked_with_all_effort_again(
    network: Network,
) -> None:
    agent = _alone(network, controlling=False)
    agent.add_remote_candidate(_told(1), network.now)
    _sent(agent)
    _pass(network, agent, 30)
    assert agent.pairs()[0].state == "failed"
    agent.receive(_check(agent), Endpoint("10.0.0.1", 9), "192.0.2.1", network.now)
    (first,) = _requests(agent)
    again = [t.data for _, t in _pass(network, agent, 6)]
    assert 1 + again.count(first.data) == Timing().transmissions_max


# Patience


def test_no_verdict_before_patience_is_over(network: Network) -> None:
    a = network.host("192.0.2.1", controlling=True)
    start = network.now
    a.agent.set_remote(REMOTE, start)
    a.agent.add_remote_candidate(_told(1), start)
    a.agent.end_of_candidates(start)
    network.run(39.4)
    assert a.named(ChecksExhausted) and not a.named(ConnectivityFailed)
    network.run(0.2)
    assert a.time_of(ConnectivityFailed) - start == pytest.approx(39.5)


def test_a_remote_without_candidates_is_awaited(network: Network) -> None:
    """All that leads to it is a check of its own, late: no verdict stands in its way."""
    a, b = network.host("192.0.2.1", controlling=True), network.host("192.0.2.2")
    a.meet(b, candidates=[])
    network.run(39)
    assert not a.named(ConnectivityFailed)
    network.run(60)
    assert len(a.named(ConnectivityFailed)) == 1
    b.meet(a)
    start = network.now
    network.run(2)
    assert a.agent.selected.remote_type == "prflx"
    assert min(at for at, e in a.events if isinstance(e, PairValidated)) - start < 2 * RTT_S


def test_checks_go_on_after_the_verdict(network: Network) -> None:
    a, b = network.host("192.0.2.1", controlling=True), network.host("192.0.2.2")
    network.is_cut = lambda *_: True
    a.meet(b)
    b.meet(a)
    network.run(300)
    assert len(a.named(ConnectivityFailed)) == len(b.named(ConnectivityFailed)) == 1
    network.is_cut = lambda *_: False
    network.run(31)
    assert a.agent.selected is not None and b.agent.selected is not None


def test_an_agent_whose_last_pair_went_while_a_retry_was_due_rests(network: Network) -> None:
    agent = _alone(network, controlling=True)
    agent.add_remote_candidate(_told(1), network.now)
    _pass(network, agent, 8)
    assert agent.pairs()[0].state == "failed"
    other_family = [host_candidate(Endpoint("2001:db8::1", 51_820), 9)]
    agent.set_local_candidates(other_family, network.now)
    assert agent.pairs() == []
    due = agent.deadline()
    assert due is None or due > network.now + 10


# Renomination


def _relayed_then_direct(
    network: Network, *, renomination: bool, open_after_s: float
) -> tuple[Host, Host]:
    """The direct way opens after a while; a relay is there at once."""
    a = network.host("192.0.2.1", controlling=True)
    b = network.host("192.0.2.2", relay=RELAY)
    network.is_cut = lambda s, r: RELAY not in (s, r)
    network.at(open_after_s, lambda: setattr(network, "is_cut", lambda *_: False))
    a.meet(b, renomination=renomination)
    b.meet(a, renomination=renomination)
    return a, b


def test_a_relayed_path_becomes_direct_by_itself(network: Network) -> None:
    a, b = _relayed_then_direct(network, renomination=True, open_after_s=60)
    network.run(50)
    assert a.agent.selected.remote_type == "relay"
    assert b.agent.selected.local_type == "relay"
    assert b.agent.selected.path.source == str(RELAY)
    network.run(10 + Timing().upgrade_max_s + 1)
    for host in (a, b):
        assert "relay" not in (host.agent.selected.local_type, host.agent.selected.remote_type)
        assert not host.named(SelectedPathLost)


def test_a_nomination_is_of_one_pair(network: Network) -> None:
    """Two with one number, and the remote would switch to and fro with each check of them."""
    _, b = _relayed_then_direct(network, renomination=True, open_after_s=60)
    # The nomination takes its time, and consent is asked for the relayed pair meanwhile.
    network.extra_s = lambda s, r: 0.0 if RELAY in (s, r) else 2.9
    network.run(300)
    assert [event.is_relayed for event in b.named(PairSelected)] == [True, False]


def test_a_plain_peer_is_nominated_once(network: Network) -> None:
    a, b = _relayed_then_direct(network, renomination=False, open_after_s=60)
    seen = []
    network.on_send = lambda _, data: seen.append(Attribute.NOMINATION in parse(data).attributes)
    network.run(200)
    assert a.agent.selected.remote_type == "relay"
    assert len(a.named(PairSelected)) == len(b.named(PairSelected)) == 1
    assert not any(seen)
    better = next(r for r in a.agent.pair_reports() if not r.is_relayed)
    assert better.remark == "it is better, and the peer does not know renomination"


def test_a_plain_peer_is_not_nominated_a_relay_while_a_direct_pair_may_work(
    network: Network,
) -> None:
    a, _ = _relayed_then_direct(network, renomination=False, open_after_s=0.5)
    network.run(5)
    assert a.agent.selected.remote_type == "host"
    assert len(a.named(PairSelected)) == 1


def _two_ways(network: Network, slower_s: float) -> tuple[Host, Host]:
    """Two paths; the one that is selected first gets slower by ``slower_s``, one way."""
    a = network.host("192.0.2.1", controlling=True)
    b = network.host("192.0.2.2", "192.0.2.3")
    a.meet(b, renomination=True)
    b.meet(a, renomination=True)
    network.run(2)
    slow = a.agent.selected.path.remote.host
    network.extra_s = lambda s, r: slower_s if slow in (s.host, r.host) else 0.0
    return a, b


def test_a_shorter_round_trip_is_switched_to(network: Network) -> None:
    a, b = _two_ways(network, 0.2)
    network.run(400)
    assert len(a.named(PairSelected)) == len(b.named(PairSelected)) == 2
    assert a.agent.selected.path.remote.host == b.agent.selected.path.source


def test_a_little_shorter_is_no_reason(network: Network) -> None:
    a, _ = _two_ways(network, 0.002)
    network.run(400)
    assert len(a.named(PairSelected)) == 1
    (other,) = (r for r in a.agent.pair_reports() if not r.is_selected)
    assert "needed" in other.remark


def test_switching_does_not_flap(network: Network) -> None:
    """Two paths take turns in being fast, every 20 s."""
    a, _ = _two_ways(network, 0.0)
    hosts = itertools.cycle(["192.0.2.2", "192.0.2.3"])
    for _ in range(60):
        slow = next(hosts)
        network.extra_s = lambda s, r, slow=slow: 0.1 if slow in (s.host, r.host) else 0.0
        network.run(20)
    times = [at for at, event in a.events if isinstance(event, PairSelected)]
    assert min(b - a for a, b in itertools.pairwise([0.0, *times])) >= Hysteresis().interval_s


def test_a_relay_never_replaces_a_direct_pair(network: Network) -> None:
    a = network.host("192.0.2.1", controlling=True)
    b = network.host("192.0.2.2", relay=RELAY)
    # The relay is much shorter.
    network.extra_s = lambda s, r: 0.0 if RELAY in (s, r) else 0.9
    a.meet(b, renomination=True)
    b.meet(a, renomination=True)
    network.run(300)
    assert a.agent.selected.remote_type == "host"
    assert [event.remote_type for event in a.named(PairSelected)] == ["relay", "host"]
    relayed = next(r for r in a.agent.pair_reports() if r.is_relayed)
    assert relayed.state == "succeeded"
    assert relayed.remark == "relayed, and the selected pair is direct"


def _nominated(agent: Any, network: Network, index: int, number: int, tid: int) -> None:
    """A nomination with ``number`` on the pair with 10.0.0.``index``, which works."""
    extra = [(Attribute.USE_CANDIDATE, b"")]
    if number:
        extra.append((Attribute.NOMINATION, number.to_bytes(4, "big")))
    source = Endpoint(f"10.0.0.{index}", 9)
    network.now += 0.01
    agent.receive(_check(agent, *extra, tid=tid), source, "192.0.2.1", network.now)
    for transmit in _requests(agent):
        agent.receive(_answer(transmit), transmit.path.remote, transmit.path.source, network.now)


def test_the_highest_nomination_wins_and_an_old_one_does_nothing(network: Network) -> None:
    agent = _alone(network, controlling=False)
    for index in (1, 2):
        agent.add_remote_candidate(_told(index), network.now)
    _nominated(agent, network, 1, 1, tid=1)
    _nominated(agent, network, 2, 2, tid=2)
    assert agent.selected.path.remote.host == "10.0.0.2"
    _nominated(agent, network, 1, 1, tid=3)
    assert agent.selected.path.remote.host == "10.0.0.2"
    _nominated(agent, network, 1, 3, tid=4)
    assert agent.selected.path.remote.host == "10.0.0.1"


def test_without_numbers_the_last_nomination_wins(network: Network) -> None:
    agent = _alone(network, controlling=False)
    for tid, index in enumerate((1, 2, 1, 2, 2)):
        _nominated(agent, network, index, 0, tid=tid)
        assert agent.selected.path.remote.host == f"10.0.0.{index}"


# Spares


def test_spare_pairs_are_kept_warm(network: Network) -> None:
    a = network.host("192.0.2.1", controlling=True)
    b = network.host("192.0.2.2", "192.0.2.3", relay=RELAY)
    a.meet(b)
    b.meet(a)
    network.run(300)
    for report in a.agent.pair_reports():
        assert report.state == "succeeded"
        assert report.last_answer_at_s > network.now - 30


def test_the_controlled_side_that_moves_has_another_path_at_once(network: Network) -> None:
    a = network.host("192.0.2.1", controlling=True)
    b = network.host("192.0.2.2", "192.0.2.3")
    a.meet(b)
    b.meet(a)
    network.run(60)
    used = b.agent.selected.path.source
    start = network.now
    b.addresses = tuple(address for address in b.addresses if address != used)
    b.agent.set_local_candidates(b.candidates(), network.now)
    network.drain(b)
    at, valid = next((t, e) for t, e in reversed(b.events) if isinstance(e, PairValidated))
    assert at == start and valid.path.source == b.addresses[0]


# What is told, and to whom


def test_policies_tell_no_more_than_they_say(network: Network) -> None:
    base, mapped = Endpoint("192.168.1.2", 51_820), Endpoint("198.51.100.1", 1_234)
    server = Endpoint("203.0.113.1", 3478)
    host = network.host("192.168.1.2", "2001:db8::2", relay=RELAY)
    local = [*host.candidates(), server_reflexive_candidate(mapped, base, server, 9)]
    said = {
        policy: [(c.type, c.host, c.related_address) for c in told_candidates(local, policy)]
        for policy in CandidatePolicy
    }
    assert len(said[CandidatePolicy.ALL]) == 4
    assert said[CandidatePolicy.PUBLIC] == [
        ("host", "2001:db8::2", None),
        ("relay", RELAY.host, "0.0.0.0"),
        ("srflx", "198.51.100.1", "0.0.0.0"),
    ]
    assert said[CandidatePolicy.RELAY] == [("relay", RELAY.host, "0.0.0.0")]
    assert local[0].host == "192.168.1.2" and local[-1].related_address == "192.168.1.2"


def test_a_private_address_is_not_shown_to_a_private_remote(network: Network) -> None:
    agent = _alone(network, "192.168.1.2", controlling=True)
    base = [host_candidate(Endpoint("192.168.1.2", 51_820), 9)]
    agent.set_local_candidates(base, network.now, CandidatePolicy.PUBLIC)
    agent.add_remote_candidate(_told(1), network.now)
    agent.add_remote_candidate(parse_candidate("9 1 udp 9 198.51.100.2 9 typ host"), network.now)
    assert [pair.path.remote.host for pair in agent.pairs()] == ["198.51.100.2"]


def test_relay_only_sends_nothing_from_here(network: Network) -> None:
    host = network.host("192.0.2.1", controlling=True, relay=RELAY)
    host.agent.set_local_candidates(host.candidates(), network.now, CandidatePolicy.RELAY)
    host.agent.set_remote(REMOTE, network.now)
    public = parse_candidate("9 1 udp 9 198.51.100.2 9 typ host")
    host.agent.add_remote_candidate(public, network.now)
    assert {t.path.source for _, t in _pass(network, host.agent, 60)} <= {str(RELAY)}
    assert [pair.path.source for pair in host.agent.pairs()] == [str(RELAY)]


@pytest.mark.parametrize("destination", ["192.0.2.1", None])
@pytest.mark.parametrize("has_relay", [True, False])
def test_relay_only_answers_nobody_from_here(
    network: Network, destination: str | None, has_relay: bool
) -> None:
    """Whoever knows or guesses an address of ours would see that it is right."""
    host = network.host("192.0.2.1", controlling=True, relay=RELAY if has_relay else None)
    host.agent.set_local_candidates(host.candidates(), network.now, CandidatePolicy.RELAY)
    host.agent.set_remote(REMOTE, network.now)
    check = _check(host.agent, tid=9, controlling=False)
    with pytest.raises(RemoteProtocolError, match="no candidate of ours"):
        host.agent.receive(check, Endpoint("10.0.0.3", 9), destination, network.now)
    assert _sent(host.agent) == []
    if has_relay:
        host.agent.receive(check, Endpoint("10.0.0.3", 9), str(RELAY), network.now)
        assert _sent(host.agent)


# Reports


def test_a_pair_tells_what_was_tried_and_with_which_answer(network: Network) -> None:
    agent = _alone(network, controlling=True)
    start = network.now
    for index in (1, 2, 3):
        agent.add_remote_candidate(_told(index), network.now)
    sent = _sent(agent)
    network.now += 0.02
    agent.handle_timeout(network.now)
    sent += _sent(agent)
    agent.receive(_answer(sent[0]), sent[0].path.remote, "192.0.2.1", network.now)
    agent.receive(_answer(sent[1], 400), sent[1].path.remote, "192.0.2.1", network.now)
    agent.receive(
        _check(agent, tid=9, controlling=False),
        Endpoint("10.0.0.3", 9),
        "192.0.2.1",
        network.now,
    )
    _pass(network, agent, 10)
    first, second, third = agent.pair_reports()
    assert (first.attempts[0].purpose, first.attempts[0].outcome) == ("ordinary", "answered")
    assert (first.attempts[0].at_s, first.attempts[0].took_s) == (start, pytest.approx(0.02))
    assert first.answers == 1
    assert [a.outcome for a in second.attempts][:1] == ["error 400"]
    assert third.checks_received == 1 and third.answers == 0
    assert third.attempts[-1].purpose == "triggered"
    assert third.attempts[-1].outcome == "no answer"
    assert third.attempts[-1].transmissions == 9


def test_reports_are_bounded(network: Network) -> None:
    a, b = network.host("192.0.2.1", controlling=True), network.host("192.0.2.2")
    network.is_cut = lambda *_: True
    a.meet(b)
    b.meet(a)
    network.run(2_000)
    (report,) = a.agent.pair_reports()
    assert len(report.attempts) == 8
    assert report.checks_sent > 100


# Abuse


@pytest.mark.parametrize("is_named", [True, False])
def test_a_victim_gets_little(network: Network, is_named: bool) -> None:
    """A member names somebody else's address, and sends checks that seem to come from there."""
    agent = _alone(network, "192.0.2.1", "192.0.2.2", controlling=False)
    sent: list[tuple[float, Any]] = []
    refused = 0
    for index in range(10_000):
        victim = Endpoint("203.0.113.9", 1_024 + index)
        text = f"{index} 1 udp {index + 1} {victim.host} {victim.port} typ host"
        try:
            if is_named:
                agent.add_remote_candidate(parse_candidate(text), network.now)
        except RemoteProtocolError:
            refused += 1
        agent.receive(_check(agent, tid=index), victim, "192.0.2.1", network.now)
        # What answers those checks is theirs to cause, one small datagram each.
        sent += [(network.now, t) for t in _requests(agent)]
        sent += _pass(network, agent, 0.01)
    assert refused > 9_000 or not is_named
    bound = budget_module.CHECKS_PER_HOST_MAX + 100 / budget_module.REFILL_S
    requests = [t for _, t in sent if parse(t.data).message_class is Class.REQUEST]
    assert 0 < len(requests) <= 9 * bound
    assert len(agent.pairs()) <= 2 * checklist_module.REMOTE_CANDIDATES_PER_HOST_MAX


def test_checks_from_forged_ports_displace_few_that_the_remote_told_of(network: Network) -> None:
    """Who sees one check sends it again from any port of the remote's address."""
    agent = _alone(network, controlling=False)
    told = [Endpoint("203.0.113.9", port) for port in (4_001, 4_002)]
    for index, endpoint in enumerate(told):
        text = f"{index} 1 udp {index + 1} {endpoint.host} {endpoint.port} typ srflx"
        agent.add_remote_candidate(parse_candidate(text), network.now)
    check = _check(agent)
    for port in range(5_000, 5_100):
        agent.receive(check, Endpoint("203.0.113.9", port), "192.0.2.1", network.now)
    reached = {pair.path.remote for pair in agent.pairs()}
    assert len(reached) == checklist_module.REMOTE_CANDIDATES_PER_HOST_MAX
    assert reached > set(told)


def test_of_many_that_the_remote_told_of_the_worst_gives_way_to_a_check(network: Network) -> None:
    """First those that failed, then by priority."""
    agent = _alone(network, controlling=False)
    ports = range(4_000, 4_000 + checklist_module.REMOTE_CANDIDATES_PER_HOST_MAX)
    for port in ports:
        priority = 10_000 if port == ports[5] else port
        text = f"{port} 1 udp {priority} 203.0.113.9 {port} typ srflx"
        agent.add_remote_candidate(parse_candidate(text), network.now)
    sent = _sent(agent) + [transmit for _, transmit in _pass(network, agent, 0.05)]
    (check,) = (transmit for transmit in sent if transmit.path.remote.port == ports[5])
    agent.receive(_answer(check, error=400), check.path.remote, check.path.source, network.now)
    for index, gone in enumerate([ports[5], ports[0], ports[1]]):
        agent.receive(
            _check(agent, tid=index), Endpoint("203.0.113.9", index + 1), "192.0.2.1", network.now
        )
        reached = {pair.path.remote.port for pair in agent.pairs()}
        assert gone not in reached
        assert len(reached) == len(ports)


def test_candidates_at_many_victims_are_bounded(network: Network) -> None:
    """10,000 addresses, told and seen to send checks: a hundred at most get any of ours."""
    agent = _alone(network, controlling=False)
    asked: Counter[str] = Counter()
    for index in range(10_000):
        victim = Endpoint(f"203.0.{index // 250}.{index % 250 + 1}", 9)
        try:
            text = f"{index} 1 udp {index + 1} {victim.host} {victim.port} typ host"
            agent.add_remote_candidate(parse_candidate(text), network.now)
        except RemoteProtocolError:
            agent.receive(_check(agent, tid=index), victim, "192.0.2.1", network.now)
        network.now += 0.001
        agent.handle_timeout(network.now)
        asked.update(t.path.remote.host for t in _requests(agent))
    for _, sent in _pass(network, agent, 60):
        asked[sent.path.remote.host] += 1
    assert 0 < len(asked) <= checklist_module.REMOTE_CANDIDATES_MAX
    assert max(asked.values()) <= Timing().transmissions_max + 2 * 6


@pytest.mark.parametrize("is_connected", [False, True])
def test_a_flood_of_forged_messages_changes_nothing(network: Network, is_connected: bool) -> None:
    """A stranger knows the addresses and sees no datagram of ours."""
    a, b = network.host("192.0.2.1", controlling=True), network.host("192.0.2.2")
    a.meet(b)
    b.meet(a)
    network.run(20 if is_connected else 0)
    agent, peer = a.agent, Endpoint("192.0.2.2", 51_820)
    before = agent.pairs(), agent.deadline()
    stranger = Credentials(agent.local.ufrag, "s" * 24)
    for index in range(1_000):
        tid = index.to_bytes(12, "big")
        key = IntegrityKey(stranger.password.encode())
        mapped = [(Attribute.XOR_MAPPED_ADDRESS, pack_xor_address(peer, tid))]
        conflict = [(Attribute.ERROR_CODE, bytes((0, 0, 4, 87)))]
        check = [
            (Attribute.USERNAME, f"{stranger.ufrag}:{REMOTE.ufrag}".encode()),
            (Attribute.PRIORITY, bytes(4)),
            (Attribute.ICE_CONTROLLED, bytes(8)),
        ]
        for kind, attributes in (
            (Class.REQUEST, check),
            (Class.SUCCESS, mapped),
            (Class.ERROR, conflict),
        ):
            with pytest.raises(RemoteProtocolError):
                agent.receive(
                    encode(Method.BINDING, kind, tid, attributes, key=key),
                    peer,
                    "192.0.2.1",
                    network.now,
                )
    assert _sent(agent) == [] and agent.poll_event() is None
    assert (agent.pairs(), agent.deadline()) == before
    network.run(60)
    assert agent.selected is not None and not a.named(SelectedPathLost)


def test_an_answer_with_a_seen_transaction_and_no_password_does_nothing(network: Network) -> None:
    """Who sees our datagrams knows the transaction; the password is not in them."""
    agent = _alone(network, controlling=True)
    agent.add_remote_candidate(_told(1), network.now)
    (check,) = _requests(agent)
    tid = parse(check.data).transaction_id
    for error in (400, 487):
        attributes = [(Attribute.ERROR_CODE, bytes((0, 0, error // 100, error % 100)))]
        forged = encode(
            Method.BINDING, Class.ERROR, tid, attributes, key=IntegrityKey(b"not the password")
        )
        with pytest.raises(RemoteProtocolError):
            agent.receive(forged, check.path.remote, check.path.source, network.now)
    assert agent.controlling and agent.pairs()[0].state == "in progress"
    agent.receive(_answer(check), check.path.remote, check.path.source, network.now)
    assert agent.pairs()[0].state == "succeeded"


def test_an_address_that_answers_has_no_budget(network: Network) -> None:
    network.loss = 0.3
    a = network.host(*(f"192.0.2.{i}" for i in range(1, 6)), controlling=True)
    b = network.host("192.0.2.11", relay=RELAY)
    a.meet(b)
    b.meet(a)
    network.run(30)
    assert not any(
        attempt.outcome.startswith("not sent")
        for report in a.agent.pair_reports()
        for attempt in report.attempts
    )
