"""A trace as a story: what went wrong, what the daemons did about it, what the checks found."""

import json
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from sims.commands.table import violation_line
from sims.model.result import Violation
from sims.running.pauses import Pauses

PACKET_KINDS: Final = ("sent", "received", "dropped")
TOLD_KINDS: Final = (
    "PeerTransitioned",
    "OverlayJoined",
    "OverlayLost",
    "OverlayUnreachable",
)
"""What everybody's story has; of a machine that is asked for, all is told."""

KIND_WITHIN: Final = 64
"""Characters from the start of a line that hold its time and kind."""

KEY_PREFIX_SIZE: Final = 8
"""Characters of a public key that stand for it where nobody knows its owner."""

Line = Mapping[str, Any]


def tell(
    lines: Iterable[str], violations: Sequence[Violation], only: Collection[str] = ()
) -> Iterator[str]:
    """A trace and what checks found, as lines for a person, in the order they happened in.

    only: tell just what concerns these machines, but all events of theirs; faults and violations
    are always told.
    """
    names: dict[str, str] = {}
    pings = _Pings()
    found = deque(violations)
    for line in parsed(lines):
        while found and found[0].at_s < line["at_s"]:
            yield _tell_violation(found.popleft())
        if line["kind"] == "machine":
            names[line["public_key"]] = line["machine"]
        elif line["kind"] in ("ping", "pong"):
            if told := pings.tell(line, only):
                yield told
        elif told := _tell(line, names, only):
            yield told
    yield from map(_tell_violation, found)


class _Pings:
    """Tells of a pair's pings only the first that came back, and each that did after a pause."""

    def __init__(self) -> None:
        self._pauses = Pauses()

    def tell(self, line: Line, only: Collection[str]) -> str:
        at_s, pair = line["at_s"], (line["machine"], line["destination"])
        if line["kind"] == "ping":
            self._pauses.ping(pair, at_s)
            return ""
        pong = self._pauses.pong(pair, at_s)
        if only and not set(only).intersection(pair):
            return ""
        who = " → ".join(pair)
        if pong.is_first:
            return f"{at_s:9.3f} s  {who}: first ping came back"
        if pong.ends_pause:
            return (
                f"{at_s:9.3f} s  {who}: pings come back again, none did for {pong.waited_s:.1f} s"
            )
        return ""


def parsed(lines: Iterable[str]) -> Iterator[Line]:
    """The lines of a trace without packets; an interrupted run may have left half a line."""
    # Most lines are packets; to parse them would take longer than the run.
    skipped = tuple(f'"kind":"{kind}"' for kind in PACKET_KINDS)
    for text in lines:
        if not any(kind in text[:KIND_WITHIN] for kind in skipped):
            with suppress(ValueError):
                yield json.loads(text)


def _tell(line: Line, names: Mapping[str, str], only: Collection[str]) -> str:
    fields = {name: value for name, value in line.items() if value not in ("", None)}
    at_s, kind = float(fields.pop("at_s")), str(fields.pop("kind"))
    if kind == "fault":
        return f"{at_s:9.3f} s  FAULT {_fault(fields)}"
    machine = str(fields.pop("machine", ""))
    peer = str(fields.pop("peer", ""))
    peer = names.get(peer, peer[:KEY_PREFIX_SIZE])
    if only and not {machine, peer}.intersection(only):
        return ""
    if not only and kind not in TOLD_KINDS:
        return ""
    who = f"{machine} → {peer}" if peer else machine
    if kind == "PeerTransitioned":
        return f"{at_s:9.3f} s  {who}: {_transition(fields)}"
    return f"{at_s:9.3f} s  {who}: {_words(kind)}{_rest(fields) if only else ''}"


def _tell_violation(violation: Violation) -> str:
    return violation_line(violation).replace(" s  ", " s  VIOLATION ", 1)


def _fault(fields: dict[str, Any]) -> str:
    """As ``crash of bootstrap-1 begins, for_s 20.0``."""
    kind, phase = fields.pop("fault"), fields.pop("phase")
    del fields["planned_at_s"]
    target = fields.pop("target", "")
    what = f"{_words(kind)} of {target}" if target else _words(kind)
    return f"{what} {phase}s{_rest(fields) if phase == 'begin' else ''}"


def _transition(fields: dict[str, Any]) -> str:
    """As ``checking → selected (pair valid: 198.51.100.1:51820)``."""
    reasons = [str(fields[name]) for name in ("cause", "detail") if name in fields]
    why = f" ({': '.join(reasons)})" if reasons else ""
    return f"{fields['old']} → {fields['new']}{why}"


def _rest(fields: Mapping[str, Any]) -> str:
    said = [
        f"{name} {_plain(value)}"
        for name, value in fields.items()
        # What a fault does not do is not worth a word, nor what it does not single out.
        if value is not False and value is not None
    ]
    return f", {', '.join(said)}" if said else ""


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        parts = (f"{name} {_plain(part)}" for name, part in value.items() if part)
        return f"({', '.join(parts)})"
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    return str(value)


def _words(name: str) -> str:
    """``OverlayJoined`` as ``overlay joined``."""
    return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name).strip()
