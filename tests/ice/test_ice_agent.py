"""Two agents over a simulated network, in virtual time."""

import itertools
import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from wice.datagram import Endpoint
from wice.errors import RemoteProtocolError
from wice.ice import (
    ChecksExhausted,
    ChecksStarted,
    Credentials,
    PairSelected,
    PairValidated,
    RemoteCheckReceived,
    SelectedPathLost,
    Timing,
    parse_candidate,
)
from wice.ice import checklist as checklist_module
from wice.stun import (
    Attribute,
    Class,
    IntegrityKey,
    Method,
    encode,
    pack_xor_address,
    parse,
    unpack_error_code,
)

Network = Any
Host = Any

RTT_S = 0.1
"""Twice the network's latency."""


def _assert_agree(a: Host, b: Host) -> None:
    ours, theirs = a.agent.selected, b.agent.selected
    assert ours is not None and theirs is not None
    assert a.agent.controlling != b.agent.controlling
    assert {ours.path.source} <= set(a.addresses)


def test_first_valid_pair_after_one_round_trip(network: Network) -> None:
    a, b = network.host("192.0.2.1", controlling=True), network.host("192.0.2.2")
    start = network.now
    a.meet(b)
    b.meet(a)
    network.run(1)
    for host in (a, b):
        assert host.time_of(PairValidated) - start == pytest.approx(RTT_S)
    assert b.time_of(PairSelected) - start == pytest.approx(1.5 * RTT_S)
    assert a.time_of(PairSelected) - start == pytest.approx(2 * RTT_S)
    _assert_agree(a, b)
    assert a.agent.selected.path.remote == Endpoint("192.0.2.2", 51_820)
    assert a.agent.selected.rtt_s == pytest.approx(RTT_S)
    assert (a.agent.selected.local_type, a.agent.selected.remote_type) == ("host", "host")
    for host in (a, b):
        assert len(host.named(ChecksStarted)) == len(host.named(RemoteCheckReceived)) == 1


def test_the_one_that_hears_later_needs_one_round_trip_from_then(network: Network) -> None:
    """Triggered checks go out at once: no tick is waited for."""
    a, b = network.host("192.0.2.1", controlling=True), network.host("192.0.2.2")
    start = network.now
    a.meet(b)
    network.at(0.42, lambda: b.meet(a))
    network.run(2)
    assert b.time_of(PairValidated) - start == pytest.approx(0.42 + RTT_S)
    assert a.time_of(PairValidated) - start == pytest.approx(RTT_S)


FULL_CONE = ("endpoint-independent", "endpoint-independent")
ADDRESS_RESTRICTED = ("endpoint-independent", "address")
PORT_RESTRICTED = ("endpoint-independent", "address-and-port")
SYMMETRIC = ("address-and-port", "address-and-port")
NATS = (FULL_CONE, ADDRESS_RESTRICTED, PORT_RESTRICTED, SYMMETRIC)


@pytest.mark.parametrize(("a_nat", "b_nat"), list(itertools.product(NATS, repeat=2)))
def test_the_punch_matrix(
    network: Network,
    make_nat: Callable[..., Any],
    a_nat: tuple[str, str],
    b_nat: tuple[str, str],
) -> None:
    """What can connect, connects in about one round trip; what cannot is said."""
    a = network.host("10.0.0.1", controlling=True, nat=make_nat("198.51.100.1", *a_nat))
    b = network.host("10.0.0.2", nat=make_nat("198.51.100.2", *b_nat))
    start = network.now
    a.meet(b)
    b.meet(a)
    network.run(20)
    if SYMMETRIC in (a_nat, b_nat) and {a_nat, b_nat} <= {SYMMETRIC, PORT_RESTRICTED}:
        assert a.agent.selected is None and b.agent.selected is None
        assert [e.detail for e in a.named(ChecksExhausted)] == [
            "none of 2 candidate pairs answered"
        ]
    else:
        _assert_agree(a, b)
        assert max(h.time_of(PairValidated) for h in (a, b)) - start < 1.6 * RTT_S
        assert "host" not in (a.agent.selected.remote_type, b.agent.selected.remote_type)


