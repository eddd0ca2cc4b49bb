"""Each kind of NAT is what it says: coturn's natdiscovery says the same (RFC 5780)."""

import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
import trio

from sims.lab.lab import Lab
from sims.lab.nat import NAT_KINDS
from sims.lab.process import start_process
from sims.model.nat import Filtering, Mapping

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(
        shutil.which("turnutils_natdiscovery") is None,
        reason="needs natdiscovery: apt-get install coturn",
    ),
]

HANG_S = 60.0
SERVER = ("203.0.113.10", "203.0.113.20")
"""RFC 5780 needs a server with two addresses."""

BEHIND_NAT = {
    Mapping.ENDPOINT_INDEPENDENT: "NAT with Endpoint Independent Mapping!",
    Mapping.ADDRESS_AND_PORT_DEPENDENT: "NAT with Address and Port Dependent Mapping!",
}
FILTERS = {
    Filtering.ENDPOINT_INDEPENDENT: "NAT with Endpoint Independent Filtering!",
    Filtering.ADDRESS_DEPENDENT: "NAT with Address Dependent Filtering!",
    Filtering.ADDRESS_AND_PORT_DEPENDENT: "NAT with Address and Port Dependent Filtering!",
}


@asynccontextmanager
async def stun_server(lab: Lab) -> AsyncIterator[trio.Nursery]:
    """coturn as a STUN server with OTHER-ADDRESS, on the bootstrap node; a nursery for probes."""
    lab["bootstrap"].run(["ip", "address", "add", f"{SERVER[1]}/24", "dev", "eth0"])
    argv = ["turnserver", "-n", "--stun-only", "--no-cli", "--no-tls", "--no-dtls", "--no-tcp"]
    argv += ["--log-file", "stdout", "--pidfile", "/dev/null", "--db", str(lab.directory / "db")]
    argv += [word for address in SERVER for word in ("-L", address)]
    async with trio.open_nursery() as nursery:
        start_process(nursery, lab, "bootstrap", argv, lab.directory / "turnserver.log")
        await wait_bound(lab)
        yield nursery
        nursery.cancel_scope.cancel()


async def wait_bound(lab: Lab) -> None:
    """Wait until the server has both ports of both addresses."""
    while True:
        bound = lab["bootstrap"].run(["ss", "-Hlun"])
        if all(f"{address}:{port}" in bound for address in SERVER for port in (3478, 3479)):
            return
        await trio.sleep(0.05)


async def discover(nursery: trio.Nursery, lab: Lab, host: str, *tests: str) -> str:
    argv = ["turnutils_natdiscovery", *tests, SERVER[0]]
    process = start_process(nursery, lab, host, argv)
    return "\n".join([line async for line in process.lines()])


def verdicts(output: str) -> Iterator[str]:
    for line in output.splitlines():
        if line.startswith(("NAT with", "No NAT")):
            yield line.strip()


async def test_natdiscovery_sees_each_kind_as_it_is_called(build: Callable[..., Lab]) -> None:
    hosts = {kind.replace("-", "")[:10]: kind for kind in NAT_KINDS}
    lab = build(**hosts)
    seen: dict[str, list[str]] = {}

    async def probe(host: str, kind: str) -> None:
        seen[kind] = list(verdicts(await discover(nursery, lab, host, "-m", "-f")))

    with trio.fail_after(HANG_S):
        async with stun_server(lab) as nursery, trio.open_nursery() as probes:
            for host, kind in hosts.items():
                probes.start_soon(probe, host, kind)
    for kind, nat in NAT_KINDS.items():
        if not nat.passes_udp:
            assert seen[kind] == []
        elif not nat.routers:
            assert seen[kind][-1] == FILTERS[nat.filtering]
        else:
            assert seen[kind] == [BEHIND_NAT[nat.mapping], FILTERS[nat.filtering]], kind


async def test_only_the_hairpin_kind_hairpins(build: Callable[..., Lab]) -> None:
    lab = build(alice="hairpin", bob="full-cone")
    output: dict[str, str] = {}

    async def probe(host: str) -> None:
        output[host] = await discover(nursery, lab, host, "-H")

    with trio.fail_after(HANG_S):
        async with stun_server(lab) as nursery, trio.open_nursery() as probes:
            for host in ("alice", "bob"):
                probes.start_soon(probe, host)
    assert "STUN receive timeout" not in output["alice"]
    assert "STUN receive timeout" in output["bob"]
