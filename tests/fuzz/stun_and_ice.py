"""STUN and ICE: what arrives on the UDP port that is not WireGuard's, and candidates."""

import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random

from tests.fuzz.mutation import STUN, TEXT
from tests.fuzz.target import Case, Target
from wice.datagram import Endpoint
from wice.errors import RemoteProtocolError
from wice.ice import Agent, Credentials, parse_candidate
from wice.ice.candidate import host_candidate
from wice.ice.checklist import PAIRS_MAX, REMOTE_CANDIDATES_MAX
from wice.ice.events import Transmit
from wice.ice.gatherer import Gatherer
from wice.ice.messages import request_ufrag
from wice.stun import (
    Attribute,
    Class,
    IntegrityKey,
    Method,
    encode,
    pack_error_code,
    pack_xor_address,
    parse,
    unpack_error_code,
    unpack_xor_address,
)
from wice.stun.message import Message
from wice.stun.rate_limit import SOURCES_MAX
from wice.stun.server import BindingServer, Origins

OURS = Endpoint("192.0.2.1", 51_820)
THEIRS = Endpoint("192.0.2.2", 51_820)
SERVER = Endpoint("203.0.113.1", 3478)
ASKED = Endpoint("203.0.113.10", 3478)
OTHER_ORIGINS = tuple(
    Endpoint(host, port) for host in ("203.0.113.10", "203.0.113.20") for port in (3478, 3479)
)
ORIGINS = Origins({3478: 3479, 3479: 3478}, {"203.0.113.10": "203.0.113.20"})
KEY = IntegrityKey(b"a password of 24 letters")
TRANSACTION_ID = bytes(range(12))
RESPONSE_SIZE_MAX_BYTES = 96


def request(*attributes: tuple[int, bytes], key: IntegrityKey | None = KEY) -> bytes:
    return encode(Method.BINDING, Class.REQUEST, TRANSACTION_ID, attributes, key=key)


def response(message_class: Class = Class.SUCCESS, *attributes: tuple[int, bytes]) -> bytes:
    return encode(Method.BINDING, message_class, TRANSACTION_ID, attributes, key=KEY)


MESSAGES = (
    request((Attribute.CHANGE_REQUEST, bytes((0, 0, 0, 6))), key=None),
    request(
        (Attribute.USERNAME, b"remoteuf:localufr"),
        (Attribute.PRIORITY, (1_862_270_975).to_bytes(4, "big")),
        (Attribute.ICE_CONTROLLING, bytes(8)),
        (Attribute.USE_CANDIDATE, b""),
    ),
    request((Attribute.SOFTWARE, b"a client"), key=None),
    response(
        Class.SUCCESS, (Attribute.XOR_MAPPED_ADDRESS, pack_xor_address(THEIRS, TRANSACTION_ID))
    ),
    response(
        Class.SUCCESS,
        (
            Attribute.XOR_MAPPED_ADDRESS,
            pack_xor_address(Endpoint("2001:db8::7", 7), TRANSACTION_ID),
        ),
    ),
    response(Class.ERROR, (Attribute.ERROR_CODE, pack_error_code(487, "Role Conflict"))),
    encode(Method.BINDING, Class.INDICATION, TRANSACTION_ID),
)


def read_whole(message: Message) -> None:
    """Everything that anyone asks of a message."""
    repr(message)
    message.unknown_required(())
    readers: dict[Attribute, Callable[[bytes], object]] = {
        Attribute.XOR_MAPPED_ADDRESS: lambda v: unpack_xor_address(v, message.transaction_id),
        Attribute.ERROR_CODE: unpack_error_code,
        Attribute.USERNAME: lambda _: request_ufrag(message),
        Attribute.MESSAGE_INTEGRITY: lambda _: message.verify_integrity(KEY),
    }
    for kind, read in readers.items():
        if kind in message.attributes:
            read(message.attributes[kind])


def sealed(data: bytes, key: IntegrityKey | None = None) -> bytes:
    """``data`` with the length it has, and with integrity and fingerprint behind it.

    So a stranger can make any message, and a peer any with integrity: mutations reach what lies
    behind these checks.
    """
    data += bytes(-len(data) % 4)
    attributes = data[20:]
    if key is not None:
        covered = _with_length(data, len(attributes) + key.size_bytes)
        attributes += key.header + key.digest(covered)
    body = _with_length(data[:20] + attributes, len(attributes) + 8)
    return body + b"\x80\x28\x00\x04" + (zlib.crc32(body) ^ 0x5354554E).to_bytes(4, "big")