def test_a_remote_behind_a_symmetric_nat_is_peer_reflexive(
    network: Network, make_nat: Callable[..., Any]
) -> None:
    a = network.host("192.0.2.1", controlling=True)
    b = network.host("10.0.0.2", nat=make_nat("198.51.100.2", "address-and-port"))
    a.meet(b)
    b.meet(a)
    network.run(2)
    _assert_agree(a, b)
    assert a.agent.selected.remote_type == "prflx"
    assert b.agent.selected.local_type == "prflx"
    assert b.agent.selected.remote_type == "host"


def test_a_signalled_candidate_names_a_peer_reflexive_one(network: Network) -> None:
    a, b = network.host("192.0.2.1", controlling=True), network.host("192.0.2.2")
    a.meet(b, candidates=[])
    b.meet(a)
    network.run(2)
    assert a.agent.selected.remote_type == "prflx"
    for candidate in b.candidates():
        a.agent.add_remote_candidate(candidate, network.now)
    network.run(1)
    assert a.agent.selected.remote_type == "host"
    assert len(a.agent.pairs()) == 1


def test_neighbours_behind_one_nat_use_their_host_addresses(
    network: Network, make_nat: Callable[..., Any]
) -> None:
    nat = make_nat("198.51.100.1")
    a = network.host("10.0.0.1", controlling=True, nat=nat)
    b = network.host("10.0.0.2", nat=nat)
    a.meet(b)
    b.meet(a)
    network.run(2)
    _assert_agree(a, b)
    assert a.agent.selected.path.remote == Endpoint("10.0.0.2", 51_820)


def test_ipv6(network: Network) -> None:
    a, b = network.host("2001:db8::1", controlling=True), network.host("2001:db8::2")
    a.meet(b)
    b.meet(a)
    network.run(2)
    _assert_agree(a, b)
    assert a.agent.selected.path.remote == Endpoint("2001:db8::2", 51_820)


def test_families_are_not_mixed(network: Network) -> None:
    a, b = network.host("2001:db8::1", controlling=True), network.host("192.0.2.2")
    a.meet(b)
    network.run(2)
    assert a.sent == 0
    assert a.named(ChecksExhausted) == [
        ChecksExhausted("no address family in common with the peer")
    ]
    a.agent.set_local_candidates([], network.now)
    network.run(40)
    assert a.sent == 0


def test_loopback_reaches_only_loopback(network: Network) -> None:
    a = network.host("192.0.2.1", controlling=True)
    a.agent.set_remote(Credentials("abcd", "p" * 22), network.now)
    candidate = parse_candidate("1 1 udp 1 127.0.0.1 9 typ host")
    a.agent.add_remote_candidate(candidate, network.now)
    network.run(1)
    assert (a.sent, a.agent.pairs()) == (0, [])


def test_trickled_candidates_are_checked_as_they_come(network: Network) -> None:
    a, b = network.host("192.0.2.1", controlling=True), network.host("192.0.2.2", ready=False)
    a.agent.set_remote(b.agent.local, network.now)
    b.agent.set_remote(a.agent.local, network.now)
    network.run(1)
    assert (a.sent, b.sent) == (0, 0)
    assert not a.named(ChecksExhausted)
    b.agent.set_local_candidates(b.candidates(), network.now)
    a.agent.add_remote_candidate(b.candidates()[0], network.now)
    start = network.now
    network.run(1)
    _assert_agree(a, b)
    assert a.time_of(PairValidated) - start == pytest.approx(RTT_S)


def test_checks_before_the_description_are_kept(network: Network) -> None:
    a, b = network.host("192.0.2.1", controlling=True), network.host("192.0.2.2")
    a.meet(b)
    network.run(0.3)
    assert b.sent > 0, "answers need no description"
    assert a.agent.selected is None or not b.agent.pairs()
    start = network.now
    b.agent.set_remote(a.agent.local, network.now)
    network.run(1)
    assert b.time_of(PairValidated) - start == pytest.approx(RTT_S)
    _assert_agree(a, b)


def test_checks_of_a_generation_not_described_yet_wait_for_it(network: Network) -> None:
    a, b = network.host("192.0.2.1", controlling=True), network.host("192.0.2.2")
    b.agent.set_remote(Credentials("oldufrag", "o" * 24), network.now)
    a.meet(b)
    network.run(0.3)
    assert b.agent.pairs() == []
    b.agent.set_remote(a.agent.local, network.now)
    network.run(1)
    _assert_agree(a, b)


