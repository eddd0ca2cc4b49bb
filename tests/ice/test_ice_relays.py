"""Relayed pairs between two agents: when they are used, left, kept warm and replaced."""

from collections import Counter
from typing import Any

import pytest

from wice.datagram import Endpoint
from wice.errors import RemoteProtocolError
from wice.ice import (
    Candidate,
    CandidatePolicy,
    Credentials,
    PairReport,
    PairSelected,
    PairValidated,
    SelectedPathLost,
    Timing,
    parse_candidate,
)
from wice.ice import budget as budget_module
from wice.ice import checklist as checklist_module
from wice.ice.selection import SPARES_TRIED_MAX
from wice.stun import Class, parse

Network = Any
Host = Any

RELAY_A = Endpoint("198.51.100.71", 50_001)
RELAY_B = Endpoint("198.51.100.72", 50_002)
SPARE_RELAY_B = Endpoint("198.51.100.73", 50_003)
RELAYS = (RELAY_A, RELAY_B, SPARE_RELAY_B)


def _is_direct(source: Endpoint, remote: Endpoint) -> bool:
    return source not in RELAYS and remote not in RELAYS


def _meet(a: Host, b: Host) -> None:
    a.meet(b, renomination=True)
    b.meet(a, renomination=True)


def _has_path(network: Network, host: Host) -> bool:
    """Whether data that ``host`` sends now along its path gets there."""
    selected = host.agent.selected
    if selected is None:
        return False
    relay = next((r for r in host.relays if str(r) == selected.path.source), None)
    source = relay or Endpoint(selected.path.source, selected.path.remote.port)
    return not network.is_cut(source, selected.path.remote)


def _run_without_gap(network: Network, hosts: tuple[Host, ...], duration_s: float) -> None:
    for _ in range(round(duration_s / 0.01)):
        network.run(0.01)
        assert all(_has_path(network, host) for host in hosts)


@pytest.mark.parametrize("is_both", [False, True])
def test_relays_connect_what_cannot_be_punched(
    network: Network, make_nat: Any, is_both: bool
) -> None:
    symmetric = {"mapping": "address-and-port", "filtering": "address-and-port"}
    a = network.host(
        "10.0.0.1",
        controlling=True,
        nat=make_nat("198.51.100.1", **symmetric),
        relay=RELAY_A if is_both else None,
    )
    b = network.host("10.0.0.2", nat=make_nat("198.51.100.2", **symmetric), relay=RELAY_B)
    _meet(a, b)
    network.run(10)
    for host in (a, b):
        (event,) = host.named(PairSelected)
        assert event.is_relayed
    _run_without_gap(network, (a, b), 40)


def test_only_relays_on_both_sides(network: Network) -> None:
    a = network.host("192.0.2.1", controlling=True, relay=RELAY_A)
    b = network.host("192.0.2.2", relay=RELAY_B)
    for host in (a, b):
        host.agent.set_local_candidates(host.candidates(), network.now, CandidatePolicy.RELAY)
    for host, other in ((a, b), (b, a)):
        host.meet(other, [c for c in other.candidates() if c.type == "relay"])
    network.run(10)
    assert (a.agent.selected.path.source, a.agent.selected.path.remote) == (str(RELAY_A), RELAY_B)
    assert (b.agent.selected.path.source, b.agent.selected.path.remote) == (str(RELAY_B), RELAY_A)


def test_a_relay_is_not_selected_where_direct_works(network: Network) -> None:
    a = network.host("192.0.2.1", controlling=True, relay=RELAY_A)
    b = network.host("192.0.2.2", relay=RELAY_B)
    _meet(a, b)
    network.run(60)
    for host in (a, b):
        assert [event.is_relayed for event in host.named(PairSelected)] == [False]


def test_relayed_becomes_direct_without_a_gap(network: Network) -> None:
    a = network.host("192.0.2.1", controlling=True, relay=RELAY_A)
    b = network.host("192.0.2.2", relay=RELAY_B)
    network.is_cut = _is_direct
    _meet(a, b)
    network.run(20)
    assert a.agent.selected.path.remote in RELAYS or a.agent.selected.path.source == str(RELAY_A)
    network.is_cut = lambda *_: False
    _run_without_gap(network, (a, b), Timing().upgrade_s + 1)
    for host in (a, b):
        assert not host.named(PairSelected)[-1].is_relayed
        assert not host.named(SelectedPathLost)


