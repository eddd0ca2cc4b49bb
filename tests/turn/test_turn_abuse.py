"""What strangers and members of ill will get out of a relay: little, and nobody else pays."""

from collections.abc import Callable, Iterator
from itertools import count

import pytest

from tests.turn.turn_caller import BOB, OTHER_CLIENT, TRANSPORT, Caller, error
from tests.turn.turn_network import ALICE, CLIENT, PEER, SERVER, Network
from wice.datagram import Endpoint
from wice.stun import Attribute, Authenticated, Class, LongTermCredentials, Message, Method, encode
from wice.stun.rate_limit import SOURCES_MAX
from wice.stun.server_authentication import KEYS_MAX, NONCE_LIFETIME_S, Refusal
from wice.turn import Budgets, RestAccounts
from wice.turn.allocation import CHANNELS_MAX, PERMISSIONS_MAX
from wice.turn.budgets import DAY_S
from wice.turn.server import ANSWERS_MAX

FLOOD = 10_000
IPV4_AND_UDP_HEADERS = 28
DATAGRAM = 1_000
OVER_BUDGET = (
    "over a user's bandwidth",
    "over the bandwidth in all",
    "over the day's bytes of a user",
    "over the day's bytes in all",
)


def peers() -> Iterator[Endpoint]:
    """Endpoints that a relay sends to, each with another address."""
    return (Endpoint(f"11.{i >> 16}.{i >> 8 & 255}.{i & 255}", 9) for i in count())


def a_member(
    network: Network, source: Endpoint = CLIENT, who: LongTermCredentials = ALICE
) -> Caller:
    """A member with an allocation and a channel to PEER."""
    caller = Caller(network, who, source)
    assert error(caller.allocates()) == 0
    assert error(caller.binds(0x4000, PEER)) == 0
    return caller


def channel_data(size_bytes: int = DATAGRAM) -> bytes:
    return b"\x40\x00" + size_bytes.to_bytes(2, "big") + bytes(size_bytes)


def is_served(member: Caller) -> bool:
    """Whether the member's allocation is there and relays."""
    return member.relayed(channel_data()) == bytes(DATAGRAM)


@pytest.mark.parametrize("method", [Method.ALLOCATE, Method.REFRESH, Method.CHANNEL_BIND])
@pytest.mark.parametrize("has_fingerprint", [True, False])
def test_a_challenge_is_small_beside_the_smallest_request(
    method: Method, has_fingerprint: bool
) -> None:
    request = encode(method, Class.REQUEST, bytes(12), fingerprint=has_fingerprint)
    answer = Caller(Network()).relayed(request)
    assert answer is not None and len(answer) <= 100
    on_the_wire = len(answer) + IPV4_AND_UDP_HEADERS
    assert on_the_wire <= 2.5 * (len(request) + IPV4_AND_UDP_HEADERS)


def test_strangers_leave_nothing_behind() -> None:
    network = Network()
    server = network.server
    for i, source in zip(range(FLOOD), peers(), strict=False):
        request = encode(Method.ALLOCATE, Class.REQUEST, i.to_bytes(12, "big"), [TRANSPORT])
        server.receive(request, source, network.now, SERVER.host)
        server.receive(channel_data(), source, network.now, SERVER.host)
        assert server.poll_event() is None
    answers = 0
    while (transmit := server.poll_transmit()) is not None:
        assert transmit.relay is None
        answers += 1
    assert answers == server.counts["error 401"] <= 400
    assert server.counts["refusals held back"] == FLOOD - answers
    assert server.counts["data without an allocation"] == FLOOD
    assert len(server._request_limit) <= SOURCES_MAX
    assert len(server._refusal_limit) <= SOURCES_MAX
    assert not server.allocations(network.now) and not server._answers