@pytest.mark.parametrize("seed", range(12))
def test_a_fifth_of_all_datagrams_lost(make_network: Callable[[int], Network], seed: int) -> None:
    network = make_network(seed)
    network.loss = 0.2
    a, b = network.host("192.0.2.1", controlling=True), network.host("192.0.2.2")
    a.meet(b)
    b.meet(a)
    start = network.now
    network.run(300)
    _assert_agree(a, b)
    for host in (a, b):
        assert host.time_of(PairValidated) - start < 2
        assert not host.named(SelectedPathLost)
        assert len(host.named(PairSelected)) == 1


@pytest.mark.parametrize("controlling", [True, False])
def test_a_role_conflict_is_settled(network: Network, controlling: bool) -> None:
    a = network.host("192.0.2.1", controlling=controlling)
    b = network.host("192.0.2.2", controlling=controlling)
    a.meet(b)
    b.meet(a)
    network.run(5)
    _assert_agree(a, b)
    assert max(host.sent for host in (a, b)) < 12


def test_a_stale_role_conflict_turns_no_role(network: Network) -> None:
    """Two checks of one role meet the same refusal: the role turns once."""
    a = network.host("192.0.2.1", controlling=True)
    remote = Credentials("abcdefgh", "r" * 24)
    key = IntegrityKey(remote.password.encode())
    a.agent.set_remote(remote, network.now)
    sent = []
    for index in (2, 3):
        candidate = parse_candidate(f"1 1 udp 99 192.0.2.{index} 9 typ host")
        a.agent.add_remote_candidate(candidate, network.now)
        network.now += 0.01
        a.agent.handle_timeout(network.now)
        sent.append(a.agent.poll_transmit())
    for transmit in sent:
        assert transmit is not None
        network.now += 0.01
        data = encode(
            Method.BINDING,
            Class.ERROR,
            parse(transmit.data).transaction_id,
            [(Attribute.ERROR_CODE, b"\0\0\x04\x57")],
            key=key,
        )
        a.agent.receive(data, transmit.path.remote, transmit.path.source, network.now)
        assert not a.agent.controlling
        again = a.agent.poll_transmit()
        assert again is not None and again.path == transmit.path
        assert Attribute.ICE_CONTROLLED in parse(again.data).attributes


def test_consent_keeps_a_path_and_its_interval_varies(network: Network) -> None:
    a, b = network.host("192.0.2.1", controlling=True), network.host("192.0.2.2")
    times: list[float] = []

    def note(host: Host, data: bytes) -> None:
        if host is a and parse(data).message_class is Class.REQUEST:
            times.append(network.now)

    a.meet(b)
    b.meet(a)
    network.run(2)
    network.on_send = note
    network.run(600)
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert 4.0 <= min(gaps) < 4.5 and 5.5 < max(gaps) <= 6.0
    assert not a.named(SelectedPathLost)


def test_consent_expires_and_checks_begin_again(network: Network) -> None:
    a, b = network.host("192.0.2.1", controlling=True), network.host("192.0.2.2")
    a.meet(b)
    b.meet(a)
    network.run(60)
    network.is_cut = lambda *_: True
    cut_at = network.now
    network.run(200)
    for host in (a, b):
        lost_at = host.time_of(SelectedPathLost)
        assert 24 - RTT_S <= lost_at - cut_at <= 30
        assert host.agent.selected is None
        assert len(host.named(ChecksStarted)) == 2
        assert len(host.named(ChecksExhausted)) == 1
    sent = a.sent
    network.run(300)
    assert 0 < a.sent - sent < 40, "slow, but on"
    network.is_cut = lambda *_: False
    network.run(31 + 1)
    _assert_agree(a, b)
    for host in (a, b):
        assert len(host.named(PairSelected)) == 2


def test_a_path_of_long_latency_keeps_consent(network: Network) -> None:
    network.latency_s = 0.9
    a, b = network.host("192.0.2.1", controlling=True), network.host("192.0.2.2")
    a.meet(b)
    b.meet(a)
    network.run(300)
    _assert_agree(a, b)
    assert not a.named(SelectedPathLost) and not b.named(SelectedPathLost)
    assert a.agent.selected.rtt_s == pytest.approx(1.8)
    # A late answer is no lost one: no more checks than on a short path.
    sent = a.sent
    network.run(100)
    assert a.sent - sent <= 2 * 100 / 4


