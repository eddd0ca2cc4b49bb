"""Packets get where they should and nowhere else, through everything that a site may be."""

from collections.abc import Callable
from ipaddress import ip_address, ip_network

import pytest
import trio

from sims.internet.drops import Drop
from sims.internet.network import Network
from sims.internet.packet import Packet, PacketEvent, Protocol, TcpFlags, TcpHeader
from sims.model.link import LineModel, LinkModel
from sims.model.nat import NAT_KINDS, PORT_RESTRICTED, Filtering, Firewall, NatModel
from sims.model.scenario import Site
from sims.runtime.clock import VirtualClock
from sims.runtime.entropy import Entropy
from wice.datagram import Endpoint

PORT = 51_820
AT_ONCE = LineModel(LinkModel(), LinkModel())
SLOW = LineModel(LinkModel(latency_s=0.010), LinkModel(latency_s=0.0205))
FULL_CONE = NatModel(filtering=Filtering.ENDPOINT_INDEPENDENT)
HAIRPIN = NatModel(filtering=Filtering.ENDPOINT_INDEPENDENT, hairpins=True)


class Machine:
    """A machine of which every socket hears everything."""

    def __init__(self, world: "World", site: str, name: str) -> None:
        self.world = world
        self.name = name
        self.received: list[Packet] = []
        self.arrivals_s: list[float] = []
        self.attachment = world.network.attach(site, name, self._receive)

    def address(self, version: int = 4) -> str:
        return next(
            str(address.ip) for address in self.attachment.addresses if address.version == version
        )

    def endpoint(self, version: int = 4, port: int = PORT) -> Endpoint:
        return Endpoint(self.address(version), port)

    def send(self, to: Endpoint, payload: bytes = b"", port: int = PORT) -> None:
        source = self.endpoint(6 if to.is_ipv6 else 4, port)
        self.attachment.send(Packet(Protocol.UDP, source, to, payload))

    def send_tcp(self, to: Endpoint, flags: TcpFlags) -> None:
        source = self.endpoint(6 if to.is_ipv6 else 4)
        header = TcpHeader(flags, 0, 0, 65_535)
        self.attachment.send(Packet(Protocol.TCP, source, to, b"", header))

    def take(self) -> list[tuple[Endpoint, bytes]]:
        """What came since the last time, and from whom."""
        taken = [(packet.source, packet.payload) for packet in self.received]
        self.received.clear()
        return taken

    def _receive(self, packet: Packet) -> None:
        assert packet.destination.host in {str(one.ip) for one in self.attachment.addresses}
        self.received.append(packet)
        self.arrivals_s.append(self.world.clock.now_s)


class World:
    def __init__(self, *sites: Site, ip_versions: tuple[int, ...] = (4, 6), seed: int = 1) -> None:
        self.clock = VirtualClock()
        self.events: list[PacketEvent] = []
        self.network = Network(self.clock, Entropy(seed), ip_versions, self.events.append)
        for site in sites:
            self.network.add_site(site)

    def machine(self, site: str, name: str = "") -> Machine:
        return Machine(self, site, name or f"machine at {site}")

    def run(self, for_s: float = 1.0) -> None:
        trio.run(trio.sleep, for_s, clock=self.clock)

    def drops(self) -> list[tuple[str, str]]:
        """Where packets were dropped since the last time, and why."""
        found = [(event.where, event.reason) for event in self.events if event.what == "dropped"]
        self.events.clear()
        return found


def ignore(packet: Packet) -> None:
    pass


def site(name: str, *nats: NatModel, line: LineModel = AT_ONCE, **rest: object) -> Site:
    return Site(name=name, line=line, nats=nats, **rest)  # type: ignore[arg-type]


def seen_by(server: Machine, client: Machine, port: int = PORT) -> Endpoint:
    """The public socket of a client, as STUN says it."""
    client.send(server.endpoint(), b"who am I", port)
    server.world.run()
    [(source, _)] = server.take()
    return source


