"""A scenario as the text of a scenario file: the way back from ``parse_scenario``."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from sims.files.site_tables import LINK_DEFAULT, NAT_DEFAULT
from sims.model.faults import KIND_NAMES, Degrade, Fault, Partition
from sims.model.link import BurstLoss, LineModel, LinkModel
from sims.model.nat import NAT_KINDS, Firewall, NatModel
from sims.model.presets import BOOTSTRAP_LINE, LINE_PRESETS
from sims.model.scenario import LAN, Churn, Expectation, Machine, Scenario, Site
from wice.errors import one_line

_IP: Final = {(4,): "4", (6,): "6", (4, 6): "dual"}

NO_LINE: Final = LineModel(LinkModel(), LinkModel())
"""What a table without a preset begins with."""

Table = dict[str, Any]


def scenario_text(scenario: Scenario, comment: Iterable[str] = ()) -> str:
    """What ``parse_scenario`` makes ``scenario`` of again, but for the last digit of milliseconds.

    comment: lines to stand above it. ``scenario`` must pass ``check_scenario``. Raise ValueError
    for what no file can say: a degraded line without a rate where the site's own has one.
    """
    blocks = [
        "".join(f"# {one_line(line)}".rstrip() + "\n" for line in comment),
        _block("[scenario]", _run_table(scenario)),
        *(_block(f"[sites.{site.name}]", _site_table(site)) for site in scenario.sites),
        *(_block("[[faults]]", _fault_table(fault, scenario)) for fault in scenario.faults),
        *(_block("[[churn]]", _churn_table(churn)) for churn in scenario.churn),
        _block("[expect]", _expect_table(scenario.expect)) if _expects(scenario) else "",
    ]
    return "\n".join(block for block in blocks if block)


def _expects(scenario: Scenario) -> bool:
    return bool(_expect_table(scenario.expect))


def _run_table(scenario: Scenario) -> Table:
    default = Scenario(name="", duration_s=0.0, sites=())
    table: Table = {"name": scenario.name, "duration_s": scenario.duration_s}
    table["bootstraps"] = _unless(scenario.bootstraps, default.bootstraps)
    table["relay"] = _unless(scenario.has_relay, default.has_relay)
    table["ip"] = _unless(_IP[scenario.ip_versions], _IP[default.ip_versions])
    table["peers_each_max"] = scenario.peers_each_max
    table["overlay"] = _unless(scenario.overlay, default.overlay)
    table["ping_every_s"] = _unless(scenario.ping_every_s, default.ping_every_s)
    return table


def _site_table(site: Site) -> Table:
    nat, firewall_of_nat = _nat(site)
    return {
        "nat": _unless(nat, NAT_DEFAULT),
        "firewall": _unless(str(site.firewall), str(firewall_of_nat)),
        "link": _unless(_line(site.line), LINK_DEFAULT),
        "lan": None if site.lan == LAN else _changes(site.lan, LAN),
        "machines": [_machine(machine) for machine in site.machines] or None,
        "behind": site.behind,
        "isolating": _unless(site.is_isolating, False),
    }


def _nat(site: Site) -> tuple[str | Table | list[Table], Firewall]:
    """A kind's name where there is one, and the firewall that the file's reader adds to it."""
    named = [kind for kind in NAT_KINDS.values() if kind.nats == site.nats]
    # Two kinds may differ in nothing but their firewall.
    for kind in sorted(named, key=lambda kind: kind.firewall != site.firewall):
        return kind.name, kind.firewall
    tables = [_nat_table(nat) for nat in site.nats]
    return (tables[0] if len(tables) == 1 else tables), Firewall.STATEFUL


def _nat_table(nat: NatModel) -> Table:
    default = NatModel()
    return _filled(
        {
            "mapping": _unless(str(nat.mapping), str(default.mapping)),
            "filtering": _unless(str(nat.filtering), str(default.filtering)),
            "ports": _unless(str(nat.ports), str(default.ports)),
            "lifetime_s": _unless(nat.lifetime_s, default.lifetime_s),
            "lifetime_unreplied_s": _unless(nat.lifetime_unreplied_s, default.lifetime_unreplied_s),
            "hairpins": _unless(nat.hairpins, default.hairpins),
            "one_to_one": _unless(nat.is_one_to_one, default.is_one_to_one),
        }
    )


def _machine(machine: Machine) -> str | Table:
    default = Machine(name=machine.name)
    if machine == default:
        return machine.name
    return _filled(
        {
            "name": machine.name,
            "starts_at_s": _unless(machine.starts_at_s, default.starts_at_s),
            "clock_offset_s": _unless(machine.clock_offset_s, default.clock_offset_s),
            "clock_drift_ppm": _unless(machine.clock_drift_ppm, default.clock_drift_ppm),
            "address": machine.tunnel_address,
            "peers": None if machine.peers is None else list(machine.peers),
        }
    )


def _line(line: LineModel, before: LineModel = NO_LINE) -> str | Table:
    """The shortest way to say it: a preset's name, what differs from one, or from ``before``."""
    said: list[str | Table] = []
    if _is_sayable(line, before):
        said.append(_line_changes(line, before))
    for name, preset in LINE_PRESETS.items():
        if line == preset:
            return name
        if _is_sayable(line, preset):
            said.append({"preset": name, **_line_changes(line, preset)})
    if not said:
        raise ValueError("a table cannot say that a line has no rate where its base has one")
    return min(said, key=lambda table: len(_value(table)))


