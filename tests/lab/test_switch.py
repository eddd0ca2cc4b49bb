"""Links do to frames what they say, and bounded: in virtual time, no root needed."""

import os
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sims.lab.frame_process import go_first
from sims.lab.link import LATENCY_MAX_S, PLAIN, Link
from sims.lab.switch import (
    QUEUED_FRAMES_MAX,
    QUEUEING_MAX_S,
    STATIONS_MAX,
    Switch,
    is_of_the_wire,
)

A, B, C = b"\x02aaaaa", b"\x02bbbbb", b"\x02ccccc"
EVERYBODY = b"\xff" * 6
IPV4, ARP, IPV6 = b"\x08\x00", b"\x08\x06", b"\x86\xdd"


def frame(destination: bytes, source: bytes, kind: bytes = IPV4, size: int = 100) -> bytes:
    return (destination + source + kind).ljust(size, b"\0")


def switch_of(*links: Link) -> Switch:
    """With A behind port 0, B behind 1, C behind 2."""
    switch = Switch(links, Random(1))
    for port, source in enumerate((A, B, C)[: len(links)]):
        switch.receive(port, frame(EVERYBODY, source, ARP), 0.0)
    return switch


def test_a_frame_goes_where_its_address_was_seen_and_a_group_to_all() -> None:
    switch = Switch([PLAIN] * 3, Random(1))
    unknown = frame(B, A)
    assert switch.receive(0, unknown, 0.0) == [(1, unknown), (2, unknown)]
    answer = frame(A, B)
    assert switch.receive(1, answer, 0.0) == [(0, answer)]
    assert switch.receive(0, unknown, 0.0) == [(1, unknown)]
    assert switch.receive(0, frame(A, A), 0.0) == []
    group = frame(EVERYBODY, C)
    assert switch.receive(2, group, 0.0) == [(0, group), (1, group)]


def test_a_link_delays_what_comes_in_and_nothing_else() -> None:
    switch = switch_of(Link(latency_s=0.025), PLAIN)
    there, back = frame(B, A), frame(A, B)
    assert switch.receive(0, there, 1.0) == []
    assert switch.deadline() == pytest.approx(1.025)
    assert switch.handle_timeout(1.024) == []
    assert switch.handle_timeout(1.025) == [(1, there)]
    assert switch.deadline() is None
    assert switch.receive(1, back, 2.0) == [(0, back)]


def test_jitter_stays_in_its_bounds_and_keeps_the_order() -> None:
    switch = switch_of(Link(latency_s=0.025, jitter_s=0.005), PLAIN)
    sent = [frame(B, A, size=100 + number) for number in range(200)]
    arrived: list[tuple[float, bytes]] = []
    for number, one in enumerate(sent):
        now = number * 0.001
        switch.receive(0, one, now)
        deadline = switch.deadline()
        assert deadline is not None
    while (deadline := switch.deadline()) is not None:
        arrived += [(deadline, one) for _, one in switch.handle_timeout(deadline)]
    assert [one for _, one in arrived] == sent
    delays = [at_s - number * 0.001 for number, (at_s, _) in enumerate(arrived)]
    assert 0.020 <= min(delays) < 0.024
    assert 0.026 < max(delays) <= 0.0301


def test_loss_is_the_share_it_says() -> None:
    switch = switch_of(Link(loss=0.2), PLAIN)
    for _ in range(2000):
        switch.receive(0, frame(B, A), 0.0)
        switch.handle_timeout(0.0)
    assert 0.15 < switch.counts["lost"] / 2000 < 0.25


def test_a_rate_spaces_frames_and_loses_what_would_wait_too_long() -> None:
    rate_bits_s = 8 * 1024 * 1000.0
    switch = switch_of(Link(rate_bits_s=rate_bits_s), PLAIN)
    one = frame(B, A, size=1000)  # with what Ethernet adds, 1 ms
    for _ in range(3):
        switch.receive(0, one, 0.0)
    for at_s in (0.001, 0.002, 0.003):
        assert switch.deadline() == pytest.approx(at_s)
        assert len(switch.handle_timeout(at_s + 1e-9)) == 1
    for _ in range(1000):
        switch.receive(0, one, 1.0)
    assert switch.counts["queue full"] == pytest.approx(1000 - QUEUEING_MAX_S / 0.001, abs=2)


def test_what_waits_is_bounded() -> None:
    switch = switch_of(Link(latency_s=1.0), PLAIN)
    for _ in range(QUEUED_FRAMES_MAX + 10):
        switch.receive(0, frame(B, A), 0.0)
    assert switch.counts["queue full"] == 10
    assert len(switch.handle_timeout(1.0)) == QUEUED_FRAMES_MAX
    for number in range(STATIONS_MAX + 10):
        switch.receive(1, frame(EVERYBODY, number.to_bytes(6, "big"), ARP), 0.0)
    late = (STATIONS_MAX + 5).to_bytes(6, "big")
    assert len(switch.receive(0, frame(late, A, ARP), 0.0)) == 1


def test_who_is_on_the_wire_is_found_without_the_link() -> None:
    switch = switch_of(Link(latency_s=1.0, loss=0.99), PLAIN)
    solicitation = frame(EVERYBODY, A, IPV6)[:20] + b"\x3a" + bytes(33) + b"\x87" + bytes(23)
    echo = frame(EVERYBODY, A, IPV6)[:20] + b"\x3a" + bytes(33) + b"\x80" + bytes(23)
    assert is_of_the_wire(solicitation)
    assert not is_of_the_wire(echo)
    assert switch.receive(0, solicitation, 0.0) == [(1, solicitation)]
    assert switch.receive(0, frame(B, A, ARP), 0.0) != []
    assert switch.receive(0, echo, 0.0) == []


@given(st.lists(st.tuples(st.integers(0, 2), st.binary(max_size=80)), max_size=20))
def test_garbage_is_carried_or_dropped(frames: list[tuple[int, bytes]]) -> None:
    switch = Switch([PLAIN, Link(latency_s=0.1), PLAIN], Random(1))
    for port, one in frames:
        assert all(out != port for out, _ in switch.receive(port, one, 0.0))
    switch.handle_timeout(1.0)
    assert switch.counts["carried"] + switch.counts["malformed"] == len(frames)


@pytest.mark.parametrize(
    ("text", "link"),
    [
        ("25ms", Link(0.025)),
        ("25ms,1%", Link(0.025, loss=0.01)),
        ("1%, 0.1s, 5ms, 20Mbit", Link(0.1, 0.005, 0.01, 20e6)),
        ("512kbit", Link(rate_bits_s=512e3)),
    ],
)
def test_links_are_written_short(text: str, link: Link) -> None:
    assert Link.parse(text) == link


@pytest.mark.parametrize(
    "text",
    [
        *("", "25", "ms", "-1ms", "1ms,2ms,3ms", "1ms,2ms", "100%", "1%,1%", "0mbit"),
        *("1gbit,1gbit", f"{LATENCY_MAX_S + 1:g}s"),
    ],
)
def test_links_that_cannot_be_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Link.parse(text)


def test_a_switch_that_may_not_go_first_carries_frames_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As where root is root only in a user namespace."""

    def refuse(*_: object) -> None:
        refused.append(True)
        raise PermissionError

    refused: list[bool] = []
    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    monkeypatch.setattr(os, "nice", refuse)
    go_first()
    assert refused == [True, True]
