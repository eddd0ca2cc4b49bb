"""The overlay that is not simulated carries what the network around it would let pass."""

import json
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
import trio

from p2p.identity import Identity
from sims.internet.network import Network
from sims.machines.in_process_overlay import (
    JOIN_ROUND_TRIPS,
    LOOK_UP_ROUND_TRIPS,
    SILENT_MAX_S,
    BootstrapTransport,
    MemberTransport,
    current_post_office,
    open_transport,
    validate,
)
from sims.machines.machine import SimulatedPlatform, WallClock
from sims.machines.post_office import (
    GIVES_UP_AFTER_S,
    RETRANSMISSION_MIN_S,
    WAY_STAGGER_S,
    PostOffice,
)
from sims.model.faults import Crash, DelayEnvelopes, Partition, ReplayEnvelopes, Sleep
from sims.model.link import LineModel, LinkModel
from sims.model.nat import NAT_KINDS, Firewall
from sims.model.scenario import Machine, Scenario, Site
from sims.running.run import run
from sims.runtime.clock import VirtualClock
from sims.runtime.entropy import Entropy
from sims.stack.host import Host, current_host
from wice.errors import ConfigError, SignalingUnavailableError
from wice.events import Event, EventStream, OverlayJoined, OverlayLost, PeerFound
from wice.keys import KeyHolder, LocalKeyHolder, PrivateKey
from wice.signaling.backend import Backend
from wice.signaling.conformance import check_backend
from wice.signaling.sealed import SealedBackend
from wice.signaling.transport import RelayLoan

NEAR = LineModel(LinkModel(latency_s=0.01), LinkModel(latency_s=0.01))
FAR = LineModel(LinkModel(latency_s=0.03), LinkModel(latency_s=0.05))
LOSSY = LineModel(LinkModel(latency_s=0.01, loss=0.3), LinkModel(latency_s=0.01, loss=0.3))
ROUND_TRIP_S = 0.04
"""Of a machine and a bootstrap node, both on near lines."""

ALICE, BOB = (
    LocalKeyHolder(PrivateKey(bytes([number]) * 32), Random(number).randbytes) for number in (1, 2)
)


class Events(EventStream):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[Event] = []

    def emit(self, event: Event) -> None:
        self.told.append(event)
        super().emit(event)

    def times_s(self, kind: type[Event], since_s: float) -> list[float]:
        return [event.at_s - since_s for event in self.told if isinstance(event, kind)]