def test_a_warm_relay_takes_over_when_the_direct_way_closes(network: Network) -> None:
    a = network.host("192.0.2.1", controlling=True)
    b = network.host("192.0.2.2", relay=RELAY_B)
    _meet(a, b)
    network.run(300)
    for host in (a, b):
        relayed = next(r for r in host.agent.pair_reports() if r.is_relayed)
        assert relayed.last_answer_at_s > network.now - 30
    network.is_cut = _is_direct
    network.run(12)
    for host in (a, b):
        assert _has_path(network, host)
        assert not host.named(SelectedPathLost)


def test_another_relay_carries_at_once_when_an_allocation_is_lost(network: Network) -> None:
    a = network.host("192.0.2.1", controlling=True)
    b = network.host("192.0.2.2", relay=RELAY_B)
    b.more_relays = (SPARE_RELAY_B,)
    b.agent.set_local_candidates(b.candidates(), network.now)
    network.is_cut = _is_direct
    _meet(a, b)
    network.run(60)
    assert b.agent.selected.path.source == str(RELAY_B)
    b.relay, start = None, network.now
    b.agent.set_local_candidates(b.candidates(), network.now)
    network.drain(b)
    (valid,) = [e for at, e in b.events if isinstance(e, PairValidated) and at == start]
    assert valid.path.source == str(SPARE_RELAY_B) and valid.is_relayed
    told = [Endpoint(c.host, c.port) for c in b.candidates()]
    a.agent.retain_remote_candidates(told, network.now)
    network.drain(a)
    network.run(1)
    assert a.agent.selected.path.remote == SPARE_RELAY_B
    assert b.agent.selected.path.source == str(SPARE_RELAY_B)
    assert not a.named(SelectedPathLost)


def test_relayed_pairs_neither_multiply_nor_give_way_to_direct_ones(network: Network) -> None:
    agent = network.host(*(f"192.0.2.{i}" for i in range(1, 5)), relay=RELAY_A).agent
    agent.set_remote(Credentials("abcdefgh", "r" * 24), network.now)
    for index in range(1, 51):
        told = f"{index} 1 udp {2_130_706_000 - index} 203.0.112.{index} 9 typ host"
        agent.add_remote_candidate(parse_candidate(told), network.now)
    for index in range(1, 41):
        told = f"r 1 udp {16_777_000 - index} 203.0.113.{index} 9 typ relay raddr 0.0.0.0 rport 9"
        agent.add_remote_candidate(parse_candidate(told), network.now)
    pairs = agent.pairs()
    assert len(pairs) == checklist_module.PAIRS_MAX
    kinds = Counter((p.path.source == str(RELAY_A), p.remote_type) for p in pairs)
    assert kinds[True, "host"] == kinds[False, "relay"] == kinds[True, "relay"] == 1


def test_a_public_relay_checks_no_private_address(network: Network) -> None:
    """Relays refuse to send there, and a refused permission costs the others a round trip."""
    private = ("10.0.0.9", "127.0.0.1", "169.254.7.7", "100.64.0.9")
    for relay, is_paired in ((RELAY_A, False), (Endpoint("192.168.7.7", 50_001), True)):
        agent = network.host("192.0.2.1", controlling=True, relay=relay).agent
        agent.set_remote(Credentials("abcdefgh", "r" * 24), network.now)
        for index, host in enumerate((*private, "203.0.113.9")):
            told = f"{index} 1 udp {2_130_706_000 - index} {host} 9 typ host"
            agent.add_remote_candidate(parse_candidate(told), network.now)
        reached = {p.path.remote.host for p in agent.pairs() if p.path.source == str(relay)}
        assert "203.0.113.9" in reached
        assert ("10.0.0.9" in reached) is is_paired
        assert is_paired or reached == {"203.0.113.9"}
        assert {p.path.remote.host for p in agent.pairs() if p.path.source == "192.0.2.1"} >= {
            "10.0.0.9",
            "169.254.7.7",
        }


def test_a_victim_gets_as_little_through_a_relay(network: Network) -> None:
    """One budget for an address, whatever it is checked from."""
    host = network.host("192.0.2.1", controlling=True, relay=RELAY_A)
    host.more_relays = (RELAY_B, SPARE_RELAY_B)
    host.agent.set_local_candidates(host.candidates(), network.now)
    host.agent.set_remote(Credentials("abcdefgh", "r" * 24), network.now)
    for index in range(10_000):
        told = f"{index} 1 udp {index + 1} 203.0.113.9 {1_024 + index} typ host"
        try:
            host.agent.add_remote_candidate(parse_candidate(told), network.now)
        except RemoteProtocolError as error:
            host.dropped.append(str(error))
    requests: list[bytes] = []
    network.on_send = lambda _, data: (
        requests.append(data) if parse(data).message_class is Class.REQUEST else None
    )
    network.run(60)
    assert len(host.dropped) == 10_000 - checklist_module.REMOTE_CANDIDATES_PER_HOST_MAX
    budget = budget_module.CHECKS_PER_HOST_MAX + 60 / budget_module.REFILL_S
    assert 0 < len(requests) <= 9 * budget
    pairs = 4 * checklist_module.REMOTE_CANDIDATES_PER_HOST_MAX
    started = sum(bool(report.checks_sent) for report in host.agent.pair_reports())
    assert started <= budget < pairs


