"""``wice why`` for people: the sentence first, then what was tried."""

from collections.abc import Iterator, Sequence
from typing import Any

from wice.errors import RemoteProtocolError

ROWS_MAX = 16
"""Pairs that are shown; ``--json`` has them all."""

HEADING = ("from", "to", "state", "checks", "last answer")


def format_why(answer: dict[str, Any]) -> str:
    """Text of an answer, ending in a newline; raise RemoteProtocolError."""
    try:
        return "\n".join(_lines(answer)) + "\n"
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, IndexError):
        # Whatever is behind the socket wrote it: a daemon of another version, for one.
        raise RemoteProtocolError(
            "the daemon's answer is not as this wice knows it: are both of one version?"
        ) from None


def _lines(answer: dict[str, Any]) -> Iterator[str]:
    yield f"{answer['sentence']}"
    for hint in answer["hints"][1:]:
        yield f"  or: {hint}"
    yield ""
    key = "" if answer["peer"] == answer["public_key"] else f" ({answer['peer']})"
    path = f", {answer['path']}" if answer["path"] else ""
    yield f"peer: {answer['public_key']}{key} on {answer['interface']}"
    yield f"  state: {answer['state']}{path}"
    yield f"  NAT mapping: {answer['nat']['here']} here, {answer['nat']['there']} there"
    pairs = sorted(answer["pairs"], key=_rank)
    if pairs:
        yield ""
        yield from _table(pairs[:ROWS_MAX])
    if len(pairs) > ROWS_MAX:
        yield f"  and {len(pairs) - ROWS_MAX} more pairs: --json shows them"


def _rank(pair: dict[str, Any]) -> int:
    """Those that matter first; the daemon has them by priority already."""
    if pair["is_selected"]:
        return 0
    return 1 if pair["state"] == "succeeded" else 2


def _row(pair: dict[str, Any]) -> tuple[str, ...]:
    return (
        _from(pair),
        f"{pair['to']} ({pair['to_type']})",
        "selected" if pair["is_selected"] else f"{pair['state']}",
        _checks(pair),
        _last_answer(pair),
    )


def _from(pair: dict[str, Any]) -> str:
    """The type is that of the mapped address, and a pair knows only our own behind it."""
    via = "via " if pair["from_type"] in ("srflx", "prflx") else ""
    return f"{via}{pair['from'] or 'any address'} ({pair['from_type']})"


def _checks(pair: dict[str, Any]) -> str:
    if not pair["checks_sent"]:
        return "none sent"
    return f"{pair['checks_sent']:d} sent, {_ago(pair['last_sent_age_s'])}"


def _last_answer(pair: dict[str, Any]) -> str:
    said = []
    if pair["last_answer_age_s"] is not None:
        rtt = f" after {pair['rtt_ms']:.1f} ms" if pair["rtt_ms"] is not None else ""
        said.append(f"{_ago(pair['last_answer_age_s'])}{rtt}")
    attempts = pair["attempts"]
    if attempts and attempts[-1]["outcome"] != "answered":
        said.append(f"{attempts[-1]['outcome']}")
    return "; ".join(said)


def _table(pairs: Sequence[dict[str, Any]]) -> Iterator[str]:
    """A row for each pair, and what is remarked of it below."""
    rows = [HEADING, *map(_row, pairs)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADING))]
    for row, remark in zip(rows, ["", *(pair["remark"] for pair in pairs)], strict=True):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield f"  {'  '.join(cells)}".rstrip()
        if remark:
            yield f"    {remark}"


def _ago(age_s: float) -> str:
    return f"{age_s:.1f} s ago" if age_s < 60 else f"{age_s / 60:.0f} min ago"
