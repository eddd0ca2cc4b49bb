"""A trace says what happened, and the same run the same bytes."""

import errno
import hashlib
import io
import json
from pathlib import Path
from typing import Any

from sims.internet.packet import Packet, PacketEvent, Protocol, TcpFlags, TcpHeader
from sims.model.faults import Crash, Degrade
from sims.model.link import LineModel, LinkModel
from sims.running.trace import CACHED_TEXTS_MAX, LINES_AT_ONCE, Trace
from sims.runtime.clock import STARTS_AT_S
from wice.datagram import Endpoint
from wice.events import PeerFound
from wice.keys import PublicKey

HERE = Endpoint("192.0.2.1", 51820)
THERE = Endpoint("2001:db8::1", 443)
SECRET = b"what nobody may read"


def udp(at_s: float, **changes: Any) -> PacketEvent:
    packet = Packet(Protocol.UDP, HERE, HERE, SECRET)
    return PacketEvent(STARTS_AT_S + at_s, "sent", "laptop", packet, **changes)


def lines_of(file: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.getvalue().splitlines()]


def test_a_header_is_there_and_what_the_packet_carries_is_not() -> None:
    file = io.StringIO()
    trace = Trace(file)
    trace.packet(udp(1.25))
    header = TcpHeader(TcpFlags.SYN | TcpFlags.ACK, 0, 1, 65_535)
    packet = Packet(Protocol.TCP, THERE, THERE, b"", header)
    trace.packet(PacketEvent(STARTS_AT_S + 2, "dropped", "home-1", packet, "the queue is full"))
    trace.flush()
    first, second = lines_of(file)
    assert first == {
        "at_s": 1.25,
        "kind": "sent",
        "where": "laptop",
        "protocol": "udp",
        "source": "192.0.2.1:51820",
        "destination": "192.0.2.1:51820",
        "size_bytes": 28 + len(SECRET),
    }
    assert second["flags"] == "SYN ACK"
    assert second["reason"] == "the queue is full"
    assert second["source"] == "[2001:db8::1]:443"
    assert SECRET.decode() not in file.getvalue()


def test_what_is_sent_is_in_the_digest_and_in_no_line_but_the_last() -> None:
    one, other = io.StringIO(), io.StringIO()
    for file, payload in ((one, b"a secret"), (other, b"another!")):
        trace = Trace(file)
        trace.packet(
            PacketEvent(STARTS_AT_S, "sent", "nas", Packet(Protocol.UDP, HERE, HERE, payload))
        )
        trace.end(1)
    first, last = lines_of(one)
    assert first == lines_of(other)[0]
    assert last == {
        "at_s": 1.0,
        "kind": "payloads",
        "sha256": hashlib.sha256(b"a secret").hexdigest(),
    }
    assert last != lines_of(other)[1]


def test_an_event_is_told_with_its_machine_and_keys_as_people_read_them() -> None:
    file = io.StringIO()
    trace = Trace(file)
    key = PublicKey(bytes(range(32)))
    trace.event(3.5, "nas", PeerFound(at_s=STARTS_AT_S + 3.5, peer=key))
    trace.flush()
    assert lines_of(file) == [
        {"at_s": 3.5, "kind": "PeerFound", "machine": "nas", "peer": key.to_base64()}
    ]


def test_faults_are_told() -> None:
    file = io.StringIO()
    trace = Trace(file)
    trace.fault(30, Crash(at_s=30, for_s=5, target="nas"), "begins")
    line = LineModel(up=LinkModel(loss=0.25), down=None)
    trace.fault(40, Degrade(at_s=40, target="home-1", line=line), "begins")
    trace.flush()
    crash, degrade = lines_of(file)
    assert (crash["fault"], crash["phase"], crash["target"]) == ("Crash", "begins", "nas")
    assert degrade["line"]["up"]["loss"] == 0.25
    assert degrade["line"]["down"] is None


def test_times_are_rounded_to_microseconds_everywhere() -> None:
    file = io.StringIO()
    trace = Trace(file)
    trace.line("looked", 0.1 + 0.2, rtt_s=0.1 + 0.2, seen=[0.1 + 0.2])
    trace.line("ended", 1)
    trace.packet(udp(0.1 + 0.2))
    trace.flush()
    assert file.getvalue().startswith(
        '{"at_s":0.300000,"kind":"looked","rtt_s":0.3,"seen":[0.3]}\n'
        '{"at_s":1.000000,"kind":"ended"}\n'
        '{"at_s":0.300000,'
    )


def test_the_digest_is_of_all_lines_with_and_without_a_file() -> None:
    file = io.StringIO()
    written, unwritten = Trace(file), Trace()
    for number in range(2 * LINES_AT_ONCE + 3):
        for trace in (written, unwritten):
            trace.packet(udp(number))
    assert unwritten.sha256 == written.sha256
    assert written.sha256 == hashlib.sha256(file.getvalue().encode()).hexdigest()
    assert written.lines == unwritten.lines == 2 * LINES_AT_ONCE + 3
    unwritten.packet(udp(0, reason="lost"))
    assert unwritten.sha256 != written.sha256


def test_what_is_cached_changes_no_line() -> None:
    file = io.StringIO()
    trace = Trace(file)
    for port in range(CACHED_TEXTS_MAX + 10):
        packet = Packet(Protocol.UDP, Endpoint("192.0.2.1", port), HERE, b"")
        trace.packet(PacketEvent(STARTS_AT_S, "sent", "laptop", packet))
    trace.flush()
    assert lines_of(file)[-1]["source"] == f"192.0.2.1:{CACHED_TEXTS_MAX + 9}"


def test_a_file_that_cannot_be_written_is_left_and_the_digest_goes_on() -> None:
    whole = Trace()
    with Path("/dev/full").open("wb", buffering=0) as full:
        trace = Trace(io.TextIOWrapper(full, write_through=True))
        for each in (trace, whole):
            each.line("one", 1.0)
            each.flush()
            each.line("two", 2.0)
        assert trace.sha256 == whole.sha256
        assert trace.failure is not None
        assert trace.failure.errno == errno.ENOSPC
    assert whole.failure is None
