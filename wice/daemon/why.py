"""What ``wice why`` is answered: the verdict on one peer, and all that it rests on, as JSON."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import trio

from wice.config import Config, InterfaceConfig, NamedPeer
from wice.errors import ConfigError
from wice.ice import Candidate, CandidatePolicy, MappingBehaviour, PairReport, format_candidate
from wice.peer.machine import PeerMachine
from wice.peer.obstacle import Side
from wice.peer.supervisor import InterfaceSupervisor
from wice.peer.verdict import Facts, judge
from wice.signaling.transport import Transport

KEY_PREFIX_LENGTH_MIN = 4
"""Characters of a public key that may stand for it, where no other key begins with them."""

NAMES_MAX = 8
"""Peers that a refusal names."""

OVERLAY_REASONS_MAX = 2
"""Nodes of which it is said why they are unreachable."""


def explain_peer(
    config: Config,
    supervisors: Sequence[InterfaceSupervisor],
    transport: Transport,
    peer: str,
) -> dict[str, Any]:
    """Answer for ``peer``: a name, a public key or its beginning, after ``INTERFACE/`` or alone.

    Raise ConfigError where that is no peer of ``config``, or several.
    """
    interface, named = find_peer(config.interfaces, peer)
    names = [other.name for other in config.interfaces]
    supervisor = supervisors[names.index(interface.name)]
    public_key = named.config.public_key
    machine = next(m for m in supervisor.machines if m.public_key == public_key)
    status = supervisor.device_status().get(public_key)
    facts = gather_facts(
        machine,
        name=named.name or str(public_key),
        policy=config.ice.candidates,
        overlay_trouble=overlay_trouble(transport.status()),
        handshake_at_s=status.latest_handshake_at_s if status is not None else None,
        now=trio.current_time(),
    )
    return {"interface": interface.name, **answer_of(facts, machine)}


def refuse_peer(peer: str) -> dict[str, Any]:
    """What a bootstrap node answers for any ``peer``: raise ConfigError."""
    raise ConfigError("peer", f"{peer!r} is none: this is a bootstrap node; it has no peers")


def find_peer(
    interfaces: Sequence[InterfaceConfig], text: str
) -> tuple[InterfaceConfig, NamedPeer]:
    """The one peer that ``text`` names; raise ConfigError."""
    peers = [(interface, peer) for interface in interfaces for peer in interface.peers]
    for matches in (_is_named, _has_key, _has_key_prefix):
        found = [(i, p) for i, p in peers if any(matches(p, t) for t in _meanings(i, text))]
        if len(found) == 1:
            return found[0]
        if found:
            raise ConfigError("peer", f"{text!r} is {len(found)} peers", f"one of {_list(found)}")
    if not peers:
        raise ConfigError("peer", f"{text!r} is none: this daemon has no peers")
    why = "is no peer of this daemon"
    if text and any(str(peer.config.public_key).startswith(text) for _, peer in peers):
        why = f"is too little of a key: {KEY_PREFIX_LENGTH_MIN} characters or more are needed"
    raise ConfigError("peer", f"{text!r} {why}", f"it has: {_list(peers)}")


def overlay_trouble(status: Mapping[str, Any]) -> str:
    """Why this host is not in the overlay, empty while it is; from ``Transport.status``."""
    if status.get("joined"):
        return ""
    reasons = ", ".join(list(status.get("unreachable", {}).values())[:OVERLAY_REASONS_MAX])
    return f"no node of it answers ({reasons})" if reasons else "it is being joined"


def gather_facts(
    machine: PeerMachine,
    *,
    name: str,
    policy: CandidatePolicy,
    overlay_trouble: str,
    handshake_at_s: float | None,
    now: float,
) -> Facts:
    """What the machine and its agents know now."""
    stages, gathered = machine.stages, machine.gathered
    return Facts(
        peer=name,
        now=now,
        state=machine.state,
        added_at_s=machine.added_at_s,
        overlay_trouble=overlay_trouble,
        found_at_s=stages.found,
        delivered_at_s=machine.delivered_at_s,
        is_acknowledged=machine.is_settled,
        described_at_s=stages.described,
        path=machine.path,
        is_relayed=machine.is_relayed,
        is_doubted=machine.is_path_doubted,
        awaits_handshake=machine.awaits_handshake,
        rtt_s=machine.rtt_s,
        path_changes=machine.path_changes,
        pairs=tuple(pair for agent in machine.agents for pair in agent.pair_reports()),
        handshake_at_s=handshake_at_s,
        here=Side("here", gathered.nat_mapping, gathered.candidates, is_here=True),
        there=Side(
            name, _mapping(machine.remote_nat_mapping), machine.remote_candidates, is_here=False
        ),
        policy=policy,
    )


def _mapping(text: str) -> MappingBehaviour:
    """The peer's words, which may be of a later version."""
    try:
        return MappingBehaviour(text)
    except ValueError:
        return MappingBehaviour.UNKNOWN


