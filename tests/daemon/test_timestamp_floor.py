"""What a daemon remembers of its handshakes' timestamps."""

from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from wice.daemon.timestamp_floor import SAVE_INTERVAL_S, TimestampFloor
from wice.wireguard.tai64n import encode

YEAR_NS = 365 * 86_400 * 1_000_000_000


class Device:
    latest_timestamp = encode(50 * YEAR_NS)


async def test_the_newest_is_there_after_an_end_and_after_a_crash(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    device: Any = Device()
    assert TimestampFloor(tmp_path, "wg0").read() == b""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(TimestampFloor(tmp_path, "wg0").keep, device)
        await trio.sleep(SAVE_INTERVAL_S + 1)
        assert TimestampFloor(tmp_path, "wg0").read() == encode(50 * YEAR_NS)
        device.latest_timestamp = encode(51 * YEAR_NS)
        nursery.cancel_scope.cancel()
    assert TimestampFloor(tmp_path, "wg0").read() == encode(51 * YEAR_NS)
    assert TimestampFloor(tmp_path, "wg1").read() == b""


@pytest.mark.parametrize("content", [b"", b"short", bytes(12), b"\xff" * 12, bytes(13)])
def test_a_damaged_file_is_as_good_as_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "wg0.tai64n").write_bytes(content)
    assert TimestampFloor(tmp_path, "wg0").read() == b""
