"""``wice netcheck`` behind real NATs says what coturn's natdiscovery says, of the same server."""

import json
import sys
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import trio

from sims.lab.lab import Lab
from sims.lab.nat import NAT_KINDS
from sims.lab.process import start_process
from sims.model.nat import Filtering, Mapping
from tests.lab.test_nat_kinds import HANG_S, SERVER, discover, pytestmark, stun_server, verdicts

__all__ = ["pytestmark"]

NAT_MAPPINGS = {
    Mapping.ENDPOINT_INDEPENDENT: "endpoint-independent",
    Mapping.ADDRESS_AND_PORT_DEPENDENT: "address- and port-dependent",
}
FILTERINGS = {
    Filtering.ENDPOINT_INDEPENDENT: "endpoint-independent",
    Filtering.ADDRESS_DEPENDENT: "address-dependent",
    Filtering.ADDRESS_AND_PORT_DEPENDENT: "address- and port-dependent",
}
DISCOVERED = {
    "NAT with Endpoint Independent Mapping!": "endpoint-independent",
    "NAT with Address Dependent Mapping!": "address-dependent",
    "NAT with Address and Port Dependent Mapping!": "address- and port-dependent",
    "No NAT detected!": "no NAT",
    "NAT with Endpoint Independent Filtering!": "endpoint-independent",
    "NAT with Address Dependent Filtering!": "address-dependent",
    "NAT with Address and Port Dependent Filtering!": "address- and port-dependent",
}


async def netcheck(nursery: trio.Nursery, lab: Lab, host: str, *servers: str) -> dict[str, Any]:
    argv = [sys.executable, "-m", "wice", "netcheck", "--json"]
    argv += [word for server in servers for word in ("--server", server)]
    process = start_process(nursery, lab, host, argv)
    answer = json.loads("\n".join([line async for line in process.lines()]))
    assert isinstance(answer, dict)
    return answer


async def test_netcheck_agrees_with_natdiscovery(build: Callable[..., Lab]) -> None:
    hosts = {kind.replace("-", "")[:10]: kind for kind in NAT_KINDS}
    lab = build(**hosts)
    ours: dict[str, dict[str, Any]] = {}
    theirs: dict[str, list[str]] = {}
    theirs_hairpins: dict[str, bool] = {}

    async def probe(host: str, kind: str) -> None:
        ours[kind] = await netcheck(nursery, lab, host, SERVER[0])
        output = await discover(nursery, lab, host, "-m", "-f")
        theirs[kind] = [DISCOVERED[line] for line in verdicts(output) if line in DISCOVERED]
        if NAT_KINDS[kind].passes_udp:
            output = await discover(nursery, lab, host, "-H")
            theirs_hairpins[kind] = "STUN receive timeout" not in output

    with trio.fail_after(HANG_S):
        async with stun_server(lab) as nursery, trio.open_nursery() as probes:
            for host, kind in hosts.items():
                probes.start_soon(probe, host, kind)

    for kind, nat in NAT_KINDS.items():
        found = ours[kind]
        assert found["udp_answered"] is nat.passes_udp, kind
        report = found["ipv4"]
        if not nat.passes_udp:
            assert theirs[kind] == []
            assert report["reachable"] is False
            continue
        assert report["filtering"] == FILTERINGS[nat.filtering] == theirs[kind][-1], kind
        if nat.routers:
            assert report["mapping"] == NAT_MAPPINGS[nat.mapping] == theirs[kind][0], kind
            assert report["hairpinning"] is theirs_hairpins[kind], kind
            preserves_port = nat.mapping is Mapping.ENDPOINT_INDEPENDENT
            assert report["port_preservation"] is preserves_port, kind
        else:
            assert report["mapping"] == "no NAT"
        assert report["not_learned"] == [], kind
        assert len(report["public_addresses"]) == 1


OUR_SERVER = """
import sys, trio
from functools import partial
from wice.stun.driver import serve_stun

async def main():
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve_stun, public_addresses=sys.argv[1:]))
        print("ready", flush=True)

trio.run(main)
"""


async def check_against_our_server(
    lab: Lab, hosts: list[str], addresses: tuple[str, ...]
) -> tuple[dict[str, dict[str, Any]], dict[str, list[str]]]:
    """What netcheck, and natdiscovery where there are two addresses, say on each host."""
    lab["bootstrap"].run(["ip", "address", "add", f"{SERVER[1]}/24", "dev", "eth0"])
    ours: dict[str, dict[str, Any]] = {}
    theirs: dict[str, list[str]] = {}

    async def probe(host: str) -> None:
        both_ports = [f"{SERVER[0]}:{port}" for port in (3478, 3479)]
        ours[host] = (await netcheck(nursery, lab, host, *both_ports))["ipv4"]
        if len(addresses) > 1:
            output = await discover(nursery, lab, host, "-m", "-f")
            theirs[host] = [DISCOVERED[line] for line in verdicts(output) if line in DISCOVERED]

    with trio.fail_after(HANG_S):
        async with trio.open_nursery() as nursery:
            argv = [sys.executable, "-c", OUR_SERVER, *addresses]
            server = start_process(nursery, lab, "bootstrap", argv)
            async with aclosing(server.lines()) as lines:
                assert await anext(lines) == "ready"
                async with trio.open_nursery() as probes:
                    for host in hosts:
                        probes.start_soon(probe, host)
            nursery.cancel_scope.cancel()
    return ours, theirs


async def test_our_own_server_of_two_addresses_tells_both_the_same(
    build: Callable[..., Lab],
) -> None:
    kinds = {"open": "full-cone", "half": "address-restricted", "shut": "symmetric"}
    ours, theirs = await check_against_our_server(build(**kinds), list(kinds), SERVER)
    for host, kind in kinds.items():
        nat = NAT_KINDS[kind]
        said = [NAT_MAPPINGS[nat.mapping], FILTERINGS[nat.filtering]]
        assert [ours[host]["mapping"], ours[host]["filtering"]] == said
        assert theirs[host] == said


async def test_our_own_server_of_one_address_tells_what_it_can(build: Callable[..., Lab]) -> None:
    kinds = {"open": "full-cone", "shut": "symmetric"}
    ours, _ = await check_against_our_server(build(**kinds), list(kinds), ())
    loosest = "endpoint-independent or address-dependent"
    assert [ours["open"]["mapping"], ours["open"]["filtering"]] == [loosest, loosest]
    strictest = "address- and port-dependent"
    assert [ours["shut"]["mapping"], ours["shut"]["filtering"]] == [strictest, strictest]
