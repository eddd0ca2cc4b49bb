"""Sessions, routing, roaming and paths of two tunnels back to back."""

import contextlib
import ipaddress
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wireguard.conftest import (
    A_ENDPOINT,
    A_INSIDE,
    B_ENDPOINT,
    B_INSIDE,
    Host,
    Pair,
    ipv4_packet,
    public_key_of,
)
from wice.datagram import Endpoint, Path
from wice.errors import LocalProtocolError, RemoteProtocolError
from wice.keys import PresharedKey, PublicKey
from wice.wireguard import messages
from wice.wireguard.device import PeerConfig
from wice.wireguard.timers import REKEY_TIMEOUT_JITTER_MAX_S, REKEY_TIMEOUT_S

ELSEWHERE = Endpoint("203.0.113.9", 999)


def lose_all(message: bytes) -> tuple[float, ...]:
    return ()


def ipv6_packet(source: str, destination: str, payload: bytes = b"") -> bytes:
    addresses = (ipaddress.IPv6Address(one).packed for one in (source, destination))
    return (
        b"\x60\0\0\0"
        + len(payload).to_bytes(2, "big")
        + b"\x11\x40"
        + b"".join(addresses)
        + payload
    )


# Handshakes.


@pytest.mark.parametrize("psk", [None, PresharedKey(b"\x07" * 32)], ids=["no-psk", "psk"])
def test_packets_pass_both_ways(psk: PresharedKey | None) -> None:
    pair = Pair().connect(psk)
    answer = pair.b.send(pair.a, b"answer")
    pair.run(1.0)
    assert pair.a.packets == [answer]
    assert pair.a.refused == pair.b.refused == []


@pytest.mark.parametrize("theirs", [None, PresharedKey(b"\x08" * 32)], ids=["none", "another"])
def test_a_wrong_preshared_key_makes_no_session(theirs: PresharedKey | None) -> None:
    pair = Pair()
    pair.a.add_peer(pair.b, PresharedKey(b"\x07" * 32))
    pair.b.add_peer(pair.a, theirs)
    pair.a.set_path(pair.b)
    pair.a.send(pair.b)
    pair.run(1.0)
    assert pair.b.packets == [] and not pair.a.completed() and not pair.b.completed()
    assert pair.a.refused == ["a handshake message that does not authenticate"]


def test_a_handshake_that_fails_is_counted_and_is_no_sign_of_a_session() -> None:
    """The other side was restarted with another preshared key."""
    pair = Pair().connect()
    before = pair.b.status(pair.a)
    assert before.received_at_s is not None
    pair.a.restart()
    pair.a.add_peer(pair.b, PresharedKey(b"\x07" * 32))
    pair.a.set_path(pair.b, persistent_keepalive_s=25)
    pair.run(1.0)
    after = pair.b.status(pair.a)
    assert after.rx_bytes == before.rx_bytes + messages.INITIATION_SIZE_BYTES
    assert after.received_at_s == before.received_at_s


def test_a_keepalive_is_a_sign_of_a_session(connected: Pair) -> None:
    connected.run(5.0)
    connected.b.set_path(connected.a, persistent_keepalive_s=25)
    connected.run(1.0)
    heard_at_s = connected.a.status(connected.b).received_at_s
    assert heard_at_s == connected.now - 1.0 + connected.delay_s


def test_an_initiation_is_taken_once(connected: Pair) -> None:
    (_, initiation) = connected.a.sent[0]
    connected.run(1.0)
    reason = connected.deliver(connected.b, initiation.data, A_ENDPOINT)
    assert reason == "an initiation seen before"


def test_a_replayed_initiation_moves_no_path_and_is_not_answered(connected: Pair) -> None:
    (_, initiation) = connected.a.sent[0]
    sent = len(connected.b.sent)
    connected.deliver(connected.b, initiation.data, ELSEWHERE)
    assert connected.b.roamed() == [Path(A_ENDPOINT, B_ENDPOINT.host)]
    assert len(connected.b.sent) == sent


def test_a_response_is_taken_once(connected: Pair) -> None:
    (_, response) = connected.b.sent[0]
    reason = connected.deliver(connected.a, response.data, B_ENDPOINT)
    assert reason == "a response to no initiation of ours"


def test_initiations_in_a_flood_are_refused(pair: Pair) -> None:
    pair.a.set_path(pair.b)
    pair.a.fate = lose_all
    pair.a.send(pair.b)
    pair.run(6.0)
    first, second = (transmit.data for _, transmit in pair.a.sent)
    assert pair.deliver(pair.b, first, A_ENDPOINT) is None
    assert pair.deliver(pair.b, second, A_ENDPOINT) == "a flood of initiations"