def test_a_side_that_alone_lost_the_path_gets_it_back(network: Network) -> None:
    """The controlling side's consent checks nominate, so the other need not wait for a loss."""
    a, b = network.host("192.0.2.1", controlling=True), network.host("192.0.2.2")
    a.meet(b)
    b.meet(a)
    network.run(2)
    b.agent._selection.consent.expires_at = network.now
    network.run(10)
    assert len(b.named(SelectedPathLost)) == 1
    assert b.agent.selected is not None
    assert not a.named(SelectedPathLost)


def test_a_path_whose_local_address_went_is_lost_at_once(network: Network) -> None:
    a = network.host("192.0.2.1", "192.0.2.9", controlling=True)
    b = network.host("192.0.2.2")
    a.meet(b)
    b.meet(a)
    network.run(2)
    used = a.agent.selected.path.source
    left = [c for c in a.candidates() if c.host != used]
    a.agent.set_local_candidates(left, network.now)
    start = network.now
    network.run(1)
    assert len(a.named(SelectedPathLost)) == 1
    assert a.agent.selected.path.source == left[0].host
    back_at = [at for at, event in a.events if isinstance(event, PairSelected)][1]
    # The other pair had proved itself: data may take it at once, its nomination takes a round trip.
    assert back_at - start == pytest.approx(RTT_S)
    validated_at = [at for at, event in a.events if isinstance(event, PairValidated)][-1]
    assert validated_at == start
    network.run(60)
    assert b.agent.selected.path.remote.host == left[0].host
    assert {pair.path.source for pair in a.agent.pairs()} == {left[0].host}


def test_a_restarted_remote_replaces_the_path_only_when_it_works(network: Network) -> None:
    a, b = network.host("192.0.2.1", controlling=True), network.host("192.0.2.2")
    a.meet(b)
    b.meet(a)
    network.run(2)
    before = a.agent.selected
    network.hosts.remove(b)
    again = network.host("192.0.2.3")
    network.is_cut = lambda source, remote: "192.0.2.3" in (source.host, remote.host)
    a.meet(again)
    assert {pair.path.remote.host for pair in a.agent.pairs()} == {"192.0.2.2", "192.0.2.3"}
    network.run(10)
    assert a.agent.selected == before
    assert not a.named(SelectedPathLost)
    network.is_cut = lambda *_: False
    again.meet(a)
    network.run(2)
    assert a.agent.selected.path.remote.host == "192.0.2.3"
    assert not a.named(SelectedPathLost)
    assert {pair.path.remote.host for pair in a.agent.pairs()} == {"192.0.2.3"}
    network.run(100)
    assert not a.named(SelectedPathLost)


def test_the_same_description_again_changes_nothing(network: Network) -> None:
    a, b = network.host("192.0.2.1", controlling=True), network.host("192.0.2.2")
    a.meet(b)
    b.meet(a)
    network.run(2)
    sent, events = a.sent, len(a.events)
    for _ in range(10):
        a.meet(b)
    assert (a.sent, len(a.events)) == (sent, events)


def test_the_first_checks_go_to_each_kind(network: Network) -> None:
    """Many host addresses do not hold up the reflexive one that may work."""
    a = network.host("192.0.2.1", controlling=True)
    remote = [f"1 1 udp {2_000_000 - i} 10.0.0.{i + 1} 9 typ host" for i in range(20)]
    remote.append("1 1 udp 1000 198.51.100.1 9 typ srflx raddr 10.0.0.1 rport 9")
    a.agent.set_remote(Credentials("abcd", "p" * 22), network.now)
    paths: list[Endpoint] = []
    network.is_cut = lambda _, remote: paths.append(remote) or True
    for text in remote:
        a.agent.add_remote_candidate(parse_candidate(text), network.now)
    network.run(0.08)
    assert paths[:3] == [
        Endpoint("10.0.0.1", 9),
        Endpoint("198.51.100.1", 9),
        Endpoint("10.0.0.2", 9),
    ]


