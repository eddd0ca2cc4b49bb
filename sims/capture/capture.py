"""What passed the interfaces of a run: a file for each of them, with the keys of its tunnels.

It looks on: a run does the same with it and without.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

from sims.capture.capture_file import CaptureContext, CaptureDisk, CaptureFile
from sims.capture.wireguard_keys import DrawnKeys, OverheardEntropy
from sims.internet.network import Network
from sims.internet.packet import Packet, PacketEvent
from sims.machines.machine_files import INTERFACE
from sims.machines.mesh import Mesh
from sims.model.scenario import Scenario
from sims.runtime.clock import STARTS_AT_S, VirtualClock
from sims.runtime.entropy import Entropy
from wice.errors import WiceError

ETHERNET: Final = "eth0"
OUTSIDE: Final = "outside"
SUFFIX: Final = ".pcapng"


class Capture:
    """Of one run, which asks for its ``entropy``, then calls ``begin``, and at last ``finish``.

    directory: made where it does not exist; WiceError where it has captures in it already.
    size_max_bytes: of all files together.
    """

    def __init__(self, directory: Path, size_max_bytes: int) -> None:
        self.directory = directory
        self._disk = CaptureDisk(size_max_bytes)
        self._drawn_keys = DrawnKeys()
        self._clock: VirtualClock | None = None
        self._epoch_ns = 0
        self._began_ns = 0
        self._ethernets: dict[str, CaptureFile] = {}
        self._tunnels: dict[str, CaptureFile] = {}
        self._outsides: dict[str, CaptureFile] = {}
        self._is_over = False
        _make_empty(directory)

    # What came of it

    @property
    def failure(self) -> OSError | None:
        """Why it could not be written; then it lacks all that came later."""
        return self._disk.failure

    @property
    def size_bytes(self) -> int:
        return self._disk.size_bytes

    @property
    def size_max_bytes(self) -> int:
        return self._disk.size_max_bytes

    @property
    def packets(self) -> int:
        """A packet counts at each interface that it passed."""
        return sum(file.packets for file in self._files())

    @property
    def files(self) -> int:
        return sum(1 for _ in self._files())

    @property
    def full_at_s(self) -> float | None:
        """When the first packet did not fit, since the run began; None where all did."""
        full_at_ns = self._disk.full_at_ns
        return None if full_at_ns is None else (full_at_ns - self._began_ns) / 1e9

    # What a run does with it

    def entropy(self, seed: int) -> Entropy:
        """The randomness of ``seed``, of which it learns the keys."""
        return OverheardEntropy(seed, self._drawn_keys)

    def begin(
        self,
        scenario: Scenario,
        seed: int,
        clock: VirtualClock,
        wall_clock_began_s: float,
        network: Network,
        mesh: Mesh,
    ) -> None:
        """Watch all interfaces from now on; nothing runs yet."""
        self._clock = clock
        self._epoch_ns = round(wall_clock_began_s * 1e9)
        self._began_ns = self._now_ns()
        comment = (
            f"{scenario.name}, seed {seed}: simulated by wice. Times are those of a clock that is "
            "right; the private keys of all tunnels are in here, and protect nothing."
        )
        context = CaptureContext(
            disk=self._disk,
            comment=comment,
            names={str(tunnel.ip): name for name, tunnel in mesh.tunnels.items()},
            static_keys=tuple(mesh.private_keys.values()),
            drawn_keys=self._drawn_keys,
        )
        for name, machine in mesh.machines.items():
            self._ethernets[name] = self._open(name, ETHERNET, "machine", context)
            if name in mesh.private_keys:
                self._tunnels[name] = self._open(name, INTERFACE, "machine", context)
                machine.watch_tunnel = partial(self._on_tunnel_packet, name)
        for name in network.site_names:
            self._outsides[name] = self._open(name, OUTSIDE, "site", context)
            network.watch_outside(name, partial(self._on_outside, name))

    def on_packet(self, event: PacketEvent) -> None:
        """What a machine sent or received, or what was dropped anywhere."""
        if self._is_over:
            return
        at_ns = self._now_ns()
        if event.what == "dropped":
            # A bootstrap node and its site have one name.
            file = self._outsides.get(event.where) or self._ethernets[event.where]
            file.add_drop(event.packet, at_ns, event.reason)
        else:
            is_outbound = event.what == "sent"
            self._ethernets[event.where].add(event.packet, at_ns, is_outbound=is_outbound)

    def finish(self) -> None:
        """Write what waits; nothing after this is in the files."""
        if self._is_over or self._clock is None:
            return
        self._is_over = True
        for file in self._files():
            file.finish(self._now_ns())

    # Inside

    def _open(self, owner: str, interface: str, kind: str, context: CaptureContext) -> CaptureFile:
        path = self.directory / f"{owner}.{interface}{SUFFIX}"
        return CaptureFile(path, interface, f"{kind} {owner}", context)

    def _on_outside(self, site: str, packet: Packet, *, is_outbound: bool) -> None:
        if not self._is_over:
            self._outsides[site].add(packet, self._now_ns(), is_outbound=is_outbound)

    def _on_tunnel_packet(self, machine: str, packet: bytes, *, is_outbound: bool) -> None:
        if not self._is_over:
            self._tunnels[machine].add_encoded(packet, self._now_ns(), is_outbound=is_outbound)

    def _now_ns(self) -> int:
        assert self._clock is not None
        return self._epoch_ns + round((self._clock.now_s - STARTS_AT_S) * 1e9)

    def _files(self) -> Iterator[CaptureFile]:
        for files in (self._ethernets, self._tunnels, self._outsides):
            yield from files.values()


def _make_empty(directory: Path) -> None:
    """Raise WiceError."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        is_used = any(directory.glob(f"*{SUFFIX}"))
    except OSError as error:
        raise WiceError(f"{directory}: cannot be written: {error.strerror}") from None
    if is_used:
        raise WiceError(
            f"{directory}: has captures in it already; remove them, or name another directory"
        )