def test_a_stranger_is_refused(pair: Pair) -> None:
    pair.b.tunnel.remove_peer(pair.a.public_key)
    pair.a.set_path(pair.b)
    pair.a.send(pair.b)
    pair.run(1.0)
    assert pair.b.refused == ["an initiation of no peer of ours"] and pair.b.sent == []


def test_both_sides_initiating_at_once_lose_no_time(pair: Pair) -> None:
    """Other implementations wait out a rekey timeout here (FIELD-NOTES section 9)."""
    for host, other in ((pair.a, pair.b), (pair.b, pair.a)):
        host.set_path(other)
    from_a, from_b = pair.a.send(pair.b, b"a"), pair.b.send(pair.a, b"b")
    pair.run(0.1)
    assert (pair.a.packets, pair.b.packets) == ([from_b], [from_a])
    for _ in range(300):
        pair.a.send(pair.b)
        pair.b.send(pair.a)
        pair.run(1.0)
    assert len(pair.a.packets) == len(pair.b.packets) == 301


@pytest.mark.parametrize("lost", ["a", "b"])
def test_both_initiating_and_one_response_lost(pair: Pair, lost: str) -> None:
    unlucky: Host = getattr(pair, lost)
    unlucky.fate = lambda message: () if message[0] == messages.RESPONSE else (0.02,)
    for host, other in ((pair.a, pair.b), (pair.b, pair.a)):
        host.set_path(other)
    from_a, from_b = pair.a.send(pair.b, b"a"), pair.b.send(pair.a, b"b")
    pair.run(0.2)
    assert (pair.a.packets, pair.b.packets) == ([from_b], [from_a])


def test_a_restarted_peer_is_back_with_its_first_packet(connected: Pair) -> None:
    connected.run(30.0)
    connected.a.restart()
    connected.a.add_peer(connected.b)
    connected.a.set_path(connected.b)
    packet = connected.a.send(connected.b, b"again")
    connected.run(0.2)
    assert connected.b.packets[-1] == packet


def test_a_clock_set_back_across_a_restart_needs_the_floor(connected: Pair) -> None:
    connected.run(30.0)
    floor = connected.a.tunnel.latest_timestamp
    for remembered in (b"", floor):
        connected.a.restart(remembered)
        connected.a.clock_offset_s = -86_400.0
        connected.a.add_peer(connected.b)
        connected.a.set_path(connected.b)
        connected.a.send(connected.b)
        connected.run(1.0)
        assert bool(connected.a.completed()) is bool(remembered)
    assert "an initiation seen before" in connected.b.refused


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32), loss=st.floats(0.0, 0.5), jitter_s=st.floats(0.0, 2.0))
def test_under_loss_duplication_and_reordering_nothing_is_repeated_or_invented(
    seed: int, loss: float, jitter_s: float
) -> None:
    pair = Pair(seed).introduce()
    chance = random.Random(seed)

    def fate(message: bytes) -> list[float]:
        copies = 0 if chance.random() < loss else chance.choice((1, 1, 1, 2))
        return [0.02 + chance.random() * jitter_s for _ in range(copies)]

    sent: dict[str, set[bytes]] = {"a": set(), "b": set()}
    for host, other in ((pair.a, pair.b), (pair.b, pair.a)):
        host.fate = fate
        host.set_path(other)
    for number in range(200):
        pair.run(1.5)
        sent["a"].add(pair.a.send(pair.b, number.to_bytes(4, "big")))
        sent["b"].add(pair.b.send(pair.a, number.to_bytes(4, "big")))
    for host, peer in ((pair.a, "b"), (pair.b, "a")):
        assert len(host.packets) == len(set(host.packets))
        assert set(host.packets) <= sent[peer]
    # Once the network heals, packets pass again, at the latest by the next attempt.
    pair.a.fate = pair.b.fate = lambda _: (0.02,)
    pair.run(2 * jitter_s)
    last = [pair.a.send(pair.b, b"last"), pair.b.send(pair.a, b"last")]
    pair.run(2 * (REKEY_TIMEOUT_S + REKEY_TIMEOUT_JITTER_MAX_S))
    assert last[0] in pair.b.packets and last[1] in pair.a.packets


# Packets.