class Town:
    """Bootstrap nodes and machines at sites of their own, with transports for daemons."""

    def __init__(self, directory: Path, bootstraps: int = 1, line: LineModel = NEAR) -> None:
        self.clock = VirtualClock()
        self.entropy = Entropy(1)
        self.network = Network(self.clock, self.entropy, (4,), lambda _: None)
        self.office = PostOffice(self.network, self.clock, self.entropy)
        self.names = [f"bootstrap-{number}" for number in range(1, bootstraps + 1)]
        self._directory = directory
        self._line = line
        self._addresses: dict[str, str] = {}

    def run(self, main: Callable[[], Awaitable[Any]], limit_s: float = 5_000.0) -> Any:
        async def limited() -> Any:
            with trio.fail_after(limit_s):
                return await main()

        return trio.run(limited, clock=self.clock)

    def host(self, name: str, **site: Any) -> Host:
        told: dict[str, Any] = {"name": name, "line": self._line} | site
        self.network.add_site(Site(**told))
        host = Host(name, self.clock, Random(1), {})
        host.plug(self.network.attach(name, name, host.receive))
        return host

    @asynccontextmanager
    async def bootstrap(
        self, name: str, host: Host | None = None, **options: Any
    ) -> AsyncIterator[BootstrapTransport]:
        host = host or self.host(name)
        attachment = host.ethernet.attachment
        assert attachment is not None
        self._addresses[name] = str(attachment.addresses[0].ip)
        section = {"community": "harbour", "listen": [self._multiaddr(name)]}
        async with self._open(host, section, Events(), is_bootstrap=True, **options) as transport:
            assert isinstance(transport, BootstrapTransport)
            yield transport

    @asynccontextmanager
    async def machine(
        self, name: str, host: Host | None = None, events: Events | None = None, **site: Any
    ) -> AsyncIterator[MemberTransport]:
        section = {
            "community": "harbour",
            "bootstrap": [f"{self._multiaddr(one)}/p2p/{self._peer_id(one)}" for one in self.names],
        }
        host = host or self.host(name, **site)
        async with self._open(host, section, events or Events(), is_bootstrap=False) as transport:
            assert isinstance(transport, MemberTransport)
            yield transport

    def _open(
        self, host: Host, section: dict[str, Any], events: Events, **options: Any
    ) -> AbstractAsyncContextManager[Any]:
        current_host.set(host)
        current_post_office.set(self.office)
        state = self._directory / host.name
        state.mkdir(exist_ok=True)
        (state / "overlay-node.key").write_bytes(self._seed(host.name))
        wall_clock = WallClock(self.clock, 1_750_000_000.0, Machine(name=host.name))
        platform = SimulatedPlatform(host, wall_clock, self.entropy.stream("platform", host.name))
        return open_transport(
            section, platform=platform, state_directory=state, events=events, **options
        )

    def _multiaddr(self, name: str) -> str:
        return f"/ip4/{self._addresses[name]}/tcp/4001"

    def _seed(self, name: str) -> bytes:
        return self.entropy.stream("overlay key", name).read(32)

    def _peer_id(self, name: str) -> str:
        return Identity.from_seed(self._seed(name)).peer_id


async def is_taken(sender: MemberTransport, recipient: KeyHolder) -> bool:
    try:
        await sender.send(recipient.public_key, b"hello")
    except SignalingUnavailableError:
        return False
    return True


# What a transport promises


@pytest.mark.parametrize("line", [NEAR, LOSSY], ids=["near", "lossy"])
def test_it_conforms(tmp_path: Path, line: LineModel) -> None:
    town = Town(tmp_path, bootstraps=2, line=line)
    machines = iter(range(1_000))

    @asynccontextmanager
    async def open_backend(holder: KeyHolder) -> AsyncIterator[Backend]:
        async with town.machine(f"home-{next(machines)}") as transport:
            random_bytes = town.entropy.stream("test").read
            async with SealedBackend.open(
                transport, [holder], random_bytes, EventStream()
            ) as backend:
                yield backend

    async def main() -> None:
        async with town.bootstrap("bootstrap-1"), town.bootstrap("bootstrap-2"):
            await check_backend(open_backend, timeout_s=600.0)

    town.run(main)


def test_times_are_those_of_the_lines(tmp_path: Path) -> None:
    town, events = Town(tmp_path), Events()

    async def main() -> None:
        began_s = trio.current_time()
        async with (
            town.bootstrap("bootstrap-1"),
            town.machine("alice", events=events) as alice,
            town.machine("bob", line=FAR) as bob,
            bob.subscribe(BOB) as inbox,
        ):
            await trio.sleep(1.0)
            assert events.times_s(OverlayJoined, began_s) == [
                pytest.approx(JOIN_ROUND_TRIPS * ROUND_TRIP_S)
            ]
            sent_at_s = trio.current_time()
            await alice.send(BOB.public_key, b"hello")
            taken_at_s = trio.current_time()
            assert inbox.receive_nowait() == b"hello"
            # There, and its acknowledgement back; both lines of the bootstrap node each time.
            both_ways_s = 0.01 + 0.01 + 0.01 + 0.05 + 0.03 + 0.01 + 0.01 + 0.01
            look_up_s = LOOK_UP_ROUND_TRIPS * ROUND_TRIP_S
            assert taken_at_s - sent_at_s == pytest.approx(look_up_s + both_ways_s, abs=0.003)
            await alice.send(BOB.public_key, b"again")
            assert trio.current_time() - taken_at_s == pytest.approx(both_ways_s, abs=0.003)

    town.run(main)


