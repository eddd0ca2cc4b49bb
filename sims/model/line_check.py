"""What a line can be."""

from typing import Final

from sims.model.link import LineModel, LinkModel
from sims.model.mistake import Mistake, check_number, check_share
from wice.section import Place

LATENCIES_MAX: Final = 1_000
MTU_MIN_BYTES: Final = {4: 576, 6: 1_280}
"""RFC 1122 section 3.3.2; RFC 8200 section 5."""

MTU_MAX_BYTES: Final = 65_535
LATENCY_MAX_S: Final = 60.0
RATE_MIN_BITS_S: Final = 8_000.0
"""At less, a packet of full size is under way for longer than daemons wait for anything."""


def check_line(line: LineModel, place: Place, ip_versions: tuple[int, ...]) -> None:
    """Raise Mistake for what no line can be."""
    for direction, link in (("up", line.up), ("down", line.down)):
        if link is not None:
            check_link(link, (*place, direction), ip_versions)


def check_link(link: LinkModel, place: Place, ip_versions: tuple[int, ...]) -> None:
    """Raise Mistake for what no direction of a line can be."""
    _check_latency(link.latency_s, (*place, "latency_s"))
    _check_latency(link.jitter_s, (*place, "jitter_s"))
    for name in ("jitter_correlation", "loss", "reorder", "duplicate", "corrupt"):
        check_share(getattr(link, name), (*place, name))
    if len(link.latencies_s) > LATENCIES_MAX:
        raise Mistake(
            (*place, "latencies_s"),
            f"{len(link.latencies_s)} are too many",
            f"use at most {LATENCIES_MAX}",
        )
    for index, latency_s in enumerate(link.latencies_s):
        _check_latency(latency_s, (*place, "latencies_s", index))
    if link.burst_loss is not None:
        for name in ("enters", "leaves", "loss_good", "loss_bad"):
            check_share(getattr(link.burst_loss, name), (*place, "burst_loss", name))
    if link.rate_bits_s is not None:
        check_number(link.rate_bits_s, (*place, "rate_bits_s"))
        if link.rate_bits_s < RATE_MIN_BITS_S:
            raise Mistake(
                (*place, "rate_bits_s"),
                f"is less than {RATE_MIN_BITS_S / 1_000:g} kbit/s",
                "leave it out for no limit",
            )
    lowest = max(MTU_MIN_BYTES[version] for version in ip_versions)
    check_number(link.mtu_bytes, (*place, "mtu_bytes"), lowest=lowest, highest=MTU_MAX_BYTES)
    if link.queue_bytes < link.mtu_bytes:
        raise Mistake(
            (*place, "queue_bytes"),
            "is less than one packet of full size",
            f"use {link.mtu_bytes} bytes or more",
        )


def _check_latency(latency_s: float, place: Place) -> None:
    check_number(latency_s, place, highest=LATENCY_MAX_S, unit=" s")
