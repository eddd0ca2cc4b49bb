"""``wice status`` for people, in the manner of ``wg show``."""

from collections.abc import Iterator
from typing import Any

from wice.errors import RemoteProtocolError


def format_status(answer: dict[str, Any]) -> str:
    """Text of a status answer, ending in a newline; raise RemoteProtocolError."""
    try:
        return "\n".join(_lines(answer)) + "\n"
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        # Whatever is behind the socket wrote it: a daemon of another version, for one.
        raise RemoteProtocolError(
            "the daemon's status is not as this wice knows it: are both of one version?"
        ) from None


def _lines(answer: dict[str, Any]) -> Iterator[str]:
    yield from _overlay_lines(answer["overlay"])
    if answer["relay"] is not None:
        yield from _relay_lines(answer["relay"])
    for interface in answer["interfaces"]:
        yield ""
        yield from _interface_lines(interface)
        for peer in interface["peers"]:
            yield ""
            yield from _peer_lines(peer)


def _overlay_lines(overlay: dict[str, Any]) -> Iterator[str]:
    state = "joined" if overlay.get("joined") else "not joined yet"
    if state != "joined" and overlay.get("joined_s") is not None:
        state = "lost"
    yield f"overlay: {state}"
    yield f"  peer id: {overlay['peer_id']}"
    yield f"  connections: {len(overlay['connections'])}"
    for peer_id, why in overlay["unreachable"].items():
        yield f"  unreachable: {peer_id}: {why}"


def _relay_lines(relay: dict[str, Any]) -> Iterator[str]:
    allocations = relay["allocations"]
    members = {allocation["member"] for allocation in allocations}
    yield f"relay: UDP port {relay['port']}"
    yield f"  allocations: {len(allocations)}, of {len(members)} members"


def _interface_lines(interface: dict[str, Any]) -> Iterator[str]:
    yield f"interface: {interface['name']}"
    yield f"  public key: {interface['public_key']}"
    yield f"  listening port: {interface['listen_port']}"
    yield f"  addresses: {', '.join(interface['addresses']) or '(none)'}"
    yield f"  device: {interface['device']}"
    for relay in interface["relays"]:
        known = relay["reason"] or relay["state"]
        if relay["relayed"]:
            known = f"our address there {', '.join(relay['relayed'])}"
        yield f"  relay: {relay['server']}, {known}"


def _peer_lines(peer: dict[str, Any]) -> Iterator[str]:
    name = f" ({peer['name']})" if peer["name"] else ""
    yield f"peer: {peer['public_key']}{name}"
    path = f", {peer['path']}" if peer["path"] else ""
    yield f"  state: {peer['state']}{path}"
    if peer["reason"]:
        yield f"  reason: {peer['reason']}"
    if peer["endpoint"]:
        is_elsewhere = peer["selected"] not in (None, peer["endpoint"])
        roamed = f" (ICE selected {peer['selected']})" if is_elsewhere else ""
        yield f"  endpoint: {peer['endpoint']}{roamed}"
    if peer["rtt_ms"] is not None:
        yield f"  round trip: {peer['rtt_ms']:.1f} ms"
    if peer["latest_handshake_age_s"] is not None:
        yield f"  latest handshake: {_age(peer['latest_handshake_age_s'])} ago"
    rx, tx = _size(peer["rx_bytes"]), _size(peer["tx_bytes"])
    yield f"  transfer: {rx} received, {tx} sent"
    reached = [f"{stage} {at_s:.2f}" for stage, at_s in peer["stages"].items() if at_s is not None]
    if reached:
        yield f"  reached after seconds: {', '.join(reached)}"


def _age(age_s: float) -> str:
    minutes, seconds = divmod(int(age_s), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "hour"), (minutes, "minute"), (seconds, "second"))
    said = [f"{count} {unit}{'' if count == 1 else 's'}" for count, unit in parts if count]
    return ", ".join(said) or "0 seconds"


def _size(size_bytes: int) -> str:
    size = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.2f} {unit}"
        size /= 1024
    return f"{size:.2f} TiB"
