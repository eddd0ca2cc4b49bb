"""Why a peer has the path it has, or none: facts in, the sentence that a person needs out.

Pure: what is said follows from ``Facts`` alone.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from wice.datagram import Path
from wice.ice import CandidatePolicy, PairReport
from wice.peer.obstacle import Obstacle, Side, find_obstacle, find_silence
from wice.peer.path_log import PathChange
from wice.peer.states import State

HANDSHAKE_PATIENCE_S: Final = 10.0
"""A handshake that takes longer over a path that works is missing: WireGuard tries every 5 s."""

ANSWER_PATIENCE_S: Final = 5.0
"""A peer that takes messages for longer than this does not answer them."""

SESSION_AGE_MAX_S: Final = 190.0
"""WireGuard's REJECT_AFTER_TIME and a little: keepalives keep a living session younger."""

RIVALS_MAX: Final = 2
"""Direct pairs that answer, too, and are named beside the selected one."""


class Finding(StrEnum):
    """What a verdict is about, for programs."""

    NO_OVERLAY = "no overlay"
    NOT_FOUND = "not found"
    NOT_DELIVERED = "not delivered"
    NOT_DESCRIBED = "not described"
    CHECKING = "checking"
    UNANSWERED = "unanswered"
    LOST = "lost"
    NO_HANDSHAKE = "no handshake"
    RELAYED = "relayed"
    DIRECT = "direct"


@dataclass(frozen=True, slots=True)
class Facts:
    """What this host knows of a peer at ``now``; all times are of one clock.

    peer: what to call it. overlay_trouble: why this host is not in the overlay, empty while it is.
    found_at_s: when the overlay first found the peer. delivered_at_s: when its side last took a
    message of ours. is_acknowledged: it answered the newest. path_changes: oldest first. pairs: of
    the agent that carries, best first, then of the newest. handshake_at_s: the latest of
    WireGuard's.
    """

    peer: str
    now: float
    state: State
    added_at_s: float
    overlay_trouble: str
    found_at_s: float | None
    delivered_at_s: float | None
    is_acknowledged: bool
    described_at_s: float | None
    path: Path | None
    is_relayed: bool
    is_doubted: bool
    awaits_handshake: bool
    rtt_s: float | None
    path_changes: tuple[PathChange, ...]
    pairs: tuple[PairReport, ...]
    handshake_at_s: float | None
    here: Side
    there: Side
    policy: CandidatePolicy


@dataclass(frozen=True, slots=True)
class Verdict:
    """why: what is the case. hints: what to do, best first; the sentence has the first."""

    finding: Finding
    why: str
    hints: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        return "; ".join((self.why, *self.hints[:1]))


def judge(facts: Facts) -> Verdict:
    """The first thing that stands in the way; or the path, and why it is that one."""
    if facts.path is not None:
        return _missing_handshake(facts) or (
            _relayed(facts) if facts.is_relayed else _direct(facts)
        )
    if facts.path_changes:
        return _lost(facts)
    if facts.described_at_s is None:
        return _unheard(facts)
    return _unconnected(facts)


def duration(seconds: float) -> str:
    """As a person says it: ``0.3 s``, ``12 s``, ``3 min 4 s``, ``2 h 5 min``, ``3 d 1 h``."""
    if seconds < 10:
        return f"{max(seconds, 0.0):.1f} s"
    minutes, whole_seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (whole_seconds, "s")]
    first = next(i for i, (count, _) in enumerate(parts) if count)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2] if count)


def describe_pair(pair: PairReport) -> str:
    """``192.168.1.2 (host) → 198.51.100.11:51820 (srflx)``."""
    source = pair.path.source or "any address"
    return f"{source} ({pair.local_type}) → {pair.path.remote} ({pair.remote_type})"


def _unheard(facts: Facts) -> Verdict:
    """No description came. The overlay may not know the peer, or the peer not know us."""
    peer = facts.peer
    if facts.overlay_trouble:
        return Verdict(
            Finding.NO_OVERLAY,
            f"this host is not in the overlay: {facts.overlay_trouble}",
            ("check that the bootstrap nodes in its [overlay] run and are reached over TCP",),
        )
    if facts.found_at_s is None:
        since = duration(facts.now - facts.added_at_s)
        return Verdict(
            Finding.NOT_FOUND,
            f"{peer} was not found in the overlay for {since}: it is off, has not joined, or has "
            "another key, community or secret than this configuration says",
            (
                f"check `wice status` at {peer}",
                f"compare the output of `wice pubkey` at {peer} with the public_key here",
                "compare community and secret_file of both configurations",
            ),
        )
    found = duration(facts.now - facts.found_at_s)
    if facts.delivered_at_s is None:
        return Verdict(
            Finding.NOT_DELIVERED,
            f"{peer} was found in the overlay {found} ago, but takes no message: it may have gone "
            "since, or its anchors may",
            (f"check `wice status` at {peer}",),
        )
    return Verdict(
        Finding.NOT_DESCRIBED,
        f"{peer} takes our messages and has not answered for {found}: this host's public key seems "
        "to be missing in its configuration, or to stand there under another interface's",
        (f"check that the configuration of {peer} has this interface's public key as a peer",),
    )