def test_a_packet_is_taken_once(connected: Pair) -> None:
    connected.a.send(connected.b, b"once")
    data = connected.a.sent[-1][1].data
    connected.run(1.0)
    arrived = list(connected.b.packets)
    assert connected.deliver(connected.b, data, A_ENDPOINT) == "a packet seen before"
    assert connected.b.packets == arrived


def test_a_forged_packet_uses_up_no_counter(connected: Pair) -> None:
    connected.a.fate = lose_all
    packet = connected.a.send(connected.b, b"real")
    data = connected.a.sent[-1][1].data
    forged = data[:-1] + bytes([data[-1] ^ 1])
    reason = connected.deliver(connected.b, forged, ELSEWHERE)
    assert reason == "a packet that does not authenticate"
    assert connected.deliver(connected.b, data, A_ENDPOINT) is None
    assert connected.b.packets[-1] == packet
    assert connected.b.status(connected.a).path == Path(A_ENDPOINT, B_ENDPOINT.host)


def test_packets_of_the_previous_session_still_pass(connected: Pair) -> None:
    connected.run(119.0)
    connected.a.fate = lambda message: (
        (3.0,) if message[0] == messages.TRANSPORT and len(message) > 32 else (0.02,)
    )
    late = connected.a.send(connected.b, b"late")
    connected.run(1.5)
    connected.a.send(connected.b, b"makes the rekey")
    connected.run(1.0)
    assert len(connected.b.completed()) == 2 and late not in connected.b.packets
    connected.run(5.0)
    assert late in connected.b.packets


def test_an_inner_source_of_another_peer_is_refused(connected: Pair) -> None:
    forged = ipv4_packet("10.0.0.99", B_INSIDE)
    connected.a.tunnel.send(forged, connected.now)
    connected.drain(connected.a)
    connected.run(1.0)
    assert forged not in connected.b.packets
    assert connected.b.refused == ["a packet from an address that is not the peer's"]


@pytest.mark.parametrize(
    "content",
    [
        b"\x45" + bytes(5),
        b"\x45\0\0\x10" + bytes(16),
        b"\x45\0\xff\xff" + bytes(16),
        b"\x60\0\0\0\xff\xff" + bytes(34),
        b"\x60\0\0\0",
        b"\0" * 32,
    ],
)
def test_content_that_is_no_ip_packet_is_refused(connected: Pair, content: bytes) -> None:
    peer = connected.a.tunnel._peers[connected.b.public_key]
    peer.send(content, connected.now)
    connected.drain(connected.a)
    connected.run(1.0)
    assert connected.b.refused == ["a packet that is not IP"]


def test_padding_is_added_to_16_bytes_and_taken_off(connected: Pair) -> None:
    for size_bytes in range(33):
        packet = connected.a.send(connected.b, b"\xaa" * size_bytes)
        data = connected.a.sent[-1][1].data
        assert (len(data) - 32) % 16 == 0 and len(data) - 32 - len(packet) < 16
        connected.run(0.1)
        assert connected.b.packets[-1] == packet


def test_padding_does_not_exceed_the_mtu(connected: Pair) -> None:
    for size_bytes, padded_bytes in ((1420, 1420), (1418, 1420), (1408, 1408), (1430, 1430)):
        packet = connected.a.send(connected.b, bytes(size_bytes - 20))
        assert len(connected.a.sent[-1][1].data) == padded_bytes + 32
        connected.run(0.1)
        assert connected.b.packets[-1] == packet


def test_ipv6_passes(connected: Pair) -> None:
    for host, other, inside in (
        (connected.a, connected.b, "fd00::b"),
        (connected.b, connected.a, "fd00::a"),
    ):
        network = ipaddress.ip_network(f"{inside}/128")
        host.tunnel.set_peer(PeerConfig(other.public_key, (network,)))
    packet = ipv6_packet("fd00::a", "fd00::b", b"six")
    connected.a.tunnel.send(packet, connected.now)
    connected.drain(connected.a)
    connected.run(1.0)
    assert connected.b.packets[-1] == packet


def test_a_destination_of_no_peer_is_counted(connected: Pair) -> None:
    connected.a.tunnel.send(ipv4_packet(A_INSIDE, "10.9.9.9"), connected.now)
    connected.a.tunnel.send(b"", connected.now)
    connected.a.tunnel.send(b"\x45 short", connected.now)
    assert connected.a.tunnel.dropped == {
        "no peer for the destination": 1,
        "not an IP packet": 2,
    }


# Peers.


