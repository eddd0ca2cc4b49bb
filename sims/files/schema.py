"""Scenario files as a JSON Schema (draft 7), for editors that complete and check them.

It is made of the same tables that read the files and of the model's own limits. What only a whole
scenario can tell (whether a target exists, whether times fit the run) is left to the reader, which
refuses it in one line.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from sims.files import schema_words as words
from sims.files.fault_tables import FAULT_SECTIONS, ChurnSection
from sims.files.line_tables import (
    BurstLossSection,
    DirectionSection,
    LineSection,
    NatSection,
)
from sims.files.scenario_file import IP_VERSIONS, ExpectSection, FileSection, RunSection
from sims.files.site_tables import MachineSection, SiteSection
from sims.model.fault_check import DELAY_MAX_S
from sims.model.line_check import (
    LATENCIES_MAX,
    LATENCY_MAX_S,
    MTU_MAX_BYTES,
    MTU_MIN_BYTES,
    RATE_MIN_BITS_S,
)
from sims.model.nat import NAT_KINDS, Filtering, Firewall, PortAssignment
from sims.model.nat import Mapping as NatMapping
from sims.model.presets import LINE_PRESETS
from sims.model.scenario import (
    BOOTSTRAPS_MAX,
    DURATION_MAX_S,
    DURATION_MIN_S,
    FAULTS_MAX,
    MACHINES_MAX,
    OVERLAYS,
    PEERS_EACH_MIN,
    PING_EVERY_MIN_S,
    SITES_MAX,
)
from sims.model.scenario_check import (
    CLOCK_DRIFT_MAX_PPM,
    CLOCK_OFFSET_MAX_S,
    NAME,
    NATS_EACH_MAX,
)

DIALECT: Final = "http://json-schema.org/draft-07/schema#"
"""What editors of TOML know."""

Schema = dict[str, Any]

_NAME: Final[Schema] = {"type": "string", "pattern": f"^{NAME.pattern}$"}
_SHARE: Final[Schema] = {"minimum": 0, "maximum": 1}
_LATENCY: Final[Schema] = {"minimum": 0, "maximum": LATENCY_MAX_S * 1e3}
_MORE_THAN_NONE: Final[Schema] = {"exclusiveMinimum": 0}
_NOT_NEGATIVE: Final[Schema] = {"minimum": 0}
_LINE: Final[Schema] = {"$ref": "#/definitions/line"}
_DIRECTION: Final[Schema] = {"$ref": "#/definitions/direction"}
_NAT_TABLE: Final[Schema] = {"$ref": "#/definitions/nat"}


def scenario_schema() -> Schema:
    """Of a whole file."""
    tables: dict[str, Schema] = {
        "scenario": _run(),
        "sites": {
            "type": "object",
            "propertyNames": _NAME,
            "additionalProperties": _site(),
            "minProperties": 1,
        },
        "faults": {"type": "array", "items": _fault(), "maxItems": FAULTS_MAX},
        "churn": {"type": "array", "items": _churn(), "maxItems": FAULTS_MAX},
        "expect": _expect(),
    }
    return {
        "$schema": DIALECT,
        "title": "A scenario of wice's simulator",
        **_table(FileSection, words.FILE, tables),
        "definitions": {"line": _line(), "direction": _direction(), "nat": _nat()},
    }


def _run() -> Schema:
    said = {
        "duration_s": {"minimum": DURATION_MIN_S, "maximum": DURATION_MAX_S},
        "name": _NAME,
        "bootstraps": {"minimum": 1, "maximum": BOOTSTRAPS_MAX},
        "ip": _one_of(IP_VERSIONS),
        "peers_each_max": {"minimum": PEERS_EACH_MIN, "maximum": MACHINES_MAX},
        "ping_every_s": {"minimum": PING_EVERY_MIN_S, "maximum": DURATION_MAX_S},
        "overlay": _one_of(OVERLAYS),
    }
    return _table(RunSection, words.RUN, said)


def _site() -> Schema:
    said: dict[str, Schema] = {
        "count": {"minimum": 1, "maximum": SITES_MAX},
        "nat": {
            "anyOf": [
                _one_of(NAT_KINDS),
                _NAT_TABLE,
                {"type": "array", "items": _NAT_TABLE, "maxItems": NATS_EACH_MAX},
            ]
        },
        "firewall": _one_of([str(kind) for kind in Firewall]),
        "link": {"anyOf": [_LINE]},
        "lan": {"anyOf": [_DIRECTION]},
        "machines": {"type": "array", "items": {"anyOf": [_NAME, _machine()]}},
        "behind": _NAME,
    }
    return _table(SiteSection, words.SITE, said)


def _machine() -> Schema:
    said: dict[str, Schema] = {
        "name": _NAME,
        "starts_at_s": _NOT_NEGATIVE,
        "clock_offset_s": {"minimum": -CLOCK_OFFSET_MAX_S, "maximum": CLOCK_OFFSET_MAX_S},
        "clock_drift_ppm": {"minimum": -CLOCK_DRIFT_MAX_PPM, "maximum": CLOCK_DRIFT_MAX_PPM},
        "peers": {"type": "array", "items": _NAME, "uniqueItems": True},
    }
    return _table(MachineSection, words.MACHINE, said)


def _nat() -> Schema:
    said = {
        "mapping": _one_of([str(kind) for kind in NatMapping]),
        "filtering": _one_of([str(kind) for kind in Filtering]),
        "ports": _one_of([str(kind) for kind in PortAssignment]),
        "lifetime_s": _MORE_THAN_NONE,
        "lifetime_unreplied_s": _MORE_THAN_NONE,
    }
    return _table(NatSection, words.NAT, said)


def _line() -> Schema:
    one_way = {"anyOf": [_one_of(["none"]), _DIRECTION]}
    said = {
        **_line_limits(),
        "preset": _one_of(LINE_PRESETS),
        "up": one_way,
        "down": one_way,
    }
    return {"anyOf": [_one_of(LINE_PRESETS), _table(LineSection, words.LINE, said)]}


def _direction() -> Schema:
    return _table(DirectionSection, words.LINE, _line_limits())


def _line_limits() -> dict[str, Schema]:
    shares = dict.fromkeys(
        ("jitter_correlation", "loss", "reorder", "duplicate", "corrupt"), _SHARE
    )
    burst = dict.fromkeys(("enters", "leaves", "loss_good", "loss_bad"), _SHARE)
    return {
        **shares,
        "latency_ms": _LATENCY,
        "jitter_ms": _LATENCY,
        "latencies_ms": {
            "type": "array",
            "items": {"type": "number", **_LATENCY},
            "maxItems": LATENCIES_MAX,
        },
        "burst_loss": _table(BurstLossSection, words.BURST_LOSS, burst),
        "rate_mbps": {"minimum": RATE_MIN_BITS_S / 1e6},
        "buffer_kb": _MORE_THAN_NONE,
        "mtu": {"minimum": min(MTU_MIN_BYTES.values()), "maximum": MTU_MAX_BYTES},
    }


def _fault() -> Schema:
    names = {"type": "array", "items": _NAME, "minItems": 1}
    said: dict[str, Schema] = {
        "at_s": _NOT_NEGATIVE,
        "for_s": _MORE_THAN_NONE,
        "target": {"anyOf": [_NAME, names]},
        "to": _NAME,
        "gap_s": _NOT_NEGATIVE,
        "ip_version": {"enum": [4, 6]},
        "direction": _one_of(["up", "down", "both"]),
        "link": {"anyOf": [_LINE]},
        "share": _SHARE,
        "after_s": _MORE_THAN_NONE,
        "spread_s": _NOT_NEGATIVE,
        "up_to_s": {**_MORE_THAN_NONE, "maximum": DELAY_MAX_S},
        "one": names,
        "other": names,
    }
    kinds = []
    for kind, section in FAULT_SECTIONS.items():
        named: dict[str, Schema] = {"kind": {"const": kind, "description": words.FAULT_KINDS[kind]}}
        kinds.append({"title": kind, **_table(section, words.FAULT, {**said, **named})})
    return {"oneOf": kinds}


def _churn() -> Schema:
    span = _pair({"type": "number", "minimum": 0})
    said: dict[str, Schema] = {
        "count": {"minimum": 1, "maximum": FAULTS_MAX},
        "kinds": {"type": "array", "items": _one_of(FAULT_SECTIONS), "minItems": 1},
        "between_s": span,
        "for_s": span,
    }
    return _table(ChurnSection, words.CHURN, said)


def _expect() -> Schema:
    pairs = {"type": "array", "items": _pair(_NAME)}
    said: dict[str, Schema] = {
        "all_pairs_connected_by_s": _MORE_THAN_NONE,
        "healed_within_s": _MORE_THAN_NONE,
        "direct": pairs,
        "relayed": pairs,
        "unreachable": pairs,
    }
    return _table(ExpectSection, words.EXPECT, said)


def _pair(of: Schema) -> Schema:
    return {"type": "array", "items": of, "minItems": 2, "maxItems": 2}


def _one_of(names: Any) -> Schema:
    return {"type": "string", "enum": list(names)}


def _table(
    section: type[msgspec.Struct], meanings: Mapping[str, str], said: Mapping[str, Schema]
) -> Schema:
    """``section`` with what its keys mean and what is ``said`` of them beside their types."""
    fields = msgspec.structs.fields(section)
    properties = {}
    for field in fields:
        key = said.get(field.name, {})
        if not any(word in key for word in ("type", "anyOf", "const", "enum")):
            key = {**_type(field.type), **key}
        if field.name in meanings:
            key = {"description": meanings[field.name], **key}
        if isinstance(field.default, bool | int | float | str):
            key = {**key, "default": field.default}
        properties[field.name] = key
    return {
        "type": "object",
        "properties": properties,
        "required": [field.name for field in fields if field.required],
        "additionalProperties": False,
    }


def _type(kind: Any) -> Schema:
    """That of TOML, which has no null."""
    found = msgspec.json.schema(kind)
    found.pop("default", None)
    kinds = [each for each in found.pop("anyOf", []) if each != {"type": "null"}]
    if len(kinds) == 1:
        return dict(kinds[0])
    return {**found, "anyOf": kinds} if kinds else found