def _only_through_relays(network: Network, make_nat: Any) -> tuple[Host, Host]:
    """Both NATs symmetric; the pair of two relays is the first to work."""
    a = network.host("10.0.0.1", controlling=True, nat=_symmetric(make_nat, 1), relay=RELAY_A)
    b = network.host("10.0.0.2", nat=_symmetric(make_nat, 2), relay=RELAY_B)
    return a, b


def _symmetric(make_nat: Any, index: int) -> Any:
    return make_nat(f"198.51.100.{index}", "address-and-port", "address-and-port")


def _relay_count(host: Host) -> int:
    selected = host.agent.selected
    return (selected.path.source in map(str, host.relays)) + (selected.path.remote in RELAYS)


def test_both_sides_select_one_pair_though_one_told_of_many_ports_at_its_address(
    network: Network, make_nat: Any
) -> None:
    """A symmetric NAT shows each STUN server another port, and a relay yet another one: from there
    the nomination comes.
    """
    a = network.host("10.0.0.1", controlling=True, nat=_symmetric(make_nat, 1))
    b = network.host("10.0.0.2", nat=_symmetric(make_nat, 2), relay=RELAY_B)
    b.meet(a, [*a.candidates(), *_ports_at(a.nat.public)], renomination=True)
    a.meet(b, renomination=True)
    network.run(2)
    assert a.agent.selected.path.remote == RELAY_B
    assert b.agent.selected.path.source == str(RELAY_B)
    assert b.agent.selected.remote_type == "prflx"


def _ports_at(host: str) -> list[Candidate]:
    return [
        parse_candidate(f"{port} 1 udp {port} {host} {port} typ srflx")
        for port in range(1, checklist_module.REMOTE_CANDIDATES_PER_HOST_MAX)
    ]


def test_a_pair_that_a_check_came_in_on_gives_way_to_none_that_was_told(network: Network) -> None:
    """It is among the worst of a full list, and the check that it triggered is on its way."""
    b = network.host("192.0.2.2", relay=RELAY_B)
    b.more_relays = (SPARE_RELAY_B,)
    b.agent.set_local_candidates(b.candidates(), network.now)
    a = network.host("192.0.2.1", controlling=True)
    b.agent.set_remote(a.agent.local, network.now)
    network.permitted |= {(relay, "192.0.2.1") for relay in b.relays}
    a.meet(b, [c for c in b.candidates() if c.type == "relay"])
    network.run(2 * network.latency_s)
    assert {pair.path.source for pair in b.agent.pairs()} == {str(relay) for relay in b.relays}
    for index in range(checklist_module.REMOTE_CANDIDATES_MAX - 1):
        told = f"{index} 1 udp {2_000_000_000 + index} 203.0.113.{index + 1} 9 typ host"
        b.agent.add_remote_candidate(parse_candidate(told), network.now)
    kept = {pair.path.source for pair in b.agent.pairs() if pair.remote_type == "prflx"}
    assert kept == {str(relay) for relay in b.relays}


def test_where_a_check_came_to_is_a_pair_and_no_other_until_it_is_told(network: Network) -> None:
    b = network.host("192.0.2.2", relay=RELAY_B)
    a = network.host("192.0.2.1", controlling=True)
    b.agent.set_remote(a.agent.local, network.now)
    network.permitted.add((RELAY_B, "192.0.2.1"))
    a.meet(b, [c for c in b.candidates() if c.type == "relay"])
    network.run(1)
    assert [pair.path.source for pair in b.agent.pairs()] == [str(RELAY_B)]
    b.agent.add_remote_candidate(a.candidates()[0], network.now)
    assert {pair.path.source for pair in b.agent.pairs()} == {str(RELAY_B), "192.0.2.2"}