def sendto(sender: Machine, to: Endpoint, receiver: Machine) -> list[Endpoint]:
    """From where ``receiver`` got what ``sender`` sent; nothing if it did not get it."""
    sender.send(to, b"hello")
    sender.world.run()
    return [source for source, payload in receiver.take() if payload == b"hello"]


# Lines and time


def test_arrivals_are_rounded_up_to_the_millisecond() -> None:
    world = World(site("a", line=SLOW), site("b", line=SLOW))
    a, b = world.machine("a"), world.machine("b")
    began_s = world.clock.now_s
    a.send(b.endpoint(), b"x")
    world.run()
    assert [at_s - began_s for at_s in b.arrivals_s] == pytest.approx([0.031])
    assert [(event.what, event.where) for event in world.events] == [
        ("sent", "machine at a"),
        ("received", "machine at b"),
    ]


@pytest.mark.parametrize("sites", [("home", "home"), ("a", "b")])
def test_what_takes_no_time_is_still_never_delivered_within_send(sites: tuple[str, str]) -> None:
    world = World(site("home"), site("a"), site("b"))
    began_s = world.clock.now_s
    one, other = world.machine(sites[0], "one"), world.machine(sites[1], "other")
    bounces: list[bool] = []
    sending: list[str] = []

    def bounce(by: Machine, to: Machine) -> Callable[[Packet], None]:
        def receive(_: Packet) -> None:
            bounces.append(bool(sending))
            if len(bounces) < 6:
                sending.append(by.name)
                by.send(to.endpoint(), b"again")
                sending.pop()

        return receive

    one.attachment._receive = bounce(one, other)
    other.attachment._receive = bounce(other, one)
    sending.append("test")
    one.send(other.endpoint(), b"first")
    sending.pop()
    assert bounces == []
    world.run(for_s=0.0)
    assert bounces == [False] * 6
    assert world.clock.now_s == began_s


def test_packets_of_one_millisecond_arrive_in_the_order_they_were_sent() -> None:
    world = World(site("a", line=SLOW), site("b", line=SLOW))
    a, b = world.machine("a"), world.machine("b")
    for number in range(50):
        a.send(b.endpoint(), bytes([number]))
    world.run()
    assert [payload[0] for _, payload in b.take()] == list(range(50))
    assert world.clock.timers_fired <= 2


def test_a_one_way_line_carries_one_way_and_a_line_can_be_changed() -> None:
    world = World(site("a"), site("b", line=LineModel(LinkModel(), None)))
    a, b = world.machine("a"), world.machine("b")
    assert sendto(b, a.endpoint(), a)
    assert not sendto(a, b.endpoint(), b)
    assert world.drops() == [("b", Drop.LINE_DEAD)]
    assert world.network.line_of("b").down is None
    world.network.set_line("b", LineModel(None, LinkModel()))
    assert sendto(a, b.endpoint(), b)
    assert not sendto(b, a.endpoint(), a)
    assert world.drops() == [("b", Drop.LINE_DEAD)]


def test_what_is_under_way_outlives_its_line() -> None:
    world = World(site("a", line=SLOW), site("b"))
    a, b = world.machine("a"), world.machine("b")
    a.send(b.endpoint(), b"just in time")
    world.network.set_line("a", LineModel(None, None))
    world.run()
    assert len(b.take()) == 1


def test_a_lan_has_a_line_of_its_own_for_each_cable() -> None:
    lan = LinkModel(latency_s=0.002, mtu_bytes=1_280)
    world = World(site("home", lan=lan))
    one, other = world.machine("home", "one"), world.machine("home", "other")
    assert one.attachment.mtu_bytes == 1_280
    began_s = world.clock.now_s
    one.send(other.endpoint(), b"x")
    one.send(other.endpoint(), bytes(1_280))
    world.run()
    assert other.arrivals_s == pytest.approx([began_s + 0.004])
    assert world.drops() == [("one", Drop.TOO_LARGE)]


