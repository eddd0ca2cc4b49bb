import ipaddress

import pytest
from aioice.candidate import Candidate as TheirCandidate
from hypothesis import assume, given
from hypothesis import strategies as st

from wice.datagram import Endpoint
from wice.errors import RemoteProtocolError
from wice.ice import format_candidate, parse_candidate
from wice.ice.candidate import (
    base_of,
    endpoint_of,
    foundation,
    host_candidate,
    is_usable,
    local_preference_of,
    pair_priority,
    priority_of,
    server_reflexive_candidate,
)
from wice.ice.gatherer import HOST_ADDRESSES_MAX, choose_addresses

HOST = "1 1 udp 2130706431 192.0.2.1 51820 typ host"
REFLEXIVE = "a/+Z9 1 UDP 1 2001:db8::1 1 typ srflx raddr 10.0.0.1 rport 51820 generation 0 x y"


def test_reads_what_rfc_8839_allows() -> None:
    candidate = parse_candidate(HOST)
    assert endpoint_of(candidate) == Endpoint("192.0.2.1", 51_820)
    assert (candidate.type, candidate.priority) == ("host", 2_130_706_431)
    assert format_candidate(candidate) == HOST
    assert format_candidate(parse_candidate(f"candidate:{HOST}")) == HOST
    candidate = parse_candidate(REFLEXIVE)
    assert candidate.transport == "udp"
    assert (candidate.related_address, candidate.related_port) == ("10.0.0.1", 51_820)
    assert parse_candidate("1 1 udp 1 2001:DB8:0::1 1 typ relay").host == "2001:db8::1"


@pytest.mark.parametrize(
    "text",
    [
        "",
        HOST + " raddr",
        HOST.replace(" ", "  ", 1),
        HOST.replace("1 1 udp", "1 0 udp"),
        HOST.replace("1 1 udp", "1 2 udp"),
        HOST.replace("1 1 udp", "1 -1 udp"),
        HOST.replace("1 1 udp", "1 \u0661 udp"),
        HOST.replace("udp", "tcp"),
        HOST.replace("2130706431", "0"),
        HOST.replace("2130706431", str(2**31)),
        HOST.replace("51820", "0"),
        HOST.replace("51820", "65536"),
        HOST.replace("host", "guest"),
        HOST.replace("192.0.2.1", "host.local"),
        HOST.replace("192.0.2.1", "192.0.2.256"),
        HOST.replace("192.0.2.1", "192.0.2"),
        HOST.replace("192.0.2.1", "0.0.0.0"),
        HOST.replace("192.0.2.1", "255.255.255.255"),
        HOST.replace("192.0.2.1", "224.0.0.1"),
        HOST.replace("192.0.2.1", "::"),
        HOST.replace("192.0.2.1", "ff02::1"),
        HOST.replace("192.0.2.1", "fe80::1"),
        HOST.replace("192.0.2.1", "fe80::1%eth0"),
        HOST.replace("192.0.2.1", "::ffff:192.0.2.1"),
        REFLEXIVE.replace("10.0.0.1", "10.0.0"),
        REFLEXIVE.replace("rport 51820", "rport 65536"),
        HOST + " x" * 600,
        "x" * 33 + HOST,
    ],
)
def test_refuses_the_rest(text: str) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_candidate(text)


@given(st.text(max_size=80) | st.text(alphabet=HOST + REFLEXIVE, max_size=120))
def test_garbage_is_refused(text: str) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_candidate(text)


@given(st.sampled_from([HOST, REFLEXIVE]), st.data())
def test_mutations_are_read_or_refused(text: str, data: st.DataObject) -> None:
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text) - 1))
        text = text[:at] + data.draw(st.text(max_size=2)) + text[at + 1 :]
        assume(text)
    try:
        candidate = parse_candidate(text)
    except RemoteProtocolError:
        return
    assert 0 < candidate.port < 65_536
    assert is_usable(ipaddress.ip_address(candidate.host))
    again = parse_candidate(format_candidate(candidate))
    assert format_candidate(again) == format_candidate(candidate)
    assert TheirCandidate.from_sdp(format_candidate(candidate)).to_sdp() == format_candidate(
        candidate
    )


def test_priorities_are_those_of_rfc_8445() -> None:
    assert priority_of("host", 65_535) == 126 * 2**24 + 65_535 * 2**8 + 255
    assert priority_of("host", 0) > priority_of("prflx", 65_535) > priority_of("srflx", 65_535)
    assert priority_of("srflx", 0) > priority_of("relay", 65_535)
    assert local_preference_of(priority_of("srflx", 1_234)) == 1_234
    assert pair_priority(3, 5) == 3 * 2**32 + 10
    assert pair_priority(5, 3) == 3 * 2**32 + 11


def test_own_candidates() -> None:
    base = Endpoint("10.0.0.1", 51_820)
    server = Endpoint("203.0.113.1", 3478)
    host = host_candidate(base, 65_535)
    reflexive = server_reflexive_candidate(Endpoint("198.51.100.1", 9), base, server, 65_535)
    assert base_of(host) == base_of(reflexive) == base.host
    for candidate in (host, reflexive):
        again = parse_candidate(format_candidate(candidate))
        assert format_candidate(again) == format_candidate(candidate)
    assert foundation("srflx", "10.0.0.1", "a") != foundation("srflx", "10.0.0.1", "b")
    assert host.foundation != reflexive.foundation


@pytest.mark.parametrize(
    ("addresses", "chosen"),
    [
        (["192.0.2.1", "127.0.0.1", "::1", "fe80::1"], ["192.0.2.1"]),
        (["192.0.2.1", "2001:db8::1", "192.0.2.1"], ["2001:db8::1", "192.0.2.1"]),
        (["192.0.2.1", "169.254.1.1"], ["192.0.2.1"]),
        (["169.254.1.1", "127.0.0.1"], ["169.254.1.1"]),
        (["127.0.0.1", "::1"], ["::1", "127.0.0.1"]),
        (["fe80::1", "ff02::1", "0.0.0.0"], []),
    ],
)
def test_which_addresses_become_candidates(addresses: list[str], chosen: list[str]) -> None:
    assert choose_addresses(addresses) == chosen


def test_loopback_may_be_asked_for() -> None:
    assert choose_addresses(["127.0.0.1", "192.0.2.1"], allow_loopback=True) == [
        "192.0.2.1",
        "127.0.0.1",
    ]


def test_host_candidates_are_bounded() -> None:
    assert len(choose_addresses([f"192.0.2.{i}" for i in range(1, 100)])) == HOST_ADDRESSES_MAX
