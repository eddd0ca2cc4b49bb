"""The parts of a capture: which keys it knows, what it finds inside of TURN, where it writes."""

from collections.abc import Callable
from pathlib import Path

import pytest

from sims.capture import wireguard_keys
from sims.capture.capture import Capture
from sims.capture.frames import encode
from sims.capture.relayed import relayed_tunnel_message
from sims.capture.wireguard_keys import DrawnKeys, OverheardEntropy
from sims.internet.packet import Packet, Protocol, TcpFlags, TcpHeader
from sims.runtime.entropy import Entropy
from sims.stack.ip import IpPacket, checksum, pseudo_header
from wice.datagram import Endpoint
from wice.errors import WiceError
from wice.keys import PrivateKey
from wice.stun import Attribute, Class, Method
from wice.stun import encode as encode_stun
from wice.turn.messages import pack_channel_header

HERE, THERE = Endpoint("192.0.2.1", 4_000), Endpoint("192.0.2.2", 4_001)
KEY = PrivateKey(bytes(range(32)))


def initiation(ephemeral: bytes) -> bytes:
    """WireGuard's whitepaper, section 5.4.2."""
    return bytes((1, 0, 0, 0)) + bytes(4) + ephemeral + bytes(108)


def response(ephemeral: bytes) -> bytes:
    """WireGuard's whitepaper, section 5.4.3."""
    return bytes((2, 0, 0, 0)) + bytes(8) + ephemeral + bytes(48)


def indication(method: Method, data: bytes) -> bytes:
    return encode_stun(method, Class.INDICATION, bytes(12), [(Attribute.DATA, data)])


@pytest.mark.parametrize("message", [initiation, response])
def test_a_handshake_shows_which_drawn_bytes_are_its_key(
    message: Callable[[bytes], bytes],
) -> None:
    drawn = DrawnKeys()
    datagram = message(bytes(KEY.public_key()))
    assert drawn.of_handshake(datagram) is None
    drawn.add(bytes(range(32)))
    found = drawn.of_handshake(datagram)
    assert found is not None
    assert bytes(found) == bytes(KEY)
    assert drawn.of_handshake(datagram + b"\0") is None
    assert drawn.of_handshake(bytes(len(datagram))) is None


def test_the_oldest_drawn_bytes_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wireguard_keys, "DRAWN_KEYS_MAX", 2)
    drawn = DrawnKeys()
    private_keys = [PrivateKey(bytes([number] * 32)) for number in range(3)]
    for private_key in private_keys:
        drawn.add(bytes(private_key))
    handshakes = [initiation(bytes(key.public_key())) for key in private_keys]
    known = [drawn.of_handshake(handshake) is not None for handshake in handshakes]
    assert known == [False, True, True]


def test_who_overhears_changes_nothing() -> None:
    drawn = DrawnKeys()
    overheard = OverheardEntropy(7, drawn)
    for purpose in ("platform", "keys"):
        one, other = Entropy(7).stream(purpose, "pc/1"), overheard.stream(purpose, "pc/1")
        assert [one.read(size) for size in (4, 32, 8)] == [other.read(size) for size in (4, 32, 8)]
    stream = Entropy(7).stream("platform", "pc/1")
    stream.read(4)
    daemons = PrivateKey(stream.read(32))
    assert drawn.of_handshake(initiation(bytes(daemons.public_key()))) is not None
    others = PrivateKey(Entropy(7).stream("keys", "pc/1").read(36)[4:])
    assert drawn.of_handshake(initiation(bytes(others.public_key()))) is None


def test_a_tunnel_is_found_inside_of_turn() -> None:
    message = initiation(bytes(32))
    channel_data = pack_channel_header(0x4001, len(message)) + message
    assert relayed_tunnel_message(channel_data) == message
    assert relayed_tunnel_message(channel_data + bytes(2)) == message
    assert relayed_tunnel_message(indication(Method.SEND, message)) == message
    assert relayed_tunnel_message(indication(Method.DATA, message)) == message


def test_nothing_else_is_taken_for_a_tunnel() -> None:
    message = initiation(bytes(32))
    check = encode_stun(Method.BINDING, Class.REQUEST, bytes(12), [])
    channel_data = pack_channel_header(0x4001, len(message)) + message
    for datagram in (
        b"",
        message,
        check,
        channel_data[:-1],
        pack_channel_header(0x4001, len(check)) + check,
        indication(Method.SEND, check),
        indication(Method.SEND, message)[:-4],
        encode_stun(Method.SEND, Class.INDICATION, bytes(12), []),
    ):
        assert relayed_tunnel_message(datagram) is None


def test_tcp_has_its_numbers_flags_and_checksum() -> None:
    header = TcpHeader(TcpFlags.ACK, (1 << 32) + 5, 1 << 33, 131_072)
    packet = IpPacket.decode(encode(Packet(Protocol.TCP, HERE, THERE, b"odd", header)))
    segment = packet.payload
    assert segment[:4] == HERE.port.to_bytes(2, "big") + THERE.port.to_bytes(2, "big")
    assert segment[4:12] == bytes((0, 0, 0, 5, 0, 0, 0, 0))
    assert segment[12:16] == bytes((5 << 4, 0x10)) + (131_072 >> 7).to_bytes(2, "big")
    assert checksum(pseudo_header(HERE.host, THERE.host, 6, len(segment)) + segment) == 0
    assert segment[20:] == b"odd"


def test_a_syn_tells_its_segment_size_and_its_window_scale() -> None:
    header = TcpHeader(TcpFlags.SYN, 0, 0, 131_072, 1_452)
    segment = IpPacket.decode(encode(Packet(Protocol.TCP, HERE, THERE, b"", header))).payload
    assert segment[12:16] == bytes((7 << 4, 0x02, 0xFF, 0xFF))
    assert segment[20:] == bytes((2, 4)) + (1_452).to_bytes(2, "big") + bytes((1, 3, 3, 7))


def test_a_directory_with_captures_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    Capture(tmp_path / "new" / "captures", 1)
    Capture(tmp_path, 1)
    (tmp_path / "home.eth0.pcapng").touch()
    with pytest.raises(WiceError, match="has captures in it already; remove them, or name another"):
        Capture(tmp_path, 1)
    with pytest.raises(WiceError, match=r"notes\.txt: cannot be written: File exists"):
        Capture(tmp_path / "notes.txt", 1)