def test_ordinary_checks_are_paced(network: Network) -> None:
    a = network.host("192.0.2.1", controlling=True, timing=Timing(rto_s=60, rto_max_s=60))
    times: list[float] = []
    network.is_cut = lambda *_: times.append(network.now) or True
    a.agent.set_remote(Credentials("abcd", "p" * 22), network.now)
    for i in range(30):
        text = f"1 1 udp {i + 1} 10.0.0.{i + 1} 9 typ host"
        a.agent.add_remote_candidate(parse_candidate(text), network.now)
    network.run(1)
    assert len(times) == 30
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert min(gaps) == pytest.approx(0.005)


def test_work_is_bounded_whatever_the_remote_sends(network: Network) -> None:
    a = network.host(*(f"192.0.2.{i + 1}" for i in range(5)), controlling=True)
    a.agent.set_remote(Credentials("abcd", "p" * 22), network.now)
    refused = 0
    for i in range(300):
        text = f"1 1 udp {i + 1} 10.0.{i // 250}.{i % 250 + 1} 9 typ host"
        try:
            a.agent.add_remote_candidate(parse_candidate(text), network.now)
        except RemoteProtocolError:
            refused += 1
    assert refused == 300 - checklist_module.REMOTE_CANDIDATES_MAX
    pairs = a.agent.pairs()
    assert len(pairs) == checklist_module.PAIRS_MAX
    network.run(60)
    assert a.sent <= (9 + 2 * 3) * (len(pairs) + 10)


class Wire:
    """One agent, and a remote played by the test."""

    def __init__(self, network: Network, *, controlling: bool = False) -> None:
        self.network = network
        self.host = network.host("192.0.2.1", controlling=controlling)
        self.agent = self.host.agent
        self.remote = Credentials("abcdefgh", "r" * 24)
        self.source = Endpoint("192.0.2.2", 9)
        self.agent.set_remote(self.remote, network.now)

    def request(
        self,
        *extra: tuple[int, bytes],
        drop: Sequence[int] = (),
        password: str | None = None,
        username: str | None = None,
        role: int = Attribute.ICE_CONTROLLING,
        fingerprint: bool = True,
        tid: bytes = bytes(12),
    ) -> bytes:
        username = username or f"{self.agent.local.ufrag}:{self.remote.ufrag}"
        attributes = [
            (Attribute.USERNAME, username.encode()),
            (Attribute.PRIORITY, bytes(4)),
            (role, bytes(8)),
            *extra,
        ]
        return encode(
            Method.BINDING,
            Class.REQUEST,
            tid,
            [(kind, value) for kind, value in attributes if kind not in drop],
            key=IntegrityKey((password or self.agent.local.password).encode()),
            fingerprint=fingerprint,
        )

    def receive(self, data: bytes, destination: str | None = "192.0.2.1") -> None:
        self.agent.receive(data, self.source, destination, self.network.now)

    def sent(self) -> list[Any]:
        return list(iter(self.agent.poll_transmit, None))


def test_a_check_is_answered_then_returned(network: Network) -> None:
    wire = Wire(network)
    wire.receive(wire.request())
    answer, check = (parse(transmit.data) for transmit in wire.sent())
    assert answer.message_class is Class.SUCCESS
    answer.verify_integrity(IntegrityKey(wire.agent.local.password.encode()))
    assert answer.require(Attribute.XOR_MAPPED_ADDRESS) == pack_xor_address(wire.source, bytes(12))
    assert check.message_class is Class.REQUEST
    assert check.has_fingerprint and answer.has_fingerprint
    check.verify_integrity(IntegrityKey(wire.remote.password.encode()))
    expected = f"{wire.remote.ufrag}:{wire.agent.local.ufrag}".encode()
    assert check.require(Attribute.USERNAME) == expected
    # Their retransmission is answered again and triggers nothing more.
    wire.receive(wire.request())
    assert [parse(t.data).message_class for t in wire.sent()] == [Class.SUCCESS]
    network.now += 0.01
    wire.receive(wire.request(tid=bytes(range(12))))
    assert len(wire.sent()) == 2


