"""Network namespaces without a name, so that the kernel itself removes what we leave behind.

A namespace lives as long as something refers to it: our file descriptor, a process, a socket or
a mount. Ours have no mount unless a person asks for one (``Namespace.publish``). When the owner
dies, however it dies, its descriptors go, and with the processes inside the namespaces too, and
with these all their interfaces.
"""

import ctypes
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from wice.errors import WiceError

COMMAND_TIMEOUT_S: Final = 20.0
"""An ``ip`` or ``nft`` that takes longer than this hangs."""

_CLONE_NEWNET: Final = 0x40000000
_OWN_NAMESPACE: Final = "/proc/thread-self/ns/net"
_libc: Final = ctypes.CDLL(None, use_errno=True)


class LabError(WiceError):
    """The machine cannot build the lab; the message is one line for a person."""


def lab_error(error: OSError) -> LabError:
    """What the machine refuses, as one line."""
    where = f"{error.filename}: " if error.filename else ""
    return LabError(f"the machine refuses: {where}{error.strerror}")


class Namespace:
    """A network namespace, held open until ``close``."""

    def __init__(self) -> None:
        """Make an empty namespace: a loopback interface that is down, and nothing else."""
        home = os.open(_OWN_NAMESPACE, os.O_RDONLY)
        try:
            _check(_libc.unshare(_CLONE_NEWNET), "unshare")
            self._descriptor = os.open(_OWN_NAMESPACE, os.O_RDONLY)
        finally:
            _set_namespace(home)
            os.close(home)

    @property
    def path(self) -> Path:
        """A path that names the namespace to other processes, as long as we hold it."""
        return Path(f"/proc/{os.getpid()}/fd/{self._descriptor}")

    @contextmanager
    def entered(self) -> Iterator[None]:
        """This thread is inside: sockets and processes that it makes stay inside.

        Never await while inside: other tasks of the thread would be inside too.
        """
        home = os.open(_OWN_NAMESPACE, os.O_RDONLY)
        try:
            _set_namespace(self._descriptor)
            yield
        finally:
            _set_namespace(home)
            os.close(home)

    def run(self, argv: Sequence[str], text: str = "") -> str:
        """Run a short command inside with ``text`` on its input; give its output.

        Raise LabError with what it said when it fails.
        """
        with self.entered():
            try:
                done = subprocess.run(
                    argv,
                    input=text,
                    capture_output=True,
                    text=True,
                    timeout=COMMAND_TIMEOUT_S,
                    process_group=0,  # Ctrl-C in the terminal is for us alone.
                )
            except FileNotFoundError:
                raise LabError(f"there is no command {argv[0]!r}") from None
            except subprocess.TimeoutExpired:
                why = f"did not end within {COMMAND_TIMEOUT_S:g} s"
                raise LabError(f"{' '.join(argv)}: {why}") from None
        if done.returncode:
            raise LabError(f"{' '.join(argv)}: {' '.join(done.stderr.split())}")
        return done.stdout

    def set_sysctl(self, name: str, value: int) -> None:
        """Set ``net.<name>`` inside, as ``ipv4.ip_forward``."""
        with self.entered():
            # /proc/sys/net shows the namespace of the thread that opens it.
            Path("/proc/sys/net", *name.split(".")).write_text(str(value))

    def publish(self, name: str) -> None:
        """Give it a name for ``ip netns exec``: from now on it outlives us."""
        # "attach" names the namespace in which a process is, and this one is inside just now.
        self.run(["ip", "netns", "attach", name, str(os.getpid())])

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _set_namespace(descriptor: int) -> None:
    _check(_libc.setns(descriptor, _CLONE_NEWNET), "setns")


def _check(result: int, call: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")
