"""A line does what its model says: shares, spreads and queues, with fixed seeds."""

import math
from itertools import groupby, pairwise
from random import Random
from statistics import fmean, pstdev

import pytest

from sims.internet.drops import Drop
from sims.internet.line import Line
from sims.internet.packet import Packet, Protocol, TcpFlags, TcpHeader
from sims.model.link import BurstLoss, LinkModel
from wice.datagram import Endpoint

MANY = 20_000


def udp(payload: bytes = b"payload") -> Packet:
    return Packet(Protocol.UDP, Endpoint("192.0.2.1", 1), Endpoint("192.0.2.2", 2), payload)


def line(model: LinkModel) -> Line:
    return Line(model, lambda: Random(7))


def arrivals(under_test: Line, count: int, every_s: float) -> list[float | None]:
    """When each of ``count`` packets arrived; None for those that did not."""
    found: list[float | None] = []
    for number in range(count):
        carried = under_test.carry(udp(), number * every_s)
        found.append(None if isinstance(carried, Drop) else carried[0][0])
    return found


def latencies(under_test: Line, count: int) -> list[float]:
    """Of packets so far apart that none has to wait for another."""
    return [
        at_s - number * 10.0
        for number, at_s in enumerate(arrivals(under_test, count, 10.0))
        if at_s is not None
    ]


def correlation(values: list[float]) -> float:
    """Of each value with the next one."""
    mean = fmean(values)
    products = [(a - mean) * (b - mean) for a, b in pairwise(values)]
    return fmean(products) / pstdev(values) ** 2


def test_a_plain_line_draws_nothing() -> None:
    def refuse() -> Random:
        raise AssertionError("asked for randomness")

    under_test = Line(LinkModel(latency_s=0.02, rate_bits_s=1e6), refuse)
    # 125 bytes with headers, at 1 Mbit/s.
    [(at_s, packet)] = under_test.carry(udp(bytes(97)), 5.0)
    assert at_s == pytest.approx(5.021)
    assert packet == udp(bytes(97))


def test_loss_is_the_share_that_the_model_says() -> None:
    lost = arrivals(line(LinkModel(loss=0.05)), MANY, 0.01).count(None) / MANY
    assert lost == pytest.approx(0.05, abs=3 * math.sqrt(0.05 * 0.95 / MANY))


def test_burst_loss_comes_in_runs_of_the_length_that_the_model_says() -> None:
    model = LinkModel(burst_loss=BurstLoss(enters=0.01, leaves=0.2))
    got = arrivals(line(model), 5 * MANY, 0.01)
    runs = [len(list(run)) for is_lost, run in groupby(got, lambda at_s: at_s is None) if is_lost]
    assert fmean(runs) == pytest.approx(1 / 0.2, rel=0.1)
    assert got.count(None) / len(got) == pytest.approx(0.01 / (0.01 + 0.2), rel=0.1)


def test_burst_loss_spares_some_of_a_bad_time_and_takes_some_of_a_good_one() -> None:
    burst = BurstLoss(enters=0.1, leaves=0.1, loss_good=0.02, loss_bad=0.5)
    lost = arrivals(line(LinkModel(burst_loss=burst)), MANY, 0.01).count(None) / MANY
    assert lost == pytest.approx((0.02 + 0.5) / 2, rel=0.1)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
def test_jitter_has_the_deviation_and_the_correlation_of_the_model(share: float) -> None:
    model = LinkModel(latency_s=0.5, jitter_s=0.02, jitter_correlation=share)
    seen = latencies(line(model), MANY)
    assert fmean(seen) == pytest.approx(0.5, abs=0.002)
    assert pstdev(seen) == pytest.approx(0.02, rel=0.05)
    assert correlation(seen) == pytest.approx(share, abs=0.03)


def test_no_jitter_makes_a_packet_arrive_before_it_was_sent() -> None:
    seen = latencies(line(LinkModel(latency_s=0.001, jitter_s=0.1)), MANY)
    assert min(seen) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("share", [0.0, 0.7])
def test_a_table_is_drawn_from_evenly_and_kept_as_often_as_correlated(share: float) -> None:
    table = (0.01, 0.02, 0.05)
    model = LinkModel(latency_s=9.0, latencies_s=table, jitter_correlation=share)
    seen = [round(latency_s, 6) for latency_s in latencies(line(model), MANY)]
    assert sorted(set(seen)) == list(table)
    for latency_s in table:
        assert seen.count(latency_s) / MANY == pytest.approx(1 / 3, abs=0.03)
    assert correlation(seen) == pytest.approx(share, abs=0.03)


