"""Remembers the newest handshake timestamp of an interface across restarts.

Peers refuse handshakes that are not newer than the last one they saw. A host whose clock was set
back while its daemon was down would be locked out until its clock caught up.
"""

from contextlib import suppress
from pathlib import Path as FilePath

import trio

from wice.wireguard.embedded import EmbeddedDevice
from wice.wireguard.tai64n import TAI64N_SIZE_BYTES, is_timestamp

SAVE_INTERVAL_S = 60.0


class TimestampFloor:
    """One interface's file in the state directory: a TAI64N timestamp and nothing else."""

    def __init__(self, state_directory: FilePath, interface: str) -> None:
        self._path = state_directory / f"{interface}.tai64n"

    def read(self) -> bytes:
        """The newest timestamp that was saved; empty where there is none that makes sense."""
        try:
            with self._path.open("rb") as file:
                saved = file.read(TAI64N_SIZE_BYTES + 1)
        except OSError:
            return b""
        return saved if is_timestamp(saved) else b""

    async def keep(self, device: EmbeddedDevice) -> None:
        """Save now and then, and at the end."""
        try:
            while True:
                await trio.sleep(SAVE_INTERVAL_S)
                self._write(device.latest_timestamp)
        finally:
            self._write(device.latest_timestamp)

    def _write(self, timestamp: bytes) -> None:
        new = self._path.with_suffix(".new")
        # A full disk costs this precaution, not the tunnel.
        with suppress(OSError):
            new.write_bytes(timestamp)
            new.replace(self._path)