def test_draws_on_one_line_shift_nothing_on_another() -> None:
    lossy = LineModel(LinkModel(loss=0.3), LinkModel())

    def arrivals(*, with_noise: bool) -> list[bytes]:
        world = World(site("a", line=lossy), site("b"), site("noise", line=lossy))
        a, b, noise = (world.machine(name) for name in ("a", "b", "noise"))
        for number in range(100):
            if with_noise:
                noise.send(b.endpoint(), b"noise")
            a.send(b.endpoint(), bytes([number]))
        world.run()
        return [payload for source, payload in b.take() if source == a.endpoint()]

    quiet = arrivals(with_noise=False)
    assert 50 < len(quiet) < 90
    assert arrivals(with_noise=True) == quiet


def test_lines_alike_do_not_lose_alike() -> None:
    lossy = LineModel(LinkModel(loss=0.3), LinkModel())
    world = World(site("a", line=lossy), site("b", line=lossy), site("server"))
    server = world.machine("server")
    heard: list[list[bytes]] = []
    for name in ("a", "b"):
        sender = world.machine(name)
        for number in range(100):
            sender.send(server.endpoint(), bytes([number]))
        world.run()
        heard.append([payload for _, payload in server.take()])
    assert heard[0] != heard[1]


# Addresses


def test_everybody_has_addresses_of_the_right_ranges() -> None:
    world = World(
        site("public"),
        site("home", PORT_RESTRICTED),
        site("other home", PORT_RESTRICTED),
        site("carrier", PORT_RESTRICTED),
        site("customer", PORT_RESTRICTED, behind="carrier"),
        site("bridged", behind="carrier"),
    )
    public, home, other, bridged = (
        world.machine(name) for name in ("public", "home", "other home", "bridged")
    )
    assert ip_address(public.address()) in ip_network("192.0.2.0/24")
    assert ip_address(home.address()) in ip_network("192.168.0.0/24")
    assert ip_address(other.address()) in ip_network("192.168.1.0/24")
    assert ip_address(bridged.address()) in ip_network("100.64.0.0/10")
    prefixes = [one.attachment.addresses[1].network for one in (public, home, other, bridged)]
    assert len(set(prefixes)) == 4
    for prefix in prefixes:
        assert prefix.prefixlen == 64
        assert prefix.subnet_of(ip_network("2001:db8::/32"))  # type: ignore[arg-type]


def test_a_thousand_public_machines_have_a_thousand_addresses() -> None:
    world = World(*(site(f"s{number}") for number in range(1_000)), ip_versions=(4,))
    given = {world.machine(f"s{number}").address() for number in range(1_000)}
    assert len(given) == 1_000
    assert any(address.startswith("198.18.") for address in given)


def test_a_machine_that_comes_back_finds_its_address_again() -> None:
    world = World(site("wifi", PORT_RESTRICTED), site("4g", PORT_RESTRICTED))
    phone = world.machine("wifi", "phone")
    before = phone.attachment.addresses
    phone.attachment.detach()
    phone.attachment.detach()
    away = world.network.attach("4g", "phone", ignore)
    assert away.addresses != before
    away.detach()
    assert world.network.attach("wifi", "phone", ignore).addresses == before
    with pytest.raises(ValueError, match="plugged in at wifi already"):
        world.network.attach("wifi", "phone", ignore)


def test_nobody_sends_from_an_address_that_is_not_its_own() -> None:
    world = World(site("a"), site("b"))
    a, b = world.machine("a"), world.machine("b")
    a.attachment.send(Packet(Protocol.UDP, b.endpoint(), b.endpoint(), b""))
    assert world.drops() == [("machine at a", Drop.WRONG_SOURCE)]
    sender, to = a.endpoint(), b.endpoint()
    a.attachment.detach()
    a.attachment.send(Packet(Protocol.UDP, sender, to, b""))
    assert world.drops() == [("machine at a", Drop.UNPLUGGED)]


