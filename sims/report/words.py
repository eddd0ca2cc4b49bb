"""Numbers and names as a person reads them."""

from collections.abc import Sequence
from typing import Final

from sims.model.link import LineModel, LinkModel
from sims.model.nat import NAT_KINDS, Firewall
from sims.model.presets import LINE_PRESETS
from sims.model.scenario import Site

NAMES_MAX: Final = 6
"""Names in one sentence."""

CHECK_MEANINGS: Final = {
    "tasks": "No task of a daemon dies, and no daemon ends unasked.",
    "bounds": "Tasks, sockets, connections and queues stay as small as the mesh accounts for.",
    "transitions": "Every peer goes from state to state as the table of states allows.",
    "replays": "Nothing comes out of a tunnel twice, and no handshake is answered twice.",
    "cleartext": "No key, name or tunnel packet is on a wire in clear.",
    "wireguard-destinations": "WireGuard sends only where ICE selected, or where it was heard.",
    "proved-paths": "A path is selected only after a check of its own was answered along it.",
    "endpoint-is-selected": "In a quiet network, WireGuard's endpoint is the selected path.",
    "connected-are-heard": "A peer is called connected only while something comes from it.",
    "sessions": "Sessions begin only as often as restarts and lost paths explain.",
    "acknowledgements": "In a quiet network, two daemons come to an understanding and then rest.",
    "tunnels": "Where both daemons say connected and nothing disturbs them, pings are answered.",
    "relayed-by-need": "In a quiet network, whoever can be direct does not stay relayed.",
    "all-pairs-connected": "Every pair that can connect has pinged by the time expected.",
    "healed": "After the last fault every pair that can connect pings again in time.",
    "expected-paths": "At the end, paths are direct or relayed as the scenario expects.",
    "unreachable": "Those that may get no path get none.",
    "standstill": "Virtual time goes on.",
}
"""What should be, by the name of the check."""


def duration(seconds: float) -> str:
    """As ``30 ms``, ``0.3 s``, ``45 s``, ``2 min``, ``2 min 30 s``, ``1 h 5 min``."""
    if 0 < seconds < 0.1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s".replace(".0 s", " s")
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes, rest_s = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "min"), (rest_s, "s"))
    return " ".join([f"{count} {unit}" for count, unit in parts if count][:2])


def shortened(text: str, characters_max: int) -> str:
    """Its beginning and its end, which tells numbered names apart."""
    if len(text) <= characters_max:
        return text
    tail = max((characters_max - 1) // 2, 1)
    return f"{text[: max(characters_max - 1 - tail, 0)]}…{text[-tail:]}"


def clock(seconds: float) -> str:
    """A time on an axis, in few characters: as ``90 s``, ``2:30``, ``1:02:30``."""
    if seconds < 120:
        return f"{seconds:g} s" if seconds else "0"
    minutes, rest_s = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest_s:02}" if hours else f"{minutes}:{rest_s:02}"


def moment(seconds: float) -> str:
    """When something was: as ``75.3 s``."""
    return f"{seconds:.1f} s"


def counted(count: int, thing: str, things: str = "") -> str:
    """As ``1 fault`` and ``2 faults``."""
    return f"{spaced(count)} {thing if count == 1 else things or thing + 's'}"


def spaced(count: int) -> str:
    """As ``12 345``."""
    return f"{count:,}".replace(",", "\u202f")


def listed(names: Sequence[str]) -> str:
    """As ``a, b and c``, and no longer than a sentence bears."""
    if len(names) > NAMES_MAX:
        return f"{', '.join(names[:NAMES_MAX])} and {len(names) - NAMES_MAX} more"
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def nat_name(site: Site) -> str:
    """The kind of its NAT and firewall."""
    for kind in NAT_KINDS.values():
        if (kind.nats, kind.firewall) == (site.nats, site.firewall):
            return "no NAT" if kind.name == "none" else kind.name
    same = [kind.name for kind in NAT_KINDS.values() if kind.nats == site.nats]
    name = same[0] if same else f"{len(site.nats)} NATs" if len(site.nats) > 1 else "NAT of its own"
    name = "no NAT" if name == "none" else name
    return name if site.firewall is Firewall.NONE else f"{name}, {_firewall(site.firewall)}"


def line_name(line: LineModel) -> str:
    """A preset's name, or what the line is like."""
    for name, preset in LINE_PRESETS.items():
        if line == preset:
            return name
    for name, preset in LINE_PRESETS.items():
        if _pace(line) == _pace(preset):
            return f"{name}, altered"
    return " / ".join(_link_name(link) for link in (line.up, line.down))


def _firewall(firewall: Firewall) -> str:
    names = {
        Firewall.STATEFUL: "stateful firewall",
        Firewall.UDP_BLOCKED: "UDP blocked",
        Firewall.TCP_443_ONLY: "TCP 443 only",
    }
    return names.get(firewall, "")


def _link_name(link: LinkModel | None) -> str:
    if link is None:
        return "dead"
    latency = f"{number_ms(link.latency_s)} ms"
    rate = f", {link.rate_bits_s / 1e6:g} Mbit/s" if link.rate_bits_s else ""
    loss = f", {link.loss:.1%} loss" if link.loss else ""
    return f"{latency}{rate}{loss}"


def number_ms(seconds: float) -> str:
    return f"{seconds * 1000:g}"


def _pace(line: LineModel) -> tuple[object, ...]:
    """What people name a line by."""
    return tuple(
        None if link is None else (link.latency_s, link.rate_bits_s)
        for link in (line.up, line.down)
    )