def test_relayed_pairs_stand_by_and_are_not_all_checked_where_direct_works(
    network: Network,
) -> None:
    """RFC 8445 section 8.1.2 checks none after a nomination; one of each kind is kept warm."""
    a, b = _direct_beside_twenty_relays(network)
    network.run(60)
    states = Counter(report.state for report in a.agent.pair_reports() if report.is_relayed)
    assert states["in reserve"] > len(b.relays) / 4
    assert states["succeeded"] >= 1
    network.is_cut = lambda source, remote: not {source, remote} & set(b.relays)
    network.run(12)
    for host in (a, b):
        assert host.agent.selected is not None and _has_path(network, host)


def test_a_pair_in_reserve_is_checked_once_the_one_that_stands_by_fails(network: Network) -> None:
    a, b = _direct_beside_twenty_relays(network)
    network.run(10)
    worked = {r.path.remote for r in a.agent.pair_reports() if r.is_relayed and r.answers}
    assert worked and worked < set(b.relays)
    network.is_cut = lambda source, remote: bool(worked & {source, remote})
    network.run(60)
    standing_by = {
        report.path.remote
        for report in a.agent.pair_reports()
        if report.is_relayed and (report.last_answer_at_s or 0.0) > network.now - 30
    }
    assert standing_by and not standing_by & worked


def test_pairs_that_can_only_stand_by_are_tried_with_less_effort(network: Network) -> None:
    """Some are being checked when the direct pair is selected, the others begin after that."""
    a = network.host("192.0.2.1", controlling=True)
    b = network.host("192.0.2.2")
    dead = [
        parse_candidate(f"{at} 1 udp {at + 1} 203.0.113.{at + 1} 9 typ relay") for at in range(40)
    ]
    a.meet(b, [*b.candidates(), *dead])
    b.meet(a)
    network.run(10)
    relayed = [report for report in a.agent.pair_reports() if report.is_relayed]
    assert [report.state for report in relayed] == len(dead) * ["failed"]
    assert {report.checks_sent for report in relayed} == {Timing().spare_transmissions_max}


def _direct_beside_twenty_relays(network: Network) -> tuple[Host, Host]:
    network.latency_s = 0.01
    a = network.host("192.0.2.1", controlling=True)
    b = network.host("192.0.2.2")
    b.more_relays = tuple(Endpoint(f"198.51.100.{index}", 9) for index in range(81, 101))
    b.agent.set_local_candidates(b.candidates(), network.now)
    network.permitted |= {(relay, "192.0.2.1") for relay in b.relays}
    _meet(a, b)
    return a, b


def test_pairs_that_stood_by_once_do_so_again_when_the_one_that_does_fails(
    network: Network,
) -> None:
    """Three were tried at once and worked, and one was kept warm; none was left in reserve."""
    a = network.host("192.0.2.1", controlling=True)
    b = network.host("192.0.2.2")
    b.more_relays = RELAYS
    b.agent.set_local_candidates(b.candidates(), network.now)
    network.permitted |= {(relay, "192.0.2.1") for relay in b.relays}
    _meet(a, b)
    network.run(100)
    (warm,) = {_remote_of(r) for r in a.agent.pair_reports() if _is_warm(r, network)}
    network.is_cut = lambda source, remote: warm in (source, remote)
    network.run(100)
    (other,) = {_remote_of(r) for r in a.agent.pair_reports() if _is_warm(r, network)}
    assert other != warm
    assert not a.named(SelectedPathLost)


def _is_warm(report: PairReport, network: Network) -> bool:
    last = report.last_answer_at_s
    return report.is_relayed and last is not None and last > network.now - 30


def _remote_of(report: PairReport) -> Endpoint:
    return report.path.remote


@pytest.mark.parametrize("is_retried", [False, True])
def test_what_may_take_over_from_a_doubted_pair_is_checked_with_all_effort(
    network: Network, is_retried: bool
) -> None:
    """It was being tried only to stand by, or had failed before there was any path."""
    a = network.host("192.0.2.1", controlling=True)
    b = network.host("192.0.2.2")
    told = parse_candidate("9 1 udp 1000 203.0.113.9 9 typ relay raddr 0.0.0.0 rport 9")
    if is_retried:
        network.is_cut = lambda *_: True
        a.agent.add_remote_candidate(told, network.now)
    _meet(a, b)
    network.run(30)
    network.is_cut = lambda *_: False
    b.agent.network_changed(network.now)
    network.run(30)
    a.agent.add_remote_candidate(told, network.now)
    network.drain(a)
    before = _relayed_checks(a) if is_retried else 0
    network.is_cut = lambda *_: True
    a.agent.retain_remote_candidates([Endpoint("203.0.113.9", 9)], network.now)
    network.drain(a)
    network.run(20)
    assert _relayed_checks(a) - before == Timing().transmissions_max


