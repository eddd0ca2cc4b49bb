"""TURN: what strangers and members send to our relay, and what a server says to our client."""

from contextlib import suppress
from pathlib import Path
from random import Random

from tests.fuzz.mutation import STUN, TEXT
from tests.fuzz.stun_and_ice import sealed
from tests.fuzz.target import Case, Target
from tests.turn.turn_network import ALICE, CLIENT, PEER, SERVER, SERVER_IPV6, Network
from wice.datagram import Endpoint
from wice.errors import RemoteProtocolError
from wice.stun import (
    Attribute,
    Challenge,
    Class,
    Method,
    StaticAccounts,
    encode,
    pack_address,
    pack_error_code,
    pack_xor_address,
)
from wice.stun.long_term import unpack_password_algorithms
from wice.turn import PeerPolicy, RestAccounts, State, TurnClient
from wice.turn.allocation import CHANNELS_MAX, PERMISSIONS_MAX
from wice.turn.messages import UDP, parse_channel_data

ID = bytes(range(12))
XOR_PEER = (int(Attribute.XOR_PEER_ADDRESS), pack_xor_address(PEER, ID))
CHANNEL = (int(Attribute.CHANNEL_NUMBER), b"\x40\x00\x00\x00")
TRANSPORT = (int(Attribute.REQUESTED_TRANSPORT), UDP)
LIFETIME = (int(Attribute.LIFETIME), (600).to_bytes(4, "big"))
DATA = (int(Attribute.DATA), b"data of a peer")
CHANNEL_DATA = b"\x40\x00\x00\x04data"
IPV6 = b"\x02\x00\x00\x00"
POLICY = PeerPolicy(own_addresses=[SERVER.host, SERVER_IPV6])


def message(
    method: Method,
    message_class: Class,
    *attributes: tuple[int, bytes],
    challenge: Challenge | None = None,
) -> bytes:
    """A message up to its integrity."""
    listed = [*attributes, *(challenge.attributes if challenge else ())]
    return encode(method, message_class, ID, listed, fingerprint=False)


class ServerUnderFire:
    """A server with one member that has an allocation, a channel and a peer."""

    def __init__(self) -> None:
        self.network = Network()
        self.client = self.network.client()
        self.client.bind_channel(PEER, self.network.now)
        self.network.run(1.0)
        challenge = self.client._exchange.challenge
        assert challenge is not None
        self.challenge = challenge

    def receive(self, data: bytes) -> None:
        self.network.now += 0.02
        self.network.server.receive(data, CLIENT, self.network.now, SERVER.host)
        self._drain(data)

    def receive_relayed(self, data: bytes) -> None:
        for relay in list(self.network.relays):
            self.network.server.receive_relayed(relay, data, PEER, self.network.now)
        self._drain(data)

    def receive_sealed(self, data: bytes) -> None:
        """As the member would send it: with its integrity, and each time another request."""
        if len(data) >= 20:
            data = data[:8] + self.network.random.randbytes(12) + data[20:]
        self.receive(sealed(data, self.challenge.key))

    def _drain(self, data: bytes) -> None:
        answers = 0
        while (transmit := self.network.server.poll_transmit()) is not None:
            answers += 1
            if transmit.relay is None:
                assert transmit.remote == CLIENT
            else:
                # A member may have permitted whomever the policy lets it.
                assert POLICY.allows(transmit.remote.host)
            assert len(transmit.data) <= len(data) + 160
        assert answers <= 1
        self.network._drain()
        self.network._flying.clear()

    def check(self) -> None:
        server = self.network.server
        assert len(server._table.by_path) <= 1 and len(server._table.relays) <= 2
        for allocation in server._table.by_path.values():
            assert len(allocation._permissions) <= PERMISSIONS_MAX
            assert len(allocation._channels) <= CHANNELS_MAX
        member = self.network.client(Endpoint(CLIENT.host, 9))
        self.network.run(30.0)
        assert member.state is State.ALLOCATED

    def samples(self, challenge: Challenge | None) -> list[bytes]:
        return [
            message(Method.REFRESH, Class.REQUEST, LIFETIME, challenge=challenge),
            message(Method.CREATE_PERMISSION, Class.REQUEST, XOR_PEER, challenge=challenge),
            message(Method.CHANNEL_BIND, Class.REQUEST, CHANNEL, XOR_PEER, challenge=challenge),
            message(
                Method.ALLOCATE,
                Class.REQUEST,
                TRANSPORT,
                (Attribute.ADDITIONAL_ADDRESS_FAMILY, IPV6),
                (Attribute.EVEN_PORT, b"\x00"),
                challenge=challenge,
            ),
            message(
                Method.REFRESH,
                Class.REQUEST,
                (Attribute.REQUESTED_ADDRESS_FAMILY, IPV6),
                (Attribute.LIFETIME, bytes(4)),
                challenge=challenge,
            ),
        ]


def server_strangers(_: Path) -> Case:
    fire = ServerUnderFire()
    samples = [
        *fire.samples(None),
        message(Method.SEND, Class.INDICATION, XOR_PEER, DATA),
        message(Method.BINDING, Class.REQUEST),
        CHANNEL_DATA,
    ]
    return Case(samples, fire.receive, fire.check)


def server_member(_: Path) -> Case:
    fire = ServerUnderFire()
    return Case(fire.samples(fire.challenge), fire.receive_sealed, fire.check)