def test_who_was_looked_for_is_found_when_it_comes(tmp_path: Path) -> None:
    town, events = Town(tmp_path), Events()

    async def main() -> None:
        async with town.bootstrap("bootstrap-1"), town.machine("alice", events=events) as alice:
            assert not await is_taken(alice, BOB)
            assert events.times_s(PeerFound, 0) == []
            host = town.host("bob")
            for boot in (1, 2):
                async with town.machine("bob", host) as bob, bob.subscribe(BOB):
                    await trio.sleep(1.0)
                    assert len(events.times_s(PeerFound, 0)) == boot
                    assert await is_taken(alice, BOB)

    town.run(main)


def test_who_is_cut_off_as_soon_as_it_has_joined_is_found_later(tmp_path: Path) -> None:
    town = Town(tmp_path)

    async def main() -> None:
        async with town.bootstrap("bootstrap-1"), town.machine("alice") as alice:
            await trio.sleep(1.0)
            async with town.machine("bob") as bob, bob.subscribe(BOB):
                await trio.sleep((JOIN_ROUND_TRIPS + 0.1) * ROUND_TRIP_S)
                assert bob.connections
                town.network.set_line("bob", LineModel(None, None))
                await trio.sleep(1.0)
                assert not await is_taken(alice, BOB)
                town.network.set_line("bob", NEAR)
                await trio.sleep(5.0)
                assert await is_taken(alice, BOB)

    town.run(main)


def test_relays_are_lent_and_lent_again_when_refused(tmp_path: Path) -> None:
    town = Town(tmp_path)
    loans: list[str] = []

    def lend(borrower: str) -> RelayLoan:
        loans.append(borrower)
        return RelayLoan(3478, f"member {len(loans)}", "password", lifetime_s=3_600.0)

    async def main() -> None:
        async with (
            town.bootstrap("bootstrap-1", lend_relay=lend),
            town.machine("alice") as alice,
        ):
            (first,) = await alice.relay_grants(())
            assert first.username == "member 1"
            assert str(first.server) == str(alice.stun_servers()[0])
            alice.relay_refused(first)
            asked_at_s = trio.current_time()
            (second,) = await alice.relay_grants((first,))
            assert second.username == "member 2"
            lent_at_s = trio.current_time()
            assert lent_at_s - asked_at_s < 10.0
            (third,) = await alice.relay_grants((second,))
            # Half of its lifetime after it was lent.
            assert trio.current_time() - lent_at_s == pytest.approx(1_800.0, abs=5.0)
            assert third.username == "member 3"
        assert len(set(loans)) == 1

    town.run(main, limit_s=50_000.0)


def test_who_comes_back_is_announced_again(tmp_path: Path) -> None:
    town, events = Town(tmp_path), Events()

    async def main() -> None:
        async with (
            town.bootstrap("bootstrap-1"),
            town.machine("alice", events=events) as alice,
            town.machine("bob") as bob,
            bob.subscribe(BOB),
        ):
            await trio.sleep(1.0)
            assert await is_taken(alice, BOB)
            found = len(events.times_s(PeerFound, 0))
            town.network.set_line("bob", LineModel(None, None))
            await trio.sleep(SILENT_MAX_S + 5.0)
            town.network.set_line("bob", NEAR)
            await trio.sleep(5.0)
            assert len(events.times_s(PeerFound, 0)) == found + 1

    town.run(main)


def test_who_hears_no_more_is_not_found_unless_it_hears_elsewhere_by_now(tmp_path: Path) -> None:
    town = Town(tmp_path)

    async def is_found(host: Host) -> bool:
        async with town.machine(host.name, host) as stranger:
            with pytest.raises(SignalingUnavailableError) as refused:
                await stranger.send(BOB.public_key, b"hello")
            return "was found" not in str(refused.value)

    async def main() -> None:
        async with town.bootstrap("bootstrap-1"), town.machine("bob") as bob:
            stranger = town.host("stranger")
            async with bob.subscribe(BOB):
                await trio.sleep(1.0)
                bob.host.is_frozen = True
                assert await is_found(stranger)
                bob.host.is_frozen = False
            assert not await is_found(stranger)
            async with AsyncExitStack() as subscriptions, town.machine("alice") as alice:
                await subscriptions.enter_async_context(bob.subscribe(BOB))
                async with town.machine("new-bob") as new, new.subscribe(BOB):
                    await trio.sleep(1.0)
                    await subscriptions.aclose()
                    assert await is_taken(alice, BOB)

    town.run(main)


