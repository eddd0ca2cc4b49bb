"""One direction of a line at work: when what is sent through it arrives, if it does."""

import math
from collections.abc import Callable
from random import Random
from typing import Final

from sims.drops import Drop
from sims.link import LinkModel
from sims.packet import Packet, Protocol

OVERTAKES_BY_S: Final = 0.001
"""How far ahead of the packet before it one arrives that overtakes it."""

_HEADERS_MAX_BYTES: Final = 60
"""IPv6 and TCP."""


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
        self.constant_s = _constant_s(model)
        """The latency of a line that does nothing else to what fits; None where it does."""
        self._make_random = random
        self._own_random: Random | None = None
        self._drained_at_s = -math.inf
        self._arrives_at_s = -math.inf
        self._is_bad = False
        self._deviation: float | None = None
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
            bytes_s = model.rate_bits_s / 8
            size_bytes = packet.size_bytes
            queued_bytes = (self._drained_at_s - now_s) * bytes_s
            if queued_bytes > 0 and queued_bytes + size_bytes > model.queue_bytes:
                return Drop.QUEUE_FULL
            sent_at_s = max(self._drained_at_s, now_s) + size_bytes / bytes_s
            self._drained_at_s = sent_at_s
        if self._loses():
            return Drop.LOST
        if model.corrupt and self._random.random() < model.corrupt:
            if packet.protocol is not Protocol.UDP or not packet.payload:
                return Drop.CORRUPT
            packet = self._with_a_bit_turned(packet)
        arrives_at_s = self._arrival_s(sent_at_s, now_s)
        if model.duplicate and self._random.random() < model.duplicate:
            return [(arrives_at_s, packet), (arrives_at_s, packet)]
        return [(arrives_at_s, packet)]

    @property
    def _random(self) -> Random:
        if self._own_random is None:
            self._own_random = self._make_random()
        return self._own_random

    def _loses(self) -> bool:
        model = self.model
        if model.loss and self._random.random() < model.loss:
            return True
        burst = model.burst_loss
        if burst is None:
            return False
        if self._random.random() < (burst.leaves if self._is_bad else burst.enters):
            self._is_bad = not self._is_bad
        share = burst.loss_bad if self._is_bad else burst.loss_good
        return share > 0 and self._random.random() < share

    def _with_a_bit_turned(self, packet: Packet) -> Packet:
        payload = bytearray(packet.payload)
        bit = self._random.randrange(8 * len(payload))
        payload[bit // 8] ^= 1 << bit % 8
        return Packet(
            packet.protocol, packet.source, packet.destination, bytes(payload), None, packet.ttl
        )

    def _arrival_s(self, sent_at_s: float, now_s: float) -> float:
        """In order, but for those that overtake what is still on its way."""
        arrives_at_s = sent_at_s + self._latency_s()
        last_s = self._arrives_at_s
        if (
            self.model.reorder
            and self._random.random() < self.model.reorder
            and now_s <= last_s - OVERTAKES_BY_S
        ):
            return min(arrives_at_s, last_s - OVERTAKES_BY_S)
        self._arrives_at_s = max(arrives_at_s, last_s)
        return self._arrives_at_s

    def _latency_s(self) -> float:
        model = self.model
        if model.latencies_s:
            return self._latency_from_table_s(model.latencies_s)
        if not model.jitter_s:
            return model.latency_s
        # A first-order autoregressive process: its deviation stays that of the model.
        step = self._random.gauss(0.0, 1.0)
        correlation = model.jitter_correlation
        if self._deviation is None:
            self._deviation = step
        else:
            self._deviation = correlation * self._deviation + step * math.sqrt(1 - correlation**2)
        return max(0.0, model.latency_s + model.jitter_s * self._deviation)

    def _latency_from_table_s(self, latencies_s: tuple[float, ...]) -> float:
        """Keep the last one as often as the correlation says, which leaves the shares alone."""
        kept_s = self._table_latency_s
        correlation = self.model.jitter_correlation
        if kept_s is not None and correlation and self._random.random() < correlation:
            return kept_s
        self._table_latency_s = self._random.choice(latencies_s)
        return self._table_latency_s


def _constant_s(model: LinkModel) -> float | None:
    is_constant = not (
        model.jitter_s
        or model.latencies_s
        or model.loss
        or model.burst_loss
        or model.reorder
        or model.duplicate
        or model.corrupt
        or model.rate_bits_s is not None
    )
    return model.latency_s if is_constant else None