def _relayed_checks(host: Host) -> int:
    return sum(r.checks_sent for r in host.agent.pair_reports() if r.is_relayed)


def test_few_of_a_kind_are_tried_at_once_only_to_stand_by(network: Network) -> None:
    a = network.host("192.0.2.1", controlling=True)
    b = network.host("192.0.2.2")
    _meet(a, b)
    network.run(1)
    for at in range(40):
        told = f"{at} 1 udp {at + 1} 203.0.113.{at + 1} 9 typ relay"
        a.agent.add_remote_candidate(parse_candidate(told), network.now)
    network.drain(a)
    for _ in range(100):
        network.run(0.05)
        states = Counter(pair.state for pair in a.agent.pairs())
        assert states["in progress"] <= SPARES_TRIED_MAX
    assert states["failed"] >= 5 * SPARES_TRIED_MAX


@pytest.mark.parametrize(
    ("priority", "transmissions"),
    [
        (1, Timing().spare_transmissions_max),
        (2_130_706_431, Timing().transmissions_max),
    ],
)
def test_a_direct_pair_that_comes_later_is_tried_for_what_it_promises(
    network: Network, priority: int, transmissions: int
) -> None:
    a = network.host("192.0.2.1", controlling=True)
    b = network.host("192.0.2.2")
    _meet(a, b)
    network.run(1)
    told = f"9 1 udp {priority} 203.0.113.9 9 typ host"
    a.agent.add_remote_candidate(parse_candidate(told), network.now)
    network.drain(a)
    network.run(10)
    assert _checks_to("203.0.113.9", a) == transmissions


def _checks_to(remote: str, host: Host) -> int:
    reports = host.agent.pair_reports()
    return sum(report.checks_sent for report in reports if report.path.remote.host == remote)


@pytest.mark.parametrize("is_slow", [False, True])
def test_one_relay_is_preferred_to_two_unless_it_takes_longer(
    network: Network, make_nat: Any, is_slow: bool
) -> None:
    a, b = _only_through_relays(network, make_nat)
    network.is_cut = lambda source, remote: not {source, remote} <= set(RELAYS)
    _meet(a, b)
    network.run(3)
    assert _relay_count(a) == _relay_count(b) == 2
    network.is_cut = lambda *_: False
    if is_slow:
        network.extra_s = lambda s, r: 0.0 if {s, r} <= set(RELAYS) else 1.0
    network.run(10)
    assert _relay_count(a) == _relay_count(b) == (2 if is_slow else 1)
    if not is_slow:
        at = [at for at, event in a.events if isinstance(event, PairSelected)]
        assert at[-1] - at[0] < 3 + 6, "not after the spares' time"


def test_direct_is_tried_often_at_first_and_then_ever_less(network: Network) -> None:
    a = network.host("192.0.2.1", controlling=True, relay=RELAY_A)
    b = network.host("192.0.2.2", relay=RELAY_B)
    network.is_cut = _is_direct
    _meet(a, b)
    network.run(10)

    before = _direct_checks(a)
    network.run(50)
    early = _direct_checks(a) - before
    network.run(540)
    before = _direct_checks(a)
    network.run(600)
    late = _direct_checks(a) - before
    pairs_and_transmissions = 2
    assert 3 * pairs_and_transmissions <= early <= 5 * pairs_and_transmissions
    assert 19 * pairs_and_transmissions <= late <= 21 * pairs_and_transmissions


def _direct_checks(host: Host) -> int:
    return sum(r.checks_sent for r in host.agent.pair_reports() if not r.is_relayed)


@pytest.mark.parametrize("is_here", [True, False])
def test_a_change_of_an_address_tries_direct_at_once(network: Network, is_here: bool) -> None:
    a = network.host("192.0.2.1", controlling=True, relay=RELAY_A)
    b = network.host("192.0.2.2", relay=RELAY_B)
    network.is_cut = _is_direct
    _meet(a, b)
    network.run(610)
    assert _relay_count(a)
    network.is_cut = lambda *_: False
    if is_here:
        a.addresses = ("192.0.2.1", "192.0.2.9")
        a.agent.set_local_candidates(a.candidates(), network.now)
    else:
        told = "9 1 udp 2130706000 203.0.113.9 9 typ host"
        a.agent.add_remote_candidate(parse_candidate(told), network.now)
    network.drain(a)
    network.run(1)
    assert _relay_count(a) == 0