def test_a_stranger_who_is_held_back_costs_no_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network()
    hashed = 0
    check = network.server._authentication.check

    def counted(message: Message, source: Endpoint, now: float) -> Authenticated | Refusal:
        nonlocal hashed
        hashed += 1
        return check(message, source, now)

    monkeypatch.setattr(network.server._authentication, "check", counted)
    for source, _ in zip(peers(), range(FLOOD), strict=False):
        request = encode(Method.ALLOCATE, Class.REQUEST, bytes(12), [TRANSPORT])
        network.server.receive(request, source, network.now, SERVER.host)
    assert 0 < hashed <= 400


def test_ten_thousand_allocates_of_one_member() -> None:
    """One after the other from as many ports, no faster than requests are looked at."""
    network = Network()
    member = a_member(network)
    codes = []
    for port in range(1, FLOOD + 1):
        network.now += 0.01
        answer = Caller(network, ALICE, Endpoint(CLIENT.host, port)).sends(
            encode(Method.ALLOCATE, Class.REQUEST, port.to_bytes(12, "big"), [TRANSPORT])
        )
        codes.append(None if answer is None else error(answer))
    assert set(codes) == {401, None} and codes.count(401) <= 20 + 5 * FLOOD * 0.01
    # Those that answer the challenge come to the quota, and take nothing that is in use.
    assert is_served(member)
    signed = []
    for port in range(1, 40):
        network.now += 1.0
        signed.append(error(Caller(network, ALICE, Endpoint(CLIENT.host, port)).allocates()))
    quota = Budgets().allocations_per_user - 1
    assert signed == [0] * quota + [486] * (len(signed) - quota)
    assert len(network.relays) == Budgets().allocations_per_user
    assert len(network.server._answers) <= ANSWERS_MAX
    assert is_served(member)
    assert is_served(a_member(network, OTHER_CLIENT, BOB))


def test_wrong_credentials_get_few_refusals_and_nothing_else() -> None:
    network = Network()
    member = a_member(network)
    guesser = Caller(network, LongTermCredentials("alice", "a guess"), OTHER_CLIENT)
    assert error(guesser.allocates()) == 401
    challenge = guesser._authentication.challenge
    assert challenge is not None
    answers = 0
    for i in range(FLOOD):
        network.now += 0.001
        guess = encode(
            Method.ALLOCATE,
            Class.REQUEST,
            i.to_bytes(12, "big"),
            [TRANSPORT, *challenge.attributes],
            key=challenge.key,
        )
        answer = guesser.sends(guess)
        if answer is not None:
            answers += 1
            assert error(answer) == 401
    assert 0 < answers <= 20 + 5 * FLOOD * 0.001
    assert network.server.counts["rate limited"] >= FLOOD - 200 - 100 * FLOOD * 0.001
    assert len(network.relays) == 1 and is_served(member)


def test_many_user_names_leave_few_keys() -> None:
    accounts = RestAccounts(b"secret", lambda: 1_000.0)
    network = Network(accounts=accounts)
    for i, source in zip(range(2 * KEYS_MAX), peers(), strict=False):
        network.now += 0.1
        guesser = Caller(network, LongTermCredentials(f"2000:user {i}", "a guess"), source)
        assert error(guesser.allocates()) == 401
    assert len(network.server._authentication._keys) == KEYS_MAX
    assert network.server._requests._ledger.allocations == 0


def test_a_request_that_is_repeated_does_nothing_twice_and_nothing_once_it_is_old() -> None:
    network = Network()
    caller = Caller(network)
    caller.permits(PEER)
    challenge = caller._authentication.challenge
    assert challenge is not None
    allocate = encode(
        Method.ALLOCATE,
        Class.REQUEST,
        b"x" * 12,
        [TRANSPORT, *challenge.attributes],
        key=challenge.key,
    )
    first = caller.sends(allocate)
    assert first is not None and error(first) == 0
    answers = [caller.relayed(allocate) for _ in range(FLOOD)]
    assert len({answer for answer in answers if answer is not None}) == 1
    assert sum(answer is not None for answer in answers) <= 200
    assert len(network.relays) == 1
    network.run(NONCE_LIFETIME_S + 1.0)
    old = caller.sends(allocate)
    assert old is not None and error(old) == 438
    assert not network.relays


