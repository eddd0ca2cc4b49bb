"""``wice netcheck``: what stands between this host and its peers, asked of STUN servers.

It needs no daemon and disturbs none: all tests run over UDP ports of their own.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any, Final

import trio

from wice.cli.config_table import read_config_table
from wice.daemon.backends import stun_servers_of
from wice.datagram import Endpoint
from wice.errors import ConfigError, NameNotResolvedError
from wice.overlay_choice import split_overlay
from wice.platform import NetworkInterface, Platform
from wice.section import Place, place_text
from wice.stun import FilteringBehaviour, MappingBehaviour, StunURI, parse_stun_uri
from wice.stun.nat_probe import NatReport, ServerAnswer
from wice.stun.nat_probe_driver import probe_nat
from wice.stun.resolve import Lookup, resolve_stun

RESOLVE_TIMEOUT_S: Final = 1.5
PROBE_TIMEOUT_S: Final = 3.0

SERVERS_MAX: Final = 64
"""Servers that are named; of each IP version, the probe asks fewer."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found. reports: by IP version, None where no server has an address of it."""

    interfaces: tuple[NetworkInterface, ...]
    unresolved: tuple[tuple[str, str], ...]
    reports: dict[int, NatReport | None]


def named_servers(config: FilePath | None, servers: Sequence[str]) -> tuple[StunURI, ...]:
    """Those of ``servers``, HOST[:PORT] each, and of the overlay and [ice] of ``config``.

    Raise ConfigError.
    """
    uris = [_server(text, f"--server {text}") for text in servers]
    if config is not None:
        table = read_config_table(config)
        uris += _overlay_servers(config, table.get("overlay", {}))
        ice = table.get("ice", {})
        listed = ice.get("stun", []) if isinstance(ice, dict) else []
        if not isinstance(listed, list) or not all(isinstance(text, str) for text in listed):
            raise ConfigError(f"{config}: ice.stun", "is no list of texts")
        uris += [_server(text, f"{config}: ice.stun[{index}]") for index, text in enumerate(listed)]
    if not uris:
        raise ConfigError(
            "netcheck",
            "there is no STUN server to ask",
            "name one: --server HOST[:PORT], or a configuration that has bootstrap nodes",
        )
    return tuple(dict.fromkeys(uris))[:SERVERS_MAX]


def _server(text: str, where: str) -> StunURI:
    is_uri = text.lower().startswith(("stun:", "stuns:"))
    whole = text if is_uri else f"stun:{text}"
    try:
        uri = parse_stun_uri(whole)
    except ValueError as error:
        raise ConfigError(where, str(error).replace(repr(whole), repr(text))) from None
    if uri.is_secure:
        raise ConfigError(where, "STUN over TLS is not supported", "use stun:")
    return uri


def _overlay_servers(config: FilePath, overlay: Any) -> list[StunURI]:
    if not isinstance(overlay, dict):
        raise ConfigError(f"{config}: overlay", "is no table")
    try:
        backend, section = split_overlay(overlay, _error_in_overlay)
        servers = stun_servers_of(backend, section)
        return [StunURI(server.host, server.port) for server in servers]
    except ConfigError as error:
        raise ConfigError(f"{config}: {error.where}", error.why, error.hint) from None


def _error_in_overlay(place: Place, why: str, hint: str) -> ConfigError:
    return ConfigError(place_text(("overlay", *place)), why, hint)


async def check_network(uris: Sequence[StunURI], platform: Platform, lookup: Lookup) -> Findings:
    """Ask the servers of ``uris``; raise DeviceError where the interfaces cannot be read.

    It takes ``RESOLVE_TIMEOUT_S`` and ``PROBE_TIMEOUT_S`` at most, whoever is dead.
    """
    interfaces = tuple(platform.interfaces())
    hosts = [str(address.ip) for i in interfaces if i.is_up for address in i.addresses]
    endpoints, unresolved = await _resolve(uris, platform, lookup)
    reports: dict[int, NatReport | None] = {4: None, 6: None}

    async def probe(version: int) -> None:
        servers = [endpoint for endpoint in endpoints if endpoint.is_ipv6 == (version == 6)]
        if not servers:
            return
        try:
            reports[version] = await probe_nat(
                servers, hosts, platform.random_bytes, timeout_s=PROBE_TIMEOUT_S
            )
        except OSError as error:
            reports[version] = _unsendable(servers, error.strerror or "no UDP socket")

    async with trio.open_nursery() as nursery:
        for version in reports:
            nursery.start_soon(probe, version)
    return Findings(interfaces, unresolved, reports)


async def _resolve(
    uris: Sequence[StunURI], platform: Platform, lookup: Lookup
) -> tuple[list[Endpoint], tuple[tuple[str, str], ...]]:
    found: dict[StunURI, list[Endpoint]] = {}
    why = dict.fromkeys(uris, f"no answer from DNS in {RESOLVE_TIMEOUT_S} s")

    async def resolve(uri: StunURI) -> None:
        try:
            servers = await resolve_stun(uri, lookup, platform.random_bytes)
        except NameNotResolvedError as error:
            why[uri] = str(error)
        else:
            found[uri] = [server.endpoint for server in servers]

    with trio.move_on_after(RESOLVE_TIMEOUT_S):
        async with trio.open_nursery() as nursery:
            for uri in uris:
                nursery.start_soon(resolve, uri)
    endpoints = [endpoint for uri in uris for endpoint in found.get(uri, ())]
    return endpoints, tuple((str(uri), why[uri]) for uri in uris if uri not in found)