def test_mail_that_was_given_up_never_comes(tmp_path: Path) -> None:
    town = Town(tmp_path)

    async def main() -> None:
        async with (
            town.bootstrap("bootstrap-1"),
            town.machine("alice") as alice,
            town.machine("bob") as bob,
            bob.subscribe(BOB) as inbox,
        ):
            await trio.sleep(1.0)
            bob.host.is_frozen = True
            assert not await is_taken(alice, BOB)
            bob.host.is_frozen = False
            await trio.sleep(60.0)
            assert inbox.statistics().current_buffer_used == 0

    town.run(main)


# What stops envelopes


Trouble = Callable[[Town, Host], Callable[[], None]]
"""Begins, and gives what ends it; the host is that of a machine or of the bootstrap node."""


def plugged_out(town: Town, host: Host) -> Callable[[], None]:
    host.unplug()
    return lambda: host.plug(town.network.attach(host.name, host.name, host.receive))


def asleep(town: Town, host: Host) -> Callable[[], None]:
    host.is_frozen = True

    def wake() -> None:
        host.is_frozen = False

    return wake


def without_line(town: Town, host: Host) -> Callable[[], None]:
    town.network.set_line(host.name, LineModel(None, None))
    return lambda: town.network.set_line(host.name, NEAR)


def deaf(town: Town, host: Host) -> Callable[[], None]:
    town.network.set_line(host.name, LineModel(NEAR.up, None))
    return lambda: town.network.set_line(host.name, NEAR)


def mute(town: Town, host: Host) -> Callable[[], None]:
    town.network.set_line(host.name, LineModel(None, NEAR.down))
    return lambda: town.network.set_line(host.name, NEAR)


def cut_off(town: Town, host: Host) -> Callable[[], None]:
    others = [name for name in town.network.site_names if name != host.name]
    block = town.network.block(others, [host.name])
    return block.lift


TROUBLES = (plugged_out, asleep, without_line, deaf, mute, cut_off)


@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize("whose", ["alice", "bob", "bootstrap-1"])
def test_nothing_passes_what_nothing_passes(tmp_path: Path, trouble: Trouble, whose: str) -> None:
    town = Town(tmp_path)

    async def main() -> None:
        hosts = {name: town.host(name) for name in ("bootstrap-1", "alice", "bob")}
        async with (
            town.bootstrap("bootstrap-1", hosts["bootstrap-1"]),
            town.machine("alice", hosts["alice"]) as alice,
            town.machine("bob", hosts["bob"]) as bob,
            bob.subscribe(BOB) as inbox,
        ):
            await trio.sleep(1.0)
            assert await is_taken(alice, BOB)
            inbox.receive_nowait()
            end = trouble(town, hosts[whose])
            assert not await is_taken(alice, BOB)
            with pytest.raises(trio.WouldBlock):
                inbox.receive_nowait()
            end()
            await trio.sleep(5.0)
            assert await is_taken(alice, BOB)

    town.run(main)


def test_losses_delay(tmp_path: Path) -> None:
    town = Town(tmp_path)

    async def main() -> None:
        async with (
            town.bootstrap("bootstrap-1"),
            town.machine("alice", line=LOSSY) as alice,
            town.machine("bob") as bob,
            bob.subscribe(BOB),
        ):
            await trio.sleep(1.0)
            took_s = []
            for _ in range(20):
                sent_at_s = trio.current_time()
                assert await is_taken(alice, BOB)
                took_s.append(trio.current_time() - sent_at_s)
            assert min(took_s) < RETRANSMISSION_MIN_S < max(took_s)

    town.run(main)