def _with_length(data: bytes, length: int) -> bytes:
    return data[:2] + (length & 0xFFFF).to_bytes(2, "big") + data[4:]


def bare(message: bytes) -> bytes:
    """A message up to its integrity or fingerprint, for ``sealed`` to complete."""
    at = message.find(b"\x00\x08\x00\x14")
    return message[: at if at >= 0 else -8]


def messages(_: Path) -> Case:
    return Case(MESSAGES, lambda data: read_whole(parse(data)))


def messages_with_fingerprint(_: Path) -> Case:
    samples = [bare(message) for message in MESSAGES]
    return Case(samples, lambda data: read_whole(parse(sealed(data))))


def server(_: Path) -> Case:
    binding = BindingServer("wice")
    now = 0.0

    def respond(data: bytes) -> None:
        nonlocal now
        now += 0.03
        for datagram in (data, sealed(bare(data))):
            answer = binding.respond(datagram, THEIRS, now, ASKED, ORIGINS)
            if answer is not None:
                assert len(answer.data) <= RESPONSE_SIZE_MAX_BYTES
                assert len(answer.data) + 28 < 2 * (len(datagram) + 28)
                assert answer.origin in OTHER_ORIGINS

    def check() -> None:
        assert len(binding._limit) <= SOURCES_MAX
        assert binding.respond(MESSAGES[1], Endpoint("192.0.2.77", 1), now) is not None

    return Case(MESSAGES, respond, check)


class AgentUnderFire:
    """An agent whose peer, credentials and all, sends whatever it likes."""

    def __init__(self) -> None:
        random = Random(1)
        self.now = 0.0
        self.local = Credentials("ourufrag", "p" * 24)
        self.remote = Credentials("theirufr", "q" * 24)
        self.agent = Agent(
            controlling=True, local=self.local, random_bytes=random.randbytes, now=0.0
        )
        self.asked: Transmit | None = None
        self.agent.set_local_candidates([host_candidate(OURS, 65_535)], self.now)
        self.agent.set_remote(self.remote, self.now)
        self.agent.add_remote_candidate(host_candidate(THEIRS, 65_535), self.now)
        self.drain()

    def drain(self) -> None:
        while (transmit := self.agent.poll_transmit()) is not None:
            if transmit.data[:2] == b"\x00\x01":
                self.asked = transmit
        while self.agent.poll_event() is not None:
            pass

    def receive(self, data: bytes) -> None:
        self.now += 0.05
        try:
            self.agent.receive(data, THEIRS, OURS.host, self.now)
        finally:
            self.agent.handle_timeout(self.now)
            self.drain()

    def receive_sealed(self, data: bytes) -> None:
        """As from who knows both passwords; answers are to what was asked last."""
        is_answer = len(data) >= 20 and data[0] & 1
        if is_answer and self.asked is not None:
            data = data[:8] + self.asked.data[8:20] + data[20:]
        password = self.remote.password if is_answer else self.local.password
        self.receive(sealed(data, IntegrityKey(password.encode())))

    def check(self) -> None:
        assert len(self.agent.pairs()) <= min(PAIRS_MAX, REMOTE_CANDIDATES_MAX) + 1
        assert len(self.agent._responder._early._waiting) <= 32
        for _ in range(200):  # whatever was said before, the true peer gets through
            if self.agent.selected is not None:
                return
            self.now += 1.0
            self.agent.handle_timeout(self.now)
            self.drain()
            for message in self.samples()[:2]:
                with suppress(RemoteProtocolError):
                    self.receive_sealed(message)
        raise AssertionError("the agent finds no path any more")

    def samples(self) -> list[bytes]:
        assert self.asked is not None
        answered = self.asked.data[8:20]
        role = Attribute.ICE_CONTROLLED if self.agent.controlling else Attribute.ICE_CONTROLLING
        username = f"{self.local.ufrag}:{self.remote.ufrag}".encode()
        check = encode(
            Method.BINDING,
            Class.REQUEST,
            TRANSACTION_ID,
            (
                (Attribute.USERNAME, username),
                (Attribute.PRIORITY, (1_862_270_975).to_bytes(4, "big")),
                (role, b"\x00" * 8),
                (Attribute.USE_CANDIDATE, b""),
            ),
            fingerprint=False,
        )
        mapped = pack_xor_address(OURS, answered)
        conflict = pack_error_code(487, "Role Conflict")
        answers = (
            (Class.SUCCESS, (Attribute.XOR_MAPPED_ADDRESS, mapped)),
            (Class.ERROR, (Attribute.ERROR_CODE, conflict)),
        )
        return [
            check,
            *(
                encode(Method.BINDING, kind, answered, (attribute,), fingerprint=False)
                for kind, attribute in answers
            ),
        ]