def test_a_check_from_a_link_local_address_ends_nothing(network: Network) -> None:
    wire = Wire(network)
    wire.source = Endpoint("fe80::1%eth0", 9)
    wire.receive(wire.request(), destination=None)
    wire.agent.set_local_candidates([], network.now)
    wire.receive(wire.request(tid=bytes(range(12))), destination="fe80::2")
    assert len(wire.sent()) == 2
    assert wire.agent.pairs() == []


def test_requests_that_are_dropped_in_silence(network: Network) -> None:
    wire = Wire(network)
    bad = [
        wire.request(password="x" * 24),
        wire.request(username="someone:else"),
        wire.request(username=wire.agent.local.ufrag),
        wire.request(drop=[Attribute.PRIORITY]),
        wire.request(drop=[Attribute.ICE_CONTROLLING]),
        wire.request((Attribute.ICE_CONTROLLED, bytes(8))),
        wire.request(fingerprint=False),
        encode(Method.BINDING, Class.REQUEST, bytes(12)),
        encode(Method.ALLOCATE, Class.REQUEST, bytes(12)),
        b"\0" * 20,
    ]
    for data in bad:
        with pytest.raises(RemoteProtocolError):
            wire.receive(data)
    with pytest.raises(RemoteProtocolError, match="no candidate of ours"):
        wire.receive(wire.request(), destination="192.0.2.77")
    assert wire.sent() == []
    assert wire.agent.pairs() == []


def test_peer_reflexive_candidates_that_failed_give_way(network: Network) -> None:
    """A remote whose NAT moves its port for ever is still heard."""
    wire = Wire(network)
    bound = checklist_module.REMOTE_CANDIDATES_PER_HOST_MAX
    for index in range(2 * bound):
        wire.source = Endpoint("192.0.2.2", 1_000 + index)
        wire.receive(wire.request(tid=index.to_bytes(12, "big")))
        assert len(wire.sent()) <= 2 * bound
        known = [pair.path.remote for pair in wire.agent.pairs()]
        assert len(known) <= bound
        if index == bound:
            # All are being checked: there is no room, and no error.
            assert wire.source not in known
            for _ in range(500):
                network.now = wire.agent.deadline()
                wire.agent.handle_timeout(network.now)
                if all(pair.state == "failed" for pair in wire.agent.pairs()):
                    break
            wire.sent()
        elif index > bound:
            assert wire.source in known


def test_unknown_attributes_are_refused_with_420(network: Network) -> None:
    wire = Wire(network)
    wire.receive(wire.request((0x7F00, b"")))
    (answer,) = (parse(transmit.data) for transmit in wire.sent())
    assert answer.message_class is Class.ERROR
    assert unpack_error_code(answer.require(Attribute.ERROR_CODE)) == 420
    assert answer.require(Attribute.UNKNOWN_ATTRIBUTES) == b"\x7f\x00"
    assert wire.agent.pairs() == []


def _answer(check: Any, key: Credentials, **changes: Any) -> bytes:
    tid = changes.get("tid", parse(check.data).transaction_id)
    mapped = pack_xor_address(Endpoint(check.path.source, 51_820), tid)
    return encode(
        Method.BINDING,
        changes.get("message_class", Class.SUCCESS),
        tid,
        changes.get("attributes", [(Attribute.XOR_MAPPED_ADDRESS, mapped)]),
        key=IntegrityKey(changes.get("password", key.password).encode()),
        fingerprint=changes.get("fingerprint", True),
    )


def test_answers_that_are_dropped(network: Network) -> None:
    wire = Wire(network, controlling=True)
    candidate = parse_candidate("1 1 udp 99 192.0.2.2 9 typ host")
    wire.agent.add_remote_candidate(candidate, network.now)
    (check,) = wire.sent()
    good = _answer(check, wire.remote)
    for data in [
        _answer(check, wire.remote, password="x" * 24),
        _answer(check, wire.remote, password=wire.agent.local.password),
        _answer(check, wire.remote, tid=bytes(12)),
        _answer(check, wire.remote, fingerprint=False),
        _answer(check, wire.remote, attributes=[]),
        _answer(check, wire.remote, attributes=[(0x7F00, b"")]),
    ]:
        with pytest.raises(RemoteProtocolError):
            wire.receive(data)
    with pytest.raises(RemoteProtocolError, match="elsewhere"):
        wire.receive(good, destination="192.0.2.3")
    with pytest.raises(RemoteProtocolError, match="elsewhere"):
        wire.agent.receive(good, Endpoint("192.0.2.2", 10), "192.0.2.1", network.now)
    assert not any(isinstance(e, PairValidated) for e in iter(wire.agent.poll_event, None))
    wire.receive(good, destination=None)
    assert any(isinstance(e, PairValidated) for e in iter(wire.agent.poll_event, None))
    with pytest.raises(RemoteProtocolError, match="no check of ours"):
        wire.receive(good)