def test_packets_keep_their_order_however_much_jitter_there_is() -> None:
    got = arrivals(line(LinkModel(latency_s=0.05, jitter_s=0.03)), MANY, 0.001)
    times = [at_s for at_s in got if at_s is not None]
    assert len(times) == MANY
    assert times == sorted(times)


def test_the_share_that_reorders_overtakes_the_one_before() -> None:
    got = arrivals(line(LinkModel(latency_s=0.05, reorder=0.1)), MANY, 0.002)
    times = [at_s for at_s in got if at_s is not None]
    overtaking = sum(after < before for before, after in pairwise(times))
    assert overtaking / MANY == pytest.approx(0.1 * 0.9, abs=0.01)
    assert all(at_s >= number * 0.002 for number, at_s in enumerate(times))


def test_there_is_nothing_to_overtake_on_an_empty_line() -> None:
    seen = latencies(line(LinkModel(latency_s=0.05, reorder=1.0)), 100)
    assert seen == pytest.approx([0.05] * 100)


def test_duplicates_are_the_share_that_the_model_says() -> None:
    under_test = line(LinkModel(latency_s=0.01, duplicate=0.1))
    counts = []
    for number in range(MANY):
        carried = under_test.carry(udp(), float(number))
        assert not isinstance(carried, Drop)
        counts.append(len(carried))
    assert set(counts) == {1, 2}
    assert counts.count(2) / MANY == pytest.approx(0.1, abs=0.01)


def test_corruption_turns_one_bit_of_a_datagram() -> None:
    under_test = line(LinkModel(corrupt=1.0))
    positions = set()
    for _ in range(200):
        carried = under_test.carry(udp(bytes(4)), 0.0)
        assert not isinstance(carried, Drop)
        [(_, packet)] = carried
        assert int.from_bytes(packet.payload, "big").bit_count() == 1
        positions.add(packet.payload)
    assert len(positions) == 32


def test_what_has_no_payload_to_turn_or_is_tcp_fails_its_checksum() -> None:
    under_test = line(LinkModel(corrupt=1.0))
    segment = udp()
    segment.protocol = Protocol.TCP
    segment.tcp = TcpHeader(TcpFlags.ACK, 0, 0, 1_000)
    assert under_test.carry(segment, 0.0) is Drop.CORRUPT
    assert under_test.carry(udp(b""), 0.0) is Drop.CORRUPT


def test_a_rate_spaces_packets_and_its_queue_overflows() -> None:
    # 1,000 bytes with headers take 8 ms each; ten fit, with the one on the wire.
    under_test = line(LinkModel(latency_s=0.1, rate_bits_s=1e6, queue_bytes=10_000))
    carried = [under_test.carry(udp(bytes(972)), 0.0) for _ in range(12)]
    times = [one[0][0] for one in carried if not isinstance(one, Drop)]
    assert times == pytest.approx([0.1 + 0.008 * number for number in range(1, 11)])
    assert carried[10:] == [Drop.QUEUE_FULL] * 2
    # One has drained since, so there is room for one.
    assert not isinstance(under_test.carry(udp(bytes(972)), 0.0081), Drop)
    assert under_test.carry(udp(bytes(972)), 0.0081) is Drop.QUEUE_FULL


def test_a_packet_larger_than_the_queue_passes_an_idle_line() -> None:
    under_test = line(LinkModel(rate_bits_s=1e6, queue_bytes=0))
    assert not isinstance(under_test.carry(udp(bytes(972)), 0.0), Drop)
    assert under_test.carry(udp(bytes(972)), 0.001) is Drop.QUEUE_FULL
    assert not isinstance(under_test.carry(udp(bytes(972)), 0.009), Drop)


@pytest.mark.parametrize("host, headers_bytes", [("192.0.2.1", 28), ("2001:db8::1", 48)])
def test_the_mtu_counts_headers(host: str, headers_bytes: int) -> None:
    under_test = line(LinkModel(mtu_bytes=1_280))
    endpoint = Endpoint(host, 1)
    fits = Packet(Protocol.UDP, endpoint, endpoint, bytes(1_280 - headers_bytes))
    too_large = Packet(Protocol.UDP, endpoint, endpoint, bytes(1_281 - headers_bytes))
    assert not isinstance(under_test.carry(fits, 0.0), Drop)
    assert under_test.carry(too_large, 0.0) is Drop.TOO_LARGE
