"""WireGuard: packets from strangers, from peers, and from our own host's TUN; ``wg``'s files."""

from pathlib import Path

from tests.fuzz.mutation import TEXT
from tests.fuzz.target import Case, Target
from tests.wireguard.conftest import A_ENDPOINT, B_ENDPOINT, Host, Pair, ipv4_packet
from wice.errors import ConfigError, RemoteProtocolError
from wice.wireguard import conf, messages
from wice.wireguard.cookie import CookieJar
from wice.wireguard.messages import COOKIE_REPLY, INITIATION, MACS_SIZE_BYTES, RESPONSE, TRANSPORT

IPV6_PACKET = b"\x60" + bytes(3) + b"\x00\x04\x3a\x40" + b"\xfd" + bytes(30) + b"\x02" + b"ping"


class UnderFire:
    """Two tunnels: B has a session with A; A has an initiation of its own under way as well."""

    def __init__(self) -> None:
        self.pair = Pair().connect()
        self.a, self.b = self.pair.a, self.pair.b
        for host in (self.a, self.b):
            host.fate = lambda _: ()
        # Its session is too old to send by: the packet waits for a new one.
        self.pair.run(125.0)
        self.a.send(self.b, b"rekey")
        self.initiation = self.a.sent_of_type(INITIATION)[-1][1].data
        self.transport = self._last_transport()

    def _last_transport(self) -> bytes:
        peer = self.a.tunnel._peers[self.b.public_key]
        keypair = peer.keypairs.current
        assert keypair is not None
        return keypair.seal(ipv4_packet(self.a.inside, self.b.inside, b"hello"))

    def answers(self, is_under_load: bool) -> bytes:
        """What B answers to A's initiation: a cookie reply if it is under load."""
        self.b.is_under_load = is_under_load
        assert self.pair.deliver(self.b, self.initiation, A_ENDPOINT) is None
        return self.b.sent[-1][1].data

    def receive(self, data: bytes) -> None:
        """As from the network, by each tunnel that such a message could be meant for."""
        kind = data[0] if data else 0
        targets = {
            INITIATION: (self.b,),
            TRANSPORT: (self.b,),
            RESPONSE: (self.a,),
            COOKIE_REPLY: (self.a,),
        }.get(kind, (self.a, self.b))
        for host in targets:
            self.hand_over(host, data)

    def hand_over(self, host: Host, data: bytes) -> None:
        source = B_ENDPOINT if host is self.a else A_ENDPOINT
        try:
            host.tunnel.receive(data, source, host.endpoint.host, self.pair.now)
        finally:
            self.drain(host)

    def drain(self, host: Host) -> None:
        while host.tunnel.poll_transmit() or host.tunnel.poll_packet() or host.tunnel.poll_event():
            pass

    def check(self) -> None:
        """Indices stay few, and the two still make a session."""
        for host in (self.a, self.b):
            assert len(host.tunnel._shared.indices) <= 8
            assert len(host.tunnel._due) <= 16
            host.is_under_load = False
            host.fate = lambda _: (0.02,)
        count = len(self.b.packets)
        self.a.set_path(self.b)
        for _ in range(12):
            self.a.send(self.b, b"after all that")
            self.pair.run(5.0)
        assert len(self.b.packets) > count


def strangers(_: Path) -> Case:
    cookie = UnderFire().answers(is_under_load=True)
    response = UnderFire().answers(is_under_load=False)
    fire = UnderFire()
    return Case([fire.initiation, response, cookie, fire.transport], fire.receive, fire.check)


def strangers_who_know_our_key(_: Path) -> Case:
    """mac1 is only as secret as our public key."""
    response = UnderFire().answers(is_under_load=False)
    fire = UnderFire()

    def receive(data: bytes) -> None:
        """To whom it is meant for: a valid message is valid for one side."""
        host = fire.a if data[:1] == bytes((RESPONSE,)) else fire.b
        jar = CookieJar(host.public_key)
        fire.hand_over(host, jar.add_macs(data[:-MACS_SIZE_BYTES], fire.pair.now))

    return Case([fire.initiation, response], receive, fire.check)


def inner_packets(_: Path) -> Case:
    """What a peer with a session puts into it."""
    fire = UnderFire()
    keypair = fire.a.tunnel._peers[fire.b.public_key].keypairs.current
    assert keypair is not None

    def receive(data: bytes) -> None:
        fire.hand_over(fire.b, keypair.seal(data))

    samples = [
        ipv4_packet(fire.a.inside, fire.b.inside, b"hello"),
        ipv4_packet(fire.a.inside, fire.b.inside).ljust(96, b"\0"),
        b"",
    ]
    return Case(samples, receive, fire.check)


def packets_of_the_host(_: Path) -> Case:
    fire = UnderFire()
    samples = [ipv4_packet(fire.b.inside, fire.a.inside, b"hello"), IPV6_PACKET]

    def send(data: bytes) -> None:
        fire.pair.now += 0.001
        fire.b.tunnel.send(data, fire.pair.now)
        fire.drain(fire.b)

    return Case(samples, send, fire.check)


def plain_types(_: Path) -> Case:
    fire = UnderFire()
    response = UnderFire().answers(is_under_load=False)
    return Case([fire.initiation, response, fire.transport], messages.message_type)


CONFIGURATION = b"""[Interface]
PrivateKey = AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHl8=
ListenPort = 51820
FwMark = 0x2a

# a comment
[Peer]
PublicKey = CNd8hGaAy0yiZ0RjBnHKmeVJlQzrLH6ZBRqvwuzS9AI=
PresharedKey = AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=
AllowedIPs = 10.0.0.2/32, fd00::2/128
Endpoint = [2001:db8::1]:51820
PersistentKeepalive = 25
"""
CONFIGURATION_TOKENS = (
    b"=",
    b"\n",
    b"off",
    b"-1",
    b"65536",
    b"0x",
    b"9" * 5_000,
    b"10.0.0.0/33",
    b"::/0",
    b"fe80::1%eth0",
    b"[Peer]\n",
    b"[Interface]\n",
    b"AllowedIPs = ,,\n",
    "\u0661\u0662".encode(),
    "\u2028".encode(),
    b"\x00",
)


def configuration(_: Path) -> Case:
    return Case([CONFIGURATION], lambda data: conf.parse(data.decode("utf-8", "replace")))


TARGETS = (
    Target("WireGuard message type", plain_types),
    Target("WireGuard message, strangers", strangers),
    Target("WireGuard handshake with mac1", strangers_who_know_our_key),
    Target("WireGuard inner packet of a peer", inner_packets, errors=(RemoteProtocolError,)),
    Target("IP packet from the TUN", packets_of_the_host, errors=()),
    Target(
        "wg configuration",
        configuration,
        errors=(ConfigError,),
        changes=TEXT,
        tokens=CONFIGURATION_TOKENS,
    ),
)
