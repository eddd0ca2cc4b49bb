"""What the lab needs of a machine, said in one line."""

import os
import shutil
from collections.abc import Sequence
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Final

from sims.lab.namespaces import LabError, Namespace
from sims.many.processes import run_in_processes

COMMANDS: Final = {
    "ip": "iproute2",
    "nft": "nftables",
    "ping": "iputils-ping",
    "setpriv": "util-linux",
}
"""Each command the lab calls, and the Debian package that has it."""

TUN_DEVICE: Final = Path("/dev/net/tun")

PROBES: Final = (
    ("ip", "link", "add", "probe", "type", "bridge"),
    ("ip", "tuntap", "add", "mode", "tun", "name", "probe-tun"),
    ("nft", "add table ip probe; add chain ip probe nat { type nat hook prerouting priority 0; }"),
)
"""What a container may refuse to root itself, or a kernel not have."""


def missing() -> str:
    """One line that says what the machine lacks and what to do; empty when it lacks nothing."""
    if os.geteuid() != 0:
        return "the lab needs root to make network namespaces: run it with sudo"
    packages = sorted(package for name, package in COMMANDS.items() if not shutil.which(name))
    if packages:
        return f"the lab needs Debian packages: apt-get install {' '.join(packages)}"
    if not TUN_DEVICE.exists():
        return f"the lab needs {TUN_DEVICE}: load the kernel module tun"
    return _refused()


@cache
def _refused() -> str:
    """What this machine does not let root do; it will not change its mind while we run."""
    # Who may leave the namespace it is in, and not come back, does so in a process of its own.
    with closing(run_in_processes(_probe, (PROBES,), 1)) as finished:
        (probed,) = finished
    why = probed.failure or probed.value
    return f"the lab needs the right to build networks: {why}" if why else ""


def _probe(probes: Sequence[Sequence[str]]) -> str:
    try:
        with closing(Namespace()) as namespace:
            for probe in probes:
                namespace.run(probe)
    except (OSError, LabError) as error:
        return str(error)
    return ""
