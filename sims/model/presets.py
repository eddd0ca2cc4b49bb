"""Lines by the names people have for them.

Typical figures of a line in good order, not the best and not the worst; each is one way, from the
site's router to the middle of the internet, so the round trip between two homes is the sum of
both lines there and back. They were rounded by hand from what these say; who measured their own
line should write that instead.

- ``lan``: a cable to a switch at 1 Gbit/s (IEEE 802.3 clause 40); nothing else is in the way.
- ``fibre``, ``dsl``: access technologies as the FCC's yearly "Measuring Broadband America" sees
  them: round trips to a near server of some 10 ms on fibre and 20 to 50 ms on DSL, losses well
  below 1 %. Rates: a G-PON subscription; VDSL2 (ITU-T G.993.2) at some distance. An interleaved
  DSL has a constant part of its delay in the modem.
- ``wifi``: a radio of the house in front of such a fibre. Collisions and retries of IEEE 802.11
  make jitter, which comes in runs, and little loss, since the radio repeats what it lost.
- ``4g``: LTE in use: a scheduled uplink, retransmission on the radio (3GPP TS 36.321), round
  trips of 40 to 60 ms that swing, deep buffers.
- ``geo``: a geostationary satellite. Up to it and down again is 239.6 ms right below and 279.0 ms
  at the edge of its view (RFC 2488 section 2); rain and fading make losses in runs.

Queues hold some 100 ms at the line's rate, as much as home routers do without queue management
(RFC 7567 section 2), more on radio.
"""

from dataclasses import dataclass
from typing import Final

from sims.model.link import BurstLoss, LineModel, LinkModel

_DSL_MTU_BYTES: Final = 1_492
"""PPPoE takes eight (RFC 2516 section 7)."""

LINE_PRESETS: Final = {
    "lan": LineModel(
        up=LinkModel(latency_s=0.000_2, rate_bits_s=1e9, queue_bytes=512_000),
        down=LinkModel(latency_s=0.000_2, rate_bits_s=1e9, queue_bytes=512_000),
    ),
    "fibre": LineModel(
        up=LinkModel(latency_s=0.004, jitter_s=0.000_3, rate_bits_s=100e6, queue_bytes=1_250_000),
        down=LinkModel(latency_s=0.004, jitter_s=0.000_3, rate_bits_s=300e6, queue_bytes=3_750_000),
    ),
    "dsl": LineModel(
        up=LinkModel(
            latency_s=0.012,
            jitter_s=0.001,
            loss=0.000_5,
            rate_bits_s=10e6,
            queue_bytes=125_000,
            mtu_bytes=_DSL_MTU_BYTES,
        ),
        down=LinkModel(
            latency_s=0.012,
            jitter_s=0.001,
            loss=0.000_5,
            rate_bits_s=50e6,
            queue_bytes=625_000,
            mtu_bytes=_DSL_MTU_BYTES,
        ),
    ),
    "wifi": LineModel(
        up=LinkModel(
            latency_s=0.007,
            jitter_s=0.004,
            jitter_correlation=0.3,
            loss=0.002,
            rate_bits_s=50e6,
            queue_bytes=625_000,
        ),
        down=LinkModel(
            latency_s=0.006,
            jitter_s=0.003,
            jitter_correlation=0.3,
            loss=0.001,
            rate_bits_s=100e6,
            queue_bytes=1_250_000,
        ),
    ),
    "4g": LineModel(
        up=LinkModel(
            latency_s=0.030,
            jitter_s=0.008,
            jitter_correlation=0.5,
            loss=0.002,
            rate_bits_s=10e6,
            queue_bytes=500_000,
        ),
        down=LinkModel(
            latency_s=0.020,
            jitter_s=0.005,
            jitter_correlation=0.5,
            loss=0.002,
            rate_bits_s=40e6,
            queue_bytes=2_000_000,
        ),
    ),
    "geo": LineModel(
        up=LinkModel(
            latency_s=0.280,
            jitter_s=0.015,
            jitter_correlation=0.5,
            burst_loss=BurstLoss(enters=0.002, leaves=0.2, loss_bad=0.5),
            rate_bits_s=3e6,
            queue_bytes=150_000,
        ),
        down=LinkModel(
            latency_s=0.280,
            jitter_s=0.010,
            jitter_correlation=0.5,
            burst_loss=BurstLoss(enters=0.002, leaves=0.2, loss_bad=0.5),
            rate_bits_s=25e6,
            queue_bytes=1_250_000,
        ),
    ),
}
"""By name: up is from the site to the internet."""

BOOTSTRAP_LINE: Final = LineModel(
    up=LinkModel(latency_s=0.002, rate_bits_s=1e9, queue_bytes=1_250_000),
    down=LinkModel(latency_s=0.002, rate_bits_s=1e9, queue_bytes=1_250_000),
)
"""A rented server in a data centre, close to where networks meet."""


@dataclass(frozen=True, slots=True)
class SitePreset:
    """A place by the word that people have for it: a kind of NAT and a line."""

    nat: str
    line: str


SITE_PRESETS: Final = {
    "home": SitePreset("port-restricted", "fibre"),
    "mobile": SitePreset("cgnat", "4g"),
    "office": SitePreset("symmetric", "fibre"),
    "cafe": SitePreset("port-restricted", "wifi"),
    "server": SitePreset("none", "lan"),
    "cloud": SitePreset("one-to-one", "lan"),
    "ship": SitePreset("cgnat", "geo"),
}
"""What is usual there, and no more: who knows better names the kind of NAT and the line."""
