"""The words of RFC 4787 for what STUN servers saw."""

import pytest

from wice.datagram import Endpoint
from wice.ice import Mapping, MappingBehaviour, mapping_behaviour

BASE = Endpoint("192.168.1.2", 51820)
FIRST, SECOND, ELSEWHERE = (
    Endpoint("203.0.113.1", 3478),
    Endpoint("203.0.113.1", 3479),
    Endpoint("203.0.113.9", 3478),
)


def seen(*pairs: tuple[Endpoint, int]) -> list[Mapping]:
    return [Mapping(BASE, server, Endpoint("198.51.100.1", port)) for server, port in pairs]


@pytest.mark.parametrize(
    ("mappings", "behaviour"),
    [
        (seen((FIRST, 1000)), MappingBehaviour.UNKNOWN),
        (seen((FIRST, 1000), (SECOND, 1000)), MappingBehaviour.ENDPOINT_INDEPENDENT),
        (seen((FIRST, 1000), (SECOND, 1001)), MappingBehaviour.ADDRESS_AND_PORT_DEPENDENT),
        (
            seen((FIRST, 1000), (SECOND, 1000), (ELSEWHERE, 1001)),
            MappingBehaviour.ADDRESS_DEPENDENT,
        ),
        ([Mapping(BASE, FIRST, BASE)], MappingBehaviour.NO_NAT),
        ([], MappingBehaviour.UNREACHED),
    ],
)
def test_behaviours(mappings: list[Mapping], behaviour: MappingBehaviour) -> None:
    assert mapping_behaviour(mappings, is_complete=True) is behaviour


def test_nothing_is_said_before_the_servers_had_time() -> None:
    assert mapping_behaviour([], is_complete=False) is MappingBehaviour.UNKNOWN


def test_the_nat_of_ipv4_is_told_beside_ipv6_without_one() -> None:
    base = Endpoint("2001:db8::2", 51820)
    mappings = [Mapping(base, Endpoint("2001:db8::1", 3478), base)]
    mappings += seen((FIRST, 1000), (SECOND, 1000))
    assert mapping_behaviour(mappings, is_complete=True) is MappingBehaviour.ENDPOINT_INDEPENDENT