@pytest.mark.parametrize("host", ["203.0.113.99", "192.168.7.7", "10.0.0.1", "2001:db8:ff::1"])
def test_where_nobody_is_nothing_arrives(host: str) -> None:
    world = World(site("home", PORT_RESTRICTED))
    world.machine("home").send(Endpoint(host, 1))
    world.run()
    assert world.drops() == [("home", Drop.NO_ROUTE)]


def test_what_is_under_way_to_one_that_left_is_dropped() -> None:
    lan = LinkModel(latency_s=0.005)
    world = World(site("a", line=SLOW), site("b", lan=lan))
    a, b = world.machine("a"), world.machine("b")
    a.send(b.endpoint())
    world.clock.call_later(0.012, b.attachment.detach)
    world.run()
    assert world.drops() == [("machine at b", Drop.UNPLUGGED)]
    a.send(Endpoint("192.0.2.11", PORT))
    world.run()
    assert world.drops() == [("a", Drop.NO_ROUTE)]
    assert b.take() == []


def test_a_public_machine_moves_to_new_addresses_and_hears_of_it() -> None:
    world = World(site("a"), site("b"))
    a, b = world.machine("a"), world.machine("b")
    former = [a.endpoint(version) for version in (4, 6)]
    changes: list[tuple[object, ...]] = []
    a.attachment.on_change = lambda: changes.append(a.attachment.addresses)
    world.network.change_address("a")
    assert changes == [a.attachment.addresses]
    for version in (4, 6):
        assert a.endpoint(version) not in former
        assert sendto(b, a.endpoint(version), a) == [b.endpoint(version)]
        assert sendto(a, b.endpoint(version), b) == [a.endpoint(version)]
        assert not sendto(b, former[version == 6], a)


@pytest.mark.parametrize("ip_version", [4, 6])
def test_the_addresses_of_one_version_change_alone(ip_version: int) -> None:
    world = World(site("a", firewall=Firewall.STATEFUL), site("b"))
    a, b = world.machine("a"), world.machine("b")
    former = {version: a.endpoint(version) for version in (4, 6)}
    for version in (4, 6):
        assert sendto(a, b.endpoint(version), b) == [former[version]]
    world.network.change_address("a", ip_version)
    for version in (4, 6):
        is_same = version != ip_version
        assert (a.endpoint(version) == former[version]) is is_same
        # The firewall has not forgotten who was asked over the other version.
        assert bool(sendto(b, a.endpoint(version), a)) is is_same


def test_behind_a_nat_another_prefix_leaves_ipv4_alone() -> None:
    world = World(site("home", PORT_RESTRICTED), site("server"))
    client, server = world.machine("home"), world.machine("server")
    public = seen_by(server, client)
    world.network.change_address("home", 6)
    assert sendto(server, public, client)
    assert seen_by(server, client) == public


def test_addresses_change_for_those_that_are_away_too() -> None:
    world = World(site("a"))
    a = world.machine("a")
    before = a.attachment.addresses
    a.attachment.detach()
    world.network.change_address("a")
    assert not set(world.machine("a").attachment.addresses) & set(before)


# NATs


def punched(one: Machine, other: Machine, server: Machine) -> bool:
    """Both send to where the server sees the other, and to where packets come from (RFC 8445)."""
    learned = {one: [seen_by(server, other)], other: [seen_by(server, one)]}
    heard: list[Machine] = []
    for _ in range(3):
        for machine in (one, other):
            for endpoint in learned[machine]:
                machine.send(endpoint, b"punch")
        one.world.run()
        for machine in (one, other):
            sources = [source for source, _ in machine.take()]
            heard += [machine] * bool(sources)
            learned[machine] += [source for source in sources if source not in learned[machine]]
    return one in heard and other in heard


