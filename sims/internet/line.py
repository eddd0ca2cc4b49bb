"""One direction of a line at work: when what is sent through it arrives, if it does."""

import math
from collections.abc import Callable
from dataclasses import replace
from random import Random
from statistics import NormalDist
from typing import Final

from sims.internet.drops import Drop
from sims.internet.packet import Packet, Protocol
from sims.model.link import BurstLoss, LinkModel

OVERTAKES_BY_S: Final = 0.001
"""How far ahead of the packet before it one arrives that overtakes it."""

_HEADERS_MAX_BYTES: Final = 60
"""IPv6 and TCP."""

_NORMAL: Final = tuple(NormalDist().inv_cdf((step + 0.5) / 1_024) for step in range(1_024))
"""Steps of equal share, since drawing one takes a fifth of what ``Random.gauss`` does."""


class Line:
    """What one ``LinkModel`` does to packets, one after the other.

    Its queue is a fluid: so many bytes that the rate has not drained yet, the packet on the wire
    among them. A lost packet has taken its share of the rate, as on radio.
    """

    def __init__(self, model: LinkModel, random: Callable[[], Random]) -> None:
        """random: gives the line's generator; not asked where nothing is left to chance."""
        self.model = model
        self.fits_bytes = model.mtu_bytes - _HEADERS_MAX_BYTES
        """A payload of this size fits, whatever its headers."""
        self._is_plain = _leaves_nothing_to_chance(model)
        self.constant_s = model.latency_s if self._is_plain and model.rate_bits_s is None else None
        """The latency of a line that does nothing else to what fits; None where it does."""
        self._make_random = random
        self._random: Callable[[], float] | None = None
        self._drained_at_s = -math.inf
        self._arrives_at_s = -math.inf
        self._is_bad = False
        self._deviation: float | None = None
        # One more, so that no rounding of times costs a packet.
        self._queue_bits = 8 * model.queue_bytes + 1
        self._renewed = math.sqrt(1 - model.jitter_correlation**2)
        self._table_latency_s: float | None = None

    def carry(self, packet: Packet, now_s: float) -> list[tuple[float, Packet]] | Drop:
        """Give what arrives and when, duplicates too; or why nothing does."""
        model = self.model
        if len(packet.payload) > self.fits_bytes and packet.size_bytes > model.mtu_bytes:
            return Drop.TOO_LARGE
        if self.constant_s is not None:
            return [(now_s + self.constant_s, packet)]
        sent_at_s = now_s
        if model.rate_bits_s is not None:
            size_bits = 8 * packet.size_bytes
            waits_s = self._drained_at_s - now_s
            if waits_s > 0:
                if waits_s * model.rate_bits_s + size_bits > self._queue_bits:
                    return Drop.QUEUE_FULL
                sent_at_s = self._drained_at_s
            sent_at_s += size_bits / model.rate_bits_s
            self._drained_at_s = sent_at_s
        if self._is_plain:
            return [(self._in_order_s(sent_at_s + model.latency_s), packet)]
        random = self._random or self._make()
        if (model.loss and random() < model.loss) or (
            model.burst_loss is not None and self._loses_in_burst(model.burst_loss, random)
        ):
            return Drop.LOST
        if model.corrupt and random() < model.corrupt:
            if packet.protocol is not Protocol.UDP or not packet.payload:
                return Drop.CORRUPT
            packet = _with_a_bit_turned(packet, random)
        arrives_at_s = sent_at_s + self._latency_s(random)
        if model.reorder and random() < model.reorder and self._overtakes(arrives_at_s, now_s):
            arrives_at_s = self._arrives_at_s - OVERTAKES_BY_S
        else:
            arrives_at_s = self._in_order_s(arrives_at_s)
        arrival = (arrives_at_s, packet)
        if model.duplicate and random() < model.duplicate:
            return [arrival, arrival]
        return [arrival]

    def _make(self) -> Callable[[], float]:
        self._random = self._make_random().random
        return self._random

    def _in_order_s(self, arrives_at_s: float) -> float:
        if arrives_at_s < self._arrives_at_s:
            return self._arrives_at_s
        self._arrives_at_s = arrives_at_s
        return arrives_at_s

    def _overtakes(self, arrives_at_s: float, now_s: float) -> bool:
        """There is one still on its way to overtake."""
        ahead_s = self._arrives_at_s - OVERTAKES_BY_S
        return now_s <= ahead_s < arrives_at_s

    def _loses_in_burst(self, burst: BurstLoss, random: Callable[[], float]) -> bool:
        if random() < (burst.leaves if self._is_bad else burst.enters):
            self._is_bad = not self._is_bad
        share = burst.loss_bad if self._is_bad else burst.loss_good
        return share > 0 and random() < share

    def _latency_s(self, random: Callable[[], float]) -> float:
        model = self.model
        if model.latencies_s:
            return self._latency_from_table_s(model.latencies_s, random)
        if not model.jitter_s:
            return model.latency_s
        deviation = _NORMAL[int(random() * len(_NORMAL))]
        correlation = model.jitter_correlation
        if correlation:
            # A first-order autoregressive process: its deviation stays that of the model.
            if self._deviation is not None:
                deviation = self._deviation * correlation + deviation * self._renewed
            self._deviation = deviation
        latency_s = model.latency_s + model.jitter_s * deviation
        return latency_s if latency_s > 0 else 0.0

    def _latency_from_table_s(
        self, latencies_s: tuple[float, ...], random: Callable[[], float]
    ) -> float:
        """Keep the last one as often as the correlation says, which leaves the shares alone."""
        kept_s = self._table_latency_s
        correlation = self.model.jitter_correlation
        if kept_s is not None and correlation and random() < correlation:
            return kept_s
        self._table_latency_s = latencies_s[int(random() * len(latencies_s))]
        return self._table_latency_s


def _with_a_bit_turned(packet: Packet, random: Callable[[], float]) -> Packet:
    payload = bytearray(packet.payload)
    bit = int(random() * 8 * len(payload))
    payload[bit // 8] ^= 1 << bit % 8
    return replace(packet, payload=bytes(payload))


def _leaves_nothing_to_chance(model: LinkModel) -> bool:
    return not (
        model.jitter_s
        or model.latencies_s
        or model.loss
        or model.burst_loss
        or model.reorder
        or model.duplicate
        or model.corrupt
    )