def _meanings(interface: InterfaceConfig, text: str) -> Iterator[str]:
    yield text
    if text.startswith(f"{interface.name}/"):
        yield text.removeprefix(f"{interface.name}/")


def _is_named(peer: NamedPeer, text: str) -> bool:
    return bool(text) and peer.name == text


def _has_key(peer: NamedPeer, text: str) -> bool:
    return str(peer.config.public_key) == text


def _has_key_prefix(peer: NamedPeer, text: str) -> bool:
    key = str(peer.config.public_key)
    return len(text) >= KEY_PREFIX_LENGTH_MIN and key.startswith(text)


def _list(peers: Sequence[tuple[InterfaceConfig, NamedPeer]]) -> str:
    """So that each can be given again: by its name where that is its own."""
    names = [peer.name for _, peer in peers]
    texts = [
        peer.name
        if peer.name and names.count(peer.name) == 1
        else f"{interface.name}/{peer.config.public_key}"
        for interface, peer in peers[:NAMES_MAX]
    ]
    more = f" and {len(peers) - NAMES_MAX} more" if len(peers) > NAMES_MAX else ""
    return ", ".join(texts) + more


def answer_of(facts: Facts, machine: PeerMachine) -> dict[str, Any]:
    """The verdict on ``facts``, which are of ``machine``, as plain JSON values."""
    verdict = judge(facts)
    kind = "relayed" if facts.is_relayed else "direct"
    return {
        "peer": facts.peer,
        "public_key": str(machine.public_key),
        "state": str(facts.state),
        "path": kind if facts.path is not None else None,
        "finding": str(verdict.finding),
        "sentence": verdict.sentence,
        "hints": list(verdict.hints),
        "nat": {"here": str(facts.here.nat_mapping), "there": str(facts.there.nat_mapping)},
        "candidates": {
            "here": _sdp(facts.here.candidates),
            "there": _sdp(facts.there.candidates),
        },
        "rtt_ms": _ms(facts.rtt_s),
        "latest_handshake_age_s": _age(facts.handshake_at_s, facts.now),
        "paths": [
            {
                "age_s": facts.now - change.at_s,
                "endpoint": str(change.path.remote) if change.path is not None else None,
                "is_relayed": change.is_relayed,
            }
            for change in facts.path_changes
        ],
        "pairs": [_pair(pair, facts) for pair in facts.pairs],
        "signaling": _signaling(facts, machine),
    }


def _signaling(facts: Facts, machine: PeerMachine) -> dict[str, Any]:
    statistics = machine.signaling_statistics
    return {
        "overlay_trouble": facts.overlay_trouble,
        "added_age_s": facts.now - facts.added_at_s,
        "found_age_s": _age(facts.found_at_s, facts.now),
        "delivered_age_s": _age(facts.delivered_at_s, facts.now),
        "described_age_s": _age(facts.described_at_s, facts.now),
        "settled": machine.is_settled,
        "sessions": statistics.sessions,
        "messages": statistics.messages,
    }


def _pair(pair: PairReport, facts: Facts) -> dict[str, Any]:
    now = facts.now
    return {
        "from": pair.path.source,
        "from_type": pair.local_type,
        "to": str(pair.path.remote),
        "to_type": pair.remote_type,
        "state": pair.state,
        "is_selected": pair.is_selected,
        "is_relayed": pair.is_relayed,
        "priority": pair.priority,
        "rtt_ms": _ms(pair.rtt_s),
        "checks_sent": pair.checks_sent,
        "answers": pair.answers,
        "checks_received": pair.checks_received,
        "first_sent_age_s": _age(pair.first_sent_at_s, now),
        "last_sent_age_s": _age(pair.last_sent_at_s, now),
        "last_answer_age_s": _age(pair.last_answer_at_s, now),
        "last_check_received_age_s": _age(pair.last_check_received_at_s, now),
        "attempts": [
            {
                "age_s": now - attempt.at_s,
                "purpose": str(attempt.purpose),
                "outcome": attempt.outcome,
                "took_ms": attempt.took_s * 1000,
                "transmissions": attempt.transmissions,
            }
            for attempt in pair.attempts
        ],
        "remark": pair.remark,
    }


def _sdp(candidates: Sequence[Candidate]) -> list[str]:
    return [format_candidate(candidate) for candidate in candidates]


def _age(at_s: float | None, now: float) -> float | None:
    return None if at_s is None else now - at_s


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000
