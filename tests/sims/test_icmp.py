import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sims.stack.icmp import Echo
from sims.stack.ip import BadPacketError, IpPacket, checksum, decode_udp, encode_udp
from wice.datagram import Endpoint

IPV4 = st.ip_addresses(v=4).map(str)
IPV6 = st.ip_addresses(v=6).map(str)
ADDRESSES = st.one_of(st.tuples(IPV4, IPV4), st.tuples(IPV6, IPV6))
PORTS = st.integers(0, 65_535)


def slow_checksum(data: bytes) -> int:
    """RFC 1071 section 4.1, as written there."""
    total = 0
    for start in range(0, len(data), 2):
        total += int.from_bytes(data[start : start + 2].ljust(2, b"\0"), "big")
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@given(st.binary(max_size=64))
def test_the_checksum_is_that_of_the_rfc(data: bytes) -> None:
    assert checksum(data) == slow_checksum(data)


def test_a_request_is_laid_out_as_the_rfcs_say() -> None:
    data = Echo("10.0.0.1", "10.0.0.2", False, 0x0102, 0x0304, b"\x0a\x0b\x18").encode()
    header, message = data[:20], data[20:]
    assert header[:10].hex() == "4500001f000040004001"  # 31 bytes, do not fragment, TTL 64, ICMP
    assert header[12:].hex() == "0a0000010a000002"
    assert message[:2].hex() + message[4:].hex() == "0800" + "01020304" + "0a0b18"
    assert slow_checksum(header) == 0 and slow_checksum(message) == 0


@given(ADDRESSES, st.booleans(), PORTS, PORTS, st.binary(max_size=64))
def test_echoes_survive_being_bytes(
    addresses: tuple[str, str], is_reply: bool, identifier: int, sequence: int, payload: bytes
) -> None:
    echo = Echo(*addresses, is_reply, identifier, sequence, payload)
    assert Echo.decode(IpPacket.decode(echo.encode())) == echo


@given(ADDRESSES, PORTS, PORTS, st.binary(max_size=64))
def test_datagrams_survive_being_bytes(
    addresses: tuple[str, str], source_port: int, destination_port: int, payload: bytes
) -> None:
    source = Endpoint(addresses[0], source_port)
    destination = Endpoint(addresses[1], destination_port)
    packet = IpPacket.decode(encode_udp(source, destination, payload))
    assert decode_udp(packet) == (source, destination, payload)


def test_a_reply_goes_back_with_the_same_payload() -> None:
    reply = Echo("10.0.0.1", "10.0.0.2", False, 7, 8, b"payload").reply()
    assert reply == Echo("10.0.0.2", "10.0.0.1", True, 7, 8, b"payload")


@pytest.mark.parametrize("address", ["10.0.0.1", "2001:db8::1"])
def test_a_turned_bit_of_the_transport_is_noticed(address: str) -> None:
    other = str(ipaddress.ip_address(address) + 1)
    whole = Echo(address, other, False, 1, 1, b"payload").encode()
    datagram = encode_udp(Endpoint(address, 1), Endpoint(other, 2), b"payload")
    header = len(whole) - len(b"payload") - 8
    for position in range(header, len(whole)):
        bad = bytearray(whole)
        bad[position] ^= 0x10
        with pytest.raises(BadPacketError):
            Echo.decode(IpPacket.decode(bytes(bad)))
        bad = bytearray(datagram)
        bad[position] ^= 0x10
        with pytest.raises(BadPacketError):
            decode_udp(IpPacket.decode(bytes(bad)))


@given(st.binary(max_size=80))
def test_garbage_is_refused_in_one_way(data: bytes) -> None:
    for version in (b"\x45", b"\x60", b""):
        try:
            packet = IpPacket.decode(version + data)
            decode_udp(packet)
            Echo.decode(packet)
        except BadPacketError:
            pass


def test_fragments_are_refused() -> None:
    packet = bytearray(Echo("10.0.0.1", "10.0.0.2", False, 1, 1, b"").encode())
    packet[6:8] = b"\x20\x00"
    with pytest.raises(BadPacketError, match="fragment"):
        IpPacket.decode(bytes(packet))
