"""What the lab needs of a machine, said in one line."""

import os
import shutil
from pathlib import Path
from typing import Final

COMMANDS: Final = {
    "ip": "iproute2",
    "nft": "nftables",
    "ping": "iputils-ping",
    "setpriv": "util-linux",
}
"""Each command the lab calls, and the Debian package that has it."""

TUN_DEVICE: Final = Path("/dev/net/tun")


def missing() -> str:
    """One line that says what the machine lacks and what to do; empty when it lacks nothing."""
    if os.geteuid() != 0:
        return "the lab needs root to make network namespaces: run it with sudo"
    packages = sorted(package for name, package in COMMANDS.items() if not shutil.which(name))
    if packages:
        return f"the lab needs Debian packages: apt-get install {' '.join(packages)}"
    if not TUN_DEVICE.exists():
        return f"the lab needs {TUN_DEVICE}: load the kernel module tun"
    return ""