@pytest.mark.parametrize(
    "one, other, is_expected",
    [
        ("port-restricted", "port-restricted", True),
        ("full-cone", "symmetric", True),
        ("address-restricted", "address-restricted", True),
        ("port-restricted", "symmetric", False),
        ("symmetric", "symmetric", False),
        ("cgnat", "cgnat", True),
        ("cgnat", "symmetric", False),
        ("one-to-one", "port-restricted", True),
        ("none", "port-restricted", True),
    ],
)
def test_holes_are_punched_where_they_can_be(one: str, other: str, is_expected: bool) -> None:
    kinds = NAT_KINDS[one], NAT_KINDS[other]
    world = World(
        *(
            Site(name=name, line=SLOW, nats=kind.nats, firewall=kind.firewall)
            for name, kind in zip(("a", "b"), kinds, strict=True)
        ),
        site("server", line=SLOW),
    )
    a, b, server = (world.machine(name) for name in ("a", "b", "server"))
    assert punched(a, b, server) is is_expected


@pytest.mark.parametrize("kind", ["udp-blocked", "tcp-443-only"])
def test_a_site_that_blocks_udp_sends_none(kind: str) -> None:
    nat_kind = NAT_KINDS[kind]
    office = Site(name="office", line=SLOW, nats=nat_kind.nats, firewall=nat_kind.firewall)
    world = World(office, site("server"))
    client, server = world.machine("office"), world.machine("server")
    for version in (4, 6):
        client.send(server.endpoint(version))
        world.run()
        assert world.drops() == [("office", Drop.FORBIDDEN)]
        client.send_tcp(server.endpoint(version, port=443), TcpFlags.SYN)
        world.run()
        assert len(server.take()) == 1


def test_two_machines_behind_one_nat_use_one_source_port() -> None:
    world = World(site("home", PORT_RESTRICTED), site("server"))
    one, other = world.machine("home", "one"), world.machine("home", "other")
    server = world.machine("server")
    public, public_other = seen_by(server, one), seen_by(server, other)
    assert public.host == public_other.host
    assert public.port == PORT != public_other.port
    assert sendto(server, public, one) == [server.endpoint()]
    assert sendto(server, public_other, other) == [server.endpoint()]


def test_only_a_nat_that_hairpins_turns_packets_round() -> None:
    for nat in (HAIRPIN, FULL_CONE):
        world = World(site("home", nat, is_isolating=True), site("server"))
        one, other = world.machine("home", "one"), world.machine("home", "other")
        server = world.machine("server")
        public, public_other = seen_by(server, one), seen_by(server, other)
        # RFC 4787 REQ-9a: from the public socket of the sender.
        assert sendto(one, public_other, other) == ([public] if nat.hairpins else [])
        world.drops()
        assert not sendto(one, other.endpoint(), other)
        assert world.drops() == [("home", Drop.ISOLATED)]


def test_stacked_nats_translate_one_after_the_other_and_each_may_hairpin() -> None:
    world = World(site("home", HAIRPIN, HAIRPIN), site("server"))
    one, other = world.machine("home", "one"), world.machine("home", "other")
    server = world.machine("server")
    public = seen_by(server, one)
    inner, outer = world.network.mappings("home")
    assert (inner.level, outer.level) == (0, 1)
    assert inner.inside == one.endpoint()
    assert inner.outside == outer.inside
    assert ip_address(outer.inside.host) in ip_network("100.64.0.0/10")
    assert outer.outside == public
    # Turned round by the outer one, and by the inner one.
    assert [source.host for source in sendto(other, public, one)] == [public.host]
    assert [source.host for source in sendto(other, inner.outside, one)] == [inner.outside.host]


