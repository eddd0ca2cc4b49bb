"""Budgets: bandwidth, bytes a day, and that one user's hurry is nobody else's loss."""

from collections import Counter
from random import Random

import pytest

from tests.turn.turn_caller import BOB, Caller, error
from tests.turn.turn_network import ALICE, CLIENT, PEER, Network
from wice.datagram import Endpoint
from wice.stun import LongTermCredentials, Method, StaticAccounts
from wice.turn import Budgets
from wice.turn import budgets as budgets_module
from wice.turn.budgets import Ledger

SIZE = 1_000


def offer(
    ledger: Ledger, rates: dict[str, float], seconds: float, seed: int = 1, now: float = 0.0
) -> Counter[str]:
    """Bytes a second that pass, when each user offers its rate in datagrams of SIZE."""
    random = Random(seed)
    passed: Counter[str] = Counter()
    sendings = [
        (now + (i + random.random()) * SIZE / rate, name)
        for name, rate in rates.items()
        for i in range(int(rate * seconds / SIZE))
    ]
    for at, name in sorted(sendings):
        usage = ledger.user(name, at)
        assert usage is not None
        if not ledger.spend(usage, SIZE, at):
            passed[name] += SIZE
    return Counter({name: int(count / seconds) for name, count in passed.items()})


def test_a_user_gets_its_own_rate_and_no_more() -> None:
    ledger = Ledger(Budgets(bytes_per_s=10_000_000, bytes_per_s_per_user=100_000), 0.0)
    got = offer(ledger, {"greedy": 1_000_000, "modest": 50_000}, 30.0)
    assert got["greedy"] == pytest.approx(100_000, rel=0.05)
    assert got["modest"] == pytest.approx(50_000, rel=0.01)


def test_many_names_of_one_network_have_the_share_of_one() -> None:
    ledger = Ledger(Budgets(bytes_per_s=1_000_000, bytes_per_s_per_user=10_000_000), 0.0)
    crowd = [f"crowd{number}" for number in range(16)]
    for name in (*crowd, "honest", "roaming"):
        usage = ledger.user(name, 0.0)
        assert usage is not None
        ledger.open_allocation(usage, "elsewhere" if name == "honest" else "crowded")
    rates = dict.fromkeys(crowd, 500_000.0) | {"honest": 300_000.0, "roaming": 300_000.0}
    offer(ledger, rates, 5.0)  # what everybody has at first
    got = offer(ledger, rates, 10.0, now=5.0)
    assert got["honest"] == pytest.approx(300_000, rel=0.01)
    assert got["roaming"] < 100_000
    roaming = ledger.user("roaming", 15.0)
    assert roaming is not None
    ledger.open_allocation(roaming, "elsewhere")
    got = offer(ledger, rates, 10.0, now=15.0)
    for name in ("honest", "roaming"):
        assert got[name] == pytest.approx(250_000, rel=0.15), "they share what is elsewhere"
    assert ledger._active_users == {"crowded": 16, "elsewhere": 2}
    offer(ledger, {"honest": 1_000.0}, 5.0, now=30.0)
    assert ledger._active_users == {"elsewhere": 1}


@pytest.mark.parametrize("seed", range(3))
def test_when_it_is_short_everyone_within_its_share_is_served(seed: int) -> None:
    ledger = Ledger(Budgets(bytes_per_s=1_000_000, bytes_per_s_per_user=10_000_000), 0.0)
    rates = {"flood": 8_000_000.0, "big": 2_000_000.0, "calm": 150_000.0, "small": 10_000.0}
    got = offer(ledger, rates, 20.0, seed)
    assert got["calm"] == pytest.approx(150_000, rel=0.02)
    assert got["small"] == pytest.approx(10_000, rel=0.02)
    assert got["big"] > 230_000
    assert sum(got.values()) == pytest.approx(1_000_000, rel=0.1)


def test_what_others_leave_is_used() -> None:
    ledger = Ledger(Budgets(bytes_per_s=1_000_000, bytes_per_s_per_user=10_000_000), 0.0)
    got = offer(ledger, {"only": 5_000_000, "quiet": 2_000}, 20.0)
    assert got["only"] == pytest.approx(998_000, rel=0.05)


def test_a_share_is_given_back_when_its_user_falls_silent() -> None:
    ledger = Ledger(Budgets(bytes_per_s=1_000_000, bytes_per_s_per_user=10_000_000), 0.0)
    offer(ledger, dict.fromkeys("abcd", 1_000_000.0), 5.0)
    got = offer(ledger, {"a": 2_000_000.0, "b": 400_000.0}, 20.0, now=60.0)
    assert got["b"] == pytest.approx(400_000, rel=0.05)
    assert got["a"] > 500_000


def test_a_days_bytes_are_counted_by_day_for_each_and_in_all() -> None:
    ledger = Ledger(Budgets(bytes_per_day=25_000, bytes_per_day_per_user=10_000), 0.0)
    usages = [ledger.user(name, 0.0) for name in "abc"]
    for usage, passing in zip(usages, (10, 10, 5), strict=True):
        assert usage is not None
        reasons = [ledger.spend(usage, SIZE, 1_000.0) for _ in range(20)]
        assert reasons.count("") == passing
        assert ledger.has_bytes_left_for(usage, 1_000.0) == (passing == 5)
    assert not ledger.has_bytes_left(1_000.0)
    assert ledger.has_bytes_left(86_400.0)
    assert usages[0] is not None and ledger.spend(usages[0], SIZE, 86_400.0) == ""


