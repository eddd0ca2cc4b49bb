"""The probe over real sockets on loopback, and our own server."""

import os
from functools import partial

import pytest
import trio

from wice.datagram import Endpoint
from wice.stun import FilteringBehaviour, MappingBehaviour
from wice.stun.driver import serve_stun
from wice.stun.nat_probe_driver import probe_nat

HANG_S = 30.0


async def test_loopback_has_no_nat_and_no_filter(nursery: trio.Nursery) -> None:
    start = partial(serve_stun, (0, 0), public_addresses=("127.0.0.2", "127.0.0.3"))
    bound = await nursery.start(start)
    server = Endpoint("127.0.0.2", bound[0].port)
    with trio.fail_after(HANG_S):
        report = await probe_nat([server], ["127.0.0.1"], os.urandom, timeout_s=HANG_S)
    assert report.mapping is MappingBehaviour.NO_NAT
    assert report.filtering is FilteringBehaviour.ENDPOINT_INDEPENDENT
    assert report.preserves_port is True
    assert {endpoint.host for endpoint in report.mapped} == {"127.0.0.1"}


async def test_ipv6_is_asked_over_ipv6(nursery: trio.Nursery) -> None:
    bound = await nursery.start(partial(serve_stun, (0, 0), hosts=("::1",)))
    with trio.fail_after(HANG_S):
        report = await probe_nat(bound, ["::1"], os.urandom, timeout_s=HANG_S)
    assert report.mapping is MappingBehaviour.NO_NAT
    assert {endpoint.host for endpoint in report.mapped} == {"::1"}


async def test_the_time_that_is_given_is_kept(autojump_clock: trio.testing.MockClock) -> None:
    silent = trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM)
    with silent:
        await silent.bind(("127.0.0.1", 0))
        server = Endpoint("127.0.0.1", silent.getsockname()[1])
        began_s = trio.current_time()
        report = await probe_nat([server], ["127.0.0.1"], os.urandom, timeout_s=1.0)
    assert trio.current_time() - began_s == pytest.approx(1.0)
    assert not report.is_reached