@pytest.mark.parametrize(
    ("asks", "most"),
    [
        (lambda caller, _, peer: caller.permits(peer), PERMISSIONS_MAX),
        (lambda caller, i, peer: caller.binds(0x4001 + i, peer), CHANNELS_MAX),
    ],
    ids=["permissions", "channels"],
)
def test_a_flood_of_wishes_ends_at_its_bound_and_leaves_what_there_was(
    asks: Callable[[Caller, int, Endpoint], Message], most: int
) -> None:
    network = Network()
    member = a_member(network)
    other = a_member(network, OTHER_CLIENT, BOB)
    codes = []
    # As fast as requests are looked at: all of it within one permission's life.
    for i, peer in zip(range(2_000), peers(), strict=False):
        network.now += 0.012
        codes.append(error(asks(member, i, peer)))
    assert codes == [0] * (most - 1) + [508] * (2_000 - most + 1)
    assert network.server.counts["error 508"] == 2_000 - most + 1
    (allocation, _) = network.server._table.by_path.values()
    assert len(allocation._permissions) <= PERMISSIONS_MAX
    assert len(allocation._channels) == len(allocation._channels_by_peer) <= CHANNELS_MAX
    assert is_served(member) and is_served(other)


def test_sends_to_ten_thousand_peers_go_nowhere() -> None:
    network = Network()
    member = a_member(network)
    for _, peer in zip(range(FLOOD), peers(), strict=False):
        assert member.relayed(member.send_indication(peer)) is None
    assert network.server.counts["data without a permission"] == FLOOD
    assert is_served(member)


@pytest.mark.parametrize(
    ("budgets", "passes", "recovers_in_s"),
    [
        (Budgets(bytes_per_s_per_user=200_000, burst_s=0.5), 100, 1.0),
        # Half of the bucket: the other half is for users within their shares.
        (Budgets(bytes_per_s=600_000, bytes_per_s_per_user=1e9, burst_s=0.5), 150, 1.0),
        (Budgets(bytes_per_day_per_user=500_000), 500, None),
        (Budgets(bytes_per_day=500_000), 500, None),
    ],
    ids=["a user's rate", "the rate of all", "a user's day", "everybody's day"],
)
def test_what_is_over_a_budget_is_dropped_and_ends_nothing(
    budgets: Budgets, passes: int, recovers_in_s: float | None
) -> None:
    network = Network(budgets=budgets)
    member = a_member(network)
    relayed = sum(is_served(member) for _ in range(FLOOD))
    assert relayed == passes
    counts = network.server.counts
    assert counts["data relayed to peers"] == relayed
    assert sum(counts[reason] for reason in OVER_BUDGET) == FLOOD - relayed
    assert len(network.server.allocations(network.now)) == 1
    if recovers_in_s is not None:
        network.now += recovers_in_s
        assert is_served(member)
        return
    member.asks(Method.REFRESH, (int(Attribute.LIFETIME), bytes(4)))
    assert error(member.allocates()) in (486, 508)
    network.now += DAY_S
    assert is_served(a_member(network, Endpoint(CLIENT.host, 2)))


def test_two_members_at_once_have_fair_shares() -> None:
    """One takes what it can get; the other stays within half, and loses nothing."""
    rate, seconds = 200_000, 20
    network = Network(budgets=Budgets(bytes_per_s=rate, bytes_per_s_per_user=1e9))
    greedy, modest = a_member(network), a_member(network, OTHER_CLIENT, BOB)
    got = {greedy: 0, modest: 0}
    for i in range(1_000 * seconds):
        network.now += 0.001
        got[greedy] += is_served(greedy)
        if i % 12 == 0:
            got[modest] += is_served(modest)
    offered = -(-1_000 * seconds // 12)
    assert got[modest] == offered
    left = rate * seconds / DATAGRAM - offered
    assert 0.95 * left <= got[greedy] <= left + 300
    assert network.server.counts["over the bandwidth in all"] == 1_000 * seconds - got[greedy]