def test_customers_of_one_carrier_meet_by_its_hairpin_or_on_its_lan() -> None:
    world = World(
        site("carrier", HAIRPIN, line=SLOW),
        site("a", FULL_CONE, behind="carrier", line=SLOW),
        site("b", FULL_CONE, behind="carrier", line=SLOW),
        site("server", line=SLOW),
    )
    a, b, server = (world.machine(name) for name in ("a", "b", "server"))
    public_a, public_b = seen_by(server, a), seen_by(server, b)
    assert public_a.host == public_b.host
    assert sendto(a, public_b, b) == [public_a]
    began_s = world.clock.now_s
    assert sendto(a, public_b, b) == [public_a]
    # Up the one line and down the other, and not to the carrier's own and back.
    assert b.arrivals_s[-1] - began_s == pytest.approx(0.031)
    [outside_b] = [entry.outside for entry in world.network.mappings("b")]
    assert [source.host[:7] for source in sendto(a, outside_b, b)] == ["100.64."]


def test_a_carrier_that_keeps_customers_apart_still_hairpins() -> None:
    world = World(
        site("carrier", HAIRPIN, is_isolating=True),
        site("a", FULL_CONE, behind="carrier"),
        site("b", FULL_CONE, behind="carrier"),
        site("server"),
    )
    a, b, server = (world.machine(name) for name in ("a", "b", "server"))
    seen_by(server, a)
    public_b = seen_by(server, b)
    assert sendto(a, public_b, b)
    [outside_b] = [entry.outside for entry in world.network.mappings("b")]
    assert not sendto(a, outside_b, b)


def test_a_mapping_expires_and_a_reboot_forgets() -> None:
    nat = NatModel(lifetime_s=30.0)
    world = World(site("home", nat), site("server"))
    client, server = world.machine("home"), world.machine("server")
    public = seen_by(server, client)
    world.run(for_s=28.5)
    assert sendto(server, public, client)
    world.run(for_s=1.0)
    assert not sendto(server, public, client)
    assert world.drops() == [("home", Drop.UNMAPPED)]
    assert seen_by(server, client) == public
    world.network.reboot_nat("home")
    assert world.network.mappings("home") == ()
    assert not sendto(server, public, client)
    assert seen_by(server, client) == public


def test_a_reboot_gives_the_same_port_again_or_another_as_the_seed_says() -> None:
    def ports(seed: int) -> list[int]:
        world = World(site("home", PORT_RESTRICTED), site("server"), seed=seed)
        client, server = world.machine("home"), world.machine("server")
        seen = [seen_by(server, client).port]
        for _ in range(2):
            world.network.reboot_nat("home")
            seen.append(seen_by(server, client).port)
        return seen

    drawn = [ports(seed) for seed in range(8)]
    assert drawn == [ports(seed) for seed in range(8)]
    moved = {tuple(port != PORT for port in seen[1:]) for seen in drawn}
    assert moved == {(False, False), (False, True), (True, False), (True, True)}


def test_a_rebooted_router_takes_streams_up_or_drops_or_resets_them_as_the_seed_says() -> None:
    def outcome(seed: int, version: int) -> str:
        nats = (PORT_RESTRICTED, PORT_RESTRICTED)
        world = World(site("home", *nats, firewall=Firewall.STATEFUL), site("server"), seed=seed)
        client, server = world.machine("home"), world.machine("server")
        header = TcpHeader(TcpFlags.ACK, 7, 9, 65_535)
        ends = client.endpoint(version), server.endpoint(version)
        client.attachment.send(Packet(Protocol.TCP, *ends, b"go on", header))
        world.run()
        at_client = [
            event.packet
            for event in world.events
            if (event.what, event.where) == ("received", client.name)
        ]
        if not at_client:
            came = any(event.where == server.name for event in world.events)
            return "taken up" if came else "dropped"
        [reset] = at_client
        assert (reset.source, reset.destination) == ends[::-1]
        assert reset.tcp == TcpHeader(TcpFlags.RST, 9, 0, 0)
        return "reset"

    for version in (4, 6):
        assert {outcome(seed, version) for seed in range(12)} == {"taken up", "dropped", "reset"}


