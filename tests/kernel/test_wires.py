"""Lines do to frames what the simulator's lines do to packets."""

import struct
from random import Random

import pytest

from sims.kernel.wires import Wires
from sims.model.link import LineModel, LinkModel

DEAD = LineModel(None, None)


def line(**figures: float) -> LineModel:
    model = LinkModel(**figures)  # type: ignore[arg-type]
    return LineModel(model, model)


def frame(payload: bytes = b"hello", kind: int = 0x0800) -> bytes:
    return bytes(12) + struct.pack("!H", kind) + bytes(28) + payload


def wires(*lines: LineModel) -> Wires:
    return Wires(lines, Random)


def test_a_frame_comes_out_at_the_other_end_when_the_latency_is_over() -> None:
    carried = wires(line(), line(latency_s=0.5))
    assert carried.receive(2, frame(), 10.0) == []
    assert carried.deadline() == 10.5
    assert carried.handle_timeout(10.49) == []
    assert carried.handle_timeout(10.5) == [(3, frame())]
    assert carried.deadline() is None
    assert carried.counts["carried"] == 1


def test_each_direction_has_a_line_of_its_own() -> None:
    up, down = LinkModel(latency_s=0.1), LinkModel(latency_s=0.3)
    carried = wires(LineModel(up, down))
    carried.receive(0, frame(b"up"), 0.0)
    carried.receive(1, frame(b"down"), 0.0)
    assert carried.handle_timeout(0.1) == [(1, frame(b"up"))]
    assert carried.handle_timeout(0.3) == [(0, frame(b"down"))]


def test_a_dead_line_carries_not_even_arp() -> None:
    carried = wires(DEAD)
    assert carried.receive(0, frame(), 0.0) == []
    assert carried.receive(0, frame(kind=0x0806), 0.0) == []
    assert carried.deadline() is None


def test_arp_waits_for_no_latency() -> None:
    assert wires(line(latency_s=9)).receive(0, frame(kind=0x0806), 0.0) != []


def test_a_line_can_become_another() -> None:
    carried = wires(line())
    carried.set_line(0, DEAD)
    assert carried.receive(0, frame(), 0.0) == []
    carried.set_line(0, line())
    assert carried.receive(0, frame(), 0.0) == [(1, frame())]


@pytest.mark.parametrize(("size_bytes", "fits"), [(1500, True), (1501, False)])
def test_the_mtu_counts_ip_and_what_is_in_it(size_bytes: int, fits: bool) -> None:
    out = wires(line()).receive(0, frame(bytes(size_bytes - 28)), 0.0)
    assert bool(out) is fits


def test_what_is_corrupted_is_never_a_header() -> None:
    carried = wires(line(corrupt=1.0))
    ((_, out),) = carried.receive(0, frame(bytes(100)), 0.0)
    assert out[:42] == frame()[:42]
    assert sum(byte.bit_count() for byte in out[42:]) == 1


def test_a_share_is_lost() -> None:
    carried = wires(line(loss=0.3))
    arrived = sum(bool(carried.receive(0, frame(), number)) for number in range(1_000))
    assert 650 < arrived < 750
