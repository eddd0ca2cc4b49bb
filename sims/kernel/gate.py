"""``wice`` as it is, but with everything imported before it begins, and at the word of its owner.

In a simulation a daemon starts at once; to import what it is made of takes a process a second of a
processor. Run as ``python -m sims.kernel.gate VERB CONFIG`` with a socket for standard input: it
writes ``READY`` there when it has imported all, and begins when a byte comes.
"""

import os
import sys
from importlib import import_module
from typing import Final

READY: Final = b"r"
GO: Final = b"g"

MODULES: Final = (
    "wice.cli.commands",
    "wice.cli.run",
    "wice.daemon.daemon",
    "wice.wireguard.embedded",
    "wice.linux",
    "p2p.backend",
    "p2p.host",
)
"""What a daemon loads in its first second."""


def main() -> None:
    for module in MODULES:
        import_module(module)
    owner = sys.stdin.fileno()
    os.write(owner, READY)
    if os.read(owner, 1) != GO:
        return
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, owner)
    sys.argv[0] = "wice"
    from wice.cli import main as wice

    wice()


if __name__ == "__main__":
    main()