def server_peer(_: Path) -> Case:
    fire = ServerUnderFire()
    return Case([b"data of a peer", CHANNEL_DATA], fire.receive_relayed, fire.check)


class ClientUnderFire:
    """A client whose server says whatever it likes, signed with the right key where it can."""

    def __init__(self) -> None:
        self.random = Random(1)
        self.now = 0.0
        self.asked = b""
        self.client = TurnClient(SERVER, ALICE, random_bytes=self.random.randbytes, now=0.0)
        self.client.bind_channel(PEER, 0.0)
        self.drain()

    def drain(self) -> int:
        sent = 0
        while (data := self.client.poll_transmit()) is not None:
            sent += 1
            if len(data) >= 20 and not data[0] & 1 and not data[1] & 0x10:
                self.asked = data
        while self.client.poll_event() is not None or self.client.poll_data() is not None:
            pass
        return sent

    def receive(self, data: bytes) -> None:
        self.now += 0.1
        if len(data) >= 20 and data[0] == 1:
            # The answer to what was asked last, by its method and transaction.
            data = (
                bytes((1, data[1] & 0x10 | self.asked[1]))
                + data[2:8]
                + self.asked[8:20]
                + data[20:]
            )
        challenge = self.client._exchange.challenge
        if len(data) >= 20 and data[0] < 4:
            data = sealed(data, challenge.key if challenge else None)
        try:
            self.client.receive(data, self.client.server, self.now)
        finally:
            self.client.handle_timeout(self.now)
            assert self.drain() <= 20

    def check(self) -> None:
        client = self.client
        assert len(client._exchange) <= 64
        for _ in range(2_000):  # whatever was said before, a server that serves is found
            if client.state is State.ALLOCATED:
                return
            self.now += 1.0
            client.handle_timeout(self.now)
            self.drain()
            with suppress(RemoteProtocolError):
                self.receive(self.samples()[0])
        raise AssertionError("the client allocates no more")

    def samples(self) -> list[bytes]:
        relayed = pack_xor_address(Endpoint("203.0.113.1", 50_000), self.asked[8:20])
        mapped = pack_xor_address(CLIENT, self.asked[8:20])
        return [
            message(
                Method.ALLOCATE,
                Class.SUCCESS,
                (Attribute.XOR_RELAYED_ADDRESS, relayed),
                (Attribute.XOR_MAPPED_ADDRESS, mapped),
                LIFETIME,
            ),
            message(
                Method.ALLOCATE,
                Class.ERROR,
                (Attribute.ERROR_CODE, pack_error_code(401, "")),
                (Attribute.REALM, b"wice"),
                (Attribute.NONCE, b"obMatJos2AAABnonce"),
                (Attribute.PASSWORD_ALGORITHMS, b"\x00\x02\x00\x00\x00\x01\x00\x00"),
            ),
            message(
                Method.ALLOCATE,
                Class.ERROR,
                (Attribute.ERROR_CODE, pack_error_code(300, "")),
                (Attribute.ALTERNATE_SERVER, pack_address(Endpoint("203.0.113.2", 3478))),
            ),
            *(
                message(
                    Method.REFRESH, Class.ERROR, (Attribute.ERROR_CODE, pack_error_code(code, ""))
                )
                for code in (437, 486, 508)
            ),
        ]


def client_of_a_hostile_server(_: Path) -> Case:
    fire = ClientUnderFire()
    return Case(fire.samples(), fire.receive, fire.check)


def client_data(_: Path) -> Case:
    """Data of peers, at a client that has an allocation."""
    fire = ServerUnderFire()

    def receive(data: bytes) -> None:
        fire.client.receive(data, SERVER, fire.network.now)
        while fire.client.poll_data() is not None:
            pass

    def check() -> None:
        assert fire.client.state is State.ALLOCATED

    return Case(
        [CHANNEL_DATA, message(Method.DATA, Class.INDICATION, XOR_PEER, DATA)], receive, check
    )


def channel_data(_: Path) -> Case:
    return Case([CHANNEL_DATA, CHANNEL_DATA + bytes(3)], parse_channel_data)


def password_algorithms(_: Path) -> Case:
    samples = [b"\x00\x02\x00\x00\x00\x01\x00\x00", b"\x00\x09\x00\x03abc\x00"]
    return Case(samples, unpack_password_algorithms)


def user_names(_: Path) -> Case:
    accounts = RestAccounts(b"secret", lambda: 1.0)
    static = StaticAccounts({"alice": "x"})

    def find(data: bytes) -> None:
        text = data.decode("utf-8", "replace")
        accounts.find(text)
        static.find(text)

    return Case([b"1700000000:alice", b"alice"], find)


TARGETS = (
    Target("TURN server, strangers", server_strangers, errors=(), changes=STUN),
    Target("TURN server, a hostile member", server_member, errors=(), changes=STUN),
    Target("TURN server, a peer", server_peer, errors=()),
    Target("TURN client, a hostile server", client_of_a_hostile_server, changes=STUN),
    Target("TURN client, data", client_data, changes=STUN),
    Target("TURN ChannelData", channel_data),
    Target("STUN password algorithms", password_algorithms),
    Target("TURN user name", user_names, errors=(), changes=TEXT, tokens=(b":", b"-", b"9" * 40)),
)