def test_a_running_session_survives_new_settings(connected: Pair) -> None:
    connected.a.add_peer(connected.b, PresharedKey(b"\x09" * 32))
    packet = connected.a.send(connected.b, b"still")
    connected.run(1.0)
    assert connected.b.packets[-1] == packet


def test_new_allowed_ips_replace_the_old_ones(connected: Pair) -> None:
    network = ipaddress.ip_network("10.5.0.0/16")
    connected.a.tunnel.set_peer(PeerConfig(connected.b.public_key, (network,)))
    connected.a.send(connected.b)
    assert connected.a.tunnel.dropped["no peer for the destination"] == 1


def test_a_removed_peer_is_forgotten(connected: Pair) -> None:
    connected.b.send(connected.a)
    data = connected.b.sent[-1][1].data
    connected.a.tunnel.remove_peer(connected.b.public_key)
    connected.a.tunnel.remove_peer(public_key_of(99))
    assert connected.a.tunnel.statistics() == []
    reason = connected.deliver(connected.a, data, B_ENDPOINT)
    assert reason == "a message of no session of ours"
    connected.a.tunnel.handle_timeout(connected.now + 10_000)
    assert connected.a.tunnel.deadline() == float("inf")


def test_keys_that_cannot_be_a_peers_are_refused(pair: Pair) -> None:
    with pytest.raises(LocalProtocolError, match="our own"):
        pair.a.tunnel.set_peer(PeerConfig(pair.a.public_key, ()))
    with pytest.raises(LocalProtocolError, match="small order"):
        pair.a.tunnel.set_peer(PeerConfig(PublicKey(bytes(32)), ()))
    with pytest.raises(LocalProtocolError, match="no such peer"):
        pair.a.tunnel.set_path(public_key_of(99), None, 0, pair.now)


# Paths.


def test_a_keepalive_and_no_session_initiate_at_once(pair: Pair) -> None:
    pair.a.set_path(pair.b, persistent_keepalive_s=25)
    assert [transmit.data[0] for _, transmit in pair.a.sent] == [messages.INITIATION]


def test_waiting_packets_initiate_once_there_is_a_path(pair: Pair) -> None:
    packet = pair.a.send(pair.b, b"waits")
    assert pair.a.sent == []
    pair.a.set_path(pair.b)
    pair.run(0.2)
    assert pair.b.packets == [packet]


def test_a_new_path_does_not_wait_for_the_attempt_on_the_old_one(pair: Pair) -> None:
    nowhere = Path(ELSEWHERE, A_ENDPOINT.host)
    pair.a.send(pair.b)
    pair.a.tunnel.set_path(pair.b.public_key, nowhere, 0, pair.now)
    pair.drain(pair.a)
    pair.run(0.5)
    pair.a.set_path(pair.b)
    pair.run(0.2)
    assert len(pair.b.packets) == 1


def test_the_same_path_again_changes_nothing(pair: Pair) -> None:
    pair.a.send(pair.b)
    for _ in range(5):
        pair.a.set_path(pair.b, persistent_keepalive_s=25)
    assert len(pair.a.sent) == 1


def test_without_a_path_nothing_is_sent(connected: Pair) -> None:
    connected.a.set_path(connected.b, persistent_keepalive_s=25)
    connected.a.clear_path(connected.b)
    sent = len(connected.a.sent)
    connected.a.send(connected.b)
    connected.b.send(connected.a)
    connected.run(13.0)
    assert len(connected.a.sent) == sent
    assert connected.a.status(connected.b).path is None
    # What the other side sends still comes in.
    assert len(connected.a.packets) == 1


def test_an_initiation_without_a_path_is_answered_to_where_it_came_from(
    connected: Pair,
) -> None:
    connected.b.clear_path(connected.a)
    roamed = len(connected.b.roamed())
    connected.run(125.0)
    packet = connected.a.send(connected.b, b"after the rekey")
    connected.run(1.0)
    assert connected.b.roamed()[roamed:] == [Path(A_ENDPOINT, B_ENDPOINT.host)]
    assert packet in connected.b.packets
    answer = connected.b.send(connected.a)
    connected.run(1.0)
    assert connected.a.packets[-1] == answer


def test_an_authenticated_packet_moves_the_path_and_a_forged_one_does_not(
    connected: Pair,
) -> None:
    moved = Endpoint("192.0.2.77", 4_000)
    connected.a.fate = lose_all
    connected.a.send(connected.b, b"from elsewhere")
    data = connected.a.sent[-1][1].data
    assert connected.deliver(connected.b, data[:-1] + b"\0", moved) is not None
    assert connected.b.status(connected.a).path == Path(A_ENDPOINT, B_ENDPOINT.host)
    assert connected.deliver(connected.b, data, moved) is None
    assert connected.b.status(connected.a).path == Path(moved, B_ENDPOINT.host)
    assert connected.b.roamed()[-1] == Path(moved, B_ENDPOINT.host)