def test_behind_a_nat_only_the_public_address_changes() -> None:
    world = World(site("home", PORT_RESTRICTED), site("server"), ip_versions=(4,))
    client, server = world.machine("home"), world.machine("server")
    public, before = seen_by(server, client), client.attachment.addresses
    changes: list[None] = []
    client.attachment.on_change = lambda: changes.append(None)
    world.network.change_address("home")
    assert client.attachment.addresses == before
    assert changes == []
    after = seen_by(server, client)
    assert after.host != public.host
    assert sendto(server, after, client)
    assert not sendto(server, public, client)


def test_a_carrier_changes_its_address_for_all_its_customers() -> None:
    world = World(
        site("carrier", PORT_RESTRICTED),
        site("a", PORT_RESTRICTED, behind="carrier"),
        site("bridged", behind="carrier"),
        site("server"),
    )
    a, bridged, server = (world.machine(name) for name in ("a", "bridged", "server"))
    before = bridged.address()
    public = seen_by(server, a)
    world.network.change_address("carrier")
    assert seen_by(server, a).host == seen_by(server, bridged).host != public.host
    assert bridged.address() == before
    world.network.change_address("bridged")
    assert bridged.address() != before
    world.network.change_address("a")
    assert sendto(server, seen_by(server, a), a)


def test_one_to_one_has_the_address_to_itself() -> None:
    cloud = NAT_KINDS["one-to-one"].nats
    world = World(site("cloud", *cloud), site("elsewhere"), ip_versions=(4,))
    machine, other = world.machine("cloud"), world.machine("elsewhere")
    public = seen_by(other, machine)
    assert public.port == PORT
    assert sendto(other, Endpoint(public.host, 22), machine) == [other.endpoint()]
    machine.attachment.detach()
    assert not sendto(other, public, machine)
    successor = world.machine("cloud", "successor")
    assert sendto(other, public, successor) == [other.endpoint()]


def test_connections_go_through_nats_and_find_no_way_in_unasked() -> None:
    world = World(site("home", PORT_RESTRICTED), site("server"))
    client, server = world.machine("home"), world.machine("server")
    client.send_tcp(server.endpoint(), TcpFlags.SYN)
    world.run()
    [(public, _)] = server.take()
    server.send_tcp(public, TcpFlags.SYN | TcpFlags.ACK)
    world.run()
    assert len(client.take()) == 1
    server.send_tcp(Endpoint(public.host, 22), TcpFlags.SYN)
    world.run()
    assert world.drops() == [("home", Drop.UNMAPPED)]


# IPv6


def test_ipv6_is_routed_through_both_firewalls_of_a_site_behind_another() -> None:
    for outer, inner in [("carrier", "none"), ("none", "home"), ("carrier", "home")]:
        firewalls = [
            Firewall.STATEFUL if name != "none" else Firewall.NONE for name in (outer, inner)
        ]
        world = World(
            site("carrier", PORT_RESTRICTED, firewall=firewalls[0]),
            site("home", PORT_RESTRICTED, behind="carrier", firewall=firewalls[1]),
            site("server"),
        )
        client, server = world.machine("home"), world.machine("server")
        assert not sendto(server, client.endpoint(6), client)
        assert world.drops() == [(outer if outer != "none" else inner, Drop.NO_FLOW)]
        assert sendto(client, server.endpoint(6), server) == [client.endpoint(6)]
        assert sendto(server, client.endpoint(6), client) == [server.endpoint(6)]


def test_ipv6_without_a_firewall_is_open_though_there_is_a_nat() -> None:
    world = World(site("home", PORT_RESTRICTED), site("server"), ip_versions=(6,))
    client, server = world.machine("home"), world.machine("server")
    assert sendto(server, client.endpoint(6), client) == [server.endpoint(6)]
    assert [address.version for address in client.attachment.addresses] == [6]