def agent(_: Path) -> Case:
    fire = AgentUnderFire()
    keys = [fire.local.password, *[fire.remote.password] * 2]
    samples = [
        sealed(sample, IntegrityKey(password.encode()))
        for sample, password in zip(fire.samples(), keys, strict=True)
    ]
    return Case(samples, fire.receive, fire.check)


def agent_of_a_hostile_peer(_: Path) -> Case:
    fire = AgentUnderFire()
    return Case(fire.samples(), fire.receive_sealed, fire.check)


def gatherer(_: Path) -> Case:
    """Answers of a STUN server that lies."""
    random = Random(1)
    now = 0.0
    gathering = Gatherer(OURS.port, random.randbytes)
    gathering.set_local_addresses([OURS.host], now)
    gathering.set_stun_servers([SERVER], now)
    asked = b""

    def drain() -> None:
        nonlocal asked
        while (transmit := gathering.poll_transmit()) is not None:
            asked = transmit.data[8:20]

    def receive(data: bytes) -> None:
        nonlocal now
        now += 1.0
        gathering.query_again(now)
        drain()
        data = sealed(data[:8] + asked + data[20:])
        try:
            gathering.receive_message(parse(data), SERVER, OURS.host, now)
        finally:
            gathering.handle_timeout(now)
            drain()
            for candidate in gathering.candidates():
                parse_candidate(candidate.to_sdp())

    drain()
    mapped = pack_xor_address(Endpoint("198.51.100.1", 7), asked)
    attributes = ((Attribute.XOR_MAPPED_ADDRESS, mapped),)
    plain = encode(Method.BINDING, Class.SUCCESS, asked, attributes, fingerprint=False)
    error = ((Attribute.ERROR_CODE, pack_error_code(400, "Bad Request")),)
    refusal = encode(Method.BINDING, Class.ERROR, asked, error, fingerprint=False)
    return Case([plain, refusal], receive)


CANDIDATES = (
    "1 1 udp 2130706431 192.0.2.1 51820 typ host",
    "candidate:a+/9 1 UDP 1694498815 203.0.113.9 5 typ srflx raddr 10.0.0.1 rport 51820",
    "2 1 udp 1 2001:db8::1 9 typ relay raddr :: rport 0 generation 0 network-cost 999",
)
CANDIDATE_TOKENS = (
    b" ",
    b"0",
    b"-1",
    b"99999",
    b"4294967296",
    b"tcp",
    b"fe80::1",
    b"::ffff:1.2.3.4",
    b"224.0.0.1",
    b"1.2.3",
    b"::1%lo",
    b" typ host",
    b" raddr ",
    "\u0661".encode(),
    b"\n",
    b"\x00",
)


def candidates(_: Path) -> Case:
    def read(data: bytes) -> None:
        parse_candidate(parse_candidate(data.decode("utf-8", "replace")).to_sdp())

    return Case([text.encode() for text in CANDIDATES], read)


TARGETS = (
    Target("STUN message", messages, changes=STUN),
    Target("STUN message with a fingerprint that fits", messages_with_fingerprint, changes=STUN),
    Target("STUN server", server, errors=(), changes=STUN),
    Target("ICE agent, strangers", agent, changes=STUN),
    Target("ICE agent, a hostile peer", agent_of_a_hostile_peer, changes=STUN),
    Target("ICE gatherer, a hostile STUN server", gatherer, changes=STUN),
    Target("ICE candidate", candidates, changes=TEXT, tokens=CANDIDATE_TOKENS),
)
