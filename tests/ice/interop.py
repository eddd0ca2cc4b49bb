"""Other people's agents as processes, and what ours needs to talk with them.

A peer speaks in lines, both ways: ``credentials UFRAG PASSWORD``, ``candidate`` with its SDP form,
``end-of-candidates``. It is told ``connect`` when checks may begin (libnice needs no telling),
``lite`` of a lite remote, and ``send TEXT``; it says ``received TEXT``, and ``selected ROLE`` with
HOST PORT TYPE of its own end and of ours.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path as FilePath
from typing import NamedTuple, Self

import trio

from wice.datagram import Carrier, Datagram, Endpoint, Path
from wice.stun import is_stun

AIOICE = (sys.executable, str(FilePath(__file__).with_name("aioice_peer.py")))
END_TIMEOUT_S = 30


class SocketPort:
    """A DatagramPort on one socket; what is not STUN goes to ``data`` with who sent it."""

    carrier: Carrier | None = None

    def __init__(self, socket: trio.socket.SocketType) -> None:
        self._socket = socket
        self.address, self.port = socket.getsockname()[:2]
        self.data: list[tuple[bytes, Endpoint]] = []
        self.data_came = trio.Event()

    def send(self, data: bytes, path: Path) -> None:
        assert path.source in (None, self.address)
        # trio's sendto is async; a UDP socket's never waits here.
        os_socket = self._socket._sock  # type: ignore[attr-defined]
        try:
            os_socket.sendto(data, path.remote)
        except OSError:
            # A candidate of a network that this host has no route to.
            return

    def hand_up(self, data: bytes, source: Endpoint, destination: str | None) -> None:
        raise AssertionError(f"who brought {data!r} from {source} to {destination}?")

    async def receive(self) -> Datagram:
        while True:
            data, source = await self._socket.recvfrom(2_000)
            if is_stun(data):
                return Datagram(data, Endpoint(*source[:2]), self.address)
            self.data.append((data, Endpoint(*source[:2])))
            self.data_came.set()


class Selected(NamedTuple):
    """What a peer says of the pair that it selected."""

    role: str
    local: Endpoint
    local_type: str
    remote: Endpoint
    remote_type: str

    @classmethod
    def read(cls, words: str) -> Self:
        role, *ends = words.split(" ")
        local_host, local_port, local_type, remote_host, remote_port, remote_type = ends
        return cls(
            role,
            Endpoint(local_host, int(local_port)),
            local_type,
            Endpoint(remote_host, int(remote_port)),
            remote_type,
        )


class OtherAgent:
    """A peer's process."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._read = b""

    @classmethod
    async def start(cls, command: Sequence[str]) -> Self:
        process = await trio.lowlevel.open_process(
            list(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        return cls(process)

    async def tell(self, *words: str) -> None:
        assert self._process.stdin is not None
        await self._process.stdin.send_all(" ".join(words).encode() + b"\n")

    async def hear(self, expected: str) -> str:
        """What follows ``expected``, which must be the next word."""
        word, rest = await self.hear_any()
        assert word == expected, f"{word} {rest}"
        return rest

    async def hear_any(self) -> tuple[str, str]:
        """The next line: its first word, and what follows it."""
        assert self._process.stdout is not None
        while b"\n" not in self._read:
            more = await self._process.stdout.receive_some()
            assert more, "the peer ended"
            self._read += more
        line, _, self._read = self._read.partition(b"\n")
        word, _, rest = line.decode().partition(" ")
        return word, rest

    async def aclose(self) -> None:
        with trio.CancelScope(shield=True):
            assert self._process.stdin is not None
            await self._process.stdin.aclose()
            with trio.move_on_after(END_TIMEOUT_S):
                await self._process.wait()
            if self._process.returncode is None:
                self._process.kill()
                await self._process.wait()