def test_the_local_address_roams_too_where_it_is_pinned(connected: Pair) -> None:
    connected.b.send(connected.a)
    data = connected.b.sent[-1][1].data
    connected.a.tunnel.receive(data, B_ENDPOINT, "192.0.2.111", connected.now)
    assert connected.a.status(connected.b).path == Path(B_ENDPOINT, "192.0.2.111")
    unpinned = Path(B_ENDPOINT)
    connected.a.tunnel.set_path(connected.b.public_key, unpinned, 0, connected.now)
    connected.b.send(connected.a)
    data = connected.b.sent[-1][1].data
    connected.a.tunnel.receive(data, B_ENDPOINT, "192.0.2.112", connected.now)
    assert connected.a.status(connected.b).path == unpinned


def test_statistics_count_whole_messages(connected: Pair) -> None:
    status_a = connected.a.status(connected.b)
    status_b = connected.b.status(connected.a)
    assert status_a.tx_bytes == status_b.rx_bytes == sum(len(t.data) for _, t in connected.a.sent)
    assert status_b.tx_bytes == status_a.rx_bytes == sum(len(t.data) for _, t in connected.b.sent)


# Fuzz.


@pytest.fixture(scope="module")
def recorded() -> tuple[Pair, list[bytes]]:
    """A connected pair, and valid messages of every type to B, some of them still fresh."""
    pair = Pair().connect()
    pair.b.send(pair.a)
    pair.a.fate = lose_all
    pair.a.send(pair.b, b"fresh")
    heard = [transmit.data for _, transmit in pair.a.sent]
    pair.a.restart()
    pair.a.add_peer(pair.b)
    pair.run(1.0)
    pair.a.set_path(pair.b, persistent_keepalive_s=25)
    heard += [transmit.data for _, transmit in pair.a.sent]
    heard += [transmit.data for _, transmit in pair.b.sent]
    heard.append(messages.CookieReply(7, bytes(24), bytes(32)).pack())
    return pair, heard


def without_mac2(message: bytes) -> bytes:
    is_handshake = message[:1] in (b"\x01", b"\x02")
    return message[: -messages.MAC_SIZE_BYTES] if is_handshake else message


@settings(max_examples=500)
@given(data=st.data())
def test_mutated_messages_raise_only_remote_protocol_errors(
    recorded: tuple[Pair, list[bytes]], data: st.DataObject
) -> None:
    pair, heard = recorded
    message = bytearray(data.draw(st.sampled_from(heard)))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, max(0, len(message) - 1)))
        action = data.draw(st.sampled_from(["set", "cut", "insert"]))
        if action == "cut":
            del message[place : place + data.draw(st.integers(1, 20))]
        elif action == "insert":
            message[place:place] = data.draw(st.binary(min_size=1, max_size=20))
        elif message:
            message[place] = data.draw(st.integers(0, 255))
    before = len(pair.b.packets), pair.b.status(pair.a).path
    with contextlib.suppress(RemoteProtocolError):
        pair.b.tunnel.receive(bytes(message), ELSEWHERE, None, pair.now)
    pair.drain(pair.b)
    # Without load nobody looks at mac2: a message that differs only there is the same one.
    if without_mac2(bytes(message)) not in map(without_mac2, heard):
        assert (len(pair.b.packets), pair.b.status(pair.a).path) == before


@given(st.binary(max_size=200), st.sampled_from([1, 2, 3, 4]))
def test_any_bytes_raise_only_remote_protocol_errors(body: bytes, kind: int) -> None:
    pair = Pair().introduce()
    for message in (body, bytes([kind, 0, 0, 0]) + body):
        with pytest.raises(RemoteProtocolError):
            pair.b.tunnel.receive(message, ELSEWHERE, None, pair.now)


def test_stun_is_not_taken_for_wireguard() -> None:
    for kind in (0x0001, 0x0101, 0x0111, 0x0003, 0x0103):
        assert not messages.is_wireguard(kind.to_bytes(2, "big") + b"\0\0\x21\x12\xa4\x42")
    assert not messages.is_wireguard(b"\x40\0\0\0") and not messages.is_wireguard(b"\x01\0\0")
    assert messages.is_wireguard(b"\x04\0\0\0")