def _unconnected(facts: Facts) -> Verdict:
    """Both descriptions are here, and no pair has worked yet."""
    assert facts.described_at_s is not None
    since = duration(facts.now - facts.described_at_s)
    fresh = [pair for pair in facts.pairs if pair.state != "failed" and not pair.attempts]
    if fresh:
        count = f"{len(facts.pairs)} pairs are" if len(facts.pairs) > 1 else "1 pair is"
        return Verdict(
            Finding.CHECKING,
            f"no path yet: {count} being checked, {facts.peer} answered {since} ago",
        )
    silence = find_silence(facts.here, facts.there)
    if silence is not None:
        return Verdict(Finding.UNANSWERED, f"no path for {since}: {silence.why}", silence.hints)
    obstacle = find_obstacle(facts.here, facts.there, facts.pairs, facts.policy)
    told = (*facts.here.candidates, *facts.there.candidates)
    if any(candidate.type == "relay" for candidate in told):
        also = "no relayed pair answers either"
        hints = ("check that the relays are reached over UDP 3478", *obstacle.hints)
    else:
        also = "neither side has a relay"
        relay = "a public node of the community with `wice bootstrap --relay` would connect them"
        hints = (*obstacle.hints, relay)
    return Verdict(Finding.UNANSWERED, f"no path for {since}: {obstacle.why}; {also}", hints)


def _lost(facts: Facts) -> Verdict:
    last = facts.path_changes[-1]
    before = next((c for c in reversed(facts.path_changes) if c.path is not None), last)
    kind = "relayed" if before.is_relayed else "direct"
    to = f" to {before.path.remote}" if before.path is not None else ""
    why = f"no path: the {kind} one{to} stopped answering {duration(facts.now - last.at_s)} ago"
    tried = [pair for pair in facts.pairs if pair.attempts]
    if tried:
        why += f", and none of {len(tried)} pairs tried since answers" if len(tried) > 1 else ""
    if _takes_without_answer(facts, last.at_s):
        why += f"; {facts.peer} takes our messages and does not answer"
        hints = [f"check that the configuration of {facts.peer} still has our public key"]
    else:
        hints = [f"check that {facts.peer} is on and connected"]
    if facts.overlay_trouble:
        hints.insert(0, f"this host has lost the overlay, too: {facts.overlay_trouble}")
    return Verdict(Finding.LOST, why, tuple(hints))


def _takes_without_answer(facts: Facts, since_s: float) -> bool:
    is_taken = facts.delivered_at_s is not None and facts.delivered_at_s > since_s
    return is_taken and not facts.is_acknowledged and facts.now - since_s > ANSWER_PATIENCE_S


def _missing_handshake(facts: Facts) -> Verdict | None:
    """A path that works without a WireGuard session; both keys were proved by signaling."""
    path_at_s = _path_since(facts)
    kind = "relayed" if facts.is_relayed else "direct"
    if facts.handshake_at_s is None:
        if facts.now - path_at_s < HANDSHAKE_PATIENCE_S:
            return None
        return Verdict(
            Finding.NO_HANDSHAKE,
            f"a {kind} path works since {duration(facts.now - path_at_s)}, but WireGuard completed "
            "no handshake on it: the preshared keys of both sides seem to differ",
            ("compare preshared_key_file of both configurations",),
        )
    age_s = facts.now - facts.handshake_at_s
    if age_s < SESSION_AGE_MAX_S:
        return None
    return Verdict(
        Finding.NO_HANDSHAKE,
        f"a {kind} path works, but WireGuard's last handshake is {duration(age_s)} old",
        (f"check that the preshared key was not changed at {facts.peer}",),
    )


def _relayed(facts: Facts) -> Verdict:
    obstacle: Obstacle = find_obstacle(facts.here, facts.there, facts.pairs, facts.policy)
    return Verdict(Finding.RELAYED, f"relayed: {obstacle.why}{_trouble(facts)}", obstacle.hints)


def _direct(facts: Facts) -> Verdict:
    selected = _selected(facts)
    rtt = f", round trip {facts.rtt_s * 1000:.1f} ms" if facts.rtt_s is not None else ""
    shown = describe_pair(selected) if selected is not None else f"to {_remote(facts)}"
    why = f"direct: {shown}{rtt}, for {duration(facts.now - _path_since(facts))}"
    relayed_until_s = _relayed_until(facts)
    if relayed_until_s is not None:
        why += f"; relayed until {duration(facts.now - relayed_until_s)} ago"
    return Verdict(Finding.DIRECT, why + _rivals(facts, selected) + _trouble(facts))


def _rivals(facts: Facts, selected: PairReport | None) -> str:
    """Who answers, too: the direct ones and why they are not it; relayed ones need no reason."""
    answering = [p for p in facts.pairs if p is not selected and p.state == "succeeded"]
    rivals = [pair for pair in answering if not pair.is_relayed]
    said = ""
    for pair in rivals[:RIVALS_MAX]:
        said += f"; {describe_pair(pair)} answers too"
        said += f", but {pair.remark}" if pair.remark else ""
    if len(rivals) > RIVALS_MAX:
        said += f"; {len(rivals) - RIVALS_MAX} more answer"
    relayed = len(answering) - len(rivals)
    if relayed:
        said += f"; {relayed} relayed pair{'s' * (relayed > 1)} in reserve"
    return said


def _trouble(facts: Facts) -> str:
    no_handshake = "; no handshake on it yet" * facts.awaits_handshake
    return (
        no_handshake
        + "; it does not answer at the moment, others are being checked" * facts.is_doubted
    )


def _selected(facts: Facts) -> PairReport | None:
    return next((pair for pair in facts.pairs if pair.path == facts.path), None)


def _remote(facts: Facts) -> str:
    assert facts.path is not None
    return str(facts.path.remote)


def _path_since(facts: Facts) -> float:
    return facts.path_changes[-1].at_s if facts.path_changes else facts.added_at_s


def _relayed_until(facts: Facts) -> float | None:
    """When the last relayed path gave way to a direct one."""
    changes = facts.path_changes
    for earlier, later in zip(reversed(changes[:-1]), reversed(changes[1:]), strict=True):
        if earlier.is_relayed and not later.is_relayed:
            return later.at_s
    return None