def test_ipv6_firewalls_are_punched_from_both_sides() -> None:
    sites = [site(name, PORT_RESTRICTED, firewall=Firewall.STATEFUL) for name in ("a", "b")]
    world = World(*sites)
    a, b = world.machine("a"), world.machine("b")
    assert not sendto(a, b.endpoint(6), b)
    assert sendto(b, a.endpoint(6), a)
    assert sendto(a, b.endpoint(6), b)
    world.network.reboot_nat("b")
    assert not sendto(a, b.endpoint(6), b)


# Faults


def test_a_block_is_one_way_and_counts_sites_behind_as_their_own() -> None:
    world = World(
        site("carrier", FULL_CONE),
        site("customer", FULL_CONE, behind="carrier"),
        site("neighbour", FULL_CONE, behind="carrier"),
        site("server"),
    )
    customer, neighbour, server = (
        world.machine(name) for name in ("customer", "neighbour", "server")
    )
    public, public_neighbour = seen_by(server, customer), seen_by(server, neighbour)
    block = world.network.block(["server"], ["customer"])
    again = world.network.block(["server", "carrier"], ["customer"])
    for version, to in ((4, public), (6, customer.endpoint(6))):
        assert not sendto(server, to, customer)
        assert world.drops() == [("customer", Drop.BLOCKED)]
        assert sendto(customer, server.endpoint(version), server)
    assert sendto(server, public_neighbour, neighbour)
    block.lift()
    block.lift()
    assert not sendto(server, public, customer)
    again.lift()
    assert sendto(server, public, customer)
    with pytest.raises(KeyError):
        world.network.block(["server"], ["nobody"])


def test_blocking_a_site_that_others_are_behind_blocks_its_own_machines_alone() -> None:
    world = World(site("carrier"), site("customer", FULL_CONE, behind="carrier"), site("server"))
    own, customer, server = (world.machine(name) for name in ("carrier", "customer", "server"))
    public = seen_by(server, customer)
    world.network.block(["server"], ["carrier"])
    assert not sendto(server, own.endpoint(), own)
    assert world.drops() == [("carrier", Drop.BLOCKED)]
    assert sendto(server, public, customer)


def test_within_a_site_nothing_is_blocked() -> None:
    world = World(site("home"))
    one, other = world.machine("home", "one"), world.machine("home", "other")
    world.network.block(["home"], ["home"])
    assert sendto(one, other.endpoint(), other)


def test_a_tap_sees_what_comes_down_and_can_have_it_come_again() -> None:
    world = World(site("home", PORT_RESTRICTED, line=SLOW), site("server", line=SLOW))
    client, server = world.machine("home"), world.machine("server")
    public = seen_by(server, client)
    seen: list[Packet] = []
    tap = world.network.tap("home", seen.append)
    assert sendto(server, public, client) == [server.endpoint()]
    [packet] = seen
    assert (packet.source, packet.destination) == (server.endpoint(), public)
    world.network.inject("home", packet)
    assert client.take() == []
    world.run(for_s=0.0)
    assert client.take() == [(server.endpoint(), b"hello")]
    assert len(seen) == 1
    world.network.reboot_nat("home")
    world.network.inject("home", packet)
    world.run()
    assert client.take() == []
    tap.remove()
    tap.remove()
    seen_by(server, client)
    assert sendto(server, public, client)
    assert len(seen) == 1


def test_unknown_sites_are_key_errors() -> None:
    world = World()
    with pytest.raises(KeyError):
        world.network.attach("nowhere", "machine", ignore)
    with pytest.raises(KeyError):
        world.network.set_line("nowhere", AT_ONCE)
    with pytest.raises(KeyError):
        world.network.add_site(site("home", behind="nowhere"))


def test_what_is_under_way_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sims.internet.carriage.UNDER_WAY_MAX", 10)
    world = World(site("a", line=SLOW), site("b"))
    a, b = world.machine("a"), world.machine("b")
    for _ in range(12):
        a.send(b.endpoint())
    world.run()
    assert len(b.take()) == 10
    assert world.drops() == [("a", Drop.QUEUE_FULL)] * 2
    assert sendto(a, b.endpoint(), b)