def test_old_answers_cannot_keep_a_path_alive(network: Network) -> None:
    wire = Wire(network, controlling=True)
    candidate = parse_candidate("1 1 udp 99 192.0.2.2 9 typ host")
    wire.agent.add_remote_candidate(candidate, network.now)
    checks = wire.sent()
    for _ in range(2):
        wire.receive(_answer(checks[-1], wire.remote))
        checks += wire.sent()
    assert wire.agent.selected is not None
    late = []
    while wire.agent.selected is not None:
        network.now = wire.agent.deadline()
        wire.agent.handle_timeout(network.now)
        late += wire.sent()
    lost_at = network.now
    answers = [_answer(check, wire.remote) for check in late]
    network.now = lost_at + 31
    for answer in answers:
        with pytest.raises(RemoteProtocolError, match="no check of ours"):
            wire.receive(answer)


def test_an_answer_to_an_earlier_consent_check_counts(network: Network) -> None:
    wire = Wire(network, controlling=True)
    candidate = parse_candidate("1 1 udp 99 192.0.2.2 9 typ host")
    wire.agent.add_remote_candidate(candidate, network.now)
    checks = wire.sent()
    for _ in range(2):
        wire.receive(_answer(checks[-1], wire.remote))
        checks += wire.sent()
    pending: list[Any] = []
    end = network.now + 120
    while network.now < end:
        network.now = wire.agent.deadline()
        wire.agent.handle_timeout(network.now)
        pending += wire.sent()
        if len(pending) > 2:  # each answer is two checks late
            wire.receive(_answer(pending.pop(0), wire.remote))
        assert wire.agent.selected is not None


def test_an_error_fails_its_pair(network: Network) -> None:
    wire = Wire(network, controlling=True)
    candidate = parse_candidate("1 1 udp 99 192.0.2.2 9 typ host")
    wire.agent.add_remote_candidate(candidate, network.now)
    (check,) = wire.sent()
    error = [(Attribute.ERROR_CODE, b"\0\0\x04\x00")]
    wire.receive(_answer(check, wire.remote, message_class=Class.ERROR, attributes=error))
    assert [pair.state for pair in wire.agent.pairs()] == ["failed"]


@pytest.mark.parametrize("seed", range(20))
def test_garbage_and_mutations_end_nothing(
    make_network: Callable[[int], Network], seed: int
) -> None:
    """Every datagram is followed by mutations of itself; the agents connect all the same."""
    network = make_network(seed)
    dice = random.Random(seed)
    a, b = network.host("192.0.2.1", controlling=True), network.host("192.0.2.2")
    deliver = network.deliver

    def mutate(host: Host, data: bytes, source: Endpoint, destination: str) -> None:
        for _ in range(5):
            changed = bytearray(data)
            for _ in range(dice.randint(1, 3)):
                changed[dice.randrange(len(changed))] = dice.randrange(256)
            del changed[dice.randint(1, 200) :]
            deliver(host, bytes(changed), source, destination)
        deliver(host, data, source, destination)

    network.deliver = mutate
    a.meet(b)
    b.meet(a)
    network.run(20)
    _assert_agree(a, b)
    assert len(a.dropped) > 20


def test_no_secret_is_shown() -> None:
    credentials = Credentials("abcd", "topsecretpasswordof24chr")
    assert "topsecret" not in repr(credentials)


@pytest.mark.parametrize(
    ("ufrag", "password"),
    [("abc", "p" * 22), ("abcd", "p" * 21), ("ab:d", "p" * 22), ("a" * 257, "p" * 22)],
)
def test_credentials_that_ice_forbids(ufrag: str, password: str) -> None:
    with pytest.raises(RemoteProtocolError):
        Credentials(ufrag, password)