def _unsendable(servers: Sequence[Endpoint], why: str) -> NatReport:
    answers = tuple(ServerAnswer(server, None, None, why, False) for server in servers)
    unreached, unknown = MappingBehaviour.UNREACHED, FilteringBehaviour.UNKNOWN
    return NatReport(answers, (), unreached, unknown, None, None, ())


def as_json(findings: Findings) -> dict[str, Any]:
    """What ``wice netcheck --json`` prints."""
    reports = [report for report in findings.reports.values() if report is not None]
    return {
        "interfaces": [
            {"name": i.name, "addresses": [str(address) for address in i.addresses]}
            for i in findings.interfaces
            if i.is_up and not i.is_loopback
        ],
        "servers": [
            *(_server_json(answer) for report in reports for answer in report.servers),
            *(
                {"server": uri, "mapped": None, "rtt_ms": None, "reason": why}
                for uri, why in findings.unresolved
            ),
        ],
        "udp_answered": any(report.is_reached for report in reports),
        **{f"ipv{version}": _report_json(r) for version, r in findings.reports.items()},
        "summary": summary(findings),
    }


def _server_json(answer: ServerAnswer) -> dict[str, Any]:
    return {
        "server": str(answer.server),
        "mapped": None if answer.mapped is None else str(answer.mapped),
        "rtt_ms": None if answer.rtt_s is None else round(answer.rtt_s * 1_000, 1),
        "reason": answer.why,
    }


def _report_json(report: NatReport | None) -> dict[str, Any] | None:
    if report is None:
        return None
    return {
        "reachable": report.is_reached,
        "public_addresses": list(dict.fromkeys(mapped.host for mapped in report.mapped)),
        "mapping": report.mapping.value,
        "filtering": report.filtering.value,
        "hairpinning": report.hairpinning,
        "port_preservation": report.preserves_port,
        "not_learned": list(report.not_learned),
    }


_LETS_OTHER_PORTS_IN: Final = frozenset(
    {
        FilteringBehaviour.ENDPOINT_INDEPENDENT,
        FilteringBehaviour.ENDPOINT_INDEPENDENT_OR_ADDRESS_DEPENDENT,
        FilteringBehaviour.ADDRESS_DEPENDENT,
    }
)
_MAPS_PER_DESTINATION: Final = frozenset(
    {MappingBehaviour.ADDRESS_DEPENDENT, MappingBehaviour.ADDRESS_AND_PORT_DEPENDENT}
)


def summary(findings: Findings) -> str:
    """Who can reach this host directly, in a sentence for each IP version that works."""
    said = [
        f"Over IPv{version}, {_reach(report)}."
        for version, report in findings.reports.items()
        if report is not None and report.is_reached
    ]
    return " ".join(said) or _silence(findings)


def _silence(findings: Findings) -> str:
    answers = [a for report in findings.reports.values() if report for a in report.servers]
    if any(answer.is_asked for answer in answers):
        return (
            "No STUN server answered: UDP is blocked here, or none of the servers is up. "
            "Peers cannot reach this host while UDP is blocked."
        )
    why = dict.fromkeys(answer.why for answer in answers)
    remedies = ["this host's network"] if answers else []
    if findings.unresolved:
        why["DNS gave no address"] = None
        remedies.append("the names, and this host's DNS")
    return f"No STUN server could be asked: {', '.join(why)}. Check {' and '.join(remedies)}."


def _reach(report: NatReport) -> str:
    if report.mapping in _MAPS_PER_DESTINATION:
        return (
            "this host can be reached directly only by peers that let in packets from ports they "
            "have not sent to, such as those without a NAT and firewall; by others through a relay"
        )
    if report.mapping is MappingBehaviour.UNKNOWN:
        return "too few servers answered to say who can reach this host directly"
    if report.filtering in _LETS_OTHER_PORTS_IN:
        return "this host can be reached directly by every peer that has UDP"
    return (
        "this host can be reached directly by every peer except those whose NAT maps per "
        "destination; by those through a relay"
    )


def format_netcheck(answer: dict[str, Any]) -> str:
    """The text for people, ending in a newline, of what ``as_json`` gives."""
    return "\n".join(_lines(answer)) + "\n"


def _lines(answer: dict[str, Any]) -> Iterator[str]:
    yield "interfaces:"
    for interface in answer["interfaces"]:
        yield f"  {interface['name']}: {', '.join(interface['addresses']) or '(no address)'}"
    yield "servers:"
    for server in answer["servers"]:
        rtt = "" if server["rtt_ms"] is None else f", {server['rtt_ms']:.1f} ms"
        seen = f"sees {server['mapped']}{rtt}" if server["mapped"] else server["reason"]
        yield f"  {server['server']}: {seen}"
    for version in (4, 6):
        yield from _version_lines(version, answer[f"ipv{version}"])
    yield ""
    yield answer["summary"]


def _version_lines(version: int, report: dict[str, Any] | None) -> Iterator[str]:
    if report is None:
        yield f"IPv{version}: not tried, no server has such an address"
    elif not report["reachable"]:
        yield f"IPv{version}: no server answered"
    else:
        yield f"IPv{version}:"
        yield f"  public address: {', '.join(report['public_addresses'])}"
        yield f"  mapping: {report['mapping']}"
        yield f"  filtering: {report['filtering']}"
        if report["mapping"] != MappingBehaviour.NO_NAT:
            yield f"  hairpinning: {_yes_or_no(report['hairpinning'])}"
            yield f"  port preservation: {_yes_or_no(report['port_preservation'])}"
        for text in report["not_learned"]:
            yield f"  not learned: {text}"


def _yes_or_no(value: bool | None) -> str:
    return "unknown" if value is None else "yes" if value else "no"