def test_a_short_outage_delays(tmp_path: Path) -> None:
    town = Town(tmp_path)

    async def main() -> None:
        async with (
            town.bootstrap("bootstrap-1"),
            town.machine("alice") as alice,
            town.machine("bob") as bob,
            bob.subscribe(BOB),
        ):
            await trio.sleep(1.0)
            assert await is_taken(alice, BOB)
            host = bob.host
            host.is_frozen = True
            town.clock.call_later(1.0, lambda: setattr(host, "is_frozen", False))
            sent_at_s = trio.current_time()
            assert await is_taken(alice, BOB)
            assert 1.0 < trio.current_time() - sent_at_s < GIVES_UP_AFTER_S

    town.run(main)


@pytest.mark.parametrize(
    ("firewall", "joins"),
    [(Firewall.STATEFUL, True), (Firewall.UDP_BLOCKED, True), (Firewall.TCP_443_ONLY, False)],
)
def test_firewalls_that_let_tcp_out_let_mail_in(
    tmp_path: Path, firewall: Firewall, joins: bool
) -> None:
    town = Town(tmp_path)

    async def main() -> None:
        nats = NAT_KINDS["port-restricted"].nats
        async with (
            town.bootstrap("bootstrap-1"),
            town.machine("alice") as alice,
            town.machine("bob", firewall=firewall, nats=nats) as bob,
            bob.subscribe(BOB),
        ):
            await trio.sleep(1.0)
            assert bob.status()["joined"] is joins
            assert await is_taken(alice, BOB) is joins

    town.run(main)


def test_another_way_is_tried_and_branches_know_each_other(tmp_path: Path) -> None:
    town = Town(tmp_path, bootstraps=2)

    async def main() -> None:
        async with (
            town.bootstrap("bootstrap-1") as one,
            town.bootstrap("bootstrap-2") as other,
            town.machine("alice") as alice,
            town.machine("bob") as bob,
            bob.subscribe(BOB),
        ):
            await trio.sleep(1.0)
            assert await is_taken(alice, BOB)
            first = next(iter(alice.connections))
            first.host.is_frozen = True
            sent_at_s = trio.current_time()
            assert await is_taken(alice, BOB)
            assert trio.current_time() - sent_at_s >= WAY_STAGGER_S
            first.host.is_frozen = False
            blocks = [
                town.network.block([home], [branch])
                for home, branch in (("alice", "bootstrap-1"), ("bob", "bootstrap-2"))
            ]
            await trio.sleep(SILENT_MAX_S + 5.0)
            assert list(alice.connections) == [other.branch]
            assert list(bob.connections) == [one.branch]
            assert await is_taken(alice, BOB)
            for block in blocks:
                block.lift()

    town.run(main)


def test_new_addresses_need_new_connections(tmp_path: Path) -> None:
    town, events = Town(tmp_path), Events()

    async def main() -> None:
        nats = NAT_KINDS["port-restricted"].nats
        async with (
            town.bootstrap("bootstrap-1"),
            town.machine("alice", events=events, nats=nats),
        ):
            await trio.sleep(1.0)
            town.network.change_address("alice")
            await trio.sleep(5.0)
            assert len(events.times_s(OverlayLost, 0)) == 1
            assert len(events.times_s(OverlayJoined, 0)) == 2

    town.run(main)


def test_outside_of_a_run_it_is_refused_in_a_line() -> None:
    with pytest.raises(ConfigError, match=r"^overlay.backend: in-process carries .*use libp2p$"):
        validate({"community": "harbour"}, is_bootstrap=True)


# Runs


KINDS = ("port-restricted", "symmetric", "full-cone", "cgnat", "udp-blocked")


def homes(*faults: Any, kinds: tuple[str, ...] = KINDS, **rest: Any) -> Scenario:
    sites = tuple(
        Site(
            name=f"home-{number}",
            line=NEAR,
            nats=NAT_KINDS[kind].nats,
            firewall=NAT_KINDS[kind].firewall,
            machines=(Machine(name=f"m{number}"),),
        )
        for number, kind in enumerate(kinds, start=1)
    )
    told: dict[str, Any] = {"name": "homes", "duration_s": 20.0, "overlay": "in-process"} | rest
    return Scenario(sites=sites, faults=faults, **told)


