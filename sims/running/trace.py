"""What happened in a run, as JSON lines: events of daemons, headers of packets, faults.

The same run makes the same bytes, so a digest of them says whether two runs were the same. No
line holds what a packet carries, but the last one has a digest of all that machines sent.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, TextIO

from sims.internet.packet import PacketEvent, TcpFlags
from sims.model.faults import Fault
from sims.runtime.clock import STARTS_AT_S
from wice.errors import WiceError
from wice.events import Event

CACHED_TEXTS_MAX: Final = 65_536
"""Texts kept of what lines name again and again; then all are forgotten."""

LINES_AT_ONCE: Final = 512
"""How many lines wait to be hashed and written together."""

_ENCODE: Final = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


class Trace:
    """Takes lines, and hashes them whether or not there is a ``file`` to write them to.

    Times in lines count from the start of the run, to the microsecond, and so does every ``at_s``
    that is handed in. Packets alone come with the time on the run's clock, which started the run
    at ``began_s``. Call ``end``, or at least ``flush``, before ``file`` is closed. failure: why it
    could not be written; then it lacks all further lines.
    """

    def __init__(self, file: TextIO | None = None) -> None:
        self.lines = 0
        self.began_s = STARTS_AT_S
        self.failure: OSError | None = None
        self._file = file
        self._hash = hashlib.sha256()
        self._payloads = hashlib.sha256()
        self._waiting: list[str] = []
        self._is_ended = False
        self._quoted = _Texts(lambda value: _ENCODE(str(value)))
        self._flags = _Texts(_flags)

    @property
    def sha256(self) -> str:
        """Of all lines so far, in hexadecimal."""
        self.flush()
        return self._hash.hexdigest()

    def event(self, at_s: float, machine: str, event: Event) -> None:
        """Something that the daemon of ``machine`` reports of itself."""
        fields = event.as_json()
        del fields["at_s"]
        self.line(fields.pop("event"), at_s, machine=machine, **fields)

    def packet(self, event: PacketEvent) -> None:
        """The header of a packet, and what became of it."""
        # By far the most lines of a run: formatted by hand, five times as fast as an encoder.
        at_s, what, where, packet, reason = event
        quoted = self._quoted
        if what == "sent":
            self._payloads.update(packet.payload)
        tail = f',"reason":{quoted[reason]}}}' if reason else "}"
        if packet.tcp is None:
            protocol = "udp"
        else:
            protocol = "tcp"
            tail = f',"flags":{self._flags[packet.tcp.flags]}{tail}'
        self._add(
            f'{{"at_s":{at_s - self.began_s:.6f},"kind":"{what}",'
            f'"where":{quoted[where]},"protocol":"{protocol}",'
            f'"source":{quoted[packet.source]},"destination":{quoted[packet.destination]},'
            f'"size_bytes":{packet.size_bytes}{tail}'
        )

    def fault(self, at_s: float, fault: Fault, phase: str) -> None:
        """A fault begins or ends: ``phase`` says which."""
        planned = asdict(fault)
        planned_at_s = planned.pop("at_s")
        kind = type(fault).__name__
        self.line("fault", at_s, fault=kind, phase=phase, planned_at_s=planned_at_s, **planned)

    def line(self, kind: str, at_s: float, **fields: Any) -> None:
        """Anything else that JSON can say; the order of ``fields`` is the order in the line."""
        rounded = {name: _rounded(value) for name, value in fields.items()}
        head = f'{{"at_s":{at_s:.6f},"kind":{self._quoted[kind]}'
        self._add(f"{head},{_ENCODE(rounded)[1:]}" if rounded else f"{head}}}")

    def end(self, at_s: float) -> None:
        """Add the last line, which says what all packets carried that were sent."""
        self.line("payloads", at_s, sha256=self._payloads.hexdigest())
        self._is_ended = True
        self.flush()

    def flush(self) -> None:
        """Hash and write what waits."""
        if not self._waiting:
            return
        text = "\n".join(self._waiting) + "\n"
        self._waiting.clear()
        self._hash.update(text.encode())
        if self._file is None or self.failure is not None:
            return
        try:
            self._file.write(text)
            self._file.flush()
        except OSError as error:
            self.failure = error

    def _add(self, line: str) -> None:
        if self._is_ended:
            return
        self.lines += 1
        self._waiting.append(line)
        if len(self._waiting) >= LINES_AT_ONCE:
            self.flush()


class _Texts(dict[object, str]):
    """JSON texts of values that come again and again, by value."""

    def __init__(self, encode: Callable[[Any], str]) -> None:
        super().__init__()
        self._encode = encode

    def __missing__(self, value: object) -> str:
        if len(self) >= CACHED_TEXTS_MAX:
            self.clear()
        text = self[value] = self._encode(value)
        return text


def _flags(flags: TcpFlags) -> str:
    return _ENCODE(" ".join(str(flag.name) for flag in TcpFlags if flag in flags))


def _rounded(value: Any) -> Any:
    """JSON has no word for a time without end, and the last digits of a float say nothing."""
    if isinstance(value, float):
        return round(value, 6) if abs(value) != float("inf") else None
    if isinstance(value, dict):
        return {name: _rounded(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(inner) for inner in value]
    return value


@contextmanager
def open_trace_file(path: Path | None) -> Iterator[TextIO | None]:
    """Raise WiceError."""
    if path is None:
        yield None
        return
    try:
        file = path.open("w")
    except OSError as error:
        raise WiceError(f"{path}: cannot be written: {error.strerror}") from None
    try:
        yield file
    finally:
        # All is flushed before, and the trace knows of what could not be.
        with suppress(OSError):
            file.close()
