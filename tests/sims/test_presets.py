"""Lines by name are lines that can be, and are in the order that people know them in."""

import pytest

from sims.model.line_check import check_line
from sims.model.link import LinkModel
from sims.model.presets import BOOTSTRAP_LINE, LINE_PRESETS


def directions(name: str) -> tuple[LinkModel, LinkModel]:
    line = LINE_PRESETS[name]
    assert line.up is not None
    assert line.down is not None
    return line.up, line.down


@pytest.mark.parametrize("name", LINE_PRESETS)
def test_a_preset_is_a_line_that_a_scenario_may_have(name: str) -> None:
    check_line(LINE_PRESETS[name], (), (4, 6))
    check_line(BOOTSTRAP_LINE, (), (4, 6))


@pytest.mark.parametrize("name", LINE_PRESETS)
def test_nobody_sends_faster_than_they_receive_and_queues_hold_less_than_a_second(
    name: str,
) -> None:
    up, down = directions(name)
    assert up.rate_bits_s is not None
    assert down.rate_bits_s is not None
    assert up.rate_bits_s <= down.rate_bits_s
    for link, rate_bits_s in ((up, up.rate_bits_s), (down, down.rate_bits_s)):
        assert link.queue_bytes >= link.mtu_bytes
        assert link.queue_bytes * 8 / rate_bits_s < 1


def test_round_trips_are_in_the_order_of_what_carries_them() -> None:
    names = ["lan", "fibre", "wifi", "dsl", "4g", "geo"]
    trips_s = [sum(link.latency_s for link in directions(name)) for name in names]
    assert trips_s == sorted(trips_s)


def test_a_satellite_is_as_far_away_as_it_is() -> None:
    """RFC 2488 section 2: 239.6 ms right below it, 279.0 ms at the edge of its view."""
    for link in directions("geo"):
        assert 0.2396 <= link.latency_s <= 0.300