def test_users_are_bounded_and_those_who_used_nothing_are_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(budgets_module, "USERS_MAX", 3)
    ledger = Ledger(Budgets(), 0.0)
    busy = ledger.user("busy", 0.0)
    assert busy is not None
    ledger.spend(busy, SIZE, 0.0)
    allocated = ledger.user("allocated", 0.0)
    assert allocated is not None
    ledger.open_allocation(allocated)
    for i in range(10):
        assert ledger.user(f"idle{i}", 0.0) is not None
        assert len(ledger._users) <= 3
    assert ledger.user("busy", 0.0) is busy and ledger.user("allocated", 0.0) is allocated
    one = ledger.user("one", 0.0)
    assert one is not None
    ledger.spend(one, SIZE, 0.0)
    assert ledger.user("too many", 0.0) is None
    assert ledger.user("too many", 86_400.0) is not None


def test_the_largest_datagram_passes_whatever_the_rate() -> None:
    ledger = Ledger(Budgets(bytes_per_s=1_000, bytes_per_s_per_user=1_000), 0.0)
    usage = ledger.user("a", 0.0)
    assert usage is not None
    assert ledger.spend(usage, 65_000, 0.0) == ""


def test_a_member_over_its_budget_stops_nobody_else() -> None:
    network = Network(budgets=Budgets(bytes_per_day_per_user=10_000))
    alice = network.client()
    other = Endpoint("198.51.100.8", 1)
    bob = network.client(other, LongTermCredentials("bob", "battery"))
    for client in (alice, bob):
        client.bind_channel(PEER, network.now)
    network.run(1.0)
    for _ in range(100):
        alice.send(bytes(SIZE), PEER, network.now)
        network.run(0.05)
    assert len(network.at_peers) == 10
    network.peer_sends(PEER, next(iter(alice.relayed.values())), b"x" * SIZE)
    network.run(0.1)
    assert network.received[CLIENT] == []
    assert bob.send(b"x", PEER, network.now)
    network.run(0.1)
    assert len(network.at_peers) == 11
    assert network.server.counts["over the day's bytes of a user"] == 91
    again = network.client(Endpoint(CLIENT.host, 2), ALICE)
    network.run(1.0)
    assert not again.relayed and network.server.counts["error 486"] == 1


def test_a_member_that_moves_on_and_on_is_served_wherever_it_comes() -> None:
    """Its allocations of before would last ten minutes, and nobody can end them from elsewhere."""
    network = Network(budgets=Budgets(allocations_per_user=3))
    bob = Caller(network, BOB, Endpoint("198.51.100.8", 1))
    assert error(bob.allocates()) == 0
    for place in range(20):
        network.now += 31.0
        assert error(Caller(network, ALICE, Endpoint(CLIENT.host, 1 + place)).allocates()) == 0
        members = [status.name for status in network.server.allocations(network.now)]
        assert members.count("alice") == min(place + 1, 3)
        assert members.count("bob") == 1, "quieter, but somebody else's"
    assert network.server.counts["allocations displaced"] == 17


@pytest.mark.parametrize("use", ["refresh", "channel", "send", None])
def test_an_allocation_in_use_is_not_displaced(use: str | None) -> None:
    network = Network(budgets=Budgets(allocations_per_user=2))
    first, second, third = (Caller(network, ALICE, Endpoint(CLIENT.host, 1 + i)) for i in range(3))
    for caller in (first, second):
        assert error(caller.allocates()) == 0
        assert error(caller.binds(0x4000, PEER)) == 0
    network.now += 40.0
    for caller in (first, second):
        if use == "refresh":
            assert error(caller.asks(Method.REFRESH)) == 0
        elif use == "channel":
            assert caller.relayed(b"\x40\x00\x00\x01x") == b"x"
        elif use == "send":
            assert caller.relayed(caller.send_indication(PEER)) == b"data"
    network.now += 40.0
    assert error(third.allocates()) == (486 if use else 0)
    assert bool(first.relayed(first.send_indication(PEER))) == bool(use), "the quietest goes"
    assert second.relayed(second.send_indication(PEER))


def test_one_network_does_not_take_the_server_by_many_names() -> None:
    names = [f"crowd{number}" for number in range(8)]
    accounts = StaticAccounts(dict.fromkeys([*names, "alice"], "correct horse"))
    network = Network(accounts=accounts, budgets=Budgets(allocations=12, allocations_per_user=2))

    def allocates(name: str, host: str, port: int) -> int:
        network.now += 0.1
        credentials = LongTermCredentials(name, "correct horse")
        return error(Caller(network, credentials, Endpoint(host, port)).allocates())

    crowd, elsewhere = "2001:db8:bad::", CLIENT.host
    for number in range(12):
        assert allocates(names[number % 8], f"{crowd}{number:x}", 1) == 0
    assert allocates(names[7], f"{crowd}c", 1) == 508, "it has what there is"
    assert allocates("alice", elsewhere, 1) == allocates("alice", elsewhere, 2) == 0
    listed = [(status.name, status.client.port) for status in network.server.allocations(0.0)]
    assert listed[-2:] == [("alice", 1), ("alice", 2)]
    # Which its own network could not take back, and gave up where it was heard longest ago.
    assert [name for name, _ in listed[:-2]] == [*names[2:], *names[:4]]
    assert allocates(names[7], f"{crowd}d", 1) == 508
    assert network.server.counts["allocations displaced"] == 2


def test_networks_that_have_as_much_do_not_take_it_from_each_other() -> None:
    network = Network(budgets=Budgets(allocations=3))
    hosts = ["198.51.100.8", "198.51.100.8", "198.51.100.7", "198.51.100.7", "198.51.100.9"]
    answers = [
        error(Caller(network, ALICE, Endpoint(host, port)).allocates())
        for port, host in enumerate(hosts, 1)
    ]
    assert answers == [0, 0, 0, 508, 0]