def events_of(path: Path, kind: str) -> list[dict[str, Any]]:
    lines = (json.loads(line) for line in path.read_text().splitlines())
    return [line for line in lines if line.get("kind") == kind]


@pytest.mark.parametrize("has_relay", [True, False])
def test_both_overlays_connect_the_same_pairs_the_same_way(has_relay: bool) -> None:
    scenario = homes(has_relay=has_relay)
    results = [run(replace(scenario, overlay=name), 1) for name in ("libp2p", "in-process")]
    real, in_process = ({(p.source, p.destination): p.path for p in r.pairs} for r in results)
    assert [result.violations for result in results] == [(), ()]
    assert real == in_process
    assert len(set(real.values())) == (3 if has_relay else 2)
    assert [result.overlay for result in results] == ["libp2p", "in-process"]
    assert in_process and results[1].as_json()["overlay"] == "in-process"


def test_without_bootstrap_nodes_there_are_no_envelopes(tmp_path: Path) -> None:
    faults = (
        Crash(at_s=8.0, target="bootstrap-1", for_s=8.0),
        Crash(at_s=9.0, target="m1", for_s=1.0),
    )
    path = tmp_path / "trace"
    result = run(homes(*faults, kinds=KINDS[:2], duration_s=40.0), 1, trace_path=path)
    times_s = [event["at_s"] for event in events_of(path, "EnvelopeDelivered")]
    assert [at_s for at_s in times_s if 8.0 < at_s < 16.0] == []
    assert max(times_s) > 16.0
    assert result.is_ok, result.violations
    assert all(pair.path is not None for pair in result.pairs)


@pytest.mark.parametrize(
    "fault",
    [
        Partition(at_s=8.0, one=("home-1",), other=("bootstrap-1",), for_s=8.0),
        Sleep(at_s=8.0, target="m1", for_s=8.0),
    ],
    ids=["partition", "sleep"],
)
def test_who_is_cut_off_or_asleep_gets_no_mail(tmp_path: Path, fault: Any) -> None:
    path = tmp_path / "trace"
    # Who begins anew meanwhile wants to talk to everybody.
    faults = (fault, Crash(at_s=9.0, target="m2", for_s=1.0))
    result = run(homes(*faults, kinds=KINDS[:3], duration_s=40.0), 1, trace_path=path)
    keys = {event["machine"]: event["public_key"] for event in events_of(path, "machine")}
    delivered = [
        event for event in events_of(path, "EnvelopeDelivered") if 8.0 < event["at_s"] < 16.0
    ]
    assert [event for event in delivered if event["machine"] == "m2"] != []
    assert [
        event for event in delivered if "m1" in event["machine"] or event["peer"] == keys["m1"]
    ] == []
    assert result.is_ok, result.violations


def test_a_bootstrap_node_may_be_slow_and_may_cheat(tmp_path: Path) -> None:
    def first_selected_s(*faults: Any) -> tuple[float, int]:
        scenario = homes(*faults, kinds=KINDS[:2], duration_s=20.0)
        result = run(scenario, 1)
        assert result.is_ok, result.violations
        times_s = [math.inf if p.first_ping_s is None else p.first_ping_s for p in result.pairs]
        return max(times_s), result.counters.get("Dropped", 0)

    usual_s, dropped = first_selected_s()
    slow = DelayEnvelopes(at_s=0.0, target="bootstrap-1", up_to_s=4.0, for_s=10.0)
    cheat = ReplayEnvelopes(at_s=0.0, target="bootstrap-1", after_s=1.0, for_s=10.0)
    assert first_selected_s(slow)[0] > usual_s + 0.5
    # What is delivered again is known as such by whoever opens it.
    assert first_selected_s(cheat)[1] > dropped
