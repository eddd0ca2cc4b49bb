"""Install the Debian packages that a list names and this machine lacks, if this is root."""

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

UNWANTED_SERVICES = ("coturn",)
"""Packages whose service nobody here needs: Debian would start it with the installation."""

BUILDING = ("libgmp-dev", "python3-dev", "python3-venv")
"""Packages without which the Python packages cannot be installed."""
BUILT = ".venv/lib/python3*/site-packages/fastecdsa"
"""Where what needs them is, once it is there."""


def missing(packages: list[str]) -> list[str]:
    """The packages that dpkg does not know as installed."""
    answer = subprocess.run(
        ["dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Status}\n", *packages],
        capture_output=True,
        text=True,
        check=False,
    )
    installed = {
        line.split()[0] for line in answer.stdout.splitlines() if line.endswith(" installed")
    }
    return [package for package in packages if package not in installed]


def for_this_python() -> list[str]:
    """What Debian splits off from Python and an environment with compiled packages needs."""
    packages = []
    if importlib.util.find_spec("ensurepip") is None:
        packages.append("python3-venv")
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        packages.append("python3-dev")
    return packages


def go_on_without_root(needed: list[str]) -> int:
    """Say in one line what is left out, or why it cannot go on; give the exit status."""
    building = [package for package in needed if package in BUILDING]
    if building and not list(Path().glob(BUILT)):
        sys.stderr.write(
            f"the Python packages cannot be built without {' '.join(building)}: "
            f"as root, apt-get install {' '.join(building)}\n"
        )
        return 1
    sys.stderr.write(
        f"not root: going on without Debian packages {' '.join(needed)}; "
        "the demo plays in the simulator, and tests that need them are skipped\n"
    )
    return 0


def main() -> int:
    lines = Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()
    packages = [line.split("#")[0].strip() for line in lines if line.split("#")[0].strip()]
    packages += for_this_python()
    if shutil.which("dpkg-query") is None:
        sys.stderr.write(f"not a Debian system: install what {sys.argv[1]} names yourself\n")
        return 0
    needed = missing(packages)
    if not needed:
        return 0
    if os.geteuid() != 0:
        return go_on_without_root(needed)
    if Path("/run/systemd/system").is_dir():
        for package in set(needed).intersection(UNWANTED_SERVICES):
            subprocess.run(["systemctl", "mask", f"{package}.service"], check=False)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "update", "-qq"], check=True, env=environment)
    command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *needed]
    return subprocess.run(command, check=False, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