def _is_sayable(line: LineModel, base: LineModel) -> bool:
    """TOML has no word for nothing: a table cannot take the base's limit or bursts back."""
    return all(
        link is None
        or old is None
        or not (
            (link.burst_loss is None and old.burst_loss is not None)
            or (link.rate_bits_s is None and old.rate_bits_s is not None)
        )
        for link, old in ((line.up, base.up), (line.down, base.down))
    )


def _line_changes(line: LineModel, base: LineModel) -> Table:
    """Both directions in one where they are alike."""
    up, down = (
        None if link is None else _changes(link, before or LinkModel())
        for link, before in ((line.up, base.up), (line.down, base.down))
    )
    if up == down and up is not None:
        return up
    return {
        name: "none" if changes is None else changes
        for name, changes in (("up", up), ("down", down))
        if changes != {}
    }


def _changes(link: LinkModel, base: LinkModel) -> Table:
    """What a table of the file says to make ``link`` of ``base``."""
    said = {
        "latency_ms": _changed(link.latency_s, base.latency_s, _milliseconds),
        "jitter_ms": _changed(link.jitter_s, base.jitter_s, _milliseconds),
        "jitter_correlation": _changed(link.jitter_correlation, base.jitter_correlation),
        "latencies_ms": _changed(
            link.latencies_s, base.latencies_s, lambda table: [_milliseconds(s) for s in table]
        ),
        "loss": _changed(link.loss, base.loss),
        "burst_loss": _changed(link.burst_loss, base.burst_loss, _burst_loss),
        "reorder": _changed(link.reorder, base.reorder),
        "duplicate": _changed(link.duplicate, base.duplicate),
        "corrupt": _changed(link.corrupt, base.corrupt),
        "rate_mbps": _changed(link.rate_bits_s, base.rate_bits_s, lambda rate: rate / 1e6),
        "buffer_kb": _changed(link.queue_bytes, base.queue_bytes, lambda size: size // 1_000),
        "mtu": _changed(link.mtu_bytes, base.mtu_bytes),
    }
    return _filled(said)


def _burst_loss(burst: BurstLoss) -> Table:
    return _filled(
        {
            "enters": burst.enters,
            "leaves": burst.leaves,
            "loss_good": _unless(burst.loss_good, 0.0),
            "loss_bad": _unless(burst.loss_bad, 1.0),
        }
    )


def _fault_table(fault: Fault, scenario: Scenario) -> Table:
    table: Table = {"at_s": fault.at_s, "kind": KIND_NAMES[type(fault)]}
    fields = {
        name: getattr(fault, name)
        for name in type(fault).__dataclass_fields__
        if name not in ("at_s", "is_one_way", "line", "for_s")
    }
    table |= {
        name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()
    }
    if isinstance(fault, Partition):
        table["one_way"] = _unless(fault.is_one_way, False)
    if isinstance(fault, Degrade):
        lines = {site.name: site.line for site in scenario.sites}
        table["link"] = _line(fault.line, lines.get(fault.target, BOOTSTRAP_LINE))
    for name, default in (("loses_disk", False), ("gap_s", 0.0), ("direction", "both")):
        if table.get(name) == default:
            del table[name]
    table["for_s"] = getattr(fault, "for_s", None)
    return table


def _churn_table(churn: Churn) -> Table:
    return {
        "count": churn.count,
        "kinds": list(churn.kinds),
        "between_s": list(churn.between_s),
        "for_s": list(churn.for_s),
    }


def _expect_table(expect: Expectation) -> Table:
    pairs = {
        name: [list(pair) for pair in getattr(expect, name)] or None
        for name in ("direct", "relayed", "unreachable")
    }
    return _filled(
        {
            "all_pairs_connected_by_s": expect.all_pairs_connected_by_s,
            "healed_within_s": expect.healed_within_s,
            **pairs,
        }
    )


def _unless(value: Any, default: Any) -> Any:
    return None if value == default else value


def _changed(value: Any, before: Any, to_unit: Any = lambda value: value) -> Any:
    return None if value == before or value is None else to_unit(value)


def _milliseconds(seconds: float) -> float:
    """As people would write it: 3, and not 3.0000000000000004."""
    return float(f"{seconds * 1e3:.12g}")


def _filled(table: Mapping[str, Any]) -> Table:
    return {name: value for name, value in table.items() if value is not None}


def _block(header: str, table: Mapping[str, Any]) -> str:
    return "\n".join([header, *_lines(_filled(table))]) + "\n"


def _lines(table: Mapping[str, Any]) -> Iterator[str]:
    for name, value in table.items():
        yield f"{name} = {_value(value)}"


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and math.isfinite(value) else repr(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, Mapping):
        inner = ", ".join(_lines(value))
        return f"{{ {inner} }}" if inner else "{}"
    return f"[{', '.join(_value(each) for each in value)}]"
